"""The departures of an open loop, each at its moment."""

from __future__ import annotations

from time import perf_counter_ns as now_ns
from typing import TYPE_CHECKING

from loadprofiles.wire.clock import TimerFd

if TYPE_CHECKING:
    from loadprofiles.driving.session import Session

_SENDS_PER_TURN = 64
"""Departures in one go, before the loop gets to read again."""


class Departures:
    """Sends each measured request when it is due.

    Knows no event loop: whoever runs it calls `send` when `fd` is readable.
    """

    def __init__(self, session: Session, start_ns: int, offsets_ns: list[int]) -> None:
        self._session = session
        self._start_ns = start_ns
        self._offsets_ns = offsets_ns
        self._position = 0
        self._timer = TimerFd()
        self.fd = self._timer.fd
        if offsets_ns:
            self._timer.arm(self.next_ns)

    @property
    def left(self) -> int:
        """How many have not left yet."""
        return len(self._offsets_ns) - self._position

    @property
    def next_ns(self) -> int:
        """When the next one is due; 0 if none is left."""
        return self._start_ns + self._offsets_ns[self._position] if self.left else 0

    def send(self) -> None:
        """Send what is due, not too many at once, and set the alarm for the next."""
        self._timer.acknowledge()
        for _ in range(_SENDS_PER_TURN):
            if not self.left or self._session.stopping:
                return
            due_ns = self.next_ns
            if due_ns > now_ns():
                break
            self._position += 1
            self._session.send("measured", due_ns)
        if self.left:
            self._timer.arm(self.next_ns)

    def end(self) -> None:
        """Send nothing more, and record those that were due in the window and have not left."""
        self._timer.close()
        end = self._session.window_end
        while self.left and end is not None and self.next_ns <= end.at_ns:
            self._session.drop(self._position, self.next_ns)
            self._position += 1
