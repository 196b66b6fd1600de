"""The request bodies of a cell, read from the disk one at a time.

A run of a million requests must not hold a million bodies: kept are the offsets of the lines.
"""

from __future__ import annotations

import os
from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Bodies:
    """Lines of `bodies.jsonl` by number, without their line ends."""

    def __init__(self, path: Path) -> None:
        self._starts = array("q", [0])
        with path.open("rb") as file:
            for line in file:
                if line.endswith(b"\n"):
                    self._starts.append(self._starts[-1] + len(line))
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, line: int) -> bytes:
        start = self._starts[line]
        return os.pread(self._fd, self._starts[line + 1] - start - 1, start)

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
