"""lm-eval's tasks through the strict client, beside lm-eval's own client, against the mock."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import psutil
import pytest

from evals.client.http import Client
from evals.errors import NeedError, ResumeError, RouteError, SuiteError
from evals.lmeval import KIND
from evals.lmeval.plan import RESULTS_FILE
from evals.lmeval.results import read_results
from evals.store import ANSWERS_FILE, read_answers
from tests.evals.lmeval.conftest import TOKENIZER, endpoint, stock

if TYPE_CHECKING:
    from evals.endpoint import Endpoint
    from evals.kinds import Job
    from evals.records import Answer
    from tests.conftest import StartMock
    from tests.evals.lmeval.conftest import MakeJob

SCORED = ("--tokenizer", str(TOKENIZER), "--ttft-ms", "0", "--itl-ms", "0")
ALL = {"mmlu": 5, "hellaswag": 3, "arc_challenge": 2, "winogrande": 5}


def ask(job: Job, to: Endpoint, heard: list[tuple[int, int]] | None = None) -> list[Answer]:
    async def go() -> None:
        async with Client(to) as client:
            await KIND.ask(job, client, lambda done, total: (heard or []).append((done, total)))

    asyncio.run(go())
    return read_answers(job.folder)


def results(job: Job) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((job.folder / RESULTS_FILE).read_text())
    return found


def settled(answers: list[Answer]) -> list[dict[str, Any]]:
    """All that does not depend on time."""
    kept = [msgspec.to_builtins(answer) for answer in answers]
    for answer in kept:
        for key in ("sent_ns", "latency_ms", "attempts"):
            answer.pop(key, None)
    return sorted(kept, key=lambda answer: (answer["task"], answer["item"]))


def test_scores_are_those_of_lm_eval_itself(
    mock: StartMock, make_job: MakeJob, linked: Path, lmeval_python: Path
) -> None:
    url = mock(*SCORED)
    tasks = {**ALL, "wikitext": 0}
    job = make_job(tasks, bos="never", route="next")
    answers = ask(job, endpoint(url))
    own = stock(lmeval_python, url, "mock", tasks, linked)
    ours = results(job)["tasks"]
    assert set(ours) == set(own) - {"mmlu"}  # the group
    for task, found in ours.items():
        for metric, value in found["metrics"].items():
            assert value == own[task][metric], (task, metric)
    told = {answer.item.partition("/")[0]: [] for answer in answers}
    for answer in answers:
        told[answer.item.partition("/")[0]].append(answer.loglikelihoods)
    for task, of_task in told.items():
        if task != "wikitext":  # of one value: the sum over windows
            assert of_task == [[one[0][0] for one in of_item] for of_item in own[task]["lls"]]
    assert {answer.category for answer in answers if answer.task == "mmlu"} == {
        "anatomy",
        "astronomy",
        "philosophy",
    }
    assert {answer.outcome for answer in answers} == {"scored"}
    # MMLU's letters are one token, and so are some of the short endings.
    by_task = {(answer.task, answer.route) for answer in answers}
    assert {way for task, way in by_task if task == "mmlu"} == {"next"}
    assert {way for task, way in by_task if task in {"winogrande", "wikitext"}} == {"echo"}


def test_what_is_written_is_graded_by_lm_eval_filters(
    mock: StartMock, make_job: MakeJob, linked: Path, lmeval_python: Path, tmp_path: Path
) -> None:
    knows = tmp_path / "knows.jsonl"
    questions = (linked.parent / "gsm8k" / "test.jsonl").read_text().splitlines()
    said = [f" it is\n#### {n}" for n in range(4)] + [" it is\n#### 99"] * 2 + [" no"]
    facts = [
        {"prompt": f"Question: {one['question']}\nAnswer:", "answer": answer}
        for one, answer in zip(map(json.loads, questions), said, strict=False)
    ]
    knows.write_text("".join(json.dumps(fact) + "\n" for fact in facts))
    url = mock(*SCORED, "--knows", str(knows))
    job = make_job({"gsm8k": 2}, route="generative", bos="never")
    answers = ask(job, endpoint(url))
    own = stock(lmeval_python, url, "mock", {"gsm8k": 2}, linked, num_concurrent=1)
    metrics = results(job)["tasks"]["gsm8k"]["metrics"]
    assert metrics == {k: v for k, v in own["gsm8k"].items() if k.startswith("exact_match,")}
    assert metrics["exact_match,strict-match"] == 0.5
    by_filter = own["gsm8k"]["lls"]
    assert [answer.text for answer in answers] == [one[0][0] for one in by_filter[:8]]
    outcomes = [answer.outcome for answer in answers]
    assert outcomes == ["scored"] * 6 + ["unparsed", "truncated"]
    assert [answer.score for answer in answers] == [1.0] * 4 + [0.0] * 4
    assert [answer.finish_reason for answer in answers] == ["stop"] * 7 + ["length"]
    assert answers[-1].output_tokens == 256
    assert answers[0].scores["exact_match,flexible-extract"] == 1.0


def test_a_dead_item_costs_only_itself(mock: StartMock, make_job: MakeJob) -> None:
    url = mock(*SCORED, "--fault", "http_400:0.3")
    job = make_job({"arc_challenge": 0}, pack=4)
    answers = ask(job, endpoint(url))
    bad = [answer for answer in answers if answer.outcome == "error"]
    good = [answer for answer in answers if answer.outcome == "scored"]
    assert len(bad) + len(good) == 12
    assert good
    told = results(job)["tasks"]["arc_challenge"]
    assert told["errors"] == len(bad)
    assert told["metrics"]["acc,none"] == sum(answer.score for answer in good) / len(good)


def test_what_does_not_fit_is_an_error_and_never_cut(mock: StartMock, make_job: MakeJob) -> None:
    url = mock(*SCORED)
    job = make_job({"hellaswag": 3}, bos="never")
    whole = ask(job, endpoint(url))
    longest = sorted(answer.prompt_tokens or 0 for answer in whole)
    shorter = make_job({"hellaswag": 3}, bos="never", folder=job.folder.with_name("short"))
    answers = ask(shorter, endpoint(url, max_model_len=longest[6] // 4))
    errors = [answer for answer in answers if answer.outcome == "error"]
    assert 0 < len(errors) < 12
    assert all((answer.error or "").startswith("too_long") for answer in errors)
    fits = {answer.item: answer.loglikelihoods for answer in answers if answer.outcome == "scored"}
    assert fits == {a.item: a.loglikelihoods for a in whole if a.item in fits}


def test_a_second_build_is_asked_itself(mock: StartMock, make_job: MakeJob, tmp_path: Path) -> None:
    """lm-eval's own cache knows no builds: a second one is served by the first one's answers."""
    bodies = tmp_path / "bodies"
    url = mock(*SCORED, "--bodies", str(bodies))
    job = make_job({"winogrande": 0}, pack=2)

    def sent() -> int:
        return len(bodies.read_bytes().splitlines())

    ask(job, endpoint(url))
    first = sent()
    assert first == 12
    ask(job, endpoint(url))
    assert sent() == first  # nothing is asked twice of one build
    with pytest.raises(ResumeError, match="identity"):
        ask(job, endpoint(url, identity="another build"))
    # Not even where the plan is gone and its answers to requests are left.
    (job.folder / "plan.json").unlink()
    (job.folder / ANSWERS_FILE).unlink()
    ask(job, endpoint(url, identity="another build"))
    assert sent() == 2 * first


CHILD = """
import asyncio, pickle, sys
from evals.client.http import Client
from evals.lmeval import KIND
job, to = pickle.load(open(sys.argv[1], "rb"))
async def go():
    async with Client(to) as client:
        await KIND.ask(job, client, lambda done, total: print(done, flush=True))
