"""What a run folder that somebody else has made may hold: looked at before anything is read.

Files and folders of its own, no link out of it, no pipe or device (reading one may never end), and
sizes that a harness writes. Nothing in a run folder is ever executed, whatever it says.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Annotated, Final

import msgspec

from harness.errors import BadInputError

FolderName = Annotated[str, msgspec.Meta(pattern=r"^(?!\.{1,2}$)[^/\x00]+$")]
"""A name in a file that is joined to a path: never one that leads out of its folder."""
MANIFEST_BYTES: Final = 64 * 2**20
JSON_BYTES: Final = 1 << 30
LINE_BYTES: Final = 64 * 2**20
"""Of a line of samples or answers: an answer of a million tokens has about 20 MB."""
_PIECE: Final = 1 << 16


def check_tree(root: Path) -> None:
    """Look at a run's folder and all within it; no file is read as a whole.

    Raises:
        BadInputError: it holds what no harness writes; the text names it.
    """
    real = root.resolve()
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            _check(Path(folder) / name, root, real)


def _check(path: Path, root: Path, real: Path) -> None:
    try:
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            if not path.resolve().is_relative_to(real):
                raise _not_ours(path, f"is a link out of {root}")
            found = path.stat()
    except FileNotFoundError:  # a link to nothing, or a file that was just put in place
        return
    except (OSError, RuntimeError) as error:
        raise _not_ours(path, f"cannot be looked at ({error})") from error
    if stat.S_ISDIR(found.st_mode):
        return
    if not stat.S_ISREG(found.st_mode):
        raise _not_ours(path, "is no file but a pipe, a socket or a device")
    if path.suffix == ".json":
        most = MANIFEST_BYTES if path.name == "manifest.json" else JSON_BYTES
        if found.st_size > most:
            raise _not_ours(path, f"has more than {most >> 20} MiB")
    elif path.suffix == ".jsonl" and found.st_size > LINE_BYTES and _has_long_line(path):
        raise _not_ours(path, f"has a line of more than {LINE_BYTES >> 20} MiB")


def _has_long_line(path: Path) -> bool:
    """Whether some half of `LINE_BYTES` holds no line's end; looks at a piece of each, mostly."""
    half = LINE_BYTES // 2
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        for start in range(0, size - half + 1, half):
            file.seek(start)
            left = half
            while left > 0 and b"\n" not in (piece := file.read(min(_PIECE, left))):
                left -= len(piece)
            if left <= 0:
                return True
    return False


def _not_ours(path: Path, what: str) -> BadInputError:
    return BadInputError(f"{path} {what}", hint="No harness writes that: do not trust this folder.")
