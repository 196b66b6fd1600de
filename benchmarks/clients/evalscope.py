"""ModelScope's `evalscope perf`: one asyncio loop, aiohttp; its open loop is Poisson only."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from client import PROMPT_TOKENS, TOKENIZER, Client, Load, Reported, milliseconds

if TYPE_CHECKING:
    from pathlib import Path


def _argv(bin_folder: Path, load: Load, folder: Path) -> list[str]:
    argv = [str(bin_folder / "evalscope"), "perf", "--model", "mock", "--api", "openai"]
    argv += ["--url", load.url + "/completions", "--tokenizer-path", str(TOKENIZER)]
    argv += ["--dataset", "random", "--min-prompt-length", str(PROMPT_TOKENS)]
    argv += ["--max-prompt-length", str(PROMPT_TOKENS), "--max-tokens", str(load.tokens)]
    argv += ["--min-tokens", str(load.tokens), "--stream", "--no-test-connection"]
    argv += ["--outputs-dir", str(folder / "out"), "--no-timestamp"]
    argv += ["--extra-args", '{"ignore_eos": true}', "--number", str(load.requests)]
    if load.kind == "closed":
        return [*argv, "--parallel", str(load.level)]
    return [*argv, "--open-loop", "--rate", str(load.level)]


def _read(folder: Path, _load: Load) -> Reported:
    (database,) = (folder / "out").glob("*/*/benchmark_data.db")
    query = "select first_chunk_latency, inter_token_latencies, latency from result where success=1"
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(query).fetchall()
    return Reported(
        ttft=milliseconds((first for first, _, _ in rows), 1e3),
        itl=milliseconds((gap for _, gaps, _ in rows for gap in json.loads(gaps)), 1e3),
        e2e=milliseconds((latency for _, _, latency in rows), 1e3),
    )


CLIENT = Client(
    title="evalscope perf",
    environment="evalscope",
    package="evalscope",
    argv=_argv,
    read=_read,
    kinds=frozenset({"closed", "poisson"}),
    http="aiohttp",
)
