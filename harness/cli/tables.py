"""Tables and JSON on stdout."""

import json
import sys
from collections.abc import Iterable, Sequence

_PIPED_COLUMNS = 200


def print_json(value: object) -> None:
    """Print one JSON value and nothing else."""
    print(json.dumps(value, indent=2))


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows of rich markup under a header; wide where no terminal would wrap it."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*header, box=None, padding=(0, 2, 0, 0), show_header=any(header))
    for row in rows:
        table.add_row(*row)
    width = None if sys.stdout.isatty() else _PIPED_COLUMNS
    Console(highlight=False, width=width).print(table)
