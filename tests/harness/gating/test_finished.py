"""A gate over finished runs: nothing is started."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.made.evaluation import MadeRun, answers
from harness.cli import run

if TYPE_CHECKING:
    from pathlib import Path

N = 400
RULES = """
[[stages]]
name = "quiz"
suite = "domain"
rules = ["retained(domain) >= 95%", "retained(domain/*) >= 90%"]
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    before = answers([n % 20 > 0 for n in range(N)])
    worse = answers([n % 20 > 0 and (n % 2 == 0 or n % 5 > 0) for n in range(N)])
    MadeRun(tmp_path / "old", builds=["fp16"]).add("fp16", before).folder()
    both = MadeRun(tmp_path / "new", builds=["same", "worse"])
    both.add("same", before).add("worse", worse).folder()
    (tmp_path / "rules.toml").write_text(RULES)
    return tmp_path


def gate(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, dict[str, Any], str]:
    code = run(["gate", *argv, "--rules", "rules.toml", "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else {}, err


def test_pass_and_fail(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found, _ = gate(capsys, "new:same", "--baseline", "old", "--markdown", "out.md")
    assert (code, found["verdict"], found["reason"]) == (0, "PASS", "All 2 rules are kept.")
    assert (place / "out.md").read_text().startswith("## ✅ same against fp16: PASS")
    code, found, _ = gate(capsys, "new:worse", "--baseline", "old", "--junit", "out.xml")
    assert (code, found["verdict"]) == (1, "FAIL")
    whole, each = found["rules"]
    assert (whole["verdict"], each["verdict"], each["category"]) == ("FAIL", "FAIL", "b")
    assert "b lost most" in whole["text"]
    assert found["runs"] == ["baseline-1", "candidate-1"]
    assert "<failure" in (place / "out.xml").read_text()


def test_few_items_are_inconclusive(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = answers([n % 20 > 0 for n in range(40)])
    MadeRun(place / "few", builds=["awq"]).add("awq", few).folder()
    code, found, _ = gate(capsys, "few", "--baseline", "old")
    assert (code, found["verdict"]) == (5, "INCONCLUSIVE")


def test_too_many_errors_are_invalid(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lost = answers([True] * 100, outcome="error", error="timeout: it took 2 s")
    rest = answers([n % 20 > 0 for n in range(N)])[100:]
    MadeRun(place / "bad", builds=["awq"]).add("awq", lost + rest).folder()
    code, found, _ = gate(capsys, "bad", "--baseline", "old")
    assert (code, found["verdict"], found["valid"]) == (4, "INCONCLUSIVE", False)
    assert "100 of 400 items have no answer" in found["rules"][0]["text"]


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["new", "--baseline", "old"], "CANDIDATE: new has several builds: same, worse"),
        (["new:sme", "--baseline", "old"], 'new knows nothing of "sme" (did you mean "same"?)'),
        (["nwe", "--baseline", "old"], 'no server "nwe"'),
        (["old", "--baseline", "old", "--stages", "quis"], 'no stage "quis" (did you mean "quiz"'),
        (["old", "--baseline", "old", "--budget", "0"], "--budget: 0 must be above 0"),
    ],
)
def test_bad_input(argv: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = gate(capsys, *argv)
    assert code == 2
    assert text in err


def test_a_run_that_lacks_a_stage_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load = '[[stages]]\nname = "load"\nprofile = "closed"\nrules = ["ttft_p95_ms <= 9"]\n'
    (place / "rules.toml").write_text(RULES + load)
    code, _, err = gate(capsys, "old", "--baseline", "old")
    assert code == 2
    assert "old has no cells of closed at 1, 8, 32, 64" in err
    assert not (place / "runs").exists()
