"""A search for a person at a terminal: its probes, its answer, what a demand takes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.text import Text

from harness.capacity.weigh import read_capacity
from harness.reports.capacity import words
from harness.reports.figures import plain
from harness.reports.sheets import print_sheet
from harness.reports.sizing import print_sizing

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
        console = Console(file=out, width=_WIDTH, highlight=False)
        print_capacity(found, console)
        if found.sizing is not None:
            print_sizing(found.sizing, console)
        return out.getvalue()


def print_capacity(capacity: Capacity, console: Console) -> None:
    """Write a table of the probes and sentences for each build, then the caveats."""
    if not capacity.builds:
        console.print("No probe has numbers.")
    for found in capacity.builds:
        for sheet in words.sheets(found, capacity):
            print_sheet(sheet, console)
        for place, text in enumerate(words.sentences(found, capacity)):
            console.print(Text(plain(text), style="" if place else "bold"))
    for caveat in capacity.caveats:
        console.print(Text(plain(f"{caveat.code}: {caveat.text}"), style="yellow"))


REPORT: Report = Terminal()
