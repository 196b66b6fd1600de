"""The master's process of a cell: `python -m loadprofiles.workers.master FLEET`.

Takes the place of `python -m loadprofiles.drive`: reads the folder's name from its first line of
standard input (or its second argument), takes anything more there as the order to stop, prints
one `records.Progress` a second, and leaves `samples.jsonl` and `drive.json` in the folder. The
order ends the whole run for the workers unless it says `RUN_GOES_ON`. The master sends no request
itself: Locust's own workers do (`loadprofiles.workers.worker`), each its share.

A worker that dies, falls silent, leaves or joins twice ends the cell: what the others have is
kept, and `drive.json` says which and when. (Locust by itself would go on with the others and
report them as if they were all.)

A module of the driver: it imports Locust and gevent.
"""

from __future__ import annotations

import locust  # isort: skip - patches the standard library, so before everything else
import contextlib
import logging
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter_ns as now_ns
from typing import TYPE_CHECKING, Any

import gevent
import gevent.event
import msgspec
from locust.env import Environment
from locust.runners import STATE_RUNNING, STATE_STOPPED

from loadprofiles.drive import versions, write_report
from loadprofiles.prompts.bodies import Bodies
from loadprofiles.records import BODIES_FILE, SAMPLES_FILE, DrivePlan, Fleet, read_plan
from loadprofiles.workers import messages, page
from loadprofiles.workers.crew import Crew
from loadprofiles.workers.fleet import joint_progress, joint_report
from loadprofiles.workers.joining import JOIN_VARIABLE, Door
from loadprofiles.workers.messages import (
    CHANNEL,
    REFUSED,
    RUN_GOES_ON,
    START_LEAD_NS,
    Orders,
)
from loadprofiles.workers.ports import why_not_free
from loadprofiles.workers.share import share_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from locust.runners import MasterRunner

    from loadprofiles.workers.messages import FromMaster
    from loadprofiles.workers.share import Share

_TICK_S = 0.1
_HAND_OVER_S = 8.0
"""How long the others may take to hand over what they have, once the cell is to end early: 2 s
for answers under way and a few for the samples."""
_BYE_S = 0.3


class Refusal(Exception):  # noqa: N818 - told to the user, not an error of ours
    """The cell cannot be driven; the text says why."""


