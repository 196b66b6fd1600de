"""One cell in the hub of its process: what Locust's users, the engine and the clock do to it.

A module of the driver: it imports Locust and gevent, and whoever imports it must have imported
Locust before anything else.
"""

from __future__ import annotations

import locust  # isort: skip - patches the standard library, so before everything else
import gc
import math
import os
import resource
import sys
from time import perf_counter_ns as now_ns
from typing import TYPE_CHECKING, NoReturn

import gevent
import gevent.event
import gevent.hub
from gevent.monkey import get_original

from loadprofiles.dialects import load_dialect
from loadprofiles.driving.departures import Departures
from loadprofiles.driving.later import Later
from loadprofiles.driving.phases import WARMUP_WIDTH, Meeting, Phases, peak_overlap
from loadprofiles.driving.session import Session
from loadprofiles.wire.connections import addresses_of
from loadprofiles.wire.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gevent._types import _Watcher as Watcher
    from locust.env import Environment

    from loadprofiles.records import DrivePlan, Phase, Progress, Sample

_TICK_S = 0.1
_LEAD_NS = 50_000_000
"""Between the end of preparation and the first possible departure."""
_BACKOFF_S, _BACKOFF_MAX_S = 0.1, 1.0
"""A closed-loop stream pauses so long after its second failure in a row, then twice as long, and
so on, so as not to hammer."""
_MAX_CONNECTIONS = 1024
"""Opened ahead; more are opened as they are needed."""
_OPENING_S = 3.0
"""The most that opening them may delay the window."""
_SERVICE_NS = 1_000_000_000
"""A request is taken to last so long at least: under load it lasts longer than in the warm-up."""
_OPENING_NS, _CLEAR_NS = 500_000, 300_000
"""In the window connections are opened for so long at a time, and not so shortly before a
departure."""
_STAY_NS, _QUIET_S = 2_000_000, 0.001
"""So long without a turn of gevent's loop while data keep coming; less if none come so long."""


