"""`harness eval` with a domain suite of one's own: items, tags, contamination, a judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import harness
from evals.graders.judge import Judge, mark_of
from evals.grading import Item

if TYPE_CHECKING:
    from tests.conftest import StartMock
    from tests.e2e.conftest import Done, Workplace

TOKENIZER = str(Path(harness.__file__).parents[1] / "launchers/models/demo-fp16")
FAST = ("--ttft-ms", "0", "--itl-ms", "0")
QUESTIONS = [
    f"Question number {n} of many: is the whole number {n} that we name here an even one?"
    for n in range(40)
]
SUITE = """
name = "even"
[domain]
items = "items.jsonl"
stop = ["\\n"]
report_by = ["digits"]
[domain.grader]
"""


def prepare(place: Workplace, grader: str, says: str = " {right}\n") -> list[str]:
    """Write suite, items and what the mock knows; return the mock's options."""
    items, facts = [], []
    for number, question in enumerate(QUESTIONS):
        right = "no" if number % 2 else "yes"
        items.append({"id": str(number), "input": question, "expected": right,
                      "category": "parity", "digits": len(str(number))})  # fmt: skip
        facts.append({"prompt": question, "answer": says.format(right=right), "category": ""})
    for name, rows in (("items.jsonl", items), ("facts.jsonl", facts)):
        (place.path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (place.path / "even.toml").write_text(SUITE + grader)
    return [
        "--engine",
        "vllm",
        "--tokenizer",
        TOKENIZER,
        "--knows",
        str(place.path / "facts.jsonl"),
        *FAST,
    ]


def evaluate(place: Workplace, url: str, *more: str) -> Done:
    return place.harness(
        "eval", "--url", url, "--suite", "even.toml", "--tokenizer", TOKENIZER, *more,
        "--json", "--quiet",
    )  # fmt: skip


def test_results_are_told_by_the_fields_that_the_suite_names(
    workplace: Workplace, mock: StartMock
) -> None:
    options = prepare(workplace, 'kind = "choice"\nchoices = ["yes", "no"]\nletters = false\n')
    done = evaluate(workplace, mock(*options))
    assert done.code == 0, done.err
    [suite] = done.json["suites"]
    by = suite["tags"]["digits"]
    assert [(value, by[value]["items"], by[value]["score"]) for value in by] == [
        ("1", 10, 1.0),
        ("2", 30, 1.0),
    ]
    told = workplace.harness("report", str(done.run), "--format", "markdown").out
    text = Path(told.strip()).read_text() if told.strip().endswith(".md") else told
    assert "even by digits" in text
    page = (done.run / "report.html").read_text()
    assert page.count(">digits: 1</th>") == 1


@pytest.mark.parametrize(("stolen", "code"), [(0, 0), (3, 4)])
def test_a_contaminated_calibration_text_is_told(
    workplace: Workplace, mock: StartMock, stolen: int, code: int
) -> None:
    options = prepare(workplace, 'kind = "exact"\n')
    texts = ["Something else that has a good many words in it, but none of those questions at all."]
    (workplace.path / "mix.txt").write_text("\n".join(texts + QUESTIONS[:stolen]))
    done = evaluate(workplace, mock(*options), "--calibration", "mix.txt")
    assert done.code == code, done.err
    told = [c["text"] for c in done.json["caveats"] if c["code"] == "contaminated"]
    assert len(told) == (1 if stolen else 0)
    if stolen:
        assert "3 stand in it whole (0, 1, 2, …)" in told[0]


def test_mistakes_of_the_items_end_it_before_anything_is_asked(
    workplace: Workplace, mock: StartMock
) -> None:
    url = mock(*prepare(workplace, 'kind = "number"\n'))
    done = evaluate(workplace, url)
    assert done.code == 2
    assert "40 mistakes in the items" in done.err
    assert "items.jsonl:1: expected should be one number, not 'yes'" in done.err
    assert workplace.runs == []


def test_a_judge_is_asked_where_one_is_named(workplace: Workplace, mock: StartMock) -> None:
    """It finds every answer right but the first, and of the second changes its mind."""
    options = prepare(workplace, 'kind = "judge"\n', says=" I think {right}.\n")
    url = mock(*options)
    assert evaluate(workplace, url).code == 2, "none is named"
    verdicts = []
    for number, question in enumerate(QUESTIONS):
        right = "no" if number % 2 else "yes"
        item = Item(id=str(number), input=question, expected=right)
        answer = f" I think {right}."
        for turn, messages in enumerate(Judge(kind="judge").questions(answer, item)):
            wrong = number == 0 or (number == 1 and turn == 1)
            verdict = f"{mark_of(answer, item)} {'INCORRECT' if wrong else 'CORRECT'}"
            verdicts.append({"prompt": messages[1]["content"], "answer": verdict, "category": ""})
    (workplace.path / "verdicts.jsonl").write_text("\n".join(map(json.dumps, verdicts)))
    judge = mock("--engine", "vllm", *FAST, "--knows", str(workplace.path / "verdicts.jsonl"))
    half = evaluate(workplace, url, "--judge-url", judge)
    assert half.code == 2
    assert "--judge-url and --judge-model go together" in half.err
    by_flag = evaluate(workplace, url, "--judge-url", judge, "--judge-model", "mock")
    (workplace.path / "harness.toml").write_text(f'[judge]\nurl = "{judge}"\nmodel = "mock"\n')
    for done in (by_flag, evaluate(workplace, url)):
        assert done.code == 0, done.err
        [suite] = done.json["suites"]
        assert (suite["items"], suite["unparsed"], suite["errors"]) == (40, 1, 0)
        assert suite["score"] == pytest.approx(38 / 40)
