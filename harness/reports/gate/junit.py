"""A gate for a CI server: JUnit XML, a test suite for each stage and a test case for each rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.gating.record import read_gate
from harness.reports.gate import words
from harness.reports.testcases import Case, as_junit, verdict_case

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.gating.result import GateResult
    from harness.reports import Report
    from harness.rundir import RunFolder


class Junit:
    """One test case a rule; an invalid measurement is an error."""

    suffix = ".xml"

    def render(self, run: RunFolder) -> str:
        """Return the document."""
        result = read_gate(run)
        name = f"harness gate {result.candidate} against {result.baseline}"
        started = "" if result.run is None else result.run.started
        facts = {"verdict": result.verdict, "reason": result.reason, "rules": result.rules_file}
        if result.run is not None:
            facts |= {"command": result.run.command, "harness": result.run.harness_version}
        return as_junit(name, started, list(_cases(result)), facts)


def _cases(result: GateResult) -> Iterator[Case]:
    for stage in result.stages:
        rules = [rule for rule in result.rules if rule.stage == stage.stage]
        for rule in rules:
            settle = f"\nWhat would settle it: {rule.settle}" if rule.settle else ""
            seconds = stage.elapsed_s / len(rules)
            yield verdict_case(rule.stage, rule.rule, rule.verdict, rule.text + settle, seconds)
    if not result.valid:
        why = [caveat.text for caveat in result.caveats if caveat.invalidates]
        text = "\n".join([words.validity(result), *why])
        yield Case(group="validity", name="valid", outcome="error", text=text)


REPORT: Report = Junit()