class Master:
    """One cell between its workers and whoever wants it driven."""

    def __init__(self, fleet: Fleet, runner: MasterRunner, stack: ExitStack) -> None:
        self._fleet = fleet
        self._runner = runner
        self._door = Door(os.environ.get(JOIN_VARIABLE) or None)
        self.crew = Crew(fleet, self._send, self._door)
        self._local: dict[int, subprocess.Popen[bytes]] = {}
        self._changed = gevent.event.Event()
        self._mistake: BaseException | None = None
        self.stopping = False
        self.run_is_over = fleet.last
        """Whether workers from elsewhere need not wait for another cell."""
        self._planned_ns: int | None = None
        self._ticks = 0
        self.folder: Path | None = None
        runner.register_message(CHANNEL, self._hear)
        for index in range(fleet.local):
            self._local[index] = self._start_worker(index, stack)

    def _start_worker(self, index: int, stack: ExitStack) -> subprocess.Popen[bytes]:
        """Start a worker on this machine; it ends with this process, whatever happens."""
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="harness-worker-"))
        anywhere = {"0.0.0.0": "127.0.0.1", "*": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104
        orders = Orders(
            host=anywhere.get(self._fleet.host, self._fleet.host),
            port=self._runner.server.port,
            token=f"local-{index}",
            folder=folder,
            slot=index,
        )
        process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "loadprofiles.workers.worker",
                msgspec.json.encode(orders),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=os.environ | {JOIN_VARIABLE: self._door.local},
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        return process

    def _send(self, client_id: str, message: FromMaster) -> None:
        self._runner.send_message(CHANNEL, messages.envelope(message), client_id)

    def _hear(self, msg: Any, **_: object) -> None:  # noqa: ANN401 - Locust's message
        try:
            message = messages.from_worker(msg.data)
        except (msgspec.DecodeError, TypeError) as error:
            if self.crew.knows(msg.node_id):  # a stranger's garbage ends no run
                self._mistake = error
            return
        try:
            self.crew.take(msg.node_id, message)
        except BaseException as error:  # noqa: BLE001 - Locust would log it and go on
            self._mistake = error
        self._changed.set()

    # --- watching ------------------------------------------------------------------------------

    def stop(self) -> None:
        """End early, and keep what there is."""
        self.stopping = True
        self._changed.set()

    def tick(self) -> None:
        """Ten times a second: who has died, who is silent; once a second: how far it is."""
        self.crew.watch(self._local)
        self._ticks += 1
        if self._ticks % 10 == 0:
            self._print_progress()
        if self._ticks % 5 == 0 and self.crew.samples is not None and not self.crew.samples.closed:
            self.crew.samples.flush()
        self._changed.set()

    def _print_progress(self) -> None:
        started = self._planned_ns is not None
        progress = joint_progress(self.crew.everyone, started=started)
        try:
            os.write(1, msgspec.json.encode(progress) + b"\n")
        except BlockingIOError:
            pass  # nobody has read for long: better to lose a line than to stand still
        except OSError:
            self.stop()

    def _until(self, done: Callable[[], bool], end_ns: int | None = None) -> bool:
        """Wait until something is so; False when it is too late for it, or all is to end."""
        while not done():
            if self._mistake is not None:
                raise self._mistake
            early = self.crew.problem is not None or self.stopping
            if (early and end_ns is None) or (end_ns is not None and now_ns() > end_ns):
                return False
            self._changed.clear()
            self._changed.wait(_TICK_S)
        return True

    # --- a cell --------------------------------------------------------------------------------

    def run(self) -> int:
        """Drive one cell; return the process's exit status.

        Raises:
            Refusal: it cannot even begin.
        """
        if not self._until(lambda: self.folder is not None):
            self._end(more=False)
            if self.crew.problem is not None:
                raise Refusal(self.crew.problem)
            return 0
        assert self.folder is not None  # noqa: S101 - it has been waited for
        plan = read_plan(self.folder)
        self._planned_ns = now_ns()
        self._wait_for_workers()
        self.crew.bodies = Bodies(self.folder / BODIES_FILE)
        with (self.folder / SAMPLES_FILE).open("wb") as self.crew.samples:
            if not self.stopping:
                self._drive(plan)
        for member in self.crew.everyone:
            if member.here:
                self.crew.lose(member, "did not hand over its samples")
        report = joint_report(
            plan,
            self.crew.everyone,
            start_ns=self.crew.start_ns,
            problem=self.crew.problem,
            versions=versions(),
        )
        if self.stopping and report.ended == "done":
            report = msgspec.structs.replace(report, ended="interrupted")
        write_report(self.folder, report)
        self._end(more=not self.run_is_over and self.crew.problem is None)
        with contextlib.suppress(OSError):
            progress = joint_progress(self.crew.everyone, started=True)
            done = msgspec.structs.replace(progress, phase="done", in_flight=0, chunks_per_s=None)
            os.write(1, msgspec.json.encode(done) + b"\n")
        return 0

    def _wait_for_workers(self) -> None:
        """Wait until all have joined.

        Raises:
            Refusal: they have not in time, or too many have.
        """
        assert self._planned_ns is not None  # noqa: S101 - the caller has set it
        end_ns = self._planned_ns + int(self._fleet.join_timeout_s * 1e9)
        whole = self._until(
            lambda: (
                len(self.crew.members) == self.crew.wanted
                or self.stopping
                or self.crew.problem is not None
            ),
            end_ns,
        )
        if whole and self.crew.problem is None:
            return
        self._end(more=False)
        if self.crew.problem is not None:
            raise Refusal(self.crew.problem)
        came = len(self.crew.members)
        raise Refusal(
            f"only {came} of {self.crew.wanted} workers joined at {self._fleet.host}:"
            f"{self._runner.server.port} within {self._fleet.join_timeout_s:g} s"
            + "".join(f"; refused: {why}" for why in self.crew.refused)
            + "; start `harness worker --join HOST:PORT` for each, or allow a longer --join-timeout"
        )

    def _drive(self, plan: DrivePlan) -> None:
        """From the shares to the manifests."""
        authorities = Path(plan.ca_file).read_bytes() if plan.ca_file is not None else None
        everyone = self.crew.everyone
        self._runner.update_state(STATE_RUNNING)
        for member in everyone:
            member.share = self._bound(share_of(plan, member.index, self.crew.wanted), plan.cpus)
            task = messages.Task(share=member.share, authorities=authorities)
            self.crew.say(member, task)
            gevent.sleep(0)  # the others' words are heard between two long ones
        with_share = [member for member in everyone if member.share is not None]
        if self._until(lambda: all(member.ready or not member.here for member in everyone)) and all(
            member.ready for member in with_share
        ):
            self.crew.start_ns = now_ns() + START_LEAD_NS
            for member in everyone:
                self.crew.say(member, messages.Start(at_ns=self.crew.start_ns))
            if self._until(lambda: all(member.has_measured for member in with_share)):
                for member in with_share:
                    self.crew.say(member, messages.Release())
            if self._until(lambda: not any(member.here for member in everyone)):
                return
        for member in everyone:
            if member.manifest is None:  # a lost one may live
                self.crew.say(member, messages.Stop())
        end_ns = now_ns() + int(_HAND_OVER_S * 1e9)
        self._until(lambda: not any(member.here for member in everyone), end_ns)

    def _bound(self, share: Share | None, cpus: list[int] | None) -> Share | None:
        """Give a worker of this machine a CPU of its own, where there are enough of them."""
        if share is None or share.index not in self._local:
            return share
        cpus = cpus or sorted(os.sched_getaffinity(0))
        if len(cpus) >= len(self._local):
            cpus = [cpus[share.index]]
        plan = msgspec.structs.replace(share.plan, cpus=cpus)
        return msgspec.structs.replace(share, plan=plan)

    def _end(self, *, more: bool) -> None:
        """Send the workers home."""
        self.crew.over = True
        self._runner.update_state(STATE_STOPPED)
        for member in self.crew.everyone:
            self.crew.say(member, messages.Bye(more=more))
        gevent.sleep(_BYE_S)


def _listen(master: Master) -> Any:  # noqa: ANN401 - gevent's watcher
    """Take the folder's name from standard input, and anything more as the order to stop."""
    os.set_blocking(1, False)
    line = b""

    def heard() -> None:
        nonlocal line
        rest = data = os.read(0, 4096)
        if master.folder is None and data:
            line += data
            name, end, rest = line.partition(b"\n")
            if end:
                master.folder = Path(name.decode())
            if not rest:
                return
        watcher.stop()
        master.run_is_over = rest.strip() != RUN_GOES_ON
        master.stop()

    watcher = gevent.get_hub().loop.io(0, 1)
    watcher.start(heard)
    return watcher


def run(fleet: Fleet, folder: Path | None) -> int:
    """Be the master of one cell; return the process's exit status."""
    logging.getLogger("locust").setLevel(logging.CRITICAL)
    gevent.get_hub().SYSTEM_ERROR = (Exception, SystemExit, KeyboardInterrupt)
    environment = Environment(events=locust.events, catch_exceptions=False)
    with ExitStack() as stack:
        try:
            _check_free(fleet.host, fleet.port)
            if fleet.web_port is not None:
                _check_free(page.HOST, fleet.web_port)
        except Refusal as refusal:
            sys.stderr.write(f"{refusal}\n")
            return REFUSED
        with contextlib.redirect_stdout(None):  # Locust prints there that [::1] is no name
            runner = environment.create_master_runner(fleet.host, fleet.port)
        master = Master(fleet, runner, stack)
        if fleet.web_port is not None:
            page.open_page(environment, fleet.web_port, master.stop)
        master.folder = folder
        watcher = _listen(master) if folder is None else None
        for number in (signal.SIGINT, signal.SIGTERM):
            gevent.signal_handler(number, master.stop)
        timer = gevent.get_hub().loop.timer(_TICK_S, _TICK_S)
        timer.start(master.tick)
        try:
            return master.run()
        except Refusal as refusal:
            sys.stderr.write(f"{refusal}\n")
            return REFUSED
        finally:
            timer.stop()
            if watcher is not None:
                watcher.stop()
            runner.server.close(linger=1000)  # type: ignore[no-untyped-call]


def _check_free(host: str, port: int) -> None:
    """Find out whether a port can be had, before Locust ends the process if it cannot.

    Raises:
        Refusal: it cannot.
    """
    why = why_not_free(host, port)
    if why is not None:
        raise Refusal(why)


def main() -> None:
    """Take the fleet, and perhaps the folder, from the arguments."""
    fleet = msgspec.json.decode(sys.argv[1], type=Fleet)
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else None  # noqa: PLR2004 - the second
    code = run(fleet, folder)
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
