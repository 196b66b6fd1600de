"""One cell while it is driven: what is sent next, what has ended, and the sample file.

Knows no event loop; `drive` calls it from Locust's users and from the hub.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections import deque
from operator import sub
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import msgspec

from loadprofiles.answer import error_text, read_answer, shorten
from loadprofiles.clock import CLOCK_STEP_LIMIT_NS
from loadprofiles.records import (
    BODIES_FILE,
    HEADERS_VARIABLE,
    SAMPLES_FILE,
    DrivePlan,
    DriveReport,
    Phase,
    Progress,
    Sample,
)
from loadprofiles.stream import HTTP_OK

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from loadprofiles.answer import Answer
    from loadprofiles.dialects import Dialect
    from loadprofiles.engine import Engine
    from loadprofiles.stream import Stream

_now = time.perf_counter_ns
_RECENT = 512
_DECODE_NS = 2_000_000
_UNDECODED_BYTES = 64 * 1024 * 1024
"""Finished answers wait for the loop to be idle; above this much each one that ends has another
one decoded, so that a driver that is never idle stays within its memory."""


class Waiter(Protocol):
    """What gevent's Waiter offers to the one who ends a wait."""

    def switch(self, value: object) -> None:
        """Wake the waiting greenlet."""
        ...


class Ticket(NamedTuple):
    """Which request a stream carries."""

    seq: int
    body: int
    request_id: str
    phase: Phase
    due_ns: int


class Usage(NamedTuple):
    """A reading of what this process has used so far."""

    at_ns: int
    cpu_s: float
    run_delay_ns: int | None
    collections: int


def usage() -> Usage:
    """Read this process's CPU time, its wait for a CPU and the collector's runs."""
    try:
        with open("/proc/self/schedstat", "rb") as file:  # noqa: PTH123 - light, called in the window
            run_delay = int(file.read().split()[1])
    except (OSError, IndexError, ValueError):
        run_delay = None
    collections = sum(generation["collections"] for generation in gc.get_stats())
    return Usage(_now(), time.process_time(), run_delay, collections)


