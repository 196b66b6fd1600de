"""servebench: one asyncio loop, aiohttp; it keeps every chunk's time."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING

from client import PROMPT_TOKENS, Client, Load, Reported, milliseconds

if TYPE_CHECKING:
    from pathlib import Path


def _argv(bin_folder: Path, load: Load, folder: Path) -> list[str]:
    argv = [str(bin_folder / "servebench"), "run", "--url", load.base_url, "--model", "mock"]
    argv += ["--endpoint", "completions", "--input-len", str(PROMPT_TOKENS)]
    argv += ["--output-len", str(load.tokens), "--num-requests", str(load.requests)]
    argv += ["--warmup", "0", "--seed", "1", "--no-gpu", "--out", str(folder / "run.json")]
    if load.kind == "closed":
        return [*argv, "--concurrency", str(load.level)]
    argv += ["--rate", str(load.level)]
    if load.kind == "constant":  # it has none, but a gamma distribution this narrow is even
        return [*argv, "--arrival-dist", "gamma", "--burstiness", "1000000"]
    return [*argv, "--arrival-dist", "poisson"]


def _read(folder: Path, _load: Load) -> Reported:
    (level,) = json.loads((folder / "run.json").read_text())["levels"]
    answered = [one for one in level["requests"] if one["ok"]]
    gaps = (later - one for each in answered for one, later in pairwise(each["chunk_times"]))
    return Reported(
        ttft=milliseconds((one["ttft"] for one in answered), 1e3),
        itl=milliseconds(gaps, 1e3),
        e2e=milliseconds((one["e2e"] for one in answered), 1e3),
    )


CLIENT = Client(
    title="servebench",
    environment="servebench",
    package="servebench",
    argv=_argv,
    read=_read,
    http="aiohttp",
)
