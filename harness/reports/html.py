"""One self-contained HTML file: no network, light and dark, fit for a phone and to print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.reports.page.frame import render

if TYPE_CHECKING:
    from harness.reports import Report
    from harness.rundir import RunFolder


class Html:
    """The whole report of a run as one page, of whichever kind the run is."""

    suffix = ".html"

    def render(self, run: RunFolder) -> str:
        """Return the page."""
        return render(run)


REPORT: Report = Html()
