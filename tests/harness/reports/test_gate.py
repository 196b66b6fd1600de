from __future__ import annotations

import csv
import json
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from harness.gating.record import write_gate
from harness.gating.result import Finding, GateResult, RuleResult, StageResult, Unit
from harness.measuring.measurement import Caveat, RunInfo
from harness.reports import gate
from harness.rundir import RunFolder

if TYPE_CHECKING:
    from pathlib import Path

VERDICTS: tuple[Finding, ...] = ("PASS", "FAIL", "INCONCLUSIVE", "SKIPPED")
NASTY = 'lost <b>"5" & more\x00\x1b[31m | `x` ]]>'


def result(**changes: object) -> GateResult:
    rules = [
        RuleResult(
            rule=f"retained({name}) >= 95%", stage="domain", verdict=verdict, value=0.917,
            ci95=(0.88, 0.95), limit=0.95, unit="share", text=NASTY,
            settle="400 more items" if verdict == "INCONCLUSIVE" else None,
        )
        for name, verdict in zip("abcd", VERDICTS, strict=True)
    ]  # fmt: skip
    fields: dict[str, object] = {
        "run": RunInfo(
            id="r", path="runs/r", started="2026-11-26T04:00:00+00:00",
            command="harness gate awq --baseline fp16", seed=0, harness_version="1",
        ),
        "candidate": "awq",
        "baseline": "fp16",
        "rules_file": "default",
        "verdict": "FAIL",
        "reason": "retained(b) >= 95%: velocity lost most",
        "rules": rules,
        "stages": [
            StageResult(stage="domain", verdict="FAIL", elapsed_s=12.5, budget_s=60, text="asks"),
            StageResult(stage="load", verdict="SKIPPED", elapsed_s=0, text="not begun"),
        ],
        "elapsed_s": 81.25,
    }  # fmt: skip
    return GateResult(**(fields | changes))  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path)
    run.write_manifest({"kind": "gate", "parts": []})
    write_gate(run, result())
    return run


@pytest.mark.parametrize("name", ["terminal", "markdown"])
def test_what_weights_both_have(name: str, folder: RunFolder) -> None:
    assert "candidate:" not in gate.load_report(name).render(folder)
    weights = {"candidate": "4-bit, group 128, MarlinLinearKernel", "baseline": "float16"}
    write_gate(folder, result(weights=weights))
    text = gate.load_report(name).render(folder)
    assert "candidate: 4-bit, group 128, MarlinLinearKernel; baseline: float16" in text


def test_names_are_the_modules() -> None:
    modules = [module.name for module in iter_modules(gate.__path__)]
    found = [n for n in modules if hasattr(import_module(f"{gate.__name__}.{n}"), "REPORT")]
    assert tuple(sorted(found)) == gate.NAMES


def test_junit_is_well_formed_and_counts(folder: RunFolder) -> None:
    root = ET.fromstring(gate.load_report("junit").render(folder))  # noqa: S314 - our own text
    assert root.tag == "testsuites"
    assert root.attrib["tests"] == "4"
    assert root.attrib["failures"] == "1"
    [domain] = root.findall("testsuite")
    assert (domain.attrib["name"], domain.attrib["skipped"]) == ("domain", "2")
    assert domain.attrib["time"] == "12.500"
    cases = {case.attrib["name"]: case for case in domain.findall("testcase")}
    assert cases["retained(a) >= 95%"].find("failure") is None
    failure = cases["retained(b) >= 95%"].find("failure")
    assert failure is not None
    assert failure.text == 'FAIL: lost <b>"5" & more[31m | `x` ]]>'
    skipped = cases["retained(c) >= 95%"].find("skipped")
    assert skipped is not None
    assert skipped.text is not None
    assert skipped.text.startswith("INCONCLUSIVE")
    assert "400 more items" in skipped.text


