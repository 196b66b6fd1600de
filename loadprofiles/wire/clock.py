"""Clocks: the kernel's receive stamps on the monotonic time line, and an exact alarm.

Linux stamps each received segment with CLOCK_REALTIME (`SO_TIMESTAMPNS`, socket(7)); everything
else here counts CLOCK_MONOTONIC, so the offset between the two is sampled and watched.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from struct import Struct
from typing import NamedTuple

SO_TIMESTAMPNS = 35
"""Option and control-message number (SO_TIMESTAMPNS_OLD) on every 64-bit Linux but SPARC."""

CLOCK_STEP_LIMIT_NS = 50_000
"""The offset drifts by no more than its sampling error unless somebody sets the clock."""

_timespec = Struct("qq").unpack_from
_itimerspec = Struct("qqqq").pack
_libc = ctypes.CDLL(None, use_errno=True)


def wall_minus_monotonic_ns(samples: int = 32) -> int:
    """Return CLOCK_REALTIME − CLOCK_MONOTONIC in ns, the tightest of several sandwiches.

    One naive reading was seen 90 µs wrong: the process may lose the CPU between two clock calls.
    """
    best_width, best = 1 << 62, 0
    for _ in range(samples):
        before = time.perf_counter_ns()
        wall = time.clock_gettime_ns(time.CLOCK_REALTIME)
        after = time.perf_counter_ns()
        if after - before < best_width:
            best_width, best = after - before, wall - (before + after) // 2
    return best


def kernel_stamp_ns(ancillary: list[tuple[int, int, bytes]]) -> int:
    """Return the CLOCK_REALTIME ns of `recvmsg`'s ancillary data, 0 where there is none."""
    if not ancillary:
        return 0
    seconds, nanoseconds = _timespec(ancillary[0][2])
    return int(seconds * 1_000_000_000 + nanoseconds)


class TimerFd:
    """An absolute CLOCK_MONOTONIC alarm as a file descriptor (timerfd_create(2)).

    libev's own timers count whole milliseconds, which would make every departure up to 1 ms late.
    """

    def __init__(self) -> None:
        self.fd: int = _libc.timerfd_create(
            time.CLOCK_MONOTONIC, os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)
        )
        if self.fd < 0:
            errno = ctypes.get_errno()
            raise OSError(errno, f"timerfd_create: {os.strerror(errno)}")

    def arm(self, at_ns: int) -> None:
        """Ring at `at_ns`; at once when that is past."""
        at_ns = max(at_ns, 1)  # all zeros would disarm
        value = _itimerspec(0, 0, at_ns // 1_000_000_000, at_ns % 1_000_000_000)
        _libc.timerfd_settime(self.fd, 1, value, None)  # 1 = TFD_TIMER_ABSTIME

    def acknowledge(self) -> None:
        """Clear a ring, so that the descriptor stops being readable."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.fd, 8)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)


class Offset(NamedTuple):
    """How far a clock is ahead of another one, on another machine."""

    ns: int
    error_ns: int

    @property
    def to_apply_ns(self) -> int:
        """The offset, unless it may be none at all: so it is on one machine."""
        return self.ns if abs(self.ns) > self.error_ns else 0


def offset_of(pings: list[tuple[int, int, int]]) -> Offset:
    """Return this clock's offset from (sent, the other's time, received), of the quickest exchange.

    The other read its clock somewhere between sending and receiving, so half of the time between
    them bounds the error (Cristian, Probabilistic clock synchronization, 1989).
    """
    sent, other, received = min(pings, key=lambda ping: ping[2] - ping[0])
    return Offset((sent + received) // 2 - other, (received - sent + 1) // 2)
