"""A limit of memory that the kernel holds a process to: a cgroup."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path("/sys/fs/cgroup")
LIMIT = 64 << 20


@contextmanager
def little_memory() -> Iterator[Callable[[int], None]]:
    """Give what puts a process where only 64 MiB more can be had; skip where there is no such."""
    old = ROOT / "memory"  # of cgroups v1
    folder = (old if old.is_dir() else ROOT) / f"harness-faults-{os.getpid()}"
    limit = folder / ("memory.limit_in_bytes" if old.is_dir() else "memory.max")
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made here: {error}")
    try:
        if not limit.exists():
            pytest.skip("no memory cgroup can be made here: there is no memory controller")
        limit.write_text(str(LIMIT))
        yield lambda pid: _put(pid, folder)
    finally:
        while (folder / "cgroup.procs").read_text().strip():
            time.sleep(0.05)
        folder.rmdir()


def _put(pid: int, folder: Path) -> None:
    (folder / "cgroup.procs").write_text(str(pid))
