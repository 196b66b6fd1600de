"""One of several workers' process: `python -m loadprofiles.workers.worker ORDERS`.

Joins a master (`master`), drives its share of one cell with Locust, and ends. Its
samples go to the master as they come, by the same connection. Anything on standard input, the end
of it included, means: leave.

A module of the driver: it imports Locust and gevent.
"""

from __future__ import annotations

from loadprofiles.workers import parent  # isort: skip - the kernel watches while Locust is imported
import locust  # isort: skip - patches the standard library, so before everything else
import contextlib
import logging
import os
import signal
import socket
import sys
import traceback
from pathlib import Path
from time import perf_counter_ns as now_ns
from typing import TYPE_CHECKING, Any, NoReturn

import gevent
import gevent.event
import gevent.queue
import msgspec
from locust.env import Environment

from loadprofiles.drive import drive_to_the_end, versions
from loadprofiles.driving.cell import (
    Cell,
    feed_statistics,
    keep_house,
    make_session,
    prepare_process,
    user_class,
)
from loadprofiles.driving.phases import Meeting
from loadprofiles.records import BODIES_FILE, SAMPLES_FILE, DrivePlan
from loadprofiles.wire.clock import Offset, offset_of
from loadprofiles.workers import messages
from loadprofiles.workers.equip import Refusal, equip
from loadprofiles.workers.joining import JOIN_VARIABLE, is_proof, prove
from loadprofiles.workers.messages import (
    CHANNEL,
    LEFT,
    MORE,
    OVER,
    REFUSED,
    SILENCE_S,
    UNACKNOWLEDGED,
    UNREACHED,
    Orders,
)
from loadprofiles.workers.share import Translation
from loadprofiles.workers.shipping import NewLines, new_digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from gevent._types import _Watcher as Watcher
    from locust.runners import WorkerRunner

    from loadprofiles.records import DriveReport
    from loadprofiles.workers.messages import FromMaster, FromWorker
    from loadprofiles.workers.share import Share

_PINGS = 32
_SHIP_S = 0.5
_FLUSH_MS = 1000
"""How long the last words may take on their way out."""