def test_csv_has_a_row_a_rule_and_no_formula(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    write_gate(run, result(candidate='=HYPERLINK("http://x")', baseline="@fp16"))
    rows = list(csv.DictReader(gate.load_report("csv").render(run).splitlines()))
    assert [row["verdict"] for row in rows] == list(VERDICTS)
    assert (rows[0]["candidate"], rows[0]["baseline"]) == ('\'=HYPERLINK("http://x")', "'@fp16")
    assert (rows[1]["value"], rows[1]["low"], rows[1]["high"]) == ("0.917", "0.88", "0.95")


def test_an_invalid_measurement_is_an_error_in_junit(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    write_gate(run, result(valid=False, caveats=[Caveat("x", "too busy", invalidates=True)]))
    root = ET.fromstring(gate.load_report("junit").render(run))  # noqa: S314
    assert root.attrib["errors"] == "1"
    [error] = root.iter("error")
    assert error.text is not None
    assert error.text.endswith("too busy")


def test_people_read_the_verdict_first(folder: RunFolder) -> None:
    terminal = gate.load_report("terminal").render(folder).splitlines()
    assert terminal[0] == "awq against fp16: FAIL"
    assert terminal[1] == "retained(b) >= 95%: velocity lost most"
    markdown = gate.load_report("markdown").render(folder)
    assert markdown.startswith("## ❌ awq against fp16: FAIL\n\nretained(b) \\>= 95%: velocity")
    assert "91.7 %" in markdown
    assert "88.0–95.0" in markdown


def test_a_limit_is_shown_as_it_was_understood(tmp_path: Path) -> None:
    """Limits in the order of the rules, those that were skipped for one reason in one row."""
    limits: list[tuple[float | None, Unit, str]] = [
        (1.5, "share", "150 %"), (-0.02, "share", "−2 %"), (0.95125, "share", "95.125 %"),
        (1900.0, "ms", "1,900 ms"), (None, "", "–"),
    ]  # fmt: skip
    rules = [
        RuleResult(rule=f"r{n}", stage="load", verdict="PASS", text="", limit=limit, unit=unit)
        for n, (limit, unit, _) in enumerate(limits)
    ]
    skipped = [
        RuleResult(rule=f"s{n}", stage="load", verdict="SKIPPED", text="no", limit=n, unit="GiB")
        for n in (20, 30)
    ]
    run = RunFolder(tmp_path)
    run.write_manifest({"kind": "gate", "parts": []})
    write_gate(run, result(rules=[*rules, *skipped]))
    terminal = gate.load_report("terminal").render(run).splitlines()
    markdown = gate.load_report("markdown").render(run).splitlines()
    assert any(line.split()[:3] == ["Verdict", "Rule", "Limit"] for line in terminal)
    for n, (_, _, shown) in enumerate(limits):
        assert any(line.startswith("PASS") and f" r{n} " in line and shown in line
                   for line in terminal), shown  # fmt: skip
        assert any(f"| `r{n}` | {shown} |" in line for line in markdown), shown
    assert any("| `s20`<br>`s30` | 20 GiB<br>30 GiB |" in line for line in markdown)


def test_nothing_in_a_text_steers_what_reads_it(folder: RunFolder) -> None:
    markdown = gate.load_report("markdown").render(folder)
    assert "<b>" not in markdown
    assert "\x1b" not in markdown
    rows = [line for line in markdown.splitlines() if line.startswith("| ✅")]
    assert rows
    assert rows[0].replace("\\|", "").count("|") == 7
    assert "\x1b" not in gate.load_report("terminal").render(folder)


def test_json_is_the_file(folder: RunFolder) -> None:
    text = gate.load_report("json").render(folder)
    assert text == (folder.path / "gate.json").read_text()
    found = json.loads(text)
    assert found["verdict"] == "FAIL"
    assert {"rule", "verdict", "value", "ci95", "limit", "text"} <= set(found["rules"][0])
    assert {"rules", "stages", "elapsed_s"} <= set(found)


def test_reports_that_lie_in_the_folder(folder: RunFolder) -> None:
    assert gate.write_reports(folder) == []
    assert (folder.path / "report.md").is_file()
    assert (folder.path / "junit.xml").is_file()
