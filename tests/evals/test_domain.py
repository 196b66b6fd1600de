"""Domain suites: items, subsets, prompts, and asking over real sockets."""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from evals.client.http import Client
from evals.compare import summarise
from evals.domain import KIND
from evals.domain.choosing import labelled
from evals.domain.items import load_items
from evals.domain.planning import plan
from evals.domain.subset import subset
from evals.endpoint import Endpoint
from evals.errors import NeedError, ReachError, ResumeError, RouteError, SuiteError
from evals.grading import Item
from evals.kinds import Job
from evals.records import Answer, Failure
from evals.store import read_answers
from evals.suite import DomainSettings, Suite
from harness.config import find_suite, load_config

if TYPE_CHECKING:
    from evals.records import Route
    from tests.conftest import StartMock

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "launchers" / "models" / "demo-fp16"
FAST = ("--ttft-ms", "0", "--itl-ms", "0")


def suite(items: str = "items.jsonl", **fields: Any) -> Suite:  # noqa: ANN401 - the table's fields
    return Suite.model_validate({"name": "mine", "domain": {"items": items, **fields}})


def write_items(folder: Path, *items: dict[str, object] | str) -> None:
    lines = [item if isinstance(item, str) else json.dumps(item) for item in items]
    (folder / "items.jsonl").write_text("\n".join(lines) + "\n")


def job(
    asked: Suite,
    folder: Path,
    route: Route = "generative",
    **fields: Any,  # noqa: ANN401 - the job's fields
) -> Job:
    return Job(suite=asked, base_dir=folder, folder=folder / "answers", route=route, **fields)


def endpoint(url: str = "http://127.0.0.1:1/v1", **fields: Any) -> Endpoint:  # noqa: ANN401
    known = {"model": "mock", "engine": "mock", "tokenizer": str(DEMO)}
    return Endpoint(base_url=url, **known | fields)


def ask(asked: Job, where: Endpoint, stop_at: int | None = None) -> list[Answer]:
    """Ask, and return what the folder holds; `stop_at` ends it like a Ctrl-C."""

    def progress(done: int, total: int) -> None:
        assert 0 <= done <= total
        if stop_at is not None and done >= stop_at:
            raise InterruptedError

    async def run() -> None:
        async with Client(where, asked.route) as client:
            await KIND.ask(asked, client, progress)

    if stop_at is None:
        asyncio.run(run())
    else:
        with pytest.raises(InterruptedError):
            asyncio.run(run())
    return read_answers(asked.folder)


def knows(folder: Path, answers: dict[str, str]) -> str:
    """Write what the mock is to know."""
    path = folder / "knows.jsonl"
    lines = [json.dumps({"prompt": p, "answer": a, "category": ""}) for p, a in answers.items()]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


# --- items ------------------------------------------------------------------------------------


def test_every_mistake_of_the_items_is_told_with_its_line(tmp_path: Path) -> None:
    write_items(
        tmp_path,
        {"input": "1 + 1?", "expected": "2", "id": "a", "hint": "h"},
        "not json",
        {"question": "?", "expected": "2", "hint": "h"},
        {"input": "1 + 1?", "expected": "", "hint": "h"},
        {"input": "1 + 1?", "expected": "2", "id": "a", "hint": "h"},
        {"input": "no hint", "expected": "2"},
        "[1]",
        {"input": 7, "expected": "2", "hint": "h"},
        {"input": " ", "expected": "2", "hint": "h"},
    )
    asked = job(suite(template="{input} {hint}"), tmp_path)
    with pytest.raises(SuiteError) as caught:
        KIND.check(asked, endpoint())
    text = str(caught.value)
    for line, words in [
        (2, "not JSON"),
        (3, "input is missing; call question so"),
        (5, "id 'a' is that of line 1 already"),
        (7, "should be a JSON object"),
        (8, "input should be a text, not a number"),
        (9, "input is empty"),
    ]:
        assert f"items.jsonl:{line}: " in text
        assert words in text
    assert text.startswith("6 mistakes in the items:")
    write_items(
        tmp_path,
        {"input": "1 + 1?", "expected": "", "hint": "h"},
        {"input": "no hint", "expected": "2"},
    )
    with pytest.raises(SuiteError) as caught:
        KIND.check(asked, endpoint())
    assert "items.jsonl:1: expected is missing or empty" in str(caught.value)
    assert "items.jsonl:2: the template wants hint, which is not in this item" in str(caught.value)