class Worker:
    """One worker, from joining to the end of a cell."""

    def __init__(self, orders: Orders, runner: WorkerRunner) -> None:
        self._orders = orders
        self._runner = runner
        self._environment: Environment = runner.environment
        self._inbox: gevent.queue.SimpleQueue[FromMaster] = gevent.queue.SimpleQueue()
        self._outbox: gevent.queue.SimpleQueue[FromWorker] = gevent.queue.SimpleQueue()
        self._pongs: gevent.queue.SimpleQueue[tuple[int, int, int]] = gevent.queue.SimpleQueue()
        self._heard_ns = now_ns()
        self._cell: Cell | None = None
        self._offset = Offset(0, 0)
        self._joined = self._stopped = False
        self._acknowledged = gevent.event.Event()
        self._on_their_way = 0
        runner.register_message(CHANNEL, self._hear)
        self._environment.events.heartbeat_received.add_listener(  # type: ignore[no-untyped-call]
            self._heartbeat
        )
        gevent.spawn(self._speak)
        gevent.spawn(self._live)

    # --- the wire ------------------------------------------------------------------------------

    def say(self, message: FromWorker) -> None:
        """Have something sent; may be called from the hub."""
        self._outbox.put(message)

    def _speak(self) -> None:
        while True:
            self._runner.send_message(CHANNEL, messages.envelope(self._outbox.get()))

    def _heartbeat(self, **_: object) -> None:
        self._heard_ns = now_ns()

    def _live(self) -> None:
        """Say once a second that we live; end when the master no longer does."""
        while True:
            gevent.sleep(1)
            if now_ns() - self._heard_ns > SILENCE_S * 1e9:
                _give_up(f"the master has said nothing for {SILENCE_S:g} s", UNREACHED)
            progress = None if self._cell is None else self._cell.progress()
            self.say(messages.Beat(progress=progress))

    def _hear(self, msg: Any, **_: object) -> None:  # noqa: ANN401 - Locust's message
        received_ns = self._heard_ns = now_ns()
        try:
            self._take(messages.from_master(msg.data), received_ns)
        except Exception:  # noqa: BLE001 - Locust would log it and go on
            _give_up(traceback.format_exc(), 1)

    def _take(self, message: FromMaster, received_ns: int) -> None:
        """Do at once what is urgent; the rest waits for its turn."""
        cell = self._cell
        match message:
            case messages.Pong():
                self._pongs.put((message.sent_ns, message.master_ns, received_ns))
            case messages.Got():
                self._on_their_way -= 1
                self._acknowledged.set()
            case messages.Start() if cell is not None and cell.phases.meeting is not None:
                start_ns = message.at_ns + self._offset.to_apply_ns
                cell.phases.meeting.start_ns = start_ns
                gevent.spawn_later(max(0, start_ns - now_ns()) / 1e9, cell.phases.tick)
            case messages.Release() if cell is not None:
                cell.phases.release()
            case messages.Stop():
                self._stopped = True
                if cell is not None:
                    cell.phases.stop("interrupted")
            case messages.Joined() | messages.Challenge() if self._joined:
                pass  # the answer to a greeting that was said again meanwhile
            case _:
                self._inbox.put(message)

    # --- a cell --------------------------------------------------------------------------------

    def serve(self) -> bool:
        """Join, drive one cell, and return whether others follow.

        Raises:
            Refusal: the master does not want us, or we cannot do what it wants.
        """
        self._join()
        task = self._next()
        if isinstance(task, messages.Bye):
            return task.more
        assert isinstance(task, messages.Task)  # noqa: S101 - the master keeps to the order
        self._offset = self._measure_offset()
        if task.share is None or self._stopped:
            self.say(messages.Ready())
            self._hand_over(None, None)
        else:
            plan = equip(task, self._orders)
            if self._fetch_bodies(len(task.share.lines)):
                self._drive(plan, task.share)
            else:
                self._hand_over(None, None)
        bye = self._next()
        assert isinstance(bye, messages.Bye)  # noqa: S101 - the master keeps to the order
        return bye.more

    def _next(self, timeout_s: float | None = None) -> FromMaster | None:
        """Wait for the next message; None when it has not come in time."""
        late = (messages.Joined, messages.Challenge) if self._joined else ()
        try:
            message: FromMaster = self._inbox.get(timeout=timeout_s)
            while isinstance(message, late):  # queued before the one that was taken
                message = self._inbox.get(timeout=timeout_s)
        except gevent.queue.Empty:
            return None
        if isinstance(message, messages.Refused):
            raise Refusal(message.why)
        return message

    def _join(self) -> None:
        number, code = messages.code_of_this_package()
        hello = messages.Hello(
            token=self._orders.token,
            slot=self._orders.slot,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=number,
            code=code,
        )
        secret, nonce = os.environ.get(JOIN_VARIABLE), ""
        while True:  # a master at its end, or one that has only just begun, may not have heard it
            self.say(hello)
            answer = self._next(1.0)
            if isinstance(answer, messages.Challenge) and secret:
                nonce = answer.nonce
                proof = prove(secret, "worker", hello.token, nonce)
                hello = msgspec.structs.replace(hello, proof=proof)
            elif isinstance(answer, messages.Challenge):
                raise Refusal(
                    f"the run wants its workers to know a secret: set {JOIN_VARIABLE} here to "
                    "what the master has, or has printed"
                )
            elif isinstance(answer, messages.Joined):
                if secret and not is_proof(answer.proof, secret, "master", hello.token, nonce):
                    raise Refusal(f"the master there does not know this worker's {JOIN_VARIABLE}")
                self._joined = True
                return

    def _measure_offset(self) -> Offset:
        pings = []
        for _ in range(_PINGS):
            self.say(messages.Ping(sent_ns=now_ns()))
            pings.append(self._pongs.get())
        return offset_of(pings)

    def _fetch_bodies(self, count: int) -> bool:
        """Fetch the bodies, piece by piece; False where that was stopped."""
        first = 0
        with (Path(self._orders.folder) / BODIES_FILE).open("wb") as file:
            while first < count and not self._stopped:
                self.say(messages.Want(first=first))
                pieces = self._next()
                if not isinstance(pieces, messages.Pieces) or pieces.first != first:
                    raise Refusal(f"was sent no bodies, but {pieces!r:.100}")
                file.write(pieces.data)
                first += pieces.data.count(b"\n")
        return first == count

    def _drive(self, plan: DrivePlan, share: Share) -> None:
        folder = Path(self._orders.folder)
        prepare_process(plan.cpus)
        session = make_session(folder, plan)
        offset_ns = self._offset.to_apply_ns
        session.translate = Translation(share, offset_ns)
        meeting = Meeting(
            lambda: self.say(messages.Ready()),
            lambda: self.say(messages.Measured(at_ns=now_ns() - offset_ns)),
        )
        self._cell = cell = Cell(session, meeting)
        feed_statistics(self._environment, cell)
        streamer = user_class(cell)
        self._environment.user_classes = [streamer]
        housekeeping = keep_house(cell, lambda: None)
        samples = NewLines(folder / SAMPLES_FILE)
        shipping = gevent.spawn(self._ship_as_they_come, samples)
        users = plan.streams if plan.mode == "closed" and plan.streams else 1
        self._runner.start_worker({streamer.__name__: users})
        if self._stopped:
            cell.phases.stop("interrupted")
        drive_to_the_end(cell, housekeeping)
        self._runner.stop()  # the users first: nobody waits for the streams that are ended next
        session.engine.abort("the cell is over")
        session.close()
        shipping.kill()
        self._ship(samples)
        samples.close()
        self._runner._send_stats()  # noqa: SLF001 - as Locust does at a worker's end
        self._hand_over(session.report(versions()), samples)

    def _hand_over(self, report: DriveReport | None, samples: NewLines | None) -> None:
        """Say what was sent, and how it went."""
        again = self._measure_offset()
        self.say(
            messages.Manifest(
                samples=0 if samples is None else samples.lines,
                digest=(samples.digest if samples is not None else new_digest()).hexdigest(),
                report=report,
                offset_ns=self._offset.ns,
                error_ns=self._offset.error_ns,
                drift_ns=again.ns - self._offset.ns,
            )
        )

    # --- samples -------------------------------------------------------------------------------

    def _ship_as_they_come(self, samples: NewLines) -> None:
        while True:
            gevent.sleep(_SHIP_S)
            self._ship(samples)

    def _ship(self, samples: NewLines) -> None:
        """Send what has been added to the file since, in a bounded number of pieces."""
        while (piece := samples.read()) is not None:
            while self._on_their_way >= UNACKNOWLEDGED:
                self._acknowledged.clear()
                self._acknowledged.wait(1)
            self._on_their_way += 1
            self.say(messages.Lines(count=piece.count(b"\n"), data=piece))


