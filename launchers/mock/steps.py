"""Tokens as an engine makes them: in steps, with a KV cache that may run out.

Every `step_ms` all running answers get one token, and speak at once; with `step_per_answer_ms` a
step takes so much longer for each of them, as a larger batch does. A prompt takes as many steps
as its tokens need at `prefill_tokens_per_step`; the step that takes in the last of it gives the
first token. When the cache is full the latest answer is pushed back to the head of the queue,
and prompt and tokens are taken in anew (recomputed) once there is room: a stall in mid-answer.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from launchers.mock.answer import Answer
    from launchers.mock.server import Server

_now = time.perf_counter_ns
_ANY = 1 << 60


class Stepped:
    """Sends tokens in steps. The order of service is first come, first served."""

    def __init__(self, server: Server) -> None:
        options = server.options
        self._server = server
        self._step_ns = int(options.step_ms * 1e6)
        self._each_ns = int(options.step_per_answer_ms * 1e6)
        self._slots = options.slots or _ANY
        self._kv_tokens = options.kv_tokens or _ANY
        self._each = options.tokens_per_step
        self._prefill = options.prefill_tokens_per_step or _ANY
        self._running: list[Answer] = []
        self._waiting: deque[Answer] = deque()
        self._batch: list[Answer] = []
        self._used = 0
        self._preemptions = 0
        self.due_ns: int | None = None
        """When the step under way ends; None when there is nothing to do."""

    def state(self) -> dict[str, float]:
        """Return what the metrics page says."""
        limited = self._kv_tokens != _ANY
        return {
            "num_requests_running": len(self._running),
            "num_requests_waiting": len(self._waiting),
            "kv_cache_usage_perc": self._used / self._kv_tokens if limited else 0.0,
            "num_preemptions_total": self._preemptions,
        }

    def admit(self, answer: Answer) -> None:
        """Put an answer in the queue; refuse one that never fits."""
        most = answer.asked.prompt_tokens + answer.total + self._each - 1
        if most > self._kv_tokens:
            text = f"the request needs {most} tokens and the KV cache has {self._kv_tokens}"
            answer.connection.reply(400, {"error": {"message": text, "code": 400}})
            return
        answer.begin()
        self._waiting.append(answer)
        if self.due_ns is None:
            self._plan()
            self.due_ns = _now() + self._takes_ns()

    def run(self) -> None:
        """End the step under way if it is time, and begin the next."""
        due_ns = self.due_ns
        if due_ns is None or (now := _now()) < due_ns:
            return
        gone = set()
        for answer in self._batch:
            if not answer.connection.closed and not (answer.fault and answer.breaks()):
                left = answer.left
                answer.emit_together(self._each)
                self._used += left - answer.left
                if answer.left:
                    continue
                self._server.finish(answer)
            else:
                self._server.counts.tokens(answer)
            gone.add(answer)
        self._leave(gone)
        self._plan()
        busy = self._running or self._waiting
        self.due_ns = max(due_ns + self._takes_ns(), now) if busy else None

    def _takes_ns(self) -> int:
        """How long the step lasts that was planned."""
        return self._step_ns + self._each_ns * len(self._batch)

    def _leave(self, gone: set[Answer]) -> None:
        """Give back what answers held that are over."""
        if gone:
            self._used -= sum(_context(answer) for answer in gone)
            self._running = [answer for answer in self._running if answer not in gone]

    def _plan(self) -> None:
        """Choose what the next step computes: push back, let in, take in prompts."""
        closed = {answer for answer in self._running if answer.connection.closed}
        for answer in closed:
            self._server.counts.tokens(answer)
        self._leave(closed)
        speaking = self._each * sum(not answer.prefill for answer in self._running)
        while self._used + speaking > self._kv_tokens:
            pushed = self._running.pop()
            self._used -= _context(pushed)
            speaking -= 0 if pushed.prefill else self._each
            pushed.prefill = _context(pushed)
            self._waiting.appendleft(pushed)
            self._preemptions += 1
        self._let_in(speaking)
        budget = self._prefill
        self._batch = []
        for answer in self._running:
            if answer.prefill and budget:
                taken = min(budget, answer.prefill)
                answer.prefill -= taken
                budget -= taken
            if not answer.prefill:
                self._batch.append(answer)

    def _let_in(self, speaking: int) -> None:
        while self._waiting and len(self._running) < self._slots:
            first = self._waiting[0]
            if self._used + speaking + _context(first) + self._each > self._kv_tokens:
                return
            self._waiting.popleft()
            if not first.connection.closed:
                first.begun_ns = first.begun_ns or _now()
                self._used += _context(first)
                speaking += self._each
                self._running.append(first)


def _context(answer: Answer) -> int:
    """Tokens of the KV cache that an answer takes."""
    return answer.asked.prompt_tokens + answer.total - answer.left
