"""Reports of an evaluation: pure functions of its folder, as those of a load run are.

A format is one module of this package that ends in `REPORT: Report = …`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.quality.record import write_evaluation as write_numbers
from harness.reports import report_of, write_files

if TYPE_CHECKING:
    from harness.reports import Report
    from harness.rundir import RunFolder

NAMES: Final = ("csv", "html", "json", "junit", "markdown", "terminal")
"""The formats, for help texts; a test keeps it equal to the modules that have a `REPORT`."""
WRITTEN: Final = {"html": "report.html", "markdown": "report.md"}
"""Those that lie in every run's folder."""


def load_report(name: str) -> Report:
    """Load a format by its name, e.g. `html`.

    Raises:
        BadInputError: there is none; the text names the closest one and all that exist.
    """
    return report_of(__name__, name, NAMES, "an evaluation has no report format")


def write_evaluation(run: RunFolder) -> list[str]:
    """Write `evaluation.json` and the reports; return what went wrong with a report, in words.

    Raises:
        BadInputError: the folder cannot be written (any more).
    """
    from harness.quality.evaluate import evaluate  # with all that grades

    write_numbers(run, evaluate(run))
    return write_files(run, load_report, WRITTEN)
