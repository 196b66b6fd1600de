"""A search for a CI server: JUnit XML, one test case a build."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.capacity.weigh import read_capacity
from harness.reports.testcases import Case, as_junit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.capacity.result import Capacity
    from harness.capacity.search import Outcome as Found
    from harness.reports import Report
    from harness.reports.testcases import Outcome
    from harness.rundir import RunFolder

_OUTCOMES: Final[Mapping[Found, Outcome]] = {
    "found": "passed",
    "imprecise": "passed",
    "not_met_at_any_load": "failure",
    "unfinished": "error",
    "not_reached_by_client": "skipped",
    "nothing_answered": "error",
}


class Junit:
    """Passed where a rate was found; a limit that no load holds is a failure."""

    suffix = ".xml"

    def render(self, run: RunFolder) -> str:
        """Return the document."""
        found = read_capacity(run)
        facts = {"command": found.run.command, "harness": found.run.harness_version}
        return as_junit(f"harness capacity {found.slo}", found.run.started, _cases(found), facts)


def _cases(found: Capacity) -> list[Case]:
    cases = [
        Case(group=one.build, name=found.slo, outcome=_OUTCOMES[one.outcome], text=one.text)
        for one in found.builds
    ]
    return cases or [
        Case(group="run", name="probes", outcome="error", text="No probe has numbers.")
    ]


REPORT: Report = Junit()
