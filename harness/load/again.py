"""Cells that are driven once more, since the client alone had made them invalid."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

from harness.measuring.validity import PASSING
from harness.rundir import CELLS

if TYPE_CHECKING:
    from pathlib import Path

    from harness.measuring.measurement import CellMeasurement
    from harness.rundir import RunFolder

SET_ASIDE: Final = "set_aside"
"""The folder of the cells that were driven anew: the first time of each."""


def was_late(cell: CellMeasurement) -> bool:
    """Whether the client, and nothing else, made a cell invalid, and every request was answered.

    Where some failed or were never sent, what failed is in the numbers; a second time could only
    hide it.
    """
    codes = {caveat.code for caveat in cell.client.caveats if caveat.invalidates}
    return bool(codes) and codes <= PASSING and not cell.requests.lost


def set_aside(folder: RunFolder, cell_id: str) -> Path:
    """Move what was measured of a cell to where nobody reads it, and return where that is."""
    aside = folder.path / SET_ASIDE
    aside.mkdir(exist_ok=True)
    times = len(list(aside.glob(f"{cell_id}.*")))  # one for each process that went on here
    return folder.cell(cell_id).rename(aside / f"{cell_id}.{times + 1}")


def put_back(folder: RunFolder, cell_id: str) -> bool:
    """Let a cell be what was set aside of it last; say whether there was something."""
    kept = sorted(
        (folder.path / SET_ASIDE).glob(f"{cell_id}.*"), key=lambda path: int(path.suffix[1:])
    )
    if not kept:
        return False
    cell = folder.path / CELLS / cell_id
    shutil.rmtree(cell, ignore_errors=True)
    kept[-1].rename(cell)
    if not any(kept[-1].parent.iterdir()):
        kept[-1].parent.rmdir()
    return True
