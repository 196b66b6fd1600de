"""Files that a user names: only what is one is read."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from pathlib import Path


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
