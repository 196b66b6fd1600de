"""The embedded questions, asked of the demo model on a real vLLM."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from evals.client.http import Client
from evals.domain import KIND
from evals.kinds import Job
from evals.store import read_answers
from harness.config import find_suite, load_config
from harness.quality.endpoints import endpoint_of

if TYPE_CHECKING:
    from pathlib import Path

    from evals.endpoint import Endpoint
    from evals.records import Answer, Route
    from evals.suite import Suite
    from launchers.server import Server

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]


def ask(suite: Suite, folder: Path, base_dir: Path, route: Route, where: Endpoint) -> list[Answer]:
    job = Job(suite=suite, base_dir=base_dir, folder=folder / route, route=route, limit=70)

    async def run() -> None:
        async with Client(where) as client:
            await KIND.ask(job, client, lambda _done, _total: None)

    asyncio.run(run())
    return sorted(read_answers(job.folder), key=lambda answer: answer.item)


def test_seventy_questions_by_every_route(fp16: Server, tmp_path: Path) -> None:
    """What the model writes, what it finds likeliest, and its first token say the same."""
    suite, folder = find_suite("domain", load_config(start=tmp_path))
    assert suite.domain is not None
    by_choice = suite.domain.model_copy(update={"method": "choices"})
    choices = suite.model_copy(update={"domain": by_choice})
    where = endpoint_of(fp16)
    written = ask(suite, tmp_path, folder, "generative", where)
    scored = {route: ask(choices, tmp_path, folder, route, where) for route in ("echo", "label")}
    assert [answer.outcome for answer in written] == ["scored"] * 70
    assert {answer.finish_reason for answer in written} == {"stop"}
    assert sum(answer.score for answer in written) / 70 > 0.85
    for answers in scored.values():
        assert [answer.item for answer in answers] == [answer.item for answer in written]
        agreed = sum(a.read == b.read for a, b in zip(answers, written, strict=True))
        assert agreed >= 68, "but for near ties"
    for echo, label in zip(scored["echo"], scored["label"], strict=True):
        if echo.choice == label.choice and echo.choice is not None:
            likelihood = label.loglikelihoods[echo.choice]
            assert echo.loglikelihoods[echo.choice] == pytest.approx(likelihood, abs=0.02)
