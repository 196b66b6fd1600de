"""Memory and CPU time of a process and all its descendants, from /proc."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

PROC: Final = Path("/proc")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Tree:
    """What a process tree has and has used."""

    pids: frozenset[int]
    memory_bytes: int
    """Each process's own pages (RSS − shared) are added up, and the largest shared part is added
    once: libraries and shared memory that all processes map would otherwise count many times."""
    cpu_s: float
    """User and system time of the living, and of the ended children that they have waited for."""


class _Process(NamedTuple):
    parent: int
    ticks: int


class TreeReader:
    """Looks at the tree below `pid` again and again.

    What was once seen outside of the tree is not opened again while it lives: on a machine with
    thousands of processes a look costs little more than listing them.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._outside: set[int] = set()

    def read(self) -> Tree | None:
        """Look; None when the process has gone.

        Memory is from `/proc/PID/statm`, which costs the measured processes nothing; the exact PSS
        walks their page tables under the lock that their page faults need.
        """
        listed = {int(entry.name) for entry in os.scandir(PROC) if entry.name.isdecimal()}
        self._outside &= listed
        processes = _processes(listed - self._outside)
        if self._pid not in processes:
            return None
        children: dict[int, list[int]] = {}
        for one, (parent, _) in processes.items():
            children.setdefault(parent, []).append(one)
        pids, todo = [], [self._pid]
        while todo:
            one = todo.pop()
            pids.append(one)
            todo += children.get(one, ())
        self._outside |= processes.keys() - set(pids)
        own = shared = 0
        for one in pids:
            pages = _pages(one)
            own += pages[0] - pages[1]
            shared = max(shared, pages[1])
        memory = (own + shared) * _PAGE_BYTES
        if not memory:  # a zombie
            return None
        return Tree(frozenset(pids), memory, sum(processes[one].ticks for one in pids) / _TICKS)


def _processes(pids: Iterable[int]) -> dict[int, _Process]:
    """Those that still live, by pid (man 5 proc_pid_stat, fields 4 and 14 to 17)."""
    found: dict[int, _Process] = {}
    for pid in pids:
        try:
            text = Path(f"{PROC}/{pid}/stat").read_bytes()
        except OSError:  # it has just ended
            continue
        fields = text[text.rindex(b")") + 2 :].split()  # from field 3 on; names may have brackets
        found[pid] = _Process(int(fields[1]), sum(map(int, fields[11:15])))
    return found


def _pages(pid: int) -> tuple[int, int]:
    """Resident and shared pages."""
    try:
        fields = (PROC / str(pid) / "statm").read_bytes().split()
    except OSError:
        return 0, 0
    return int(fields[1]), int(fields[2])
