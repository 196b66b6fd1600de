"""A gate for a CI server: JUnit XML, a test suite for each stage and a test case for each rule.

The elements are those that Jenkins, GitLab and GitHub's test reporters read: FAIL is a failure,
INCONCLUSIVE and SKIPPED are skipped with their reason, an invalid measurement is an error.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from harness.gating.record import read_gate
from harness.reports.gate import words

if TYPE_CHECKING:
    from harness.gating.result import GateResult, RuleResult
    from harness.reports import Report
    from harness.rundir import RunFolder

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What no XML 1.0 document may hold (W3C, *Extensible Markup Language 1.0*, 5th ed., §2.2)."""


class Junit:
    """One test case a rule."""

    suffix = ".xml"

    def render(self, run: RunFolder) -> str:
        """Return the document."""
        root = document(read_gate(run))
        ET.indent(root)
        return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def document(result: GateResult) -> ET.Element:
    """Return the tree of a gate's result."""
    root = _element(
        None,
        "testsuites",
        name=f"harness gate {result.candidate} against {result.baseline}",
        time=f"{result.elapsed_s:.3f}",
    )
    started = None if result.run is None else result.run.started
    for stage in result.stages:
        suite = _element(root, "testsuite", name=stage.stage, time=f"{stage.elapsed_s:.3f}")
        if started is not None:
            suite.set("timestamp", _text(started.partition("+")[0]))
        for rule in result.rules:
            if rule.stage == stage.stage:
                _case(suite, rule)
        if stage.text:
            _element(suite, "system-out").text = _text(stage.text)
    if not result.valid:
        suite = _element(root, "testsuite", name="validity")
        case = _element(suite, "testcase", classname="validity", name="the measurements are valid")
        why = [caveat.text for caveat in result.caveats if caveat.invalidates]
        _element(case, "error", message=words.validity(result)).text = _text("\n".join(why))
    _count(root)
    return root


def _case(suite: ET.Element, rule: RuleResult) -> None:
    case = _element(suite, "testcase", classname=rule.stage, name=rule.rule)
    settle = f"\nWhat would settle it: {rule.settle}" if rule.settle else ""
    if rule.verdict == "FAIL":
        _element(case, "failure", message=rule.text, type="FAIL").text = _text(rule.text)
    elif rule.verdict in {"INCONCLUSIVE", "SKIPPED"}:
        _element(case, "skipped", message=f"{rule.verdict}: {rule.text}{settle}")
    _element(case, "system-out").text = _text(rule.text + settle)


def _count(root: ET.Element) -> None:
    """Write the counts that readers take from the attributes."""
    for node in (root, *root.iter("testsuite")):
        counts = {"tests": "testcase", "failures": "failure", "errors": "error"}
        if node is not root:
            counts["skipped"] = "skipped"
        for name, tag in counts.items():
            node.set(name, str(sum(1 for _ in node.iter(tag))))


def _element(parent: ET.Element | None, tag: str, **attributes: str) -> ET.Element:
    clean = {name: _text(value) for name, value in attributes.items()}
    return ET.Element(tag, clean) if parent is None else ET.SubElement(parent, tag, clean)


def _text(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)


REPORT: Report = Junit()
