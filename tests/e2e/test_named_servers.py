"""Servers of a harness.toml that run already, beside builds, in every command that measures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import harness

if TYPE_CHECKING:
    from tests.conftest import StartMock
    from tests.e2e.conftest import Workplace

TOKENIZER = str(Path(harness.__file__).parents[1] / "launchers/models/demo-fp16")
ITEMS = 40
LOAD = ("--level", "2", "--requests", "12", "--warmup", "2", "--output-tokens", "6")


@pytest.fixture
def place(workplace: Workplace, mock: StartMock) -> Workplace:
    """A workplace with a build and a server that runs and wants a key, which it does not have."""
    rows = [
        {"id": f"q{number}", "input": f"Case {number}?", "expected": "yes" if number % 2 else "no"}
        for number in range(ITEMS)
    ]
    facts = [
        {"prompt": row["input"], "answer": f" {row['expected']}\n", "wrong": " maybe\n"}
        for row in rows
    ]
    below = workplace.path / "team"
    below.mkdir()
    for name, lines in (("items.jsonl", rows), ("facts.jsonl", facts)):
        (below / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    knows = ("--engine=vllm", f"--tokenizer={TOKENIZER}", f"--knows={below / 'facts.jsonl'}")
    timing = ("--ttft-ms=5", "--itl-ms=4")
    workplace.build("ours", *knows, *timing, serves="mock")
    url = mock(*knows, *timing, "--api-key=geheim")
    with (workplace.path / "harness.toml").open("a") as file:
        file.write(
            f'[servers.theirs]\nurl = "{url}"\napi_key_env = "THEIR_KEY"\ntokenizer = "tok"\n'
            "[suites.quiz.domain]\n"
            'items = "team/items.jsonl"\nmax_tokens = 8\nstop = ["\\n"]\n'
            '[suites.quiz.domain.grader]\nkind = "exact"\n'
            "[rules.ours]\nbudget_s = 100\n"
            '[[rules.ours.stages]]\nname = "quiz"\nsuite = "quiz"\n'
            'rules = ["retained(quiz) >= 50%"]\n'
            '[[rules.ours.stages]]\nname = "load"\nprofile = "closed"\nlevels = [2]\nrepeats = 2\n'
            'requests = 10\nrules = ["error_rate <= 1%"]\n'
        )
    (workplace.path / "tok").symlink_to(TOKENIZER)
    return workplace


KEY = {"THEIR_KEY": "geheim"}


def test_load_and_eval_take_both(place: Workplace) -> None:
    done = place.load("--server", "ours,theirs", "--profile", "closed", *LOAD, environment=KEY)
    assert done.went_well, done.err
    assert [cell["build"] for cell in done.cells] == ["ours", "theirs"]
    assert all(cell["requests"]["ok"] == 12 for cell in done.cells)
    asked = ("eval", "--server", "ours", "--baseline", "theirs", "--suite", "quiz", "--json")
    done = place.harness(*asked, environment=KEY)
    assert done.code == 0, done.err
    [suite] = done.json["suites"]
    assert (suite["baseline"]["build"], suite["baseline"]["difference"]) == ("theirs", 0)
    assert "geheim" not in "".join(
        path.read_text() for run in place.runs for path in run.rglob("*.json*")
    )


def test_a_comparison_starts_what_is_a_build_alone(place: Workplace) -> None:
    argv = ("compare", "theirs", "ours", "--suite", "quiz", *LOAD, "--repeats", "2")
    plan = place.inside(*argv, "--dry-run", environment=KEY).out
    assert "2 server starts: theirs ours ours theirs" in plan
    assert "theirs: runs already and is not started" in " ".join(plan.split())
    done = place.harness(*argv, "--json", environment=KEY)
    assert done.code in {0, 4}, done.err  # 4: the client was late on a busy machine
    assert done.json["builds"] == ["theirs", "ours"]
    assert {one["build"] for one in done.json["quality"]} >= {"ours"}
    ready = {one["build"]: one["ready_s"] for one in done.json["servers"]}
    assert (ready["theirs"], ready["ours"] is not None) == (None, True)
    again = place.harness("compare", "--resume", str(done.run), "--json", environment=KEY)
    assert again.json["load"] == done.json["load"]


def test_a_gate_holds_a_build_to_what_runs(place: Workplace) -> None:
    argv = ("gate", "ours", "--baseline", "theirs", "--rules", "ours", "--json")
    done = place.harness(*argv, environment=KEY)
    assert done.code in {0, 4}, done.err
    rules = {one["rule"]: one["verdict"] for one in done.json["rules"]}
    assert rules["retained(quiz) >= 50%"] == "PASS"
    assert "not_started" in (done.run / "manifest.json").read_text()


def test_what_cannot_be_is_said_at_once(place: Workplace) -> None:
    done = place.inside("compare", "ours", "theirs", "--suite", "quiz")
    assert (done.code, "servers.theirs.api_key_env" in done.err) == (2, True), done.err
    done = place.inside("serve", "theirs")
    assert (done.code, "runs already" in done.err) == (2, True), done.err
    done = place.inside("compare", "ours", "theirs", "--interleave", environment=KEY)
    assert (done.code, "--interleave: theirs is asked with a key" in done.err) == (2, True)
    toml = place.path / "harness.toml"
    toml.write_text(toml.read_text().replace('tokenizer = "tok"', 'dialect = "tgi"'))
    done = place.inside("compare", "ours", "theirs", environment=KEY)
    assert (done.code, "servers.theirs.dialect" in done.err) == (2, True), done.err
    done = place.inside("gate", "ours", "--baseline", "theirs", environment=KEY)
    assert (done.code, "servers.theirs.dialect" in done.err) == (2, True), done.err
