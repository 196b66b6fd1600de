"""`harness compare` end to end, with the mock in the builds' stead."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import harness

if TYPE_CHECKING:
    from tests.e2e.conftest import Workplace

TOKENIZER = str(Path(harness.__file__).parents[1] / "launchers/models/demo-fp16")
ITEMS = 60
COMPARE = (
    *("compare", "fast", "slow", "--suite", "quiz.toml", "--level", "1,3", "--requests", "16"),
    *("--warmup", "2", "--output-tokens", "6", "--prompt-tokens", "16", "--allow-different"),
)
"""They are started by commands of their own, which is a difference."""


@pytest.fixture
def place(workplace: Workplace) -> Workplace:
    """A workplace with two builds, of which one is slow and knows less, and a suite."""
    rows = [
        {
            "id": f"q{number}",
            "input": f"Case {number}?",
            "expected": "yes" if number % 2 else "no",
            "category": "red" if number % 3 else "green",
        }
        for number in range(ITEMS)
    ]
    facts = [
        {"prompt": row["input"], "answer": f" {row['expected']}\n", "wrong": " maybe\n"}
        for row in rows
    ]
    for name, lines in (("items.jsonl", rows), ("facts.jsonl", facts)):
        (workplace.path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    (workplace.path / "quiz.toml").write_text(
        'name = "quiz"\n[domain]\nitems = "items.jsonl"\nmax_tokens = 8\nstop = ["\\n"]\n'
        '[domain.grader]\nkind = "exact"\n'
    )
    knows = ("--engine=vllm", f"--tokenizer={TOKENIZER}")
    knows += (f"--knows={workplace.path / 'facts.jsonl'}",)
    workplace.build("fast", *knows, "--ttft-ms=5", "--itl-ms=4", serves="mock")
    workplace.build("slow", *knows, "--ttft-ms=5", "--itl-ms=16", serves="mock")
    return workplace


def manifest(run: Path, part: str = "load") -> dict[str, Any]:
    return json.loads((run / part / "manifest.json").read_text())


def measured(run: Path) -> list[str]:
    """Ids of the cells that have numbers, in the order in which they were measured."""
    try:
        return [c["id"] for c in json.loads((run / "load/measurements.json").read_text())["cells"]]
    except FileNotFoundError:
        return []


def test_killed_in_the_middle_and_renamed_it_goes_on_as_it_began(place: Workplace) -> None:
    process = place.start(*COMPARE, "--repeats", "2")
    place.wait_for(lambda: place.runs and len(measured(place.runs[0])) >= 3, 150)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    [run] = place.runs
    place.wait_for(lambda: place.processes() == [])
    before = {
        name: (run / f"load/cells/{name}/samples.jsonl").read_bytes() for name in measured(run)
    }
    asked = (run / "quality/evals/quiz/fast/answers.jsonl").read_bytes()
    assert 3 <= len(before) < 8
    run = run.rename(run.with_name("renamed"))

    done = place.harness("compare", "--resume", str(run), "--json")
    told = done.json
    assert [one for one in place.runs if one != run] == []
    # The same plan: there and back, every cell once, what was whole kept as it was.
    visits = [(one["build"], one["visit"]) for one in manifest(run)["visits"]]
    assert list(dict.fromkeys(visits)) == [("fast", 1), ("slow", 1), ("slow", 2), ("fast", 2)]
    planned = [cell["id"] for cell in manifest(run)["cells"]]
    assert [name.partition("-")[0] for name in planned] == ["fast"] * 2 + ["slow"] * 4 + [
        "fast"
    ] * 2
    assert sorted(measured(run)) == sorted(planned)
    for name, samples in before.items():
        assert (run / f"load/cells/{name}/samples.jsonl").read_bytes() == samples
    assert (run / "quality/evals/quiz/fast/answers.jsonl").read_bytes() == asked
    assert "resumed" in [one["code"] for one in told["caveats"]]
    for part in (run, run / "load"):
        [gap] = json.loads((part / "manifest.json").read_text())["resumed"]
        assert 0 < gap["gap_s"] < 120
    assert told["runs"] == ["load", "quality"]
    assert told["builds"] == ["fast", "slow"]
    assert {row["repeats"] for row in told["load"]} == {2}
    slower = [row["against"]["itl_p50_ms"] for row in told["load"] if row["build"] == "slow"]
    assert [one["ratio"] > 2 for one in slower] == [True, True]
    assert [(row["build"], row["items"]) for row in told["quality"] if row["build"] == "slow"] == [
        ("slow", ITEMS)
    ]
    # Answers are compared with the baseline's also where those came later.
    cells = json.loads((run / "load/measurements.json").read_text())["cells"]
    for cell in cells:
        assert bool(cell["outputs"]["compared"]) == (cell["build"] == "slow"), cell["id"]
    # A report computes all anew, and finds the same.
    shown = place.harness("report", str(run), "--format", "json")
    assert shown.code == 0
    assert shown.json == told
    assert "anew" not in shown.err

    # Every start has a log and its figures.
    assert (run / "load/servers/slow/server.log").is_file()
    assert (run / "load/servers/slow/visit-2/server.log").is_file()
    times = [(one["ready_s"], one["first_token_s"]) for one in manifest(run)["visits"]]
    assert all(0 < ready <= token for ready, token in times)

    # Over finished runs: nothing is started, and the numbers are the same.
    again = place.harness(
        "compare",
        str(run / "load"),
        str(run / "quality"),
        "--baseline",
        "slow",
        "--allow-different",
        "--json",
    )
    assert again.json["baseline"] == "slow"
    values = {(row["build"], str(row["level"])): row["metrics"] for row in again.json["load"]}
    for row in told["load"]:
        assert values[row["build"], str(row["level"])]["itl_p50_ms"] == row["metrics"]["itl_p50_ms"]
    # Limits that come later make a comparison of their own, whose exit code is the verdict.
    later = place.harness("compare", str(run), "--slo", "itl_p50_ms<=1000", "--json")
    if told["valid"]:  # a busy machine may have made cells invalid, which comes first
        assert later.code == 0
    assert later.json["recommendation"]["limits"].keys() == {"fast", "slow"}
    assert len(place.runs) == 3
    assert place.processes() == []


def test_a_server_that_does_not_come_up_costs_its_own_part(place: Workplace) -> None:
    place.build("gone", program="import sys; sys.exit(7)")
    done = place.harness("compare", "fast", "gone", *COMPARE[3:], "--repeats", "1", "--json")
    assert done.code == 3
    [run] = place.runs
    assert "gone" in done.err
    assert {name.partition("-")[0] for name in measured(run)} == {"fast"}
    assert done.json["builds"][0] == "fast"
    assert not done.json["valid"]
    assert (run / "report.md").is_file()
