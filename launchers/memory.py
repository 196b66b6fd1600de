"""Memory of a process tree while something else goes on."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator

GIB = 2**30
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass
class MemoryUse:
    """What the samples have seen so far."""

    samples: int = 0
    peak_bytes: int = 0
    kind: str = field(default="rss", init=False)

    @property
    def peak_gib(self) -> float | None:
        """The largest sample in GiB; None before the first."""
        return self.peak_bytes / GIB if self.samples else None


def tree_bytes(pid: int) -> int | None:
    """Resident memory of a process and its descendants; None when the process has gone.

    Each process's own pages (RSS − shared) are added up, and the largest shared part is added
    once: libraries and shared memory that all processes map would otherwise count many times.
    From `/proc/PID/statm`, which costs the measured processes nothing; the exact PSS walks their
    page tables under the lock that their page faults need.
    """
    try:
        root = psutil.Process(pid)
        pids = [pid, *(child.pid for child in root.children(recursive=True))]
    except psutil.Error:
        return None
    own, shared = 0, 0
    for member in pids:
        try:
            fields = Path(f"/proc/{member}/statm").read_text().split()
        except OSError:
            continue
        resident_pages, shared_pages = int(fields[1]), int(fields[2])
        own += resident_pages - shared_pages
        shared = max(shared, shared_pages)
    return (own + shared) * PAGE_BYTES or None


@contextmanager
def sample_memory(pid: int, interval_s: float = 0.5) -> Iterator[MemoryUse]:
    """Sample the tree below `pid` in a thread until the context closes, first at once."""
    use = MemoryUse()
    closing = threading.Event()

    def sample() -> None:
        while True:
            if (seen := tree_bytes(pid)) is not None:
                use.samples += 1
                use.peak_bytes = max(use.peak_bytes, seen)
            if closing.wait(interval_s):
                return

    thread = threading.Thread(target=sample, name="memory", daemon=True)
    thread.start()
    try:
        yield use
    finally:
        closing.set()
        thread.join()
