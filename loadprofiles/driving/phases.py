"""Warm-up, window, drain: which request comes next, and when a cell is over. No event loop."""

from __future__ import annotations

from time import perf_counter_ns as now_ns
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from loadprofiles.driving.session import Session
    from loadprofiles.records import Phase, Sample

WARMUP_WIDTH = 8
"""Warm-up requests of an open loop that are under way at once."""
_HOPELESS = 3
"""Warm-up requests that may fail while none has been answered."""
_INTERRUPTED_DRAIN_NS = 2_000_000_000


class Meeting:
    """Where one of several workers waits for the others: to begin, and to end, together.

    Until then it keeps its streams busy, with requests that nobody counts.
    """

    def __init__(self, on_warm: Callable[[], None], on_measured: Callable[[], None]) -> None:
        self._on_warm = on_warm
        self._on_measured = on_measured
        self.start_ns: int | None = None
        """When the window opens for all; None until all are warm."""
        self.released = False
        """Whether all have measured."""
        self.warm = self.measured = False

    def may_begin(self) -> bool:
        """Say that this worker is warm, and return whether the window is open."""
        if not self.warm:
            self.warm = True
            self._on_warm()
        return self.start_ns is not None and now_ns() >= self.start_ns

    def may_end(self) -> bool:
        """Say that this worker has measured, and return whether all have."""
        if not self.measured:
            self.measured = True
            self._on_measured()
        return self.released


class Phases:
    """Where a cell stands. `on_over` is called, perhaps twice, when there is no more to do.

    A closed loop warms up until `plan.warmup` requests are done and every stream has finished one,
    then measures, and keeps sending until the last measured answer is in, so that the load stays
    constant for it. An open loop's window is [start, start + duration); what was due in it counts.
    """

    def __init__(
        self, session: Session, on_over: Callable[[], None], meeting: Meeting | None = None
    ) -> None:
        self.session = session
        self.meeting = meeting
        self.plan = session.plan
        self.draining_until_ns: int | None = None
        self.over = False
        self._on_over = on_over
        self._warm_streams: set[int] = set()
        self._first_left = self.plan.streams or min(self.plan.warmup, WARMUP_WIDTH)

    def next_phase(self) -> Phase | None:
        """Closed loop: which phase the next request belongs to; None when the cell is over."""
        session = self.session
        if session.stopping:
            return None
        if session.window_start is None and (self._is_cold() or not self._opened()):
            return "warmup"
        if not self.sending_is_over():
            return "measured"
        self.begin_drain()
        self._finish_if_measured()
        return None if self.over else "cooldown"

    def stream_ended(self, index: int, phase: Phase) -> None:
        """Closed loop: note that a stream has finished a request."""
        if phase == "warmup":
            self._warm_streams.add(index)

    def ended(self, phase: Phase) -> None:
        """Closed loop: be done with the last measured answer, without waiting for a stream."""
        if phase == "measured" and self.plan.mode == "closed":
            self._finish_if_measured()

    def sampled(self, sample: Sample) -> None:
        """Give up in the warm-up when nothing is answered.

        That is clear once those sent first have all failed, and there were a few of them or one
        took all the time that it had.
        """
        session = self.session
        if session.window_start is not None or session.ok or session.stopping:
            return
        self._first_left -= sample.seq < (self.plan.streams or WARMUP_WIDTH)
        enough = session.failed >= _HOPELESS or session.longest_ns >= self.plan.timeout_s * 1e9
        if enough and self._first_left <= 0:
            said = ": ".join(part for part in (sample.error, sample.detail) if part)
            session.problem = (
                f"no warm-up request was answered ({session.failed} failed); the last: {said}"
            )
            self.stop("failed")

    def _is_cold(self) -> bool:
        plan = self.plan
        if not plan.warmup:
            return False
        enough = self.session.done["warmup"] >= plan.warmup
        return not enough or len(self._warm_streams) < (plan.streams or 1)

    def _opened(self) -> bool:
        """Closed loop: open the window, unless there are others to wait for."""
        if self.meeting is not None and not self.meeting.may_begin():
            return False
        self.session.open_window(None if self.meeting is None else self.meeting.start_ns)
        return True

    def sending_is_over(self) -> bool:
        """Closed loop: whether no further measured request is to be sent."""
        wanted = self.plan.requests
        enough = wanted is not None and self.session.sent["measured"] >= wanted
        return enough or self.window_is_over()

    def _finish_if_measured(self) -> None:
        session = self.session
        if self.sending_is_over() and session.done["measured"] == session.sent["measured"]:
            if self.meeting is not None and not self.meeting.may_end():
                return  # the others are still measured, and this load is part of theirs
            session.close_window()
            self.finish()

    def release(self) -> None:
        """All workers have measured: end as soon as this one has."""
        assert self.meeting is not None  # noqa: S101 - the others' master calls this
        self.meeting.released = True
        if self.plan.mode == "closed":
            self._finish_if_measured()

    def finish(self) -> None:
        """Declare the cell over."""
        self.over = True
        self._on_over()

    def window_is_over(self) -> bool:
        """Whether the measured window's length is past."""
        start, length_ns = self.session.window_start, self.plan.duration_ns
        return start is not None and length_ns is not None and now_ns() >= start.at_ns + length_ns

    def begin_drain(self) -> None:
        """Start the clock of the drain, once."""
        if self.draining_until_ns is None:
            self.draining_until_ns = now_ns() + int(self.plan.drain_s * 1e9)

    def stop(self, reason: Literal["interrupted", "stopped", "failed"]) -> None:
        """Send nothing more; answers under way get a moment."""
        if self.session.stopping is None:
            self.session.stopping = reason
            self.session.close_window()
            self.draining_until_ns = now_ns() + _INTERRUPTED_DRAIN_NS

    def tick(self) -> None:
        """Ten times a second: time-outs, the window's end, the drain's end, answers to decode."""
        session = self.session
        session.engine.expire()
        session.decode_some()
        if session.window_start is None and self.meeting is not None and self.meeting.warm:
            self._open_on_time()
        if self.window_is_over():
            session.close_window()
            self.begin_drain()
            if self.plan.mode == "closed":  # perhaps all its users think
                self._finish_if_measured()
        if self._drained():
            self.stop("stopped")
            session.engine.abort("unfinished at the end of the drain")
            self.finish()
        if session.stopping and session.engine.in_flight == 0:
            self.finish()

    def _open_on_time(self) -> None:
        if self.plan.mode == "closed" and not self.session.stopping:
            self._opened()

    def _drained(self) -> bool:
        """Whether the drain's time is up; it is not for one that only waits for the others."""
        waits = self.meeting is not None and self.meeting.measured and not self.session.stopping
        until_ns = self.draining_until_ns
        return until_ns is not None and now_ns() > until_ns and not waits


def peak_overlap(due_ns: list[int], service_ns: int) -> int:
    """Return how many requests are under way at most if each takes `service_ns`."""
    peak = first = 0
    for position, at_ns in enumerate(due_ns):
        while due_ns[first] < at_ns - service_ns:
            first += 1
        peak = max(peak, position - first + 1)
    return peak