class Cell:
    """One cell between the event loop, Locust's users and the session."""

    def __init__(self, session: Session, meeting: Meeting | None = None) -> None:
        self.session = session
        self.plan = session.plan
        self.finished = gevent.event.Event()
        self._changed = gevent.event.Event()
        self.departures: Departures | None = None
        self.later = Later()
        self._connections = 0
        self.phases = Phases(session, self.finished.set, meeting)
        hub = gevent.get_hub()
        self._idle = hub.loop.idle()
        self._io = hub.loop.io(session.engine.fd, 1)
        self._io.start(self._attend)
        # Rung by the engine, and so from the hub, where no greenlet can be late.
        session.engine.watch(self.later.fd, self.later.ring)
        session.on_finished = self._on_finished

    def _on_finished(self, phase: Phase) -> None:
        self._changed.set()
        if not self._idle.active:
            self._idle.start(self._decode)
        self.phases.ended(phase)

    def _decode(self) -> None:
        if not self.session.decode():
            self._idle.stop()

    def _attend(self) -> None:
        """Stay with the engine for a moment: a turn of gevent's loop costs more than some reads.

        Answers are decoded when there is nothing to read.
        """
        session, pump, end_ns = self.session, self.session.engine.pump, now_ns() + _STAY_NS
        while now_ns() < end_ns:
            if not session.undecoded:
                if not pump(_QUIET_S):
                    return
            elif not pump():
                session.decode()

    def wait(self) -> None:
        """Wait until a request has ended, or a little."""
        self._changed.clear()
        self._changed.wait(_TICK_S)

    def park(self) -> NoReturn:
        """Hold the calling user until Locust kills it: it complains about users that have gone."""
        while True:
            gevent.event.Event().wait()

    def progress(self) -> Progress:
        """Say how far the cell is."""
        session = self.session
        if session.window_start is None:
            return session.progress("warmup")
        return session.progress("measured" if self.phases.draining_until_ns is None else "drain")

    # --- the two kinds of load -----------------------------------------------------------------

    def run_closed_stream(self, index: int) -> None:
        """Keep one stream busy until the cell is over."""
        session, pause_s = self.session, 0.0
        if not self.plan.warmup:
            self._meet()
        share = (index + 0.5) / (self.plan.streams or 1)  # so as not to begin all in step
        free_ns = self._think(now_ns(), int(session.next_think_ns() * share))
        turn: int | None = None
        while (phase := self.phases.next_phase()) is not None:
            waiter = gevent.hub.Waiter()
            opened = session.window_start  # perhaps since the stream became free
            due_ns = free_ns if opened is None else max(free_ns, opened.at_ns)
            stream = session.send(phase, due_ns, waiter, turn)
            failed = waiter.get()
            self.phases.stream_ended(index, phase)
            free_ns = stream.done_ns or now_ns()
            if failed and pause_s:
                free_ns = self._pause(pause_s)
            turn = None if failed else session.following(stream)
            free_ns = self._think(free_ns, session.next_think_ns(turn))
            if turn is not None and not session.may_send(turn):
                turn = None  # its session is over
            pause_s = min(max(_BACKOFF_S, 2 * pause_s), _BACKOFF_MAX_S) if failed else 0.0

    def _think(self, from_ns: int, think_ns: int) -> int:
        """Keep a stream still while its user thinks; return when it is free."""
        if not think_ns:
            return from_ns
        waiter = gevent.hub.Waiter()
        self.later.at(from_ns + think_ns, lambda: waiter.switch(None))
        try:
            waiter.get()
        finally:
            self.session.thought(from_ns, from_ns + think_ns)
        return from_ns + think_ns

    def _pause(self, pause_s: float) -> int:
        """Keep a stream still; return when it is free again."""
        begin_ns = now_ns()
        try:
            gevent.sleep(pause_s)
        finally:
            self.session.pause(begin_ns)
        return now_ns()

    def run_open_loop(self) -> None:
        """Warm up, then send each request when it is due, whatever the answers do."""
        session, due = self.session, self.plan.due_ns or []
        self._warm_up()
        expected = peak_overlap(due, max(session.longest_ns, _SERVICE_NS)) * 4 // 3 + 4
        if session.turns.sessions:
            expected *= math.ceil(len(self.plan.after or ()) / session.turns.sessions)
        self._connections = min(expected, _MAX_CONNECTIONS)
        self._open_connections(now_ns() + int(_OPENING_S * 1e9))
        if session.stopping:
            return
        start_ns = self._meet() or now_ns() + _LEAD_NS
        if session.stopping:
            return
        session.open_window(start_ns)
        self.departures = departures = Departures(session, start_ns, due)
        session.on_turn = self._send_later
        session.engine.watch(departures.fd, departures.send)
        while not session.stopping:
            if not departures.left and self.plan.duration_ns is None:
                self.phases.begin_drain()
            answered = session.done["measured"] == session.sent["measured"]
            over = answered and not departures.left and not len(self.later)
            if over and (self.plan.duration_ns is None or self.phases.window_is_over()):
                self.phases.finish()
                break
            self.wait()

    def _send_later(self, turn: int, answered_ns: int) -> None:
        """Open loop: send a session's next turn when it is due, if that lies in the window."""
        session, length_ns = self.session, self.plan.duration_ns
        due_ns = answered_ns + session.next_think_ns(turn)
        opened = session.window_start
        if opened is None or (length_ns is not None and due_ns >= opened.at_ns + length_ns):
            return

        def send() -> None:
            if not session.stopping and session.may_send(turn):
                session.send("measured", due_ns, turn=turn)

        self.later.at(due_ns, send)

    def _meet(self) -> int | None:
        """Wait until all workers are warm, where there are others; return when they begin."""
        meeting, session = self.phases.meeting, self.session
        if meeting is None:
            return None
        while not meeting.may_begin() and meeting.start_ns is None and not session.stopping:
            self.wait()
        start_ns = meeting.start_ns
        if start_ns is not None and self.plan.mode == "open":
            self._open_connections(start_ns - _LEAD_NS)  # the server closed some meanwhile
        elif start_ns is not None:
            waiter = gevent.hub.Waiter()
            self.later.at(start_ns, lambda: waiter.switch(None))
            waiter.get()
        return start_ns

    def end_departures(self) -> None:
        """Send nothing more that has its moment."""
        unwatch = self.session.engine.unwatch
        unwatch(self.later.fd)
        self.later.close()
        if self.departures is not None:
            unwatch(self.departures.fd)
            self.departures.end()

    def _warm_up(self) -> None:
        """Send the warm-up requests, a few at a time."""
        session, wanted = self.session, self.plan.warmup
        while session.done["warmup"] < wanted and not session.stopping:
            under_way = session.sent["warmup"] - session.done["warmup"]
            if session.sent["warmup"] < wanted and under_way < WARMUP_WIDTH:
                session.send("warmup", None)
            else:
                self.wait()
        while session.decode():  # what they say may be that there is nothing to measure
            pass

    def _open_connections(self, end_ns: int) -> None:
        """Open connections before the window, so that no measured request has to."""
        engine = self.session.engine
        engine.open_ahead(self._connections, end_ns)
        while engine.opening and now_ns() < end_ns and not self.session.stopping:
            gevent.sleep(0.001)
            engine.open_ahead(self._connections, end_ns)

    def renew_connections(self) -> None:
        """In an open loop's window, replace those that the server has closed meanwhile."""
        if self.departures is not None:
            until_ns = min(now_ns() + _OPENING_NS, self.departures.next_ns - _CLEAR_NS)
            self.session.engine.open_ahead(self._connections, until_ns)


