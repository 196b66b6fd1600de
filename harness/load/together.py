"""Where cells that take turns are driven as one, and how they become one and several again."""

from __future__ import annotations

import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

from loadprofiles.draw import Draw
from loadprofiles.interleave import interleave, split

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.load.matrix import Cell
    from harness.rundir import RunFolder


def place_of(folder: RunFolder, group: Sequence[Cell]) -> Path:
    """Where the driver of several cells works, until each has its samples."""
    return folder.path / "interleaved" / group[0].id


def put_together(folder: RunFolder, group: Sequence[Cell], seed: int) -> None:
    """Make one plan of the cells', which must have theirs.

    Raises:
        ProfileError: the plans are not of one kind.
        OSError: a file cannot be read or written.
    """
    cell = group[0]
    draw = Draw(seed, cell.profile, cell.level, cell.repeat)
    interleave(place_of(folder, group), [folder.cell(one.id) for one in group], draw)


def take_apart(folder: RunFolder, group: Sequence[Cell]) -> None:
    """Give each cell its samples, and remove where they were driven.

    Raises:
        msgspec.DecodeError: a file is not what it should be.
        OSError: a file cannot be read or written.
    """
    place = place_of(folder, group)
    split(place, [folder.cell(cell.id) for cell in group])
    shutil.rmtree(place)
    with suppress(OSError):  # there is another's
        place.parent.rmdir()
