"""The request bodies of a cell, read from the disk one at a time.

A run of a million requests must not hold a million bodies: kept are the offsets of the lines.

Where a later turn of a session quotes an answer that nobody knows yet, its body has a mark: the
number of the answered turn between two Unicode noncharacters. JSON holds them as they are, and no
text of a body has them otherwise (`without_marks`).
"""

from __future__ import annotations

import os
import re
from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
_MARK = re.compile(f"{_OPEN}([0-9]+){_CLOSE}".encode())


def answer_mark(turn: int) -> str:
    """Return what stands for the answer to the turn of that number, from 0, of the session."""
    return f"{_OPEN}{turn}{_CLOSE}"


def without_marks(text: str) -> str:
    """Return a text with U+FFFD for the two characters that marks are made of."""
    return text.replace(_OPEN, "\ufffd").replace(_CLOSE, "\ufffd")


def fill_marks(line: bytes, answers: Sequence[bytes]) -> bytes:
    """Return a body with each mark replaced by the answer to that turn, escaped as JSON has it.

    In one pass: an answer may hold a mark of its own.
    """
    return _MARK.sub(lambda mark: answers[int(mark[1])], line)


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
