"""When the kernel received a request: the truth also when the mock itself reads it late.

With SO_TIMESTAMPNS on the listening socket, which connections inherit, `recvmsg` brings along the
CLOCK_REALTIME at which the last segment read came in (Linux, Documentation/networking/
timestamping.rst, 1.1).
"""

from __future__ import annotations

import socket
import struct
import time

_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("qq")
_SPACE = socket.CMSG_SPACE(_TIMESPEC.size)
_TRIES = 32
_SANE_NS = 10_000_000_000
"""A stamp further from now is of a clock that was set meanwhile."""
_now = time.perf_counter_ns


class Receipts:
    """Reads connections and says when what was read came in, in CLOCK_MONOTONIC ns."""

    def __init__(self, listener: socket.socket) -> None:
        listener.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._offset_ns = min(_offset() for _ in range(_TRIES))[1]

    def receive(self, sock: socket.socket, size: int) -> tuple[bytes, int]:
        """Read; return the bytes and when the last of them came in.

        Raises:
            OSError: as `recv`.
        """
        data, ancillary, _, _ = sock.recvmsg(size, _SPACE)
        now = _now()
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
                seconds, ns = _TIMESPEC.unpack(content)
                stamp: int = seconds * 1_000_000_000 + ns - self._offset_ns
                if now - _SANE_NS < stamp < now:
                    return data, stamp
        return data, now


def _offset() -> tuple[int, int]:
    """Return how long it took to compare the clocks, and CLOCK_REALTIME − CLOCK_MONOTONIC."""
    before = _now()
    wall = time.time_ns()
    after = _now()
    return after - before, wall - (before + after) // 2
