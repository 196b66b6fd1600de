"""Reports of a search for the highest rate: pure functions of its `capacity.json` and its cells.

A format is one module of this package that ends in `REPORT: Report = …`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reports import report_of

if TYPE_CHECKING:
    from harness.reports import Report

NAMES: Final = ("csv", "html", "json", "junit", "markdown", "terminal", "vllm")
"""The formats, for help texts; a test keeps it equal to the modules that have a `REPORT`."""


def load_report(name: str) -> Report:
    """Load a format by its name, e.g. `html`.

    Raises:
        BadInputError: there is none; the text names the closest one and all that exist.
    """
    return report_of(__name__, name, NAMES, "a search has no report format")
