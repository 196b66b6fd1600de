"""What was kept of two builds is what comparing them needs, and by any route the same."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from evals.client.http import Client
from evals.compare.builds import compare
from evals.compare.divergence import divergence
from evals.compare.scores import summarise
from evals.endpoint import Endpoint
from evals.kinds import Job
from evals.perplexity import KIND
from evals.perplexity.result import perplexity
from evals.perplexity.tokens import read_tokens
from evals.store import read_answers
from evals.suite import SUITES, Suite
from launchers.mock.language import Language, context_of
from launchers.mock.tokens import load_tokens

if TYPE_CHECKING:
    from evals.records import Route
    from tests.conftest import StartMock

DEMO = Path(__file__).parents[2] / "launchers" / "models" / "demo-fp16"
FAST = ("--ttft-ms", "0", "--itl-ms", "0", "--tokenizer", str(DEMO))
DAMAGE = 0.3
TOP = 20


def ask(url: str, folder: Path, *, engine: str = "mock", route: Route = "echo") -> Path:
    endpoint = Endpoint(
        base_url=url, model="mock", engine=engine, tokenizer=str(DEMO), max_model_len=2048
    )
    told = {
        "text": "embedded:transactions",
        "documents": "apart",
        "tokens": 1200,
        "top_k": TOP,
    }
    suite = Suite.model_validate({"name": "text", "perplexity": told})
    job = Job(suite=suite, base_dir=SUITES, folder=folder, route=route)

    async def run() -> None:
        async with Client(endpoint, route) as client:
            await KIND.ask(job, client, lambda _done, _all: None)

    asyncio.run(run())
    return folder


def test_two_builds(mock: StartMock, tmp_path: Path) -> None:
    baseline = ask(mock(*FAST), tmp_path / "baseline")
    ours = ask(mock(*FAST, "--damage", str(DAMAGE)), tmp_path / "ours")
    answers = {folder: read_answers(folder) for folder in (ours, baseline)}
    found = {folder: perplexity(answers[folder]) for folder in answers}
    for folder, numbers in found.items():
        assert summarise(answers[folder]).score == pytest.approx(numbers.token, rel=1e-12)

    comparison = compare(answers[ours], answers[baseline])
    assert comparison.perplexity is not None
    ratio = math.exp((found[ours].nats - found[baseline].nats) / found[ours].tokens)
    assert comparison.perplexity.ratio == pytest.approx(ratio, rel=1e-12)
    assert comparison.perplexity.windows == len(answers[ours])
    clusters = {answer.cluster for answer in answers[ours]}
    assert 1 < comparison.perplexity.clusters == len(clusters) < len(answers[ours]) + 1

    mine, theirs = read_tokens(ours), read_tokens(baseline)
    assert mine is not None
    assert theirs is not None
    told = divergence(mine, theirs, seed=0)
    kl, same = truth(baseline)
    assert told.tokens == found[ours].tokens
    assert told.kl_mean is not None
    assert 0.5 * kl < told.kl_mean <= kl
    assert told.top1 == pytest.approx(same, abs=1e-12)


def truth(folder: Path) -> tuple[float, float]:
    """Mean KL over the whole vocabulary, and the share of places with one likeliest token."""
    tokens = load_tokens(DEMO)
    whole, damaged = Language(tokens, 0), Language(tokens, 0, DAMAGE)
    values = read_tokens(folder)
    assert values is not None
    kl, same = [], []
    for window in sorted(set(values.window.tolist())):
        ids = [1, *values.id[values.window == window].tolist()]
        for end in range(1, len(ids)):
            context = context_of(ids, end)
            p, q = whole.next(context), damaged.next(context)
            ln_p, ln_q = (
                np.array([view.logprob(number) for number in range(tokens.size)]) for view in (p, q)
            )
            kl.append(float(np.sum(np.exp(ln_p) * (ln_p - ln_q))))
            same.append(p.top(1)[0][0] == q.top(1)[0][0])
    return float(np.mean(kl)), float(np.mean(same))


@pytest.mark.parametrize("engine", ["sglang", "tgi"])
def test_a_native_route_says_the_same(mock: StartMock, tmp_path: Path, engine: str) -> None:
    echo = ask(mock(*FAST), tmp_path / "echo")
    url = mock(*FAST, "--engine", engine)
    native = ask(url, tmp_path / "native", engine=engine, route="native")
    assert {answer.route for answer in read_answers(native)} == {"native"}
    ours, theirs = read_tokens(native), read_tokens(echo)
    assert ours is not None
    assert theirs is not None
    assert (ours.id == theirs.id).all()
    assert ours.logprob == pytest.approx(theirs.logprob, abs=1e-6)
