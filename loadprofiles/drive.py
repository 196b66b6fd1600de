"""The driver's process: `python -m loadprofiles.drive [FOLDER]`.

Drives one cell with Locust and ends. Without FOLDER it reads the folder's name from its first
line of standard input (so that it can be started, and Locust imported, while a server still
loads); from then on anything more there, the end of it included, means: stop, and keep what there
is. Prints one `records.Progress` a second.

The only module that imports Locust or gevent: importing Locust patches the standard library of
the whole process, and must come first in it.
"""

from __future__ import annotations

import locust  # isort: skip - patches the standard library, so before everything else
import _socket
import contextlib
import gc
import logging
import os
import platform
import resource
import signal
import sys
from importlib.metadata import version
from pathlib import Path
from time import perf_counter_ns as now_ns
from typing import TYPE_CHECKING, Literal, NoReturn

import gevent
import gevent.event
import gevent.hub
import msgspec
from gevent.monkey import get_original
from locust.env import Environment

from loadprofiles.departures import Departures
from loadprofiles.dialects import load_dialect
from loadprofiles.engine import Engine
from loadprofiles.later import Later
from loadprofiles.phases import WARMUP_WIDTH, Phases, peak_overlap
from loadprofiles.records import DRIVE_FILE, PLAN_FILE, DrivePlan, Phase, Sample
from loadprofiles.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from gevent._types import _Watcher as Watcher
    from locust.runners import Runner

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
_TRY_S = 2.0


class Cell:
    """One cell between the event loop, Locust's users and the session."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.plan = session.plan
        self.finished = gevent.event.Event()
        self._changed = gevent.event.Event()
        self.departures: Departures | None = None
        self.later = Later()
        self._connections = 0
        self.phases = Phases(session, self.finished.set)
        hub = gevent.get_hub()
        self._idle = hub.loop.idle()
        self._io = hub.loop.io(session.engine.fd, 1)
        self._io.start(session.engine.pump)
        self._bell = hub.loop.io(self.later.fd, 1)
        self._bell.start(self.later.ring)
        session.on_finished = self._on_finished

    def _on_finished(self, phase: Phase) -> None:
        self._changed.set()
        if not self._idle.active:
            self._idle.start(self._decode)
        self.phases.ended(phase)

    def _decode(self) -> None:
        if not self.session.decode():
            self._idle.stop()

    def wait(self) -> None:
        """Wait until a request has ended, or a little."""
        self._changed.clear()
        self._changed.wait(_TICK_S)

    def park(self) -> NoReturn:
        """Hold the calling user until Locust kills it: it complains about users that have gone."""
        while True:
            gevent.event.Event().wait()

    # --- the two kinds of load -----------------------------------------------------------------

    def run_closed_stream(self, index: int) -> None:
        """Keep one stream busy until the cell is over."""
        session, pause_s = self.session, 0.0
        share = (index + 0.5) / (self.plan.streams or 1)  # so as not to begin all in step
        free_ns = self._think(now_ns(), share)
        while (phase := self.phases.next_phase()) is not None:
            waiter = gevent.hub.Waiter()
            opened = session.window_start  # perhaps since the stream became free
            due_ns = free_ns if opened is None else max(free_ns, opened.at_ns)
            stream = session.send(phase, due_ns, waiter)
            failed = waiter.get()
            self.phases.stream_ended(index, phase)
            free_ns = stream.done_ns or now_ns()
            if failed and pause_s:
                free_ns = self._pause(pause_s)
            free_ns = self._think(free_ns)
            pause_s = min(max(_BACKOFF_S, 2 * pause_s), _BACKOFF_MAX_S) if failed else 0.0

    def _think(self, from_ns: int, share: float = 1.0) -> int:
        """Keep a stream still while its user thinks (a `share` of it); return when it is free."""
        think_ns = int(self.session.next_think_ns() * share)
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
        self._connections = min(expected, _MAX_CONNECTIONS)
        self._open_connections()
        if session.stopping:
            return
        start_ns = now_ns() + _LEAD_NS
        session.open_window(start_ns)
        self.departures = departures = Departures(session, start_ns, due)
        # From the hub, where no greenlet can be late.
        self._alarm = gevent.get_hub().loop.io(departures.fd, 1)
        self._alarm.start(departures.send)
        while not session.stopping:
            if not departures.left and self.plan.duration_ns is None:
                self.phases.begin_drain()
            answered = session.done["measured"] == len(due)
            if answered and (self.plan.duration_ns is None or self.phases.window_is_over()):
                self.phases.finish()
                break
            self.wait()

    def end_departures(self) -> None:
        """Send nothing more that has its moment."""
        self._bell.stop()
        self.later.close()
        if self.departures is not None:
            self._alarm.stop()
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

    def _open_connections(self) -> None:
        """Open connections before the window, so that no measured request has to."""
        engine, end_ns = self.session.engine, now_ns() + int(_OPENING_S * 1e9)
        engine.open_ahead(self._connections, end_ns)
        while engine.opening and now_ns() < end_ns and not self.session.stopping:
            gevent.sleep(0.001)
            engine.open_ahead(self._connections, end_ns)

    def renew_connections(self) -> None:
        """In an open loop's window, replace those that the server has closed meanwhile."""
        if self.departures is not None:
            until_ns = min(now_ns() + _OPENING_NS, self.departures.next_ns - _CLEAR_NS)
            self.session.engine.open_ahead(self._connections, until_ns)


def _user_class(cell: Cell) -> type[locust.User]:
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


