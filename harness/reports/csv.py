"""The samples, flat: one row a request, warm-up included.

Lists stand in one cell, their numbers separated by spaces.
"""

from __future__ import annotations

import csv
import io
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from harness.reports.cells import read_cell
from harness.reports.figures import level_value, plain
from harness.reports.words import weights
from loadprofiles.records import Sample

if TYPE_CHECKING:
    from typing import TextIO

    from harness.measuring.measurement import CellMeasurement
    from harness.reports import Report
    from harness.rundir import RunFolder

_CELL_COLUMNS: Final = ("cell", "build", "profile", "level", "level_unit", "repeat")
WEIGHTS: Final = "weights"
"""What the build's weights are, and its kernel, where it is known."""
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


class Rows(ABC):
    """A table that is written a row at a time."""

    suffix = ".csv"

    def render(self, run: RunFolder) -> str:
        """Return the whole table."""
        out = io.StringIO()
        self.write(run, out)
        return out.getvalue()

    @abstractmethod
    def write(self, run: RunFolder, out: TextIO) -> None:
        """Write the table."""


class Csv(Rows):
    """One row a request: by cell, then phase, then number; none of a cell without samples."""

    def write(self, run: RunFolder, out: TextIO) -> None:
        """Write the table, a row at a time."""
        writer = csv.writer(out, lineterminator="\n")
        fields = Sample.__struct_fields__
        writer.writerow([*_CELL_COLUMNS, *fields, WEIGHTS])
        cells = run.read_measurements().cells
        told = weights(cells, run.read_manifest())
        for cell in cells:
            start = [cell_value(value) for value in _cell_values(cell)]
            for sample in read_cell(run, cell.id).samples:
                row = [cell_value(getattr(sample, name)) for name in fields]
                writer.writerow([*start, *row, cell_value(told.get(cell.build))])


def _cell_values(cell: CellMeasurement) -> tuple[object, ...]:
    unit = next(iter(cell.level), "")
    return cell.id, cell.build, cell.profile, f"{level_value(cell):g}", unit, cell.repeat


def cell_value(value: object) -> object:
    """Return what stands in a cell: a list's numbers in one, a table as `name=value`.

    Text that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    if isinstance(value, dict):
        return cell_value(" ".join(f"{name}={number}" for name, number in value.items()))
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, str):
        text = plain(value)
        return f"'{text}" if text.lstrip().startswith(_FORMULA_STARTS) else text
    return value


REPORT: Report = Csv()
