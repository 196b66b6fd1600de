"""One engine, simulated step by step: continuous batching with chunked prefill and preemption.

Scheduling by iteration (Yu et al., Orca, OSDI 2022), prompts taken in beside decoding up to a
budget of tokens (Agrawal et al., Sarathi-Serve, OSDI 2024), first come first served, the latest
pushed back and computed anew when the KV cache is full: the rules of vLLM's v1 scheduler.

Between two events (an arrival, a completion, a full cache) a batch that only decodes grows by one
token a sequence and step, so its steps' lengths are an arithmetic series: they are taken in one
leap, which changes no time. KV is counted in tokens, not in blocks.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.simulating.engine import Engine

NEVER: Final = math.inf


class Work:
    """Requests, and what became of them; shared by the replicas of a fleet.

    Args:
        prompts: tokens of each request's prompt.
        outputs: tokens of each answer, at least 1.
        gaps_within_s: from when until when a gap between tokens has to end to be counted.
    """

    def __init__(
        self,
        prompts: Sequence[int],
        outputs: Sequence[int],
        gaps_within_s: tuple[float, float] = (-math.inf, math.inf),
    ) -> None:
        count = len(prompts)
        self.prompts, self.outputs = prompts, outputs
        self.first_s = [math.nan] * count
        """When the first token came."""
        self.last_s = [math.nan] * count
        """When the last token came; NaN of what was lost."""
        self.gap_s, self.gap_weight = array("d"), array("q")
        """Gaps between tokens, and how many there were of (about) that length."""
        self.gaps_within_s = gaps_within_s
        self.preemptions = 0


class Replica:
    """One engine under way; its clock is the end of its last step."""

    def __init__(self, engine: Engine, work: Work) -> None:
        self.engine, self.work = engine, work
        self.cost, self.limits = engine.cost, engine.limits
        self.clock = 0.0
        self.busy_s = 0.0
        self.coming: list[tuple[float, int]] = []
        """Requests sent that have not reached the engine yet, and when they will; a heap."""
        self.waiting: deque[int] = deque()
        self.running: dict[int, None] = {}
        """In the order in which they were let in."""
        self._prefilling: dict[int, int] = {}
        """Prompt tokens that each has still to take in."""
        self._end: dict[int, int] = {}
        """The step with the last token of each decoding sequence."""
        self._ends: list[tuple[int, int]] = []
        self._left: dict[int, int] = {}
        """Of requests that were pushed back: tokens they lack, and since when."""
        self._since: dict[int, float] = {}
        self._quiet_s = 0.0
        self._step = 0
        self._context = 0
        self.kv_tokens = 0
        """Tokens in the KV cache: `_context`, and of prompts let in, each with its first token."""

    @property
    def load(self) -> int:
        """Requests that it has, those on their way and waiting ones included."""
        return len(self.coming) + len(self.waiting) + len(self.running)

    def send(self, request: int, at_s: float) -> None:
        """Send it a request; the replica must have run until then."""
        reaches = at_s + self.engine.overhead_s + self.engine.overhead_each_s * self.load
        heappush(self.coming, (reaches, request))
        self._quiet_s = min(self._quiet_s, reaches)

    def quiet_until(self) -> float:
        """Return a moment before which no step begins that ends an answer."""
        if self.running or self.waiting:
            return max(self.clock, self._quiet_s)
        return max(self.clock, self.coming[0][0]) if self.coming else NEVER

    def run_until(self, at_s: float) -> None:
        """Compute all steps that begin before `at_s`."""
        while self.running or self.waiting or self.coming:
            if not self.running and not self.waiting:
                self.clock = max(self.clock, self.coming[0][0])
            if self.clock >= at_s:
                return
            self.advance(at_s)

    def drop_all(self) -> list[int]:
        """Forget everything, as a server does that dies; return the requests it had."""
        lost = [*self.running, *self.waiting, *(request for _, request in self.coming)]
        for held in (self.running, self._prefilling, self._end, self._left, self._since):
            held.clear()
        for queue in (self.waiting, self.coming, self._ends):
            queue.clear()
        self._context = self.kv_tokens = 0
        return lost

    def advance(self, horizon_s: float = NEVER) -> list[int]:
        """Compute one step, or as many alike as begin before `horizon_s` and bring no event.

        Returns:
            The requests that got their last token, all at the new `clock`.
        """
        coming = self.coming
        self._quiet_s = 0.0
        if coming and not self.running and not self.waiting:
            self.clock = max(self.clock, coming[0][0])
        while coming and coming[0][0] <= self.clock:
            self.waiting.append(heappop(coming)[1])
        taken, finished = self._take_in()
        if taken:
            return self._mixed(taken, finished)
        return self._decode(horizon_s)

    # --- a step that takes in prompts ------------------------------------------------------------

    def _take_in(self) -> tuple[int, list[int]]:
        """Let requests in and spend the budget on their prompts.

        Returns:
            Prompt tokens of this step, and the requests whose prompt it finishes.
        """
        if not self._prefilling and not self.waiting:
            return 0, []
        self._make_room()
        budget = room = self.limits.max_num_batched_tokens - len(self._end)
        finished = []
        for request, left in self._prefilling.items():
            if left > budget:
                self._prefilling[request] = left - budget
                budget = 0
                break
            budget -= left
            finished.append(request)
        while budget > 0 and self.waiting and len(self.running) < self.limits.max_num_seqs:
            request = self.waiting[0]
            size = self._size(request)
            if self.kv_tokens + size + len(self._end) + 1 > self.limits.kv_tokens:
                break
            self.waiting.popleft()
            self.running[request] = None
            self.kv_tokens += size + 1
            if size > budget:
                self._prefilling[request] = size - budget
                budget = 0
            else:
                budget -= size
                finished.append(request)
        for request in finished:
            self._prefilling.pop(request, None)
        return room - budget, finished

    def _size(self, request: int) -> int:
        """Tokens to take in: the prompt, and of one pushed back what it had said, too."""
        had = self.work.outputs[request] - self._left.get(request, self.work.outputs[request])
        return self.work.prompts[request] + had

    def _mixed(self, taken: int, finished: list[int]) -> list[int]:
        decoding = len(self._end)
        length = self.cost.of(decoding + len(finished), taken, self._context, len(finished))
        self._pass(length, decoding, 1)
        done = []
        for request in finished:
            size, left = self._size(request), self._left.pop(request, self.work.outputs[request])
            if request in self._since:
                self._gaps(self.clock - self._since.pop(request), 1, 1)
            else:
                self.work.first_s[request] = self.clock
            if left == 1:
                self.work.last_s[request] = self.clock
                self.kv_tokens -= size + 1
                del self.running[request]
                done.append(request)
            else:
                self._context += size + 1
                self._end[request] = self._step + left - 1
                heappush(self._ends, (self._end[request], request))
        return done + self._ended()

    # --- steps that only decode ------------------------------------------------------------------

    def _decode(self, horizon_s: float) -> list[int]:
        self._make_room()
        decoding = len(self._end)
        steps = self._next_end() - self._step
        steps = min(steps, (self.limits.kv_tokens - self.kv_tokens) // decoding)
        length = self.cost.of(decoding, 0, self._context, 0)
        growth = self.cost.context_token_s * decoding
        arrival_s = self.coming[0][0] if self.coming else NEVER
        self._quiet_s = min(self.clock + _series(steps - 1, length, growth), arrival_s)
        horizon_s = min(horizon_s, arrival_s)
        if horizon_s < NEVER:
            steps = min(steps, _steps_until(horizon_s - self.clock, length, growth))
        self._pass(_series(steps, length, growth), decoding, steps)
        return self._ended()

    def _pass(self, length_s: float, decoding: int, steps: int) -> None:
        """Let time and steps pass in which `decoding` sequences get a token each."""
        self.clock += length_s
        self.busy_s += length_s
        self._step += steps
        self._context += decoding * steps
        self.kv_tokens += decoding * steps
        if decoding:
            self._gaps(length_s / steps, decoding, steps)

    def _gaps(self, length_s: float, sequences: int, steps: int) -> None:
        """Count the gaps of some steps that lie one behind the other and end at the clock."""
        since, until = self.work.gaps_within_s
        if until <= self.clock or self.clock - (steps - 1) * length_s < since:
            late = max(0, math.floor((self.clock - until) / length_s) + 1)
            steps = min(steps, math.floor((self.clock - since) / length_s) + 1) - late
            if steps <= 0:
                return
        self.work.gap_s.append(length_s)
        self.work.gap_weight.append(sequences * steps)

    def _next_end(self) -> int:
        ends, end = self._ends, self._end
        while end.get(ends[0][1]) != ends[0][0]:  # it was pushed back
            heappop(ends)
        return ends[0][0]

    def _ended(self) -> list[int]:
        """Take out the sequences whose last step this was."""
        done = []
        ends, end, step = self._ends, self._end, self._step
        while ends and ends[0][0] <= step:
            at, request = heappop(ends)
            if end.get(request) != at:
                continue
            del end[request], self.running[request]
            held = self.work.prompts[request] + self.work.outputs[request]
            self._context -= held
            self.kv_tokens -= held
            self.work.last_s[request] = self.clock
            done.append(request)
        return done

    def _make_room(self) -> None:
        """Push the latest back until each decoding sequence has room for its next token."""
        while self.kv_tokens + len(self._end) > self.limits.kv_tokens:
            request, _ = self.running.popitem()
            if (at := self._end.pop(request, None)) is not None:
                self._left[request] = at - self._step
                self._since.setdefault(request, self.clock)
                self._context -= self._size(request)
            else:
                del self._prefilling[request]
                self.kv_tokens -= 1
            self.kv_tokens -= self._size(request)
            self.waiting.appendleft(request)
            self.work.preemptions += 1


def _series(steps: int, length_s: float, growth_s: float) -> float:
    """Return how long so many steps of l, l + g, l + 2 g, … take."""
    return steps * length_s + growth_s * (steps * (steps - 1) // 2)


def _steps_until(time_s: float, length_s: float, growth_s: float) -> int:
    """Return the least number of steps, of l, l + g, l + 2 g, …, that take at least `time_s`."""
    if growth_s <= 0:
        return max(1, math.ceil(time_s / length_s)) if length_s > 0 else 1
    half = length_s - growth_s / 2
    root = math.sqrt(half * half + 2 * growth_s * time_s)
    return max(1, math.ceil((root - half) / growth_s))
