"""Tables and JSON on stdout."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

from harness.reports.figures import plain_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

_NOT_ASCII = re.compile(r"[^\n -~]+")


def print_json(value: object) -> None:
    """Print one JSON value and nothing else."""
    print(json.dumps(value, indent=2))


def json_shown(text: str) -> str:
    """The same JSON with what is not printable escaped, so that nothing in it steers a terminal."""
    return _NOT_ASCII.sub(lambda found: _escaped(found[0]), text)


def _escaped(text: str) -> str:
    return text if text.isprintable() else json.dumps(text)[1:-1].replace("\x7f", "\\u007f")


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows of rich markup under a header."""
    from rich.table import Table

    table = Table(*header, box=None, padding=(0, 2, 0, 0), show_header=any(header))
    for row in rows:
        table.add_row(*map(plain_lines, row))
    stdout(200).print(table)


def stdout(columns: int = 160, *, markup: bool = True) -> Console:
    """Return stdout as rich writes to it; so wide where no terminal would wrap it."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else columns
    return Console(highlight=False, width=width, markup=markup)
