"""`harness gate` end to end, against mocks that know a share of the answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

import harness

if TYPE_CHECKING:
    from tests.e2e.conftest import Done, Workplace

TOKENIZER = str(Path(harness.__file__).parents[1] / "launchers/models/demo-fp16")
ITEMS = 240
CATEGORIES = ("red", "green", "blue")
RULES = """
budget_s = 100
[[stages]]
name = "quiz"
suite = "quiz.toml"
budget_s = 50
rules = ["retained(quiz) >= 90%", "retained(quiz/*) >= 80%"]
[[stages]]
name = "load"
profile = "closed"
levels = [2]
repeats = 2
duration_s = 1
rules = ["error_rate <= 1%", "ratio(aggregate_tps@c2) >= 30%"]
"""


@pytest.fixture
def place(workplace: Workplace) -> Workplace:
    """A workplace with rules, a suite and two builds: one of them has forgotten green."""
    items = [
        {
            "id": f"q{number:03}",
            "input": f"Case {number}: {CATEGORIES[number % 3]}?",
            "expected": "yes" if number % 2 else "no",
            "category": CATEGORIES[number % 3],
        }
        for number in range(ITEMS)
    ]
    facts = [
        {
            "prompt": item["input"],
            "answer": f" {item['expected']}\n",
            "wrong": " maybe\n",
            "category": item["category"],
        }
        for item in items
    ]
    for name, rows in (("items.jsonl", items), ("facts.jsonl", facts)):
        (workplace.path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (workplace.path / "quiz.toml").write_text(
        'name = "quiz"\n[domain]\nitems = "items.jsonl"\nmax_tokens = 8\nstop = ["\\n"]\n'
        '[domain.grader]\nkind = "exact"\n'
    )
    (workplace.path / "rules.toml").write_text(RULES)
    knows = ["--engine", "vllm", "--tokenizer", TOKENIZER]
    knows += ["--knows", str(workplace.path / "facts.jsonl"), "--ttft-ms", "5"]
    knows += ["--itl-ms", "4"]
    workplace.build("fp16", *knows, serves="mock")
    workplace.build("bad", *knows, "--wrong-in", "green:0.6", serves="mock")
    return workplace


def gate(place: Workplace, *argv: str) -> Done:
    return place.harness("gate", *argv, "--rules", "rules.toml", "--json")


def test_a_broken_build_fails_early_and_names_the_category(place: Workplace) -> None:
    done = gate(place, "bad", "--baseline", "fp16", "--junit", "junit.xml")
    assert done.code == 1, done.err
    found = done.json
    assert found["verdict"] == "FAIL"
    assert "retained(quiz" in found["reason"]
    assert "green" in found["reason"]
    assert [stage["verdict"] for stage in found["stages"]] == ["PASS", "FAIL", "SKIPPED"]
    rules = {rule["rule"]: rule for rule in found["rules"]}
    assert rules["retained(quiz/*) >= 80%"]["category"] == "green"
    assert rules["error_rate <= 1%"]["verdict"] == "SKIPPED"
    assert not (done.run / "load-candidate").exists()
    assert not (done.run / "load-baseline").exists()  # nor was the baseline's time taken by it
    turns = json.loads((done.run / "manifest.json").read_text())["turns"]
    assert [(turn["role"], turn["repeat"]) for turn in turns] == [
        ("baseline", None), ("candidate", None),
    ]  # fmt: skip
    assert (done.run / "report.md").read_text().startswith("## ❌ bad against fp16: FAIL")
    [suite] = json.loads((done.run / "quality-candidate" / "evaluation.json").read_text())["suites"]
    assert suite["baseline"]["flips"]["lost"] > 20  # the page shows which
    root = ET.parse(place.path / "junit.xml").getroot()  # noqa: S314 - our own file
    assert int(root.attrib["failures"]) >= 1
    assert place.processes() == []


def test_a_build_against_itself_is_blessed_and_then_the_baseline(place: Workplace) -> None:
    done = gate(place, "fp16", "--baseline", "fp16", "--stages", "quiz", "--bless", "main")
    assert done.code == 0, done.err
    assert done.json["verdict"] == "PASS"
    assert "Blessed as main" in done.err
    assert [rule["value"] for rule in done.json["rules"]] == [None, 1, 1]

    again = gate(place, "bad", "--baseline", "main", "--stages", "quiz", "--bless", "main")
    assert again.code == 1, again.err
    assert "not blessed" in again.err
    assert "fp16: starting" not in again.err  # its answers were read
    assert (again.run / "baseline-1" / "manifest.json").is_file()

    place.build("dead", serves="mock", program="import sys; sys.exit('no such device')")
    dead = gate(place, "dead", "--baseline", "main", "--stages", "quiz")
    assert dead.code == 3, dead.err
    assert "no such device" in dead.err
    assert dead.json["verdict"] == "INCONCLUSIVE"

    hurry = gate(place, "bad", "--baseline", "main", "--stages", "quiz", "--budget", "0.1")
    assert hurry.code == 5, hurry.err
    assert "all 0.1 s were used up" in hurry.json["reason"]

    place.build("slow", serves="mock", program="import time; time.sleep(600)")
    slow = gate(place, "slow", "--baseline", "main", "--stages", "quiz", "--budget", "2")
    assert slow.code == 5, slow.err  # its build would have waited for ten minutes
    assert "it did not come up before: all 2 s were used up" in slow.json["reason"]

    read = gate(place, str(again.run), "--baseline", "main", "--stages", "quiz", "--quiet")
    assert read.code == 1, read.err
    assert read.err == ""
    rules = [rule for rule in again.json["rules"] if rule["rule"] != "contract"]
    assert read.json["rules"] == rules
    told = place.harness("report", str(read.run), "--format", "json")
    assert told.out == read.out
    assert "computed anew" not in told.err


def test_load_rules_over_repeats(place: Workplace) -> None:
    done = gate(place, "bad", "--baseline", "fp16", "--stages", "load")
    rates, ratio = done.json["rules"][1:]
    if done.json["valid"]:  # else the machine was too busy, which it says
        assert done.code == {"PASS": 0, "INCONCLUSIVE": 5}[done.json["verdict"]], done.err
        assert (rates["verdict"], rates["value"]) == ("PASS", 0)
        assert ratio["ci95"][0] < ratio["value"] < ratio["ci95"][1]
    else:
        assert done.code == 4, done.err
        assert any(caveat["invalidates"] for caveat in done.json["caveats"])
    for role in ("baseline", "candidate"):
        cells = json.loads((done.run / f"load-{role}" / "measurements.json").read_text())["cells"]
        assert [cell["repeat"] for cell in cells] == [1, 2]
    turns = json.loads((done.run / "manifest.json").read_text())["turns"]
    assert [(turn["role"], turn["repeat"]) for turn in turns] == [
        ("candidate", 1), ("baseline", 1), ("baseline", 2), ("candidate", 2),
    ]  # fmt: skip
    assert all(turn["start_s"] > 0 for turn in turns)
    drives = [
        (json.loads(path.read_text())["window_start_ns"], role, int(path.parent.name[-1]))
        for role in ("baseline", "candidate")
        for path in (done.run / f"load-{role}" / "cells").glob("*/drive.json")
    ]
    assert [drive[1:] for drive in sorted(drives)] == [
        ("candidate", 1), ("baseline", 1), ("baseline", 2), ("candidate", 2),
    ]  # fmt: skip


def test_what_cannot_be_shown_is_refused_before_anything_starts(place: Workplace) -> None:
    text = RULES.replace(">= 80%", ">= 99%").replace("@c2", "@c4")
    (place.path / "rules.toml").write_text(text)
    done = gate(place, "bad", "--baseline", "fp16")
    assert done.code == 2
    assert "has no such level; it has @c2" in done.err
    (place.path / "rules.toml").write_text(text.replace("@c4", "@c2"))
    done = gate(place, "bad", "--baseline", "fp16")
    assert done.code == 2
    assert "80 items of " in done.err
    assert "at least 268 are needed of each" in done.err
    assert "--allow-underpowered" in done.err
    assert not (place.path / "runs").exists()
