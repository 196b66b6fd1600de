"""What is measured today is there tomorrow: as a point of a series, and as a baseline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import harness
from harness.history.baselines import bless
from harness.rundir import RunFolder

if TYPE_CHECKING:
    from tests.conftest import StartMock
    from tests.e2e.conftest import Workplace

TOKENIZER = str(Path(harness.__file__).parents[1] / "launchers/models/demo-fp16")
ITEMS = 40


def test_runs_become_points_and_a_baseline(workplace: Workplace, mock: StartMock) -> None:
    facts = [{"prompt": f"Case {n}?", "answer": " yes\n", "wrong": " no\n"} for n in range(ITEMS)]
    items = [{"id": f"q{n}", "input": f"Case {n}?", "expected": "yes"} for n in range(ITEMS)]
    for name, rows in (("items.jsonl", items), ("facts.jsonl", facts)):
        (workplace.path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (workplace.path / "quiz.toml").write_text(
        'name = "quiz"\n[domain]\nitems = "items.jsonl"\nmax_tokens = 8\nstop = ["\\n"]\n'
    )
    known = ("--knows", str(workplace.path / "facts.jsonl"), "--accuracy", "0.8")
    url = mock("--engine", "vllm", "--tokenizer", TOKENIZER, *known, "--itl-ms", "0")
    ask = ("eval", "--url", url, "--tokenizer", TOKENIZER, "--suite", "quiz.toml", "--json")
    drive = ("load", "--url", url, "--profile", "closed", "--level", "1", "--requests", "12")
    first = workplace.harness(*ask, "--quiet")
    assert first.code == 0, first.err
    bless(
        RunFolder(first.run),
        "url",
        "main",
        command=["harness"],
        folder=workplace.path / "baselines",
    )
    second = workplace.harness(*ask, "--baseline", "main", "--quiet")
    assert second.code == 0, second.err
    [suite] = second.json["suites"]
    assert (suite["baseline"]["pairs"], suite["baseline"]["difference"]) == (ITEMS, 0)
    driven = workplace.harness(*drive, "--json", "--quiet")
    assert driven.went_well, driven.err

    found = workplace.harness("history", "--metric", "score,ttft_p50_ms", "--json").json
    assert [run["kind"] for run in found["runs"]] == ["load", "eval", "eval"]
    score, ttft = sorted(found["series"], key=lambda series: series["metric"])
    told = [(run.run.name, run.json["suites"][0]["score"]) for run in (first, second)]
    assert [(point["run"], point["value"]) for point in score["points"]] == told
    [point] = ttft["points"]
    assert point["value"] == driven.cells[0]["metrics"]["ttft_ms"]["p50"]
    assert (score["route"], ttft["route"]) == ("generative", "openai-completions")