class Session:
    """The state of one cell: tickets out, finished streams in, samples to the file."""

    def __init__(self, folder: Path, plan: DrivePlan, dialect: Dialect, engine: Engine) -> None:
        self.plan = plan
        self.engine = engine
        self._dialect = dialect
        self._bodies = (folder / BODIES_FILE).read_bytes().split(b"\n")[:-1]
        if not plan.warmup < len(self._bodies) == len(plan.output_tokens):
            raise ValueError(
                f"{BODIES_FILE} holds {len(self._bodies)} bodies; the plan has {plan.warmup} for "
                f"the warm-up and {len(plan.output_tokens)} in all"
            )
        self._head, self._tail = _request_head(plan)
        self._file = (folder / SAMPLES_FILE).open("wb")
        self._encode = msgspec.json.Encoder().encode
        self._prefix = os.urandom(5).hex()
        self._finished: deque[Stream] = deque()
        self._undecoded_bytes = 0
        self.longest_ns = 0
        """The longest that a request has taken so far."""
        self._recent_ttft_ns: deque[int] = deque(maxlen=_RECENT)
        self._reads_before, self._reads_at_ns = 0, _now()
        self._seq: dict[Phase, int] = {"warmup": 0, "measured": 0, "cooldown": 0}
        self.sent: dict[Phase, int] = {"warmup": 0, "measured": 0, "cooldown": 0}
        self.done: dict[Phase, int] = {"warmup": 0, "measured": 0, "cooldown": 0}
        self.ok = self.failed = self.samples = self._samples_before = 0
        self.stopping: Literal["interrupted", "stopped"] | None = None
        self.window_start: Usage | None = None
        self.window_end: Usage | None = None
        self.clock_step_ns = 0
        self.on_finished: Callable[[Phase], None] = lambda _: None
        self.on_sample: Callable[[Sample], None] = lambda _: None

    # --- sending -------------------------------------------------------------------------------

    def send(self, phase: Phase, due_ns: int | None, waiter: Waiter | None = None) -> Stream:
        """Send the next request of `phase`; `waiter` is switched to once it has ended."""
        seq = self._seq[phase]
        self._seq[phase] = seq + 1
        self.sent[phase] += 1
        body = self._body_index(phase, seq)
        due_ns = _now() if due_ns is None else due_ns
        ticket = Ticket(seq, body, f"{self._prefix}-{phase[0]}{seq}", phase, due_ns)
        content = self._bodies[body]
        request = b"".join((
            self._head, ticket.request_id.encode(), self._tail,
            b"%d\r\n\r\n" % len(content), content,
        ))  # fmt: skip

        def on_done(stream: Stream) -> None:
            self.done[phase] += 1
            self._keep(stream)
            self.on_finished(phase)
            if waiter is not None:
                waiter.switch(stream)

        return self.engine.submit(request, on_done, ticket)

    def _keep(self, stream: Stream) -> None:
        """Keep a finished stream until there is time to decode it, within bounds."""
        self._finished.append(stream)
        self._undecoded_bytes += len(stream.body)
        assert stream.done_ns is not None  # noqa: S101 - it has ended
        self.longest_ns = max(self.longest_ns, stream.done_ns - stream.submitted_ns)
        while self._undecoded_bytes > _UNDECODED_BYTES and self.decode_one():
            pass

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

    def open_window(self, at_ns: int | None = None) -> None:
        """Begin to measure, now or at a moment close by."""
        here = usage()
        self.window_start = here if at_ns is None else here._replace(at_ns=at_ns)

    def close_window(self) -> None:
        """Cease to measure."""
        self.window_end = self.window_end or usage()

    # --- samples -------------------------------------------------------------------------------

    def decode_one(self) -> bool:
        """Decode one finished stream and write its sample; False when none is left.

        One at a time: streams that end together would otherwise stall the loop for 50 ms.
        """
        if not self._finished:
            return False
        stream = self._finished.popleft()
        self._undecoded_bytes -= len(stream.body)
        sample = self._sample(stream)
        self._write(sample)
        if sample.error is None:
            self.ok += 1
            if sample.first_ns is not None and sample.sent_ns is not None:
                self._recent_ttft_ns.append(sample.first_ns - sample.sent_ns)
        elif sample.phase != "cooldown":  # those are cut off at the end
            self.failed += 1
        self.on_sample(sample)
        return bool(self._finished)

    def decode_some(self) -> None:
        """Decode for a moment if nothing was since the last call: the loop is never idle."""
        end = _now() + _DECODE_NS
        if self.samples == self._samples_before:
            while _now() < end and self.decode_one():
                pass
        self._samples_before = self.samples

    def _sample(self, stream: Stream) -> Sample:
        ticket: Ticket = stream.meta  # type: ignore[assignment]
        body = bytes(stream.body)
        answer = read_answer(
            body, stream.reads, self._dialect,
            kernel_clock=bool(self.engine.kernel_stamps) and not self.clock_stepped,
        )  # fmt: skip
        error, detail = _verdict(stream, answer, body)
        chunks = answer.chunk_at_ns
        counted = answer.output_tokens
        return Sample(
            seq=ticket.seq,
            body=ticket.body,
            request_id=ticket.request_id,
            phase=ticket.phase,
            due_ns=ticket.due_ns,
            submitted_ns=stream.submitted_ns,
            sent_ns=stream.sent_ns,
            first_ns=chunks[0] if chunks else None,
            first_answer_ns=answer.first_answer_ns,
            last_ns=chunks[-1] if chunks else None,
            done_ns=stream.done_ns,
            status=stream.status,
            error=error,
            detail=detail,
            finish_reason=answer.finish_reason,
            prompt_tokens=answer.prompt_tokens,
            output_tokens=len(chunks) if counted is None else counted,
            token_source="chunks" if counted is None else "server",
            planned_output_tokens=self.plan.output_tokens[ticket.body],
            chunk_ns=list(map(sub, chunks[1:], chunks)),
            lag_us=answer.reads_lag_us,
            output_chars=answer.output_chars,
            connect_ns=stream.connect_ns,
            retried=stream.retried,
            clock=answer.clock,
        )

    def _write(self, sample: Sample) -> None:
        self._file.write(self._encode(sample) + b"\n")
        self.samples += 1

    def flush(self) -> None:
        """Hand what was written to the system."""
        self._file.flush()

    def close(self) -> None:
        """Decode what is left and close the file."""
        while self.decode_one():
            pass
        self._file.close()

    # --- watching ------------------------------------------------------------------------------

    @property
    def clock_stepped(self) -> bool:
        """Whether somebody set the wall clock, so that kernel stamps mean nothing any more."""
        return abs(self.clock_step_ns) > CLOCK_STEP_LIMIT_NS

    def check_clock(self) -> None:
        """Notice a step of the wall clock; from then on user stamps are used."""
        if not self.clock_stepped:
            self.clock_step_ns = self.engine.clock_step_ns()

    def report(self, versions: dict[str, str]) -> DriveReport:
        """Say how the driver fared. The window's usage is cut to the window's length."""
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
            window_start_ns=begin.at_ns,
            window_end_ns=end_ns,
            clock="kernel" if self.engine.kernel_stamps and not self.clock_stepped else "user",
            wall_minus_monotonic_ns=self.engine.first_offset_ns,
            clock_step_ns=self.clock_step_ns,
            cpu_s=max(0.0, (end.cpu_s - begin.cpu_s) * share),
            run_delay_s=delay,
            gc_collections=end.collections - begin.collections,
            connections=self.engine.connections,
            samples=self.samples,
            versions=versions,
        )

    def progress(
        self, phase: Literal["connect", "warmup", "measured", "drain", "done"]
    ) -> Progress:
        """Say how far things are. Tokens/s are reads/s here: exact figures come later."""
        now = _now()
        elapsed = (now - self.window_start.at_ns) / 1e9 if self.window_start else 0.0
        left = None
        if self.plan.duration_ns is not None:
            left = max(0.0, self.plan.duration_ns / 1e9 - elapsed)
        reads, span = self.engine.reads - self._reads_before, (now - self._reads_at_ns) / 1e9
        self._reads_before, self._reads_at_ns = self.engine.reads, now
        recent = sorted(self._recent_ttft_ns)
        return Progress(
            phase=phase,
            elapsed_s=round(max(elapsed, 0.0), 3),
            left_s=left,
            sent=sum(self.sent.values()),
            ok=self.ok,
            failed=self.failed,
            in_flight=self.engine.in_flight,
            tokens_per_s=round(reads / max(span, 1e-3), 1),
            ttft_p50_ms=recent[len(recent) // 2] / 1e6 if recent else None,
            ttft_p95_ms=recent[int(len(recent) * 0.95)] / 1e6 if recent else None,
        )


def _verdict(stream: Stream, answer: Answer, body: bytes) -> tuple[str | None, str | None]:
    """Return the sample's error and detail.

    An error status says more than how its own body ended. Redirects are not followed: the target
    would have other timing than the server that was asked about.
    """
    told = stream.status not in (0, HTTP_OK)
    if told and stream.error in (None, "truncated", "reset", "malformed"):
        said = ": ".join(part for part in (stream.note, error_text(body)) if part)
        return f"http_{stream.status}", shorten(said)
    if stream.error is not None:
        return stream.error, stream.detail
    return answer.error, answer.detail


def _request_head(plan: DrivePlan) -> tuple[bytes, bytes]:
    """Return what stands before and behind the request id of every request."""
    host = f"[{plan.host}]" if ":" in plan.host else plan.host
    values = msgspec.json.decode(os.environ.get(HEADERS_VARIABLE, "{}"), type=dict[str, str])
    lines = [
        f"POST {plan.path} HTTP/1.1",
        f"Host: {host}:{plan.port}",
        "Content-Type: application/json",
        "Accept: text/event-stream",
        f"User-Agent: serving-load-harness Python/{sys.version_info[0]}.{sys.version_info[1]}",
        *(f"{name}: {values[name]}" for name in plan.headers),
    ]
    if plan.api_key_env and os.environ.get(plan.api_key_env):
        lines.append(f"Authorization: Bearer {os.environ[plan.api_key_env]}")
    head = "\r\n".join([*lines, "X-Request-Id: "])
    return head.encode("latin-1"), b"\r\nContent-Length: "
