"""The driver's process: `python -m loadprofiles.drive [FOLDER]`.

Drives one cell with Locust and ends. Without FOLDER it reads the folder's name from its first
line of standard input (so that it can be started, and Locust imported, while a server still
loads); from then on anything more there, the end of it included, means: stop, and keep what there
is. Prints one `records.Progress` a second.

Locust and gevent are for the driver's modules alone (this one, `cell` and their like): importing
Locust patches the standard library of the whole process, and must come first in it.
"""

from __future__ import annotations

import locust  # isort: skip - patches the standard library, so before everything else
import contextlib
import logging
import os
import platform
import signal
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import gevent
import msgspec
from locust.env import Environment

from loadprofiles.driving.cell import (
    Cell,
    feed_statistics,
    keep_house,
    make_session,
    prepare_process,
    user_class,
)
from loadprofiles.records import DRIVE_FILE, PLAN_FILE, DrivePlan

if TYPE_CHECKING:
    from gevent._types import _Watcher as Watcher
    from locust.runners import Runner

    from loadprofiles.records import DriveReport


def _print_progress(cell: Cell) -> None:
    line = msgspec.json.encode(cell.progress()) + b"\n"
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
    prepare_process(plan.cpus)
    logging.getLogger("locust").setLevel(logging.ERROR)
    session = make_session(folder, plan)
    cell = Cell(session)
    environment = Environment(
        user_classes=[user_class(cell)], events=locust.events, catch_exceptions=False
    )
    feed_statistics(environment, cell)
    runner: Runner = environment.create_local_runner()
    watcher = _watch_stdin(cell) if listen else None
    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, cell.phases.stop, "interrupted")
    housekeeping = keep_house(cell, lambda: _print_progress(cell))
    users = plan.streams if plan.mode == "closed" and plan.streams else 1
    runner.start(users, spawn_rate=users)
    drive_to_the_end(cell, housekeeping)
    if watcher is not None:
        watcher.stop()
    runner.quit()  # the users first: nobody waits for the streams that are ended next
    session.engine.abort("the cell is over")
    session.close()
    write_report(folder, session.report(versions()))
    with contextlib.suppress(OSError):
        os.write(1, msgspec.json.encode(session.progress("done")) + b"\n")


def drive_to_the_end(cell: Cell, housekeeping: Watcher) -> None:
    """Wait until the cell is over; nothing more is sent then."""
    try:
        cell.finished.wait()
    except BaseException:
        with contextlib.suppress(Exception):
            cell.session.close()  # whatever has been answered, as far as the disk takes it
        raise
    cell.session.close_window()
    cell.end_departures()
    housekeeping.stop()


def versions() -> dict[str, str]:
    """Return what the driver is made of."""
    made_of = {name: version(name) for name in ("locust", "gevent", "httptools")}
    return {"python": platform.python_version(), "kernel": platform.release(), **made_of}


def write_report(folder: Path, report: DriveReport) -> None:
    """Write `drive.json`, and on stderr what went wrong."""
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
