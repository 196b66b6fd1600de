"""Calls that are to be made at a moment, each at its moment: the turns that follow a pause."""

from __future__ import annotations

import heapq
from itertools import count
from time import perf_counter_ns as now_ns
from typing import TYPE_CHECKING

from loadprofiles.wire.clock import TimerFd

if TYPE_CHECKING:
    from collections.abc import Callable

_CALLS_PER_TURN = 64
"""Calls in one go, before the loop gets to read again."""


class Later:
    """Makes calls when they are due, as exactly as `Departures`, but told of them one by one.

    Knows no event loop: whoever runs it calls `ring` when `fd` is readable.
    """

    def __init__(self) -> None:
        self._timer = TimerFd()
        self.fd = self._timer.fd
        self._calls: list[tuple[int, int, Callable[[], object]]] = []
        self._order = count()

    def __len__(self) -> int:
        """How many calls are still to be made."""
        return len(self._calls)

    def at(self, due_ns: int, call: Callable[[], object]) -> None:
        """Make `call` at `due_ns` (CLOCK_MONOTONIC); calls of one moment in the order asked."""
        heapq.heappush(self._calls, (due_ns, next(self._order), call))
        if self._calls[0][0] == due_ns:
            self._timer.arm(due_ns)

    def ring(self) -> None:
        """Make the calls that are due, not too many at once, and set the alarm for the next."""
        self._timer.acknowledge()
        for _ in range(_CALLS_PER_TURN):
            if not self._calls or self._calls[0][0] > now_ns():
                break
            heapq.heappop(self._calls)[2]()
        if self._calls:
            self._timer.arm(self._calls[0][0])

    def close(self) -> None:
        """Forget what is left."""
        self._calls.clear()
        self._timer.close()