def _locust_statistics(environment: Environment, path: str) -> Callable[[Sample], None]:
    """Return what feeds Locust's own statistics: one entry a request, and TTFT in its own row."""

    def show(sample: Sample) -> None:
        end = sample.last_ns or sample.done_ns or sample.due_ns
        environment.events.request.fire(  # type: ignore[no-untyped-call]
            request_type="POST",
            name=path,
            response_time=(end - sample.due_ns) / 1e6,
            response_length=sample.output_chars,
            exception=RuntimeError(sample.error) if sample.error else None,
            context={},
        )
        if sample.first_ns is not None and sample.sent_ns is not None:
            row = environment.stats.get("ttft", "LLM")
            row.log(round((sample.first_ns - sample.sent_ns) / 1e6), 0)

    return show


def _resolve(host: str, port: int) -> tuple[int, tuple[object, ...]]:
    """Return family and address of a host.

    Of several, as `localhost` has (::1, 127.0.0.1), one that takes a connection, else the first.
    """
    found = _socket.getaddrinfo(host, port, 0, _socket.SOCK_STREAM)
    for family, _, _, _, address in found if len(found) > 1 else []:
        sock = _socket.socket(family, _socket.SOCK_STREAM)
        sock.settimeout(_TRY_S)
        try:
            sock.connect(address)
        except OSError:
            continue
        finally:
            sock.close()
        return family, address
    return found[0][0], found[0][4]


def _keep_house(cell: Cell) -> Watcher:
    """Tick ten times a second, print progress once a second: in the hub, where streams may end."""
    session, ticks = cell.session, 0

    def beat() -> None:
        nonlocal ticks
        cell.phases.tick()
        cell.renew_connections()
        ticks += 1
        if ticks % 5 == 0:
            session.flush()
        if ticks % 10 == 0:
            _print_progress(cell)

    timer = gevent.get_hub().loop.timer(_TICK_S, _TICK_S)
    timer.start(beat)
    return timer


def _print_progress(cell: Cell) -> None:
    session = cell.session
    if session.window_start is None:
        phase: Literal["warmup", "measured", "drain"] = "warmup"
    else:
        phase = "measured" if cell.phases.draining_until_ns is None else "drain"
    line = msgspec.json.encode(session.progress(phase)) + b"\n"
    try:
        os.write(1, line)
    except BlockingIOError:
        pass  # nobody has read for long: better to lose a line than to stand still
    except OSError:
        cell.phases.stop("interrupted")


def _watch_stdin(cell: Cell) -> Watcher:
    os.set_blocking(1, False)

    def heard() -> None:
        os.read(0, 4096)
        watcher.stop()
        cell.phases.stop("interrupted")

    watcher = gevent.get_hub().loop.io(0, 1)
    watcher.start(heard)
    return watcher


def run(folder: Path, *, listen: bool) -> None:
    """Drive the cell whose plan lies in `folder`; write its samples and `drive.json` there.

    With `listen`, anything on standard input, its end included, stops the cell early.
    """
    plan = msgspec.json.decode((folder / PLAN_FILE).read_bytes(), type=DrivePlan)
    if plan.cpus:
        try:
            os.sched_setaffinity(0, plan.cpus)
        except OSError as problem:
            sys.stderr.write(f"cannot bind to the CPUs {plan.cpus}: {problem}\n")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    family, address = _resolve(plan.host, plan.port)
    engine = Engine(address, family, plan.timeout_s, get_original("select", "epoll"))
    session = Session(folder, plan, load_dialect(plan.dialect), engine)
    logging.getLogger("locust").setLevel(logging.ERROR)
    # An error in a callback or a greenlet must end the process, not pass as a line on stderr.
    gevent.get_hub().SYSTEM_ERROR = (Exception, SystemExit, KeyboardInterrupt)
    gc.collect()
    gc.freeze()
    gc.disable()
    cell = Cell(session)
    environment = Environment(
        user_classes=[_user_class(cell)], events=locust.events, catch_exceptions=False
    )
    show = _locust_statistics(environment, plan.path)

    def on_sample(sample: Sample) -> None:
        cell.phases.sampled(sample)
        show(sample)

    session.on_sample = on_sample
    runner: Runner = environment.create_local_runner()
    watcher = _watch_stdin(cell) if listen else None
    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, cell.phases.stop, "interrupted")
    housekeeping = _keep_house(cell)
    users = plan.streams if plan.mode == "closed" and plan.streams else 1
    runner.start(users, spawn_rate=users)
    try:
        cell.finished.wait()
    except BaseException:
        with contextlib.suppress(Exception):
            session.close()  # whatever has been answered, as far as the disk takes it
        raise
    session.close_window()
    cell.end_departures()
    if watcher is not None:
        watcher.stop()
    housekeeping.stop()
    runner.quit()  # the users first: nobody waits for the streams that are ended next
    engine.abort("the cell is over")
    session.close()
    _write_report(folder, session)
    with contextlib.suppress(OSError):
        os.write(1, msgspec.json.encode(session.progress("done")) + b"\n")


def _write_report(folder: Path, session: Session) -> None:
    versions = {name: version(name) for name in ("locust", "gevent", "httptools")}
    report = session.report(
        {"python": platform.python_version(), "kernel": platform.release(), **versions}
    )
    draft = folder / (DRIVE_FILE + ".part")
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    draft.replace(folder / DRIVE_FILE)
    if report.problem is not None:
        sys.stderr.write(f"{report.problem}\n")


def main() -> None:
    """Take the folder from the arguments or from standard input."""
    if len(sys.argv) > 1:
        run(Path(sys.argv[1]), listen=False)
        return
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(0, 1)
        if not piece:
            return
        line += piece
    run(Path(line.decode().rstrip("\n")), listen=True)


if __name__ == "__main__":
    main()