def user_class(cell: Cell) -> type[locust.User]:
    """Return the Locust user that drives this cell: one dispatcher, or one a stream."""
    streams = iter(range(cell.plan.streams or 1))

    class Streamer(locust.User):
        """Holds one stream open (closed loop) or sends the schedule (open loop)."""

        @locust.task
        def drive(self) -> None:
            if cell.plan.mode == "open":
                cell.run_open_loop()
            else:
                cell.run_closed_stream(next(streams))
            cell.park()

    return Streamer


def feed_statistics(environment: Environment, cell: Cell) -> None:
    """Feed Locust's own statistics with every sample of a cell."""
    path = cell.plan.path

    def on_sample(sample: Sample) -> None:
        cell.phases.sampled(sample)
        show_in_statistics(environment, path, sample)

    cell.session.on_sample = on_sample


def show_in_statistics(environment: Environment, name: str, sample: Sample) -> None:
    """Make one entry for the request in Locust's statistics, and one of TTFT in its own row.

    The row is written to directly: an event for it would be counted as a request, too.
    """
    end = sample.last_ns or sample.done_ns or sample.due_ns
    environment.events.request.fire(  # type: ignore[no-untyped-call]
        request_type="POST",
        name=name,
        response_time=(end - sample.due_ns) / 1e6,
        response_length=sample.output_chars,
        exception=RuntimeError(sample.error) if sample.error else None,
        context={},
    )
    if sample.first_ns is not None and sample.sent_ns is not None:
        row = environment.stats.get("ttft", "LLM")
        row.log(round((sample.first_ns - sample.sent_ns) / 1e6), 0)


def prepare_process(cpus: list[int] | None) -> None:
    """Bind this process to its CPUs and lift its limit of open files."""
    if cpus:
        try:
            os.sched_setaffinity(0, cpus)
        except OSError as problem:
            sys.stderr.write(f"cannot bind to the CPUs {cpus}: {problem}\n")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # An error in a callback or a greenlet must end the process, not pass as a line on stderr.
    gevent.get_hub().SYSTEM_ERROR = (Exception, SystemExit, KeyboardInterrupt)


def make_session(folder: Path, plan: DrivePlan) -> Session:
    """Return the session of the cell in `folder`, with its engine; the collector is off then."""
    engine = Engine(addresses_of(plan), plan.timeout_s, get_original("select", "epoll"))
    session = Session(folder, plan, load_dialect(plan.dialect), engine)
    gc.collect()
    gc.freeze()
    gc.disable()
    return session


def keep_house(cell: Cell, every_second: Callable[[], None]) -> Watcher:
    """Tick ten times a second, and call `every_second`: in the hub, where streams may end."""
    session, ticks = cell.session, 0

    def beat() -> None:
        nonlocal ticks
        cell.phases.tick()
        cell.renew_connections()
        ticks += 1
        if ticks % 5 == 0:
            session.flush()
        if ticks % 10 == 0:
            every_second()

    timer = gevent.get_hub().loop.timer(_TICK_S, _TICK_S)
    timer.start(beat)
    return timer
