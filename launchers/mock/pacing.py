"""Tokens at fixed intervals: the first `ttft_ms` after the request, the others `itl_ms` apart."""

from __future__ import annotations

import heapq
import random
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from launchers.mock.answer import Answer
    from launchers.mock.server import Server

_AT_ONCE = 64
"""Tokens before the server may read again."""
_now = time.perf_counter_ns


class Paced:
    """Sends each answer's tokens when they are due.

    First tokens lie in a heap. All later ones are one interval after the one before, so they come
    due in the order in which they were put off: a queue will do.
    """

    def __init__(self, server: Server) -> None:
        options = server.options
        self._server = server
        self._ttft_ns = int(options.ttft_ms * 1e6)
        self._itl_ns = int(options.itl_ms * 1e6)
        self._jitter_ns = options.jitter_ms * 1e6
        self._slots = options.slots
        self._draw = random.Random(options.seed).random  # noqa: S311 - no secret
        self._firsts: list[tuple[int, int, Answer]] = []
        self._queue: deque[Answer] = deque()
        self._waiting: deque[Answer] = deque()
        self._running = self._count = 0

    @property
    def due_ns(self) -> int | None:
        """When there is something to send next."""
        at_ns = self._firsts[0][0] if self._firsts else None
        if self._queue and (at_ns is None or self._queue[0].at_ns < at_ns):
            at_ns = self._queue[0].at_ns
        return at_ns

    def state(self) -> dict[str, float]:
        """Return what the metrics page says."""
        return {"num_requests_running": self._running, "num_requests_waiting": len(self._waiting)}

    def admit(self, answer: Answer) -> None:
        """Start an answer, or let it wait for a slot."""
        if self._slots and self._running >= self._slots:
            self._waiting.append(answer)
            return
        self._running += 1
        answer.begin()
        self._count += 1
        answer.begun_ns = now = _now()
        at_ns = now + self._ttft_ns + int(self._jitter_ns and self._jitter_ns * self._draw())
        heapq.heappush(self._firsts, (at_ns, self._count, answer))

    def run(self) -> None:
        """Send what is due, a part of it at most."""
        firsts, queue = self._firsts, self._queue
        itl_ns, now, emit = self._itl_ns, _now(), self._emit
        for _ in range(_AT_ONCE):
            if firsts and firsts[0][0] <= now and not (queue and queue[0].at_ns < firsts[0][0]):
                at_ns, _, answer = heapq.heappop(firsts)
                if emit(answer):
                    answer.at_ns = at_ns + itl_ns
                    queue.append(answer)
            elif queue and queue[0].at_ns <= now:
                answer = queue.popleft()
                if answer.left > 1 and not answer.fault and not answer.connection.closed:
                    answer.emit()
                elif not emit(answer):
                    continue
                answer.at_ns += itl_ns
                queue.append(answer)
            else:
                break

    def _emit(self, answer: Answer) -> bool:
        """Send one token; False when nothing more is to come of this answer."""
        if not answer.connection.closed and not (answer.fault and answer.breaks()):
            if answer.left:
                answer.emit()
            if answer.left:
                return True
            self._server.finish(answer)
        else:
            self._server.counts.tokens(answer)
        self._running -= 1
        if self._waiting:
            self.admit(self._waiting.popleft())
        return False