def test_many_mistakes_are_counted_and_some_shown(tmp_path: Path) -> None:
    write_items(tmp_path, *["{"] * 50)
    with pytest.raises(SuiteError) as caught:
        KIND.check(job(suite(), tmp_path), endpoint())
    lines = str(caught.value).splitlines()
    assert lines[0] == "50 mistakes in the items:"
    assert (len(lines), lines[-1]) == (22, "… and 30 more")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: no such file"),
        (b"", "holds no item"),
        (b'{"input": "\xff", "expected": "x"}', "not JSON"),
        (b'{"input": "' + b"x" * (1 << 20) + b'", "expected": "x"}', "has more than 1 MiB"),
        (b'{"input":"a","expected":"b"}\n{"input":"a","expected":"b"}', "is the same as line 1"),
    ],
)
def test_files_that_are_none(tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "items.jsonl").write_bytes(content)
    with pytest.raises(SuiteError, match=words):
        KIND.check(job(suite(), tmp_path), endpoint())


def test_the_embedded_suite_is_what_the_generator_makes() -> None:
    settings = DomainSettings(items="embedded:transactions")
    items, _ = load_items(settings, ROOT)
    assert len(items) == 1400
    assert len({item.category for item in items}) == 7
    assert {item.fields["hops"] for item in items} == {1, 2, 3, 4}
    assert len({item.cluster for item in items}) == 70
    assert {item.choices for item in items} == {("yes", "no"), ("A", "B")}


def test_what_is_not_embedded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="nothing called 'weather' is embedded"):
        KIND.check(job(suite("embedded:weather"), tmp_path), endpoint())


def test_a_judge_is_off_unless_one_is_named(tmp_path: Path) -> None:
    write_items(tmp_path, {"input": "a?", "expected": "b"})
    asked = suite(grader={"kind": "judge"})
    with pytest.raises(NeedError, match="--judge-url"):
        KIND.check(job(asked, tmp_path), endpoint())


def test_routes_are_those_of_the_method(tmp_path: Path) -> None:
    write_items(tmp_path, {"input": "a?", "expected": "b"})
    assert KIND.routes(suite()) == ("generative",)
    choices = suite(method="choices", grader={"kind": "choice"})
    assert KIND.routes(choices) == ("echo", "native", "label", "generative")
    with pytest.raises(RouteError, match="cannot be asked by the route echo"):
        KIND.check(job(suite(), tmp_path, "echo"), endpoint())


# --- subsets ----------------------------------------------------------------------------------