def _give_up(why: str, code: int) -> NoReturn:
    """End now: there is nobody to hand anything to."""
    sys.stderr.write(f"{why}\n")
    sys.stderr.flush()
    os._exit(code)


def _watch_stdin(leave: Callable[[], None]) -> Watcher:
    def heard() -> None:
        watcher.stop()
        gevent.spawn(leave)

    watcher = gevent.get_hub().loop.io(0, 1)
    watcher.start(heard)
    return watcher


def run(orders: Orders) -> int:
    """Join, drive one cell, and return the process's exit status (`messages`)."""
    gevent.get_hub().SYSTEM_ERROR = (Exception, SystemExit, KeyboardInterrupt)
    logging.getLogger("locust").setLevel(logging.CRITICAL)
    environment = Environment(events=locust.events, catch_exceptions=False)
    joined: list[Worker] = []
    if orders.slot is None:  # its master lives on another machine, and hears of it
        parent.end_with(signal.SIGTERM)

    def leave() -> None:
        for worker in joined:
            worker.say(messages.Trouble(text="was told to leave"))
            gevent.sleep(_FLUSH_MS / 1e3 / 4)
        os._exit(LEFT)

    watcher = _watch_stdin(leave)
    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, leave)
    try:
        with gevent.Timeout(orders.timeout_s):
            runner = environment.create_worker_runner(orders.host, orders.port)
    except (gevent.Timeout, ConnectionError):
        sys.stderr.write(
            f"no master answers at {orders.host}:{orders.port} within {orders.timeout_s:g} s\n"
        )
        os._exit(UNREACHED)  # ZeroMQ would wait for it
    worker = Worker(orders, runner)
    joined.append(worker)
    try:
        more = worker.serve()
    except Refusal as refusal:
        worker.say(messages.Trouble(text=str(refusal)))
        sys.stderr.write(f"{refusal}\n")
        return _flush(runner, REFUSED)
    except BaseException as error:  # noqa: BLE001 - the master has to hear of it
        worker.say(messages.Trouble(text=f"failed: {error!r:.200}"))
        traceback.print_exc()
        return _flush(runner, 1)
    watcher.stop()
    return _flush(runner, MORE if more else OVER)


def _flush(runner: WorkerRunner, code: int) -> int:
    """Let the last words go out."""
    gevent.sleep(_FLUSH_MS / 1e3 / 4)
    with contextlib.suppress(Exception):
        runner.client.close(linger=_FLUSH_MS)  # type: ignore[no-untyped-call]
    return code


def main() -> None:
    """Take the orders from the first argument."""
    code = run(msgspec.json.decode(sys.argv[1], type=Orders))
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
