"""Files that a user names: only what is one is read, and no line without an end."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE_BYTES = 1 << 30
LINE_BYTES = 16 * 1024 * 1024
"""No prompt, item or row of a trace is longer."""


def open_file(path: Path) -> BinaryIO:
    """Open a file to read its bytes; what is none would be waited for, or read for ever.

    Raises:
        OSError: it cannot be opened, or is a pipe, a socket or a device.
    """
    file = open(path, "rb", opener=_at_once)  # noqa: SIM115 - a path's has no opener
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is no file but a pipe, a socket or a device", str(path))
    return file


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def lines_of(file: BinaryIO, most: int = LINE_BYTES) -> Iterator[bytes]:
    """Yield the lines of a file with their ends.

    Raises:
        OSError: it cannot be read, or a line has more than `most` bytes; the text says which.
    """
    number = 0
    while line := file.readline(most + 1):
        number += 1
        if len(line) > most:
            text = f"line {number} has more than {most >> 20} MiB"
            raise OSError(errno.EFBIG, text)
        yield line


def whole(file: BinaryIO) -> bytes:
    """Return what a file holds.

    Raises:
        OSError: it cannot be read, or has more than `FILE_BYTES`.
    """
    if os.fstat(file.fileno()).st_size > FILE_BYTES:
        raise OSError(errno.EFBIG, f"it has more than {FILE_BYTES >> 20} MiB")
    return file.read(FILE_BYTES)