def many(count: int = 600) -> list[Item]:
    sizes = {"a": count // 2, "b": count // 3, "c": count // 6}
    return [
        Item(id=f"{category}{n}", input="x", category=category, cluster=f"{category}{n % 10}")
        for category, size in sizes.items()
        for n in range(size)
    ]


def test_a_smaller_limit_is_a_subset_of_a_larger_one() -> None:
    whole = subset(many(), None, 3)
    assert len({item.id for item in whole}) == 600
    for limit in (1, 7, 60, 599):
        assert subset(many(), limit, 3) == whole[:limit]


def test_every_category_and_cluster_has_its_share_in_any_beginning() -> None:
    for limit in (12, 60, 300):
        chosen = subset(many(), limit, 5)
        counts = Counter(item.category for item in chosen)
        for category, share in {"a": 1 / 2, "b": 1 / 3, "c": 1 / 6}.items():
            assert abs(counts[category] - share * limit) <= 1
    clusters = Counter(item.cluster for item in subset(many(), 60, 5) if item.category == "a")
    assert set(clusters.values()) == {3}


def test_another_seed_draws_others_and_the_order_of_the_file_does_not_matter() -> None:
    first = {item.id for item in subset(many(), 60, 1)}
    assert first == {item.id for item in subset(many()[::-1], 60, 1)}
    assert len(first & {item.id for item in subset(many(), 60, 2)}) < 30


def test_every_item_is_as_likely_to_be_drawn_as_any_other() -> None:
    counts = Counter(item.id for seed in range(400) for item in subset(many(60), 12, seed))
    assert len(counts) == 60
    assert all(abs(count - 80) < 5 * 8 for count in counts.values())  # binomial sd 8


# --- prompts ----------------------------------------------------------------------------------


def test_templates_examples_and_lettered_choices(tmp_path: Path) -> None:
    write_items(
        tmp_path,
        {"input": "Capital of {France}?", "expected": "Paris", "choices": ["London", "Paris"]},
    )
    asked = suite(
        template="Q: {input}\n{choices}\n{{A}}:",
        examples=[{"input": "One?", "choices": ["x", "y"], "expected": "A"}],
        grader={"kind": "choice"},
    )
    (one,) = plan(job(asked, tmp_path), endpoint()).asked
    assert one.prompt == (
        "Q: One?\nA. x\nB. y\n{A}: A\n\nQ: Capital of {France}?\nA. London\nB. Paris\n{A}:"
    )
    chat = suite(template="{input}", chat=True, system="Be brief.",
                 examples=[{"input": "1?", "expected": 1}])  # fmt: skip
    (one,) = plan(job(chat, tmp_path), endpoint()).asked
    assert one.prompt == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "1?"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": "Capital of {France}?"},
    ]


def test_an_example_that_lacks_a_field_is_told(tmp_path: Path) -> None:
    write_items(tmp_path, {"input": "a?", "expected": "b"})
    asked = suite(examples=[{"question": "a"}])
    with pytest.raises(SuiteError, match=r"domain.examples\[0\]: the template wants input"):
        KIND.check(job(asked, tmp_path), endpoint())


def test_the_hash_is_of_all_that_decides_the_answer(tmp_path: Path) -> None:
    write_items(tmp_path, {"input": "a?", "expected": "b"})

    def hashed(**fields: object) -> str:
        (one,) = plan(job(suite(**fields), tmp_path), endpoint()).asked
        return one.prompt_hash

    others = [hashed(max_tokens=65), hashed(stop=["\n"]), hashed(template="{input} "),
              hashed(chat=True)]  # fmt: skip
    assert len({hashed(), *others}) == 5


# --- asking -----------------------------------------------------------------------------------


def test_answers_are_graded_and_kept(mock: StartMock, tmp_path: Path) -> None:
    write_items(
        tmp_path,
        {"id": "r", "input": "2+2=", "expected": "4", "category": "add", "cluster": "c", "hops": 1},
        {"id": "w", "input": "3+3=", "expected": "6", "category": "add", "hops": 2},
    )
    url = mock("--knows", knows(tmp_path, {"2+2=": " 4", "3+3=": " 7"}), *FAST)
    asked = suite(grader={"kind": "number"}, max_tokens=8, stop=["\n"], report_by=["hops"])
    right, wrong = sorted(ask(job(asked, tmp_path), endpoint(url)), key=lambda a: a.item)
    assert (right.item, right.outcome, right.score, right.read) == ("r", "scored", 1.0, "4")
    assert (wrong.item, wrong.outcome, wrong.score, wrong.read) == ("w", "scored", 0.0, "7")
    assert (right.category, right.cluster, right.tags) == ("add", "c", {"hops": "1"})
    assert (right.route, right.expected, right.prompt) == ("generative", "4", "2+2=")
    assert right.finish_reason is not None
    assert right.output_tokens
    assert right.latency_ms > 0


def test_what_is_cut_off_or_says_nothing_is_no_wrong_answer(
    mock: StartMock, tmp_path: Path
) -> None:
    """The mock's own answers are long and hold no number."""
    write_items(tmp_path, {"input": "2+2=", "expected": "4"})
    asked = suite(grader={"kind": "number"}, max_tokens=4)
    (answer,) = ask(job(asked, tmp_path), endpoint(mock(*FAST)))
    assert (answer.finish_reason, answer.outcome, answer.score) == ("length", "truncated", 0.0)


