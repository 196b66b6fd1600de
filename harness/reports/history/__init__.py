"""Histories for people and programs: pure functions of what was read.

A format is one module of this package that ends in `REPORT: HistoryReport = …`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final, Protocol

from harness.errors import BadInputError, did_you_mean

if TYPE_CHECKING:
    from harness.history.history import History

NAMES: Final = ("csv", "html", "json", "markdown", "terminal")
"""The formats; csv is the flat table of figures and is made from these."""


class HistoryReport(Protocol):
    """One format."""

    def render(self, history: History) -> str:
        """Return the whole text."""


def check_name(name: str) -> None:
    """Look that a format exists.

    Raises:
        BadInputError: it does not.
    """
    if name not in NAMES:
        raise BadInputError(
            f'--format: a history has no format "{name}"{did_you_mean(name, NAMES)}',
            hint=f"Formats: {', '.join(NAMES)}.",
        )


def load_report(name: str) -> HistoryReport:
    """Load a format other than csv by its name.

    Raises:
        BadInputError: it does not exist.
    """
    check_name(name)
    found: HistoryReport = import_module(f"{__name__}.{name}").REPORT
    return found
