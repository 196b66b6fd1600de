"""Reports of a comparison: pure functions of its folder.

A format is one module of this package that ends in `REPORT: Report = …`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reports import report_of, write_files

if TYPE_CHECKING:
    from harness.reports import Report
    from harness.rundir import RunFolder

NAMES: Final = ("csv", "html", "json", "junit", "markdown", "terminal")
"""The formats, for help texts; a test keeps it equal to the modules that have a `REPORT`."""
WRITTEN: Final = {"html": "report.html", "markdown": "report.md"}
"""Those that lie in every comparison's folder."""


def load_report(name: str) -> Report:
    """Load a format by its name, e.g. `markdown`.

    Raises:
        BadInputError: there is none; the text names the closest one and all that exist.
    """
    return report_of(__name__, name, NAMES, "a comparison has no report format")


def write_reports(run: RunFolder) -> list[str]:
    """Write the reports that lie in the folder; return what went wrong, in words."""
    return write_files(run, load_report, WRITTEN)
