"""On a real vLLM: the same scores as lm-eval's own client, to the last digit."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from evals.client.http import Client
from evals.lmeval import KIND
from evals.lmeval.plan import RESULTS_FILE
from evals.store import read_answers
from tests.evals.lmeval.conftest import endpoint, stock

if TYPE_CHECKING:
    from pathlib import Path

    from launchers.server import Server
    from tests.evals.lmeval.conftest import MakeJob

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1100)]
TASKS = {"mmlu": 1, "hellaswag": 0, "arc_challenge": 0, "wikitext": 0}


def test_scores_are_those_of_lm_eval_itself(
    fp16: Server, make_job: MakeJob, linked: Path, lmeval_python: Path
) -> None:
    job = make_job(TASKS, bos="never", route="next")
    to = endpoint(fp16.base_url, model=fp16.model, engine="vllm")

    async def go() -> None:
        async with Client(to) as client:
            await KIND.ask(job, client, lambda *_: None)

    asyncio.run(go())
    own = stock(lmeval_python, fp16.base_url, fp16.model, TASKS, linked)
    ours = json.loads((job.folder / RESULTS_FILE).read_text())["tasks"]
    assert set(ours) == set(own) - {"mmlu"}
    for task, found in ours.items():
        assert found["errors"] == 0
        assert found["metrics"] == {key: own[task][key] for key in found["metrics"]}
    routes = set()
    for answer in read_answers(job.folder):
        routes.add((answer.task, answer.route))
        task, number = answer.item.partition("-")[0].split("/")
        if task == "wikitext":
            continue
        theirs = [one[0][0] for one in own[task]["lls"][int(number)]]
        # By echo the very same; the next token's are of another batch, of 16-bit logits.
        apart = 0.02 if answer.route == "next" else 0.0
        assert answer.loglikelihoods == pytest.approx(theirs, abs=apart, rel=0), answer.item
    assert {way for task, way in routes if task == "mmlu"} == {"next"}
    assert ("arc_challenge", "echo") in routes
