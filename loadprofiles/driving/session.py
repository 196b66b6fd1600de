"""One cell while it is driven: what is sent next, what has ended, and the sample file.

Knows no event loop; `drive` calls it from Locust's users and from the hub.
"""

from __future__ import annotations

import os
import time
from collections import deque
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from loadprofiles.driving.turns import Turns
from loadprofiles.driving.usage import Usage, rss_peak_mib, usage
from loadprofiles.prompts.bodies import Bodies
from loadprofiles.records import (
    BODIES_FILE,
    SAMPLES_FILE,
    DrivePlan,
    DriveReport,
    Phase,
    Progress,
    Sample,
)
from loadprofiles.wire.answer import is_brief
from loadprofiles.wire.clock import CLOCK_STEP_LIMIT_NS
from loadprofiles.wire.heads import request_heads
from loadprofiles.wire.masking import Mask
from loadprofiles.wire.sample import Ticket, sample_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from loadprofiles.dialects import Dialect
    from loadprofiles.wire.engine import Engine
    from loadprofiles.wire.stream import Stream

_now = time.perf_counter_ns
_RECENT = 512
_DECODE_NS = 300_000
"""For so long the loop is held up by decoding; the last step, of up to 0.6 ms, comes on top."""
_UNDECODED_BYTES = 64 * 1024 * 1024
"""Finished answers wait for the loop to be idle; above this much each one that ends has another
one decoded, so that a driver that is never idle stays within its memory."""


class Waiter(Protocol):
    """What gevent's Waiter offers to the one who ends a wait."""

    def switch(self, value: object) -> None:
        """Wake the waiting greenlet."""
        ...


