"""Tables of text, on the terminal, in Markdown and on the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from harness.reports.figures import plain
from harness.reports.markdown import escape, table

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Sheet:
    """One table; its first column is text, the others are numbers."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


def print_sheet(sheet: Sheet, console: Console) -> None:
    """Write it on the terminal."""
    shown = Table(title=plain(sheet.title), title_justify="left", box=box.SIMPLE_HEAD)
    for place, name in enumerate(sheet.columns):
        shown.add_column(
            plain(name),
            justify="right" if place else "left",
            overflow="fold",
            min_width=min(8, len(name)),
        )
    for row in sheet.rows:
        shown.add_row(*(Text(plain(cell)) for cell in row))
    console.print(shown)


def markdown_sheet(sheet: Sheet) -> str:
    """Return it as Markdown."""
    columns = [escape(name) for name in sheet.columns]
    rows = [[escape(cell) for cell in row] for row in sheet.rows]
    return f"**{escape(sheet.title)}**\n\n{table(columns, rows, 1)}"
