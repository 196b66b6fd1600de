"""A search for a person at a terminal: its answer, its probes, what a demand takes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.text import Text

from harness.capacity.weigh import read_capacity
from harness.reports.capacity import words
from harness.reports.figures import plain
from harness.reports.sheets import print_sheet
from harness.reports.sizing import answers, print_answers, print_lists, print_reasons

if TYPE_CHECKING:
    from harness.capacity.result import Capacity
    from harness.reports import Report
    from harness.rundir import RunFolder

_WIDTH: Final = 160


class Terminal:
    """The tables as plain text."""

    suffix = ".txt"

    def render(self, run: RunFolder) -> str:
        """Return what `harness capacity` prints, as plain text."""
        out, found = io.StringIO(), read_capacity(run)
        console = Console(file=out, width=_WIDTH, highlight=False, markup=False)
        print_capacity(found, console)
        return out.getvalue()


def print_capacity(capacity: Capacity, console: Console) -> None:
    """Write the answers, then the probes, what a demand takes, what is not known, the caveats."""
    sizing = capacity.sizing
    print_answers([words.answer(found) for found in capacity.builds], console)
    if sizing is not None:
        print_answers(answers(sizing), console)
    if not capacity.builds:
        console.print("No probe has numbers.")
    for found in capacity.builds:
        print_sheet(words.probes(found, capacity), console)
        for text in words.further(found, capacity):
            console.print(Text(plain(text)))
    if sizing is None:
        print_lists([], capacity.caveats, console)
    else:
        print_reasons(sizing, console, [*capacity.caveats, *sizing.caveats])


REPORT: Report = Terminal()