class Session:
    """The state of one cell: tickets out, finished streams in, samples to the file."""

    def __init__(self, folder: Path, plan: DrivePlan, dialect: Dialect, engine: Engine) -> None:
        self.plan = plan
        self.engine = engine
        self._dialect = dialect
        self._bodies = Bodies(folder / BODIES_FILE)
        if not plan.warmup < len(self._bodies) == len(plan.output_tokens):
            raise ValueError(
                f"{BODIES_FILE} holds {len(self._bodies)} bodies; the plan has {plan.warmup} for "
                f"the warm-up and {len(plan.output_tokens)} in all"
            )
        self._heads, self._mask = request_heads(plan), Mask(plan)
        self._file = (folder / SAMPLES_FILE).open("wb")
        self._encode = msgspec.json.Encoder().encode
        self._prefix = os.urandom(5).hex()
        self._finished: deque[Stream] = deque()
        self._decoding: Generator[None, None, Sample] | None = None
        self._undecoded_bytes = 0
        self.longest_ns = 0
        """The longest that a request has taken so far."""
        self._recent_ttft_ns: deque[int] = deque(maxlen=_RECENT)
        self._reads_before, self._reads_at_ns = 0, _now()
        self.turns = Turns(plan.after, plan.think_ns)
        self._seq: dict[Phase, int] = {"warmup": 0, "measured": 0, "cooldown": 0}
        self.sent: dict[Phase, int] = {"warmup": 0, "measured": 0, "cooldown": 0}
        self.done: dict[Phase, int] = {"warmup": 0, "measured": 0, "cooldown": 0}
        self.ok = self.failed = self.samples = self._samples_before = 0
        self.stopping: Literal["interrupted", "stopped", "failed"] | None = None
        self.problem: str | None = None
        self._paused_ns = self._thinking_ns = self._thoughts = 0
        self.window_start: Usage | None = None
        self.window_end: Usage | None = None
        self.clock_step_ns = 0
        self.on_finished: Callable[[Phase], None] = lambda _: None
        self.on_sample: Callable[[Sample], None] = lambda _: None
        self.on_turn: Callable[[int, int], None] = lambda *_: None
        """Called with a turn that is to follow one that nobody waits for, and when that ended."""
        self.translate: Callable[[Sample], Sample] | None = None
        """What makes of a sample the one that is written: a worker's is one of a whole cell."""

    # --- sending -------------------------------------------------------------------------------

    def send(
        self,
        phase: Phase,
        due_ns: int | None,
        waiter: Waiter | None = None,
        turn: int | None = None,
    ) -> Stream:
        """Send the next request of `phase`; of sessions, `turn` or a new session's first.

        Addresses have their turns, one request each, or those that the plan says.

        `waiter` is switched to once it has ended, with whether it is known to have failed.
        """
        seq = self._seq[phase]
        self._seq[phase] = seq + 1
        self.sent[phase] += 1
        if self.turns.sessions and phase != "warmup":
            turn = self.turns.begin() if turn is None else turn
            body = self.plan.warmup + self.turns.position(turn)
            content = self.turns.take(turn, self._bodies[body])
            seq = turn if phase == "measured" else seq
        else:
            body = self._body_index(phase, seq)
            content = self._bodies[body]
        due_ns = _now() if due_ns is None else due_ns
        turns = self.plan.turns
        endpoint = (self.sent[phase] - 1) % len(self._heads) if turns is None else turns[body]
        request_id = f"{self._prefix}-{phase[0]}{seq}"
        ticket = Ticket(seq, body, request_id, phase, due_ns, turn, endpoint)
        request = b"".join((
            self._heads[endpoint], ticket.request_id.encode(),
            b"\r\nContent-Length: %d\r\n\r\n" % len(content), content,
        ))  # fmt: skip

        def on_done(stream: Stream) -> None:
            self.done[phase] += 1
            failed = self._keep(stream, at_once=waiter is not None)
            if waiter is None and (following := self.following(stream)) is not None:
                self.on_turn(following, stream.done_ns or _now())
            self.on_finished(phase)
            if waiter is not None:
                waiter.switch(failed)

        return self.engine.submit(request, on_done, ticket, endpoint)

    def _keep(self, stream: Stream, *, at_once: bool) -> bool:
        """Keep a finished stream until there is time to decode it, within bounds.

        Returns whether it is known to have failed. With `at_once` that takes in what a brief
        body says: answers that fail are brief, and failures must not go unnoticed.
        """
        assert stream.done_ns is not None  # noqa: S101 - it has ended
        self.longest_ns = max(self.longest_ns, stream.done_ns - stream.submitted_ns)
        if at_once and is_brief(stream.body, streamed=self.plan.stream):
            return _to_the_end(self._decode(stream)).error is not None
        if self.turns.sessions:  # the newest first: the next turn waits for what it says
            self._finished.appendleft(stream)
        else:
            self._finished.append(stream)
        self._undecoded_bytes += len(stream.body)
        while self._undecoded_bytes > _UNDECODED_BYTES:
            self.decode()
        return not stream.answered

    def _body_index(self, phase: Phase, seq: int) -> int:
        warmup, total = self.plan.warmup, len(self._bodies)
        if phase == "warmup":
            return seq % max(warmup, 1)
        measured = total - warmup
        if phase == "cooldown":  # goes on where the measured ones ended
            seq += self._seq["measured"]
        return warmup + seq % measured

    def drop(self, seq: int, due_ns: int) -> None:
        """Record a departure that never took place."""
        self._write(
            Sample(
                seq=seq,
                body=self._body_index("measured", seq),
                request_id=f"{self._prefix}-m{seq}",
                phase="measured",
                due_ns=due_ns,
                error="dropped",
                planned_output_tokens=self.plan.output_tokens[self._body_index("measured", seq)],
            )
        )

    def pause(self, from_ns: int) -> None:
        """Note that a stream kept still from then till now: that part of it in the window."""
        self._paused_ns += self._in_window(from_ns, _now())

    def thought(self, from_ns: int, until_ns: int) -> None:
        """Note that a stream's user was to think from then to then, or until now."""
        self._thinking_ns += self._in_window(from_ns, min(until_ns, _now()))

    def following(self, stream: Stream) -> int | None:
        """Return the turn that is to follow one that has ended, unless that is known to fail."""
        ticket: Ticket = stream.meta  # type: ignore[assignment]
        if ticket.turn is None or not stream.answered:
            return None
        return self.turns.following(ticket.turn)

    def may_send(self, turn: int) -> bool:
        """Whether the answer that a turn follows is one; decodes it if nobody has yet."""
        while self.turns.is_open(turn):
            self.decode(0)
        return self.turns.may_follow(turn)

    def next_think_ns(self, turn: int | None = None) -> int:
        """Closed loop: how long the user of the stream that became free now thinks."""
        if self.turns.sessions:
            return self.turns.think_ns(turn)
        thinks = self.plan.think_ns
        if not thinks:
            return 0
        self._thoughts += 1
        return thinks[(self._thoughts - 1) % len(thinks)]

    def _in_window(self, from_ns: int, until_ns: int) -> int:
        """How much of a stretch of time lies in the window, as far as it is known by now."""
        if self.window_start is None:
            return 0
        begin_ns = self.window_start.at_ns
        if self.plan.duration_ns is not None:
            until_ns = min(until_ns, begin_ns + self.plan.duration_ns)
        if self.window_end is not None:
            until_ns = min(until_ns, self.window_end.at_ns)
        return max(0, until_ns - max(from_ns, begin_ns))

    def open_window(self, at_ns: int | None = None) -> None:
        """Begin to measure, now or at a moment close by."""
        here = usage()
        self.window_start = here if at_ns is None else here._replace(at_ns=at_ns)

    def close_window(self) -> None:
        """Cease to measure."""
        self.window_end = self.window_end or usage()

    # --- samples -------------------------------------------------------------------------------

    @property
    def undecoded(self) -> bool:
        """Whether a finished stream waits to be decoded."""
        return self._decoding is not None or bool(self._finished)

    def decode(self, for_ns: int = _DECODE_NS) -> bool:
        """Decode finished streams for so long, one step at least; False when none is left.

        In steps: an answer of 16,000 tokens would otherwise stall the loop for 80 ms.
        """
        end = _now() + for_ns
        while self._decoding is not None or self._finished:
            if self._decoding is None:
                stream = self._finished.popleft()
                self._undecoded_bytes -= len(stream.body)
                self._decoding = self._decode(stream)
            if next(self._decoding, self) is self:
                self._decoding = None
            if _now() >= end:
                break
        return self.undecoded

    def decode_some(self) -> None:
        """Decode for a moment if nothing was since the last call: the loop is never idle."""
        if self.samples == self._samples_before:
            self.decode()
        self._samples_before = self.samples

    def _decode(self, stream: Stream) -> Generator[None, None, Sample]:
        """Decode a finished stream in steps, write its sample and return it."""
        self.check_clock()
        self._mask.hide(stream)
        sample, text = yield from sample_of(
            stream, self._dialect, self.plan.output_tokens, streamed=self.plan.stream,
            kernel_clock=bool(self.engine.kernel_stamps) and not self.clock_stepped,
        )  # fmt: skip
        self._write(sample)
        ticket: Ticket = stream.meta  # type: ignore[assignment]
        if ticket.turn is not None:
            self.turns.answered(ticket.turn, text if sample.error is None else None)
        if sample.error is None:
            self.ok += 1
            if sample.first_ns is not None and sample.sent_ns is not None:
                self._recent_ttft_ns.append(sample.first_ns - sample.sent_ns)
        elif sample.phase != "cooldown":  # those are cut off at the end
            self.failed += 1
        self.on_sample(sample)
        return sample

    def _write(self, sample: Sample) -> None:
        if self.translate is not None:
            sample = self.translate(sample)
        self._file.write(self._encode(sample) + b"\n")
        self.samples += 1

    def flush(self) -> None:
        """Hand what was written to the system."""
        self._file.flush()

    def close(self) -> None:
        """Decode what is left and close the files."""
        try:
            while self.decode():
                pass
        finally:
            self._file.close()
            self._bodies.close()

    # --- watching ------------------------------------------------------------------------------

    @property
    def clock_stepped(self) -> bool:
        """Whether somebody set the wall clock, so that kernel stamps mean nothing any more."""
        return abs(self.clock_step_ns) > CLOCK_STEP_LIMIT_NS

    def check_clock(self) -> None:
        """Notice a step of the wall clock; from then on user stamps are used.

        Done before any kernel stamp gets into a sample, so that no step goes unnoticed.
        """
        if not self.clock_stepped:
            self.clock_step_ns = self.engine.clock_step_ns()

    def report(self, versions: dict[str, str]) -> DriveReport:
        """Say how the driver fared. The window's usage is cut to the window's length."""
        self.check_clock()
        now = usage()
        begin, end = self.window_start or now, self.window_end or now
        end_ns = max(end.at_ns, begin.at_ns)
        if self.plan.duration_ns is not None:
            end_ns = min(begin.at_ns + self.plan.duration_ns, end_ns)
        share = (end_ns - begin.at_ns) / max(end.at_ns - begin.at_ns, 1)
        delay = None
        if end.run_delay_ns is not None and begin.run_delay_ns is not None:
            delay = max(0.0, (end.run_delay_ns - begin.run_delay_ns) / 1e9 * share)
        return DriveReport(
            ended=self.stopping or "done",
            problem=self.problem,
            window_start_ns=begin.at_ns,
            window_end_ns=end_ns,
            clock="kernel" if self.engine.kernel_stamps and not self.clock_stepped else "user",
            wall_minus_monotonic_ns=self.engine.first_offset_ns,
            clock_step_ns=self.clock_step_ns,
            cpu_s=max(0.0, (end.cpu_s - begin.cpu_s) * share),
            run_delay_s=delay,
            gc_collections=end.collections - begin.collections,
            paused_s=self._paused_ns / 1e9,
            thinking_s=self._thinking_ns / 1e9,
            connections=self.engine.connections,
            samples=self.samples,
            versions=versions,
            rss_peak_mib=rss_peak_mib(),
        )

    def progress(
        self, phase: Literal["connect", "warmup", "measured", "drain", "done"]
    ) -> Progress:
        """Say how far things are. Chunks/s are reads/s here: exact figures come later."""
        now = _now()
        elapsed = (now - self.window_start.at_ns) / 1e9 if self.window_start else 0.0
        left = None
        if self.plan.duration_ns is not None:
            left = max(0.0, self.plan.duration_ns / 1e9 - elapsed)
        reads, span = self.engine.reads - self._reads_before, (now - self._reads_at_ns) / 1e9
        self._reads_before, self._reads_at_ns = self.engine.reads, now
        rate = None
        if self.plan.stream and phase != "done":
            rate = round(reads / max(span, 1e-3), 1)
        recent = sorted(self._recent_ttft_ns)
        return Progress(
            phase=phase,
            elapsed_s=round(max(elapsed, 0.0), 3),
            left_s=left,
            sent=sum(self.sent.values()),
            ok=self.ok,
            failed=self.failed,
            in_flight=self.engine.in_flight,
            chunks_per_s=rate,
            ttft_p50_ms=recent[len(recent) // 2] / 1e6 if recent else None,
            ttft_p95_ms=recent[int(len(recent) * 0.95)] / 1e6 if recent else None,
        )


def _to_the_end(steps: Generator[None, None, Sample]) -> Sample:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            sample: Sample = end.value
            return sample
