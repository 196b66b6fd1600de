"""NVIDIA's AIPerf: about ten processes over ZeroMQ, aiohttp."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from client import PROMPT_TOKENS, TOKENIZER, Client, Load, Reported, milliseconds

if TYPE_CHECKING:
    from pathlib import Path


def _argv(bin_folder: Path, load: Load, folder: Path) -> list[str]:
    argv = [str(bin_folder / "aiperf"), "profile", "--model", "mock", "--url", load.base_url]
    argv += ["--endpoint-type", "completions", "--streaming", "--tokenizer", str(TOKENIZER)]
    argv += ["--request-count", str(load.requests), "--isl", str(PROMPT_TOKENS)]
    argv += ["--osl", str(load.tokens), "--extra-inputs", "ignore_eos:true"]
    argv += ["--use-server-token-count", "--no-gpu-telemetry", "--no-server-metrics"]
    argv += ["--ui", "none", "--export-level", "records", "--artifact-dir", str(folder / "out")]
    if load.kind == "closed":
        return [*argv, "--concurrency", str(load.level)]
    return [*argv, "--request-rate", str(load.level), "--arrival-pattern", load.kind]


def _read(folder: Path, _load: Load) -> Reported:
    lines = (folder / "out" / "profile_export.jsonl").read_text().splitlines()
    metrics = [record["metrics"] for record in map(json.loads, lines) if not record.get("error")]
    return Reported(
        ttft=milliseconds(one["time_to_first_token"]["value"] for one in metrics),
        itl=milliseconds(gap for one in metrics for gap in one["inter_chunk_latency"]["value"]),
        e2e=milliseconds(one["request_latency"]["value"] for one in metrics),
    )


CLIENT = Client(
    title="AIPerf",
    environment="aiperf",
    package="aiperf",
    argv=_argv,
    read=_read,
    offline=False,
    http="aiohttp, processes",
)
