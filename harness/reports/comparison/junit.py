"""A comparison for a CI server: JUnit XML, a test suite a build and a test case a limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.comparing.record import read_comparison
from harness.reports.comparison import words
from harness.reports.testcases import Case, as_junit, verdict_case

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.comparing.comparison import Comparison
    from harness.reports import Report
    from harness.rundir import RunFolder


class Junit:
    """One test case a limit of a build; an invalid measurement is an error."""

    suffix = ".xml"

    def render(self, run: RunFolder) -> str:
        """Return the document."""
        found = read_comparison(run)
        advice = found.recommendation
        facts = {"verdict": advice.verdict, "recommendation": advice.headline}
        if found.run is not None:
            facts |= {"command": found.run.command, "harness": found.run.harness_version}
        started = found.run.started if found.run else ""
        return as_junit(words.heading(found), started, list(_cases(found)), facts)


def _cases(found: Comparison) -> Iterator[Case]:
    for build, limits in found.recommendation.limits.items():
        for one in limits:
            settle = f"\nWhat would settle it: {one.settle}" if one.settle else ""
            yield verdict_case(build, one.limit, one.verdict, one.text + settle)
    if not found.valid:
        why = [caveat.text for caveat in found.caveats if caveat.invalidates]
        text = "\n".join([words.validity(found), *why])
        yield Case(group="validity", name="valid", outcome="error", text=text)


REPORT: Report = Junit()