def test_a_failed_request_is_an_error_and_asked_again(mock: StartMock, tmp_path: Path) -> None:
    write_items(tmp_path, *[{"input": f"{n}?", "expected": "so"} for n in range(6)])
    asked = job(suite(grader={"kind": "contains"}, stop=["\n"]), tmp_path)
    told = knows(tmp_path, {f"{n}?": " so" for n in range(6)})
    answers = ask(asked, endpoint(mock("--fault", "http_400:1", *FAST)))
    assert [answer.outcome for answer in answers] == ["error"] * 6
    assert all(answer.error.startswith("status: ") for answer in answers if answer.error)
    answers = ask(asked, endpoint(mock("--knows", told, *FAST)))
    assert [(a.outcome, a.score) for a in answers] == [("scored", 1.0)] * 6


def test_what_was_interrupted_goes_on_and_equals_what_was_not(
    mock: StartMock, tmp_path: Path
) -> None:
    url = mock("--tokenizer", str(DEMO), "--max-model-len", "2048", *FAST)
    whole = Suite.model_validate(
        {
            "name": "mine",
            "domain": {
                "items": "embedded:transactions",
                "grader": {"kind": "choice", "letters": False},
                "max_tokens": 4,
                "report_by": ["hops"],
            },
        }
    )
    once, again = tmp_path / "once", tmp_path / "again"
    uninterrupted = ask(job(whole, once, limit=60), endpoint(url))
    halfway = ask(job(whole, again, limit=60), endpoint(url, concurrency=2), stop_at=20)
    assert 20 <= len(halfway) < 60
    resumed = ask(job(whole, again, limit=60), endpoint(url))
    lines = (again / "answers" / "answers.jsonl").read_text().splitlines()
    assert len(lines) == 60, "none was asked twice"

    def told(answers: list[Answer]) -> list[tuple[object, ...]]:
        return sorted((a.item, a.outcome, a.score, a.text, a.prompt_hash) for a in answers)

    assert told(resumed) == told(uninterrupted)
    with pytest.raises(ResumeError, match="another items_sha256, seed"):
        ask(job(whole, again, limit=60, seed=9), endpoint(url))


def test_results_by_a_tag_come_in_the_order_of_its_values() -> None:
    values = ["10", "2", "", "x", "9" * 5000, "1"]
    answers = [
        Answer(item=str(n), score=float(n == 1), tags={"hops": value})
        for n, value in enumerate(values)
    ]
    found = summarise([*answers, Answer(item="none")]).tags["hops"]
    assert list(found) == ["1", "2", "10", "9" * 5000, "", "x"]
    assert [part.score for part in found.values()] == [0, 1, 0, 0, 0, 0]


def test_a_server_that_is_gone_ends_it(tmp_path: Path) -> None:
    write_items(tmp_path, {"input": "a?", "expected": "b"})
    with pytest.raises(ReachError):
        ask(job(suite(), tmp_path), endpoint(timeout_s=2))


def choice_suite(tmp_path: Path) -> Suite:
    write_items(
        tmp_path,
        {"id": "1", "input": "Ice is", "expected": "cold", "choices": ["hot", "cold"]},
        {"id": "2", "input": "Fire is", "expected": "hot", "choices": ["hot", "cold"]},
    )
    return suite(method="choices", grader={"kind": "choice", "letters": False})


@pytest.mark.parametrize("route", ["echo", "native", "label"])
def test_the_likeliest_choice_is_the_answer(mock: StartMock, tmp_path: Path, route: Route) -> None:
    told = knows(tmp_path, {"Ice is": " cold", "Fire is": " cold"})
    engine = ("--engine", "sglang") if route == "native" else ()
    url = mock("--tokenizer", str(DEMO), "--max-model-len", "2048", "--knows", told, *engine, *FAST)
    where = endpoint(url, engine="sglang" if engine else "mock")
    ice, fire = sorted(
        ask(job(choice_suite(tmp_path), tmp_path, route), where), key=lambda a: a.item
    )
    assert (ice.choice, ice.score, fire.choice, fire.score) == (1, 1.0, 1, 0.0)
    for answer in (ice, fire):
        assert answer.route == route
        assert answer.loglikelihoods[1] > answer.loglikelihoods[0]
        assert answer.read == "cold"


