"""A limit on answers and a gate's rule are one test: the same answers, the same verdict."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.made.evaluation import MadeRun, answers
from harness.cli import run
from harness.comparing.compare import compare
from harness.evidence.evidence import read_evidence

if TYPE_CHECKING:
    from pathlib import Path

    from harness.comparing.comparison import Comparison
    from harness.rundir import RunFolder

N = 400
LOST = (0, 9, 11, 13, 25, 70)
"""Of 380 right answers; 5 % are 19."""
RULES = """
[[stages]]
name = "quiz"
suite = "domain"
rules = ["RULE"]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    monkeypatch.chdir(tmp_path)
    before = [n % 20 > 0 for n in range(N)]
    builds = ["fp16", *(f"lost-{lost}" for lost in LOST)]
    made = MadeRun(tmp_path / "run", builds=builds, baseline="fp16")
    made.add("fp16", answers(before))
    for lost in LOST:
        right = [n for n in range(N) if before[n]]
        gone = set(right[5 : 5 + 3 * lost : 3])
        made.add(f"lost-{lost}", answers([before[n] and n not in gone for n in range(N)]))
    return made.folder()


def compared(folder: RunFolder, limits: str) -> Comparison:
    return compare(read_evidence([folder]), baseline="fp16", limits=limits)


def gated(
    folder: RunFolder, build: str, rule: str, capsys: pytest.CaptureFixture[str]
) -> dict[str, Any]:
    rules = folder.path.parent / "rules.toml"
    rules.write_text(RULES.replace("RULE", rule))
    there = str(folder.path)
    argv = ["gate", f"{there}:{build}", "--baseline", f"{there}:fp16", "--rules", str(rules)]
    run([*argv, "--json"])
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


@pytest.mark.parametrize("rule", ["retained(domain)>=95%", "retained(domain/*)>=90%"])
def test_a_comparison_and_a_gate_agree(
    rule: str, folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    told = compared(folder, rule).recommendation.limits
    seen = set()
    for lost in LOST:
        [ours] = [one for one in told[f"lost-{lost}"] if one.limit == rule]
        [theirs] = gated(folder, f"lost-{lost}", rule, capsys)["rules"]
        assert ours.verdict == theirs["verdict"], (lost, ours, theirs)
        assert ours.value == pytest.approx(theirs["value"])
        assert ours.ci95 == pytest.approx(tuple(theirs["ci95"]))
        assert ours.settle is None or ours.verdict == "INCONCLUSIVE"
        seen.add(ours.verdict)
    assert seen == {"PASS", "INCONCLUSIVE", "FAIL"}


def test_the_test_may_pass_where_the_interval_reaches_beyond(folder: RunFolder) -> None:
    limit = "retained(domain)>=95%"
    held = compared(folder, limit).recommendation.limits
    found = [one for build in held.values() for one in build if one.limit == limit and one.ci95]
    assert any(one.verdict == "PASS" and one.ci95 and one.ci95[0] < 0.95 for one in found)
    assert {one.limit for one in held["fp16"] if one.verdict == "PASS"} >= {limit}


def test_what_is_not_tested_is_held_to_the_interval(folder: RunFolder) -> None:
    made = compared(folder, "retained(domain/c)>=95%")
    [found, *_] = made.recommendation.limits["lost-0"]
    assert found.verdict == "INCONCLUSIVE"
    assert "domain has no part c" in found.text
