"""Figures as one flat table: a row a number, for a spreadsheet, DuckDB, polars or pandas."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Final

from harness.evidence.figures import Figure
from harness.reports.csv import cell_value

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TextIO

_PARTED: Final = {"level": ("level_kind", "level"), "ci95": ("ci95_low", "ci95_high")}
COLUMNS: Final = tuple(
    column for name in Figure.__struct_fields__ for column in _PARTED.get(name, (name,))
)


def write(figures: Iterable[Figure], out: TextIO) -> None:
    """Write the table; a number that could not be told is an empty cell."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in figures:
        row: list[object] = []
        for name in Figure.__struct_fields__:
            found = getattr(one, name)
            if name == "level":
                row += next(iter((found or {}).items()), ("", ""))
            elif name == "ci95":
                row += found or ("", "")
            else:
                row.append("" if found is None else cell_value(found))
        writer.writerow(row)
