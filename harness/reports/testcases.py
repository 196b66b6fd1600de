"""Verdicts as JUnit XML, the format that CI systems show: one writer for all kinds of runs.

JUnit has no schema of its own; this keeps to what GitHub's, GitLab's and Jenkins' readers share:
`<testsuites><testsuite><testcase>` with `<failure>`, `<error>` or `<skipped>` inside.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from evals.compare.records import Verdict

Outcome = Literal["passed", "failure", "error", "skipped"]

OUTCOMES: Final[Mapping[Verdict | Literal["SKIPPED"], Outcome]] = {
    "PASS": "passed",
    "FAIL": "failure",
    "INCONCLUSIVE": "skipped",
    "SKIPPED": "skipped",
}
"""JUnit knows no INCONCLUSIVE. As `skipped` it is neither green nor red; the exit code says 5."""
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold, not even escaped (section 2.2, W3C 2008)."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One test case."""

    group: str
    """What it is about, e.g. a build; `classname` in the file."""
    name: str
    """What is asked of it, e.g. `ttft_p95_ms<=500`."""
    outcome: Outcome
    text: str = ""
    """The finding in words; its first line is the message."""
    seconds: float = 0.0


def verdict_case(
    group: str, name: str, verdict: Verdict | Literal["SKIPPED"], text: str, seconds: float = 0.0
) -> Case:
    """Make a case of a verdict; the message begins with it unless it is PASS."""
    shown = text if verdict == "PASS" else f"{verdict}: {text}"
    return Case(group=group, name=name, outcome=OUTCOMES[verdict], text=shown, seconds=seconds)


def as_junit(
    name: str, started: str, cases: Sequence[Case], facts: Mapping[str, str] | None = None
) -> str:
    """Write cases as JUnit XML, a suite a group, in the order in which groups first come.

    Args:
        name: of the whole, e.g. the run's id.
        started: ISO 8601, or "".
        cases: what was asked and found.
        facts: properties of the whole: version, seed, command.
    """
    root = ET.Element("testsuites", _counted(name, cases))
    for group in dict.fromkeys(case.group for case in cases):
        own = [case for case in cases if case.group == group]
        suite = ET.SubElement(root, "testsuite", _counted(group, own))
        if started:
            suite.set("timestamp", _text(started))
        if facts:
            properties = ET.SubElement(suite, "properties")
            for key, value in facts.items():
                told = {"name": _text(key), "value": _text(value)}
                ET.SubElement(properties, "property", told)
        for case in own:
            _add(suite, case)
    return _document(root)


def merged(texts: Sequence[str]) -> str:
    """Put several of our own documents into one, their suites one after the other."""
    roots = [ET.fromstring(text) for text in texts]  # noqa: S314 - our own
    whole = ET.Element("testsuites", {"name": "harness"})
    for name in ("tests", "failures", "errors", "skipped"):
        whole.set(name, str(sum(int(root.get(name, "0")) for root in roots)))
    whole.set("time", _time(sum(float(root.get("time", "0")) for root in roots)))
    for root in roots:
        for suite in root:
            suite.set("name", f"{root.get('name', '')} · {suite.get('name', '')}")
            whole.append(suite)
    return _document(whole)


def _document(root: ET.Element) -> str:
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, "unicode")}\n'


def _add(suite: ET.Element, case: Case) -> None:
    about = {"classname": _text(case.group), "name": _text(case.name), "time": _time(case.seconds)}
    element = ET.SubElement(suite, "testcase", about)
    if case.outcome != "passed":
        message = {"message": _text(case.text).partition("\n")[0]}
        if case.outcome != "skipped":
            message["type"] = case.outcome
        ET.SubElement(element, case.outcome, message).text = _text(case.text)
    elif case.text:
        ET.SubElement(element, "system-out").text = _text(case.text)


def _counted(name: str, cases: Sequence[Case]) -> dict[str, str]:
    found = [case.outcome for case in cases]
    return {
        "name": _text(name),
        "tests": str(len(cases)),
        "failures": str(found.count("failure")),
        "errors": str(found.count("error")),
        "skipped": str(found.count("skipped")),
        "time": _time(sum(case.seconds for case in cases)),
    }


def _time(seconds: float) -> str:
    return f"{seconds:.3f}"


def _text(text: str) -> str:
    return _NOT_XML.sub("", text)
