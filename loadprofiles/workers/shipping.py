"""A worker's samples on their way to the master: read back from its file as they are added."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from loadprofiles.workers.messages import PIECE_BYTES

if TYPE_CHECKING:
    from pathlib import Path


def new_digest() -> hashlib.blake2b:
    """Return what both sides compute over all lines of a worker's samples."""
    return hashlib.blake2b(digest_size=16)


class NewLines:
    """The lines that are added to a file, in pieces and only once they are whole.

    Counts what it has handed out, and digests it.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._position = 0
        self.lines = 0
        self.digest = new_digest()

    def read(self) -> bytes | None:
        """Return the next whole lines, about `PIECE_BYTES` of them; None without any."""
        self._file.seek(self._position)
        data = self._file.read(PIECE_BYTES)
        if not data.endswith(b"\n"):
            data += self._file.readline()
        data = data[: data.rfind(b"\n") + 1]
        if not data:
            return None
        self._position += len(data)
        self.lines += data.count(b"\n")
        self.digest.update(data)
        return data

    def close(self) -> None:
        """Close the file."""
        self._file.close()