asyncio.run(go())
"""


def test_killed_it_leaves_nothing_behind_and_goes_on(
    mock: StartMock, make_job: MakeJob, tmp_path: Path
) -> None:
    import pickle

    to = endpoint(mock(*SCORED, "--ttft-ms", "150"), concurrency=1)
    fast = endpoint(mock(*SCORED))
    job = make_job({"mmlu": 5}, pack=4)
    file = tmp_path / "job.pickle"
    file.write_bytes(pickle.dumps((job, to)))
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(file)], stdout=subprocess.PIPE, env=os.environ
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 8:
                break
        children = psutil.Process(process.pid).children(recursive=True)
        assert children
        process.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    assert 8 <= len((job.folder / "requests.jsonl").read_bytes().splitlines()) // 4 < 36
    heard: list[tuple[int, int]] = []
    resumed = ask(job, fast, heard)
    whole = make_job({"mmlu": 5}, pack=4, folder=tmp_path / "whole")
    uninterrupted = ask(whole, fast)
    assert settled(resumed) == settled(uninterrupted)
    assert results(job) == results(whole)


def test_cancelled_it_ends_its_child(mock: StartMock, make_job: MakeJob) -> None:
    url = mock(*SCORED, "--ttft-ms", "500")
    job = make_job({"mmlu": 5}, pack=4)
    to = endpoint(url, concurrency=1)

    async def go() -> None:
        started = asyncio.Event()
        async with Client(to) as client:
            task = asyncio.create_task(KIND.ask(job, client, lambda *_: started.set()))
            await asyncio.wait_for(started.wait(), 120)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    before = set(psutil.Process().children(recursive=True))
    asyncio.run(go())
    assert not [
        child
        for child in set(psutil.Process().children(recursive=True)) - before
        if "evals" in " ".join(child.cmdline())
    ]


def test_a_larger_subset_holds_the_smaller_one(mock: StartMock, make_job: MakeJob) -> None:
    url = mock(*SCORED)
    found = [
        {a.item for a in ask(make_job({"mmlu": 5}, limit=limit, folder=folder), endpoint(url))}
        for limit, folder in ((9, Path("a")), (18, Path("b")))
        for folder in (make_job({"mmlu": 5}).folder.with_name(str(folder)),)
    ]
    for smaller, larger in pairwise(found):
        assert len(smaller) == 9
        assert smaller < larger
    assert {item.partition("/")[0] for item in found[0]} == {
        "mmlu_anatomy",
        "mmlu_astronomy",
        "mmlu_philosophy",
    }


def test_a_check_counts_what_would_be_asked(make_job: MakeJob) -> None:
    size = KIND.check(make_job({"mmlu": 5, "winogrande": 5}), endpoint("http://127.0.0.1:9/v1"))
    assert size.items == 48
    assert size.categories == {"mmlu": 36, "winogrande": 12}
    assert size.requests == round(36 * 4 / 32 + 12 * 2 / 32)
    assert (size.prompt_tokens or 0) > 10_000


def test_a_fixed_zero_few_shot_is_told(mock: StartMock, make_job: MakeJob, linked: Path) -> None:
    folder = linked.with_name("zero")
    folder.mkdir(exist_ok=True)
    (folder / "zero.yaml").write_text(
        f"include: {linked / 'arc_easy.yaml'}\ntask: arc_zero\nnum_fewshot: 0\n"
    )
    job = make_job({"arc_zero": 5}, include_path=str(folder))
    ask(job, endpoint(mock(*SCORED)))
    assert results(job)["tasks"]["arc_zero"]["few_shot"] == 0
    found = read_results(job.folder)
    assert found is not None
    (note,) = found.notes
    assert (
        found.convention == "lm-eval 0.4.13, BOS before each prompt, few-shot examples: arc_zero 0"
    )
    assert "5 few-shot examples were asked for" in note


@pytest.mark.parametrize(
    ("tasks", "settings", "error", "text"),
    [
        ({"mmlu": 5}, {"metrics": {"mmlu": "acc_norm"}}, SuiteError, "no metric acc_norm"),
        ({"mmlu": 5}, {"metrics": {"arc": "acc"}}, SuiteError, "not among lmeval.tasks"),
        ({"helaswag": 5}, {}, SuiteError, "did you mean hellaswag"),
        ({}, {}, SuiteError, "is empty"),
        ({"mmlu": 5}, {"route": "generative"}, RouteError, "log-probabilities of the prompt"),
        ({"mmlu": 5}, {"include_path": "/nowhere"}, SuiteError, "is no folder"),
    ],
)
def test_mistakes_are_told_before_anything_is_asked(
    make_job: MakeJob,
    tasks: dict[str, int],
    settings: dict[str, Any],
    error: type[Exception],
    text: str,
) -> None:
    with pytest.raises(error, match=text):
        KIND.check(make_job(tasks, **settings), endpoint("http://127.0.0.1:9/v1"))


def test_a_data_set_that_is_not_there_is_told(make_job: MakeJob, tmp_path: Path) -> None:
    (tmp_path / "absent.yaml").write_text(
        "task: absent\ndataset_path: nobody/nothing\ntest_split: test\n"
        "output_type: generate_until\ndoc_to_text: x\ndoc_to_target: y\n"
    )
    job = make_job({"absent": 0}, include_path=str(tmp_path))
    with pytest.raises(NeedError, match=r"absent cannot be loaded(?s:.*)harness eval link"):
        KIND.check(job, endpoint("http://127.0.0.1:9/v1"))


def test_without_lm_eval_it_says_how_to_get_it(tmp_path: Path) -> None:
    from evals.kinds import Job
    from evals.suite import Suite

    suite = Suite.model_validate({"name": "s", "lmeval": {"tasks": {"arc_easy": 0}}})
    job = Job(suite=suite, base_dir=tmp_path, folder=tmp_path / "job", route="echo")
    with pytest.raises(NeedError, match="harness engines install lm-eval"):
        KIND.check(job, endpoint("http://127.0.0.1:9/v1"))


def test_an_error_of_the_endpoint_names_it(make_job: MakeJob) -> None:
    from evals.errors import ReachError

    start = time.monotonic()
    with pytest.raises(ReachError, match=r"127\.0\.0\.1:9"):
        ask(make_job({"winogrande": 0}), endpoint("http://127.0.0.1:9/v1"))
    assert time.monotonic() - start < 200


def test_the_engines_own_page_gives_the_same_scores(mock: StartMock, make_job: MakeJob) -> None:
    echo = make_job({"arc_challenge": 2})
    native = make_job({"arc_challenge": 2}, route="native", folder=echo.folder.with_name("native"))
    by_echo = ask(echo, endpoint(mock(*SCORED)))
    by_page = ask(native, endpoint(mock(*SCORED, "--engine", "sglang"), engine="sglang"))
    assert {answer.route for answer in by_page} == {"native"}
    assert {answer.outcome for answer in by_page} == {"scored"}
    for one, other in zip(by_echo, by_page, strict=True):
        assert one.item == other.item
        assert one.loglikelihoods == pytest.approx(other.loglikelihoods, abs=1e-6)
