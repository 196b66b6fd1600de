"""`harness eval` end to end, against the mock that knows a share of the answers."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import harness
from evals.store import read_answers

if TYPE_CHECKING:
    from tests.conftest import StartMock
    from tests.e2e.conftest import Done, Workplace

TOKENIZER = str(Path(harness.__file__).parents[1] / "launchers/models/demo-fp16")
ITEMS = 240
FAST = ("--ttft-ms", "0", "--itl-ms", "0")
CATEGORIES = ("red", "green", "blue")


@pytest.fixture
def asked(workplace: Workplace) -> Workplace:
    """A workplace with a suite of questions, and a file of what the mock knows."""
    items, facts = [], []
    for number in range(ITEMS):
        category = CATEGORIES[number % 3]
        item = {
            "id": f"q{number:03}",
            "input": f"Case {number}: {category}?",
            "expected": "yes" if number % 2 else "no",
            "category": category,
        }
        items.append(item)
        facts.append(
            {
                "prompt": item["input"],
                "answer": f" {item['expected']}\n",
                "wrong": " maybe\n",
                "category": category,
            }
        )
    for name, rows in (("items.jsonl", items), ("facts.jsonl", facts)):
        (workplace.path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (workplace.path / "quiz.toml").write_text(
        'name = "quiz"\n[domain]\nitems = "items.jsonl"\nmax_tokens = 8\nstop = ["\\n"]\n'
        '[domain.grader]\nkind = "exact"\n'
    )
    return workplace


def knowing(place: Workplace, *more: str) -> list[str]:
    facts = str(place.path / "facts.jsonl")
    return ["--engine", "vllm", "--tokenizer", TOKENIZER, "--knows", facts, *FAST, *more]


def build(place: Workplace, name: str, *more: str) -> None:
    place.build(name, *knowing(place, *more), serves="mock")


def evaluate(place: Workplace, *argv: str) -> Done:
    return place.harness("eval", "--tokenizer", TOKENIZER, *argv, "--json", "--quiet")


def suite_of(found: dict[str, Any], name: str = "quiz") -> dict[str, Any]:
    [suite] = [suite for suite in found["suites"] if suite["suite"] == name]
    return suite


def test_a_server_at_a_url(asked: Workplace, mock: StartMock) -> None:
    url = mock(*knowing(asked, "--accuracy", "0.9"))
    done = evaluate(asked, "--url", url, "--suite", "quiz.toml")
    assert done.code == 0, done.err
    suite = suite_of(done.json)
    answers = read_answers(done.run / "evals" / "quiz" / "url")
    assert suite["items"] == len(answers) == ITEMS
    assert suite["score"] == pytest.approx(sum(a.score for a in answers) / ITEMS)
    assert 0.8 < suite["score"] < 0.98
    assert set(suite["categories"]) == set(CATEGORIES)
    assert suite["route"] == "generative"
    assert done.json["probe"]["routes"]
    assert (done.run / "report.html").is_file()
    assert "quiz" in (done.run / "report.md").read_text()
    again = asked.harness("report", str(done.run), "--format", "json")
    assert again.out == done.out
    assert "computed anew" not in again.err


def test_builds_against_a_baseline_that_is_one_of_them(asked: Workplace) -> None:
    build(asked, "fp16")
    build(asked, "damaged", "--wrong-in", "green:0.5")
    done = evaluate(
        *(asked, "--server", "damaged,fp16", "--baseline", "fp16", "--suite", "quiz.toml"),
        *("--margin", "2"),
    )
    assert done.code == 1, done.err
    found = {one["server"]["build"]: one for one in done.json["evaluations"]}
    assert list(found) == ["damaged", "fp16"]
    assert suite_of(found["fp16"])["baseline"] is None
    against = suite_of(found["damaged"])["baseline"]
    assert against["build"] == "fp16"
    assert against["verdict"] == "FAIL"
    assert against["regressed"] == ["green"]
    assert against["flips"]["gained"] == 0
    assert 20 <= against["flips"]["lost"] <= 60
    logs = list((done.run / "servers").glob("*/server.log"))
    assert len(logs) == 2  # the baseline was brought up once
    text = asked.harness("report", str(done.run), "--format", "terminal").out
    assert "green lost most" in text
    assert "FAIL" in text
    assert asked.processes() == []

    read = evaluate(
        *(asked, "--server", "damaged", "--baseline", f"{done.run}:fp16", "--suite", "quiz.toml")
    )
    assert read.code == 0, read.err
    again = suite_of(read.json)["baseline"]
    assert again["build"] == "baseline-fp16"
    assert [path.name for path in (read.run / "servers").iterdir()] == ["damaged"]
    for name in ("score", "difference", "difference_ci95", "flips", "p_value", "regressed"):
        assert again[name] == against[name]

    shutil.rmtree(done.run)  # its answers were copied, and nothing is left to ask
    resumed = asked.harness("eval", "--resume", str(read.run), "--json", "--quiet")
    assert resumed.code == 0, resumed.err
    assert resumed.json == read.json


def test_a_server_that_dies_costs_its_own_part(asked: Workplace) -> None:
    build(asked, "dying", "--die-after", "150")
    build(asked, "fp16")
    done = evaluate(asked, "--server", "dying,fp16", "--suite", "quiz.toml", "--concurrency", "4")
    assert done.code == 3
    dying, fp16 = done.json["evaluations"]
    assert suite_of(fp16)["score"] == 1
    assert fp16["valid"]
    assert 0 < suite_of(dying)["items"] < ITEMS
    assert not dying["valid"]
    assert not done.json["valid"]
    assert "server_failed" in {caveat["code"] for caveat in done.json["caveats"]}
    assert asked.processes() == []


def test_a_url_that_dies_is_told(asked: Workplace, mock: StartMock) -> None:
    url = mock(*knowing(asked, "--die-after", "150"))
    done = evaluate(asked, "--url", url, "--suite", "quiz.toml", "--concurrency", "4")
    assert done.code == 3
    assert "server_failed" in {caveat["code"] for caveat in done.json["caveats"]}
    assert 0 < suite_of(done.json)["items"] < ITEMS


def test_killed_twice_and_resumed_equals_uninterrupted(asked: Workplace, mock: StartMock) -> None:
    url = mock(*knowing(asked, "--accuracy", "0.9", "--ttft-ms", "40"))
    argv = ("--url", url, "--suite", "quiz.toml", "--concurrency", "8")
    whole = evaluate(asked, *argv, "--out", "whole")
    assert whole.code == 0, whole.err

    def kill_at(count: int, *argv: str) -> int:
        process = asked.start("eval", *argv, "--quiet")
        asked.wait_for(lambda: lines_of(asked) >= count, 60)
        process.kill()
        process.communicate()
        there = lines_of(asked)
        assert count <= there < ITEMS
        return there

    first = kill_at(1, "--tokenizer", TOKENIZER, *argv)
    [run] = asked.runs
    there = kill_at(max(first + 1, 150), "--resume", str(run))
    partial = asked.harness("report", str(run), "--format", "json").json
    assert not partial["valid"]
    assert suite_of(partial)["items"] == there
    assert "incomplete" in {caveat["code"] for caveat in suite_of(partial)["caveats"]}
    resumed = asked.harness("eval", "--resume", str(run), "--json", "--quiet")
    assert resumed.code == 0, resumed.err
    assert timeless(resumed.json["suites"]) == timeless(whole.json["suites"])
    assert lines_of(asked) == ITEMS  # nothing was asked twice
    gaps = json.loads((run / "manifest.json").read_text())["resumed"]
    assert [(gap["kept"], gap["planned"]) for gap in gaps] == [(0, 1), (0, 1)]
    assert all(0 <= gap["gap_s"] < 120 for gap in gaps)
    told = [one["text"] for one in resumed.json["caveats"] if one["code"] == "resumed"]
    assert len(told) == 2
    assert "went on at" in told[0]
    assert resumed.json["valid"]
    assert "cut off" in (run / "report.md").read_text()
    again = asked.harness("eval", "--resume", str(run), "--json", "--quiet")
    assert again.json == resumed.json


def lines_of(place: Workplace) -> int:
    return sum(
        path.read_bytes().count(b"\n") for path in place.path.glob("runs/*/evals/*/*/answers.jsonl")
    )


def timeless(value: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        times = ("wall_s", "latency_ms", "latency_idle_ms")
        return {name: timeless(part) for name, part in value.items() if name not in times}
    return [timeless(part) for part in value] if isinstance(value, list) else value


def test_another_server_does_not_go_on(asked: Workplace) -> None:
    build(asked, "fp16", "--ttft-ms", "40")
    argv = ("--server", "fp16", "--suite", "quiz.toml", "--concurrency", "8")
    process = asked.start("eval", "--tokenizer", TOKENIZER, *argv, "--quiet")
    asked.wait_for(lambda: lines_of(asked) >= 5, 60)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in err
    [run] = asked.runs
    assert not json.loads((run / "evaluation.json").read_text())["valid"]
    assert (run / "report.md").is_file()
    suite = asked.path / "quiz.toml"
    as_it_was = suite.read_text()
    suite.write_text(as_it_was.replace("max_tokens = 8", "max_tokens = 9"))
    edited = asked.inside("eval", "--resume", str(run), "--quiet")
    assert edited.code == 2
    assert "domain.max_tokens was 8 and is 9" in edited.err
    suite.write_text(as_it_was)
    config = asked.path / "harness.toml"
    config.write_text(config.read_text().replace('"40"', '"41"'))
    done = asked.harness("eval", "--resume", str(run), "--quiet")
    assert done.code == 2
    assert "another server" in done.err
    assert "argv" in done.err
    assert asked.processes() == []


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["--server", "fp16"], "--suite is missing"),
        (["--suite", "quiz.toml"], "--server NAME"),
        (["--server", "fp16", "--suite", "quizz"], 'no suite "quizz"'),
        (["--server", "fp16", "--suite", "quiz.toml", "--limit", "0"], "--limit: 0"),
        (["--server", "fp16", "--suite", "quiz.toml", "--route", "ecco"], 'no route "ecco"'),
        (["--server", "fp16", "--suite", "quiz.toml", "--route", "echo"], "cannot be asked"),
        (["--server", "fp16", "--suite", "quiz.toml", "--baseline", "none"], 'no server "none"'),
        (["--server", "fp16", "--suite", "quiz.toml", "--under-load", "bursty"], "PROFILE@LEVEL"),
        (["--server", "fp16", "--suite", "quiz.toml", "--margin", "0"], "--margin: 0"),
        (["--server", "fp16,fp16", "--suite", "quiz.toml"], "there twice"),
        (["--server", "fp16", "--suite", "quiz.toml,quiz.toml"], "there twice"),
        (["--resume", "nowhere"], "no run folder"),
        (["--server", "fp16", "--suite", "broken.toml"], "no_such.jsonl"),
    ],
)
def test_bad_input_is_told_before_anything_starts(
    asked: Workplace, argv: list[str], text: str
) -> None:
    build(asked, "fp16")
    (asked.path / "broken.toml").write_text(
        'name = "broken"\n[domain]\nitems = "no_such.jsonl"\n[domain.grader]\nkind = "exact"\n'
    )
    done = asked.inside("eval", *argv)
    assert (done.code, done.out) == (2, "")
    assert text in done.err
    assert asked.runs == []


def test_a_liar_is_refused(asked: Workplace, mock: StartMock) -> None:
    url = mock(*knowing(asked, "--lie", "no_echo"))
    done = evaluate(asked, "--url", url, "--suite", "perplexity,quiz.toml")
    assert done.code == 4
    assert [suite["suite"] for suite in done.json["suites"]] == ["quiz"]
    assert "route_refused" in {caveat["code"] for caveat in done.json["caveats"]}


def test_a_race_under_load_is_told_from_what_a_build_lost(asked: Workplace) -> None:
    build(asked, "fp16", "--ttft-ms", "20")
    build(asked, "gptq", "--ttft-ms", "20", "--race", "12:0.4")
    (asked.path / "steady.toml").write_text(
        'name = "crowd"\nlevels = [24]\nduration_s = 5\nwarmup_requests = 4\n'
        'prompt_tokens = 16\noutput_tokens = 16\n[arrival]\nkind = "closed"\n'
    )
    done = evaluate(
        *(asked, "--server", "gptq", "--baseline", "fp16", "--suite", "quiz.toml"),
        *("--under-load", "steady.toml@24", "--concurrency", "8"),
    )
    suite = suite_of(done.json)
    assert suite["baseline"]["difference"] == 0
    effect = suite["load"]
    by_load, by_build = effect["causes"]["by_load"], effect["causes"]["by_build"]
    assert by_load["finding"] == "lost"
    assert by_load["comparison"]["difference"] < -0.1
    assert by_load["floor"]["beyond"]
    assert by_build["finding"] == "none"
    assert "Lost to the load" in effect["statement"]
    assert "Nothing is lost to the build" in effect["statement"]
    assert effect["beside"] > 0.9
    [cell] = done.json["load"]
    assert effect["cells"] == [cell["id"]]
    assert cell["requests"]["ok"] > 20
    assert "ended_with_grading" in {caveat["code"] for caveat in cell["client"]["caveats"]}
    names = {path.name for path in (done.run / "evals" / "quiz").iterdir()}
    assert names == {"fp16", "fp16-again", "gptq", "gptq-again", "gptq-load"}
    page = (done.run / "report.html").read_text()
    assert "Under load" in page
    assert asked.processes() == []


def test_a_load_of_which_nothing_is_answered_is_told_and_not_begun_for_ever(
    asked: Workplace,
) -> None:
    build(asked, "fp16", "--itl-ms", "20")
    (asked.path / "hasty.toml").write_text(
        'name = "hasty"\nlevels = [2]\nduration_s = 5\nwarmup_requests = 4\ntimeout_s = 0.05\n'
        'prompt_tokens = 16\noutput_tokens = 64\n[arrival]\nkind = "closed"\n'
    )
    done = evaluate(
        asked, "--server", "fp16", "--suite", "quiz.toml", "--under-load", "hasty.toml@2"
    )
    assert done.code == 4
    [caveat] = [one for one in done.json["caveats"] if one["code"] == "suite_failed"]
    assert "there was no load to grade under" in caveat["text"]
    assert len(list((done.run / "cells").iterdir())) == 1
    assert asked.processes() == []


def test_a_plan_says_what_items_can_show_and_how_long_they_take(
    asked: Workplace, mock: StartMock
) -> None:
    plain = asked.harness("eval", "plan", "--suite", "quiz.toml", "--margin", "2", "--json")
    assert plain.code == 0, plain.err
    [suite] = plain.json["suites"]
    assert (suite["items"], suite["requests"]) == (ITEMS, ITEMS)
    assert suite["items_needed"] > 1000
    assert 4 < suite["margin_reached"] < 7
    assert suite["enough"] is False
    assert plain.json["seconds"] is None
    url = mock(*knowing(asked, "--ttft-ms", "30"))
    timed = asked.harness("eval", "plan", "--suite", "quiz.toml", "--url", url, "--quiet", "--json")
    assert timed.code == 0, timed.err
    [suite] = timed.json["suites"]
    assert suite["seconds"] == pytest.approx(ITEMS / suite["items_per_s"])
    assert asked.runs == []
    text = asked.harness("eval", "plan", "--suite", "quiz.toml", "--margin", "2")
    assert "items more are needed" in text.out
    assert asked.harness("eval", "plan", "--suite", "quiz.toml", "--power", "1").code == 2
    two = ("--server", "fp16,gptq")
    refused = asked.harness("eval", "plan", "--suite", "quiz.toml", *two)
    assert refused.code == 2
    assert "name one build" in refused.err


def test_a_server_that_drifts_is_invalid(asked: Workplace, mock: StartMock) -> None:
    url = mock(*knowing(asked, "--lie", "drift:200"))
    done = evaluate(asked, "--url", url, "--suite", "quiz.toml")
    assert done.code == 4
    assert not done.json["valid"]
    assert "drift" in {caveat["code"] for caveat in done.json["caveats"] if caveat["invalidates"]}
    assert suite_of(done.json)["items"] == ITEMS  # and its numbers are there to look at