class Stingy(Client):
    """Refuses to name more than five likely tokens, and counts what it is asked."""

    tops: list[int]

    async def complete(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - passed on
        self.tops.append(kwargs["top_logprobs"])
        if kwargs["top_logprobs"] > 5:
            return Failure(code="status", text="HTTP 400: at most 5")
        return await super().complete(*args, **kwargs)


def test_a_server_that_names_few_tokens_is_asked_for_few(mock: StartMock, tmp_path: Path) -> None:
    told = knows(tmp_path, {"Ice is": " cold", "Fire is": " hot"})
    url = mock("--tokenizer", str(DEMO), "--max-model-len", "2048", "--knows", told, *FAST)
    asked = job(choice_suite(tmp_path), tmp_path, "label")

    async def run() -> list[int]:
        async with Stingy(endpoint(url, concurrency=1)) as client:
            client.tops = []
            await KIND.ask(asked, client, lambda _done, _total: None)
        return client.tops

    assert asyncio.run(run()) == [20, 5, 5]
    assert [answer.score for answer in read_answers(asked.folder)] == [1.0, 1.0]


def test_choices_by_echo_need_a_tokenizer(tmp_path: Path) -> None:
    where = Endpoint(base_url="http://127.0.0.1:1/v1", model="m")
    with pytest.raises(NeedError, match="--tokenizer DIR"):
        KIND.check(job(choice_suite(tmp_path), tmp_path, "echo"), where)
    size = KIND.check(job(choice_suite(tmp_path), tmp_path, "echo"), endpoint())
    assert (size.items, size.requests) == (2, 1)
    assert size.prompt_tokens


def test_a_label_is_the_first_token_of_one_choice_only() -> None:
    top = [{" yes": -1.0, "Yes": -0.5, " n": -2.0, " no": -3.0, "yes": -1.0}]
    chosen = labelled(top, ["yes", "no"])
    assert not isinstance(chosen, Failure)
    assert chosen.place == 0
    yes = math.log(2 * math.exp(-1.0) + math.exp(-0.5))
    assert chosen.loglikelihoods == pytest.approx([yes, -2 + 0.3132617])
    capital = labelled([{" Yes": -0.1, " no": -3.0, " yes": -4.0}], ["yes", "no"])
    assert not isinstance(capital, Failure)
    assert capital.place == 0
    two = labelled([{"B": -0.1, "b": -3.0}], ["a", "b", "B"])
    assert not isinstance(two, Failure)
    assert two.place == 2
    none = labelled([{"maybe": -0.1, "so": -3.0}], ["yes", "no"])
    assert not isinstance(none, Failure)
    assert (none.place, none.loglikelihoods) == (None, [-3.0, -3.0])
    ambiguous = labelled([{"New": -0.1, "Paris": -3.0}], ["New York", "New Delhi", "Paris"])
    assert not isinstance(ambiguous, Failure)
    assert ambiguous.place == 2


def test_the_shipped_suite_asks_the_mock(mock: StartMock, tmp_path: Path) -> None:
    shipped, folder = find_suite("domain", load_config(start=tmp_path))
    asked = Job(suite=shipped, base_dir=folder, folder=tmp_path / "a", route="generative", limit=14)
    known = {one.prompt: f" {one.item.expected}" for one in plan(asked, endpoint()).asked}
    url = mock("--knows", knows(tmp_path, {str(k): v for k, v in known.items()}), *FAST)
    answers = ask(asked, endpoint(url))
    assert [answer.score for answer in answers] == [1.0] * 14
    assert len({answer.category for answer in answers}) == 7
    assert {answer.tags["hops"] for answer in answers} <= {"1", "2", "3", "4"}
