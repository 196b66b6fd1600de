"""The load driver's process, seen from the harness: start, follow, stop, reap."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Self

import msgspec

from harness.errors import InvalidRunError
from loadprofiles.records import DRIVE_FILE, HEADERS_VARIABLE, SAMPLES_FILE, Progress
from loadprofiles.workers.fleet import how_it_died
from loadprofiles.workers.messages import REFUSED, RUN_GOES_ON

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType

    from loadprofiles.records import Fleet

COMMAND = (sys.executable, "-P", "-m", "loadprofiles.drive")
MASTER = (sys.executable, "-P", "-m", "loadprofiles.workers.master")
LOG_FILE = "drive.log"
LOG_LINES = 15
SILENCE_S = 60.0
"""The driver speaks once a second; after this long without a word it hangs."""
STOP_S = 15.0
"""Between asking it to stop and giving it up: it lets answers under way finish for 2 s."""
_POLL_S = 0.2
_PARTING_S = 5.0
"""How long the master of workers elsewhere may take to send them home."""


class Driver:
    """One `python -m loadprofiles.drive`, which drives one cell and ends.

    It is started ahead: importing Locust takes it about a second, in which a server can load.
    A context manager; leaving it ends the process, whatever happened.
    """

    def __init__(
        self,
        folder: Path,
        headers: Mapping[str, str] | None = None,
        fleet: Fleet | None = None,
    ) -> None:
        """Start the process. Header values go by its environment, which no file keeps.

        With a `fleet` it is `loadprofiles.workers.master`, and its workers drive the cell.
        """
        self._folder = folder
        self._fleet = fleet
        self._told = False
        values = msgspec.json.encode(dict(headers or {})).decode()
        with (folder / LOG_FILE).open("wb") as log:
            self._process = subprocess.Popen(
                COMMAND if fleet is None else (*MASTER, msgspec.json.encode(fleet)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=os.environ | {HEADERS_VARIABLE: values},
                start_new_session=True,  # a Ctrl-C in the terminal is for the harness to handle
            )
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        self._to_driver, self._from_driver = self._process.stdin, self._process.stdout
        self._rest = b""
        self._heard_s = 0.0
        self._stopping_since_s: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._fleet is not None and not self._told:  # its workers have begun to join
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                self._to_driver.close()
                self._process.wait(_PARTING_S)
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._to_driver, self._from_driver):
            with contextlib.suppress(OSError):
                pipe.close()

    def drive(
        self, on_progress: Callable[[Progress], None], still_wanted: Callable[[], bool]
    ) -> None:
        """Drive the cell whose plan lies in the folder, until it is measured.

        `still_wanted` is asked several times a second; once it says no the driver is told to
        stop and to write down what it has. The same goes for Ctrl-C, which is raised again
        afterwards; a second one is raised at once.

        Raises:
            InvalidRunError: the driver failed; holds the last lines of its log.
            KeyboardInterrupt: after the driver has written what it had.
        """
        self._heard_s = time.monotonic()
        self._told = True
        try:
            self._say(f"{self._folder.absolute()}\n".encode())
            self._follow(on_progress, still_wanted)
        except KeyboardInterrupt:
            self._stop(b"over\n")
            with contextlib.suppress(InvalidRunError):  # the one who has interrupted knows best
                self._follow(on_progress, still_wanted)
            raise

    def _follow(
        self, on_progress: Callable[[Progress], None], still_wanted: Callable[[], bool]
    ) -> None:
        """Read what the driver says until it ends."""
        while (lines := self._read()) is not None:
            for line in lines:
                on_progress(msgspec.json.decode(line, type=Progress))
            if self._stopping_since_s is None and not still_wanted():
                self._stop(RUN_GOES_ON + b"\n")
            now_s = time.monotonic()
            if self._stopping_since_s is not None and now_s - self._stopping_since_s > STOP_S:
                raise self._error("did not stop when asked to")
            if now_s - self._heard_s > SILENCE_S:
                raise self._error(f"has said nothing for {SILENCE_S:g} s")
        if self._fleet is not None and self._process.wait() == REFUSED:
            log = (self._folder / LOG_FILE).read_text(errors="replace").splitlines()
            raise InvalidRunError(log[-1] if log else "the load driver's workers are not there")
        status = self._process.wait()
        if status < 0:
            raise self._error(how_it_died(status))
        if status != 0 or not (self._folder / DRIVE_FILE).is_file():
            raise self._error(f"failed with exit status {status}")

    def _read(self) -> list[bytes] | None:
        """Wait a little for whole lines; None when there will be no more."""
        waiting = select.poll()
        waiting.register(self._from_driver, select.POLLIN)
        if not waiting.poll(_POLL_S * 1000):
            return []
        data = os.read(self._from_driver.fileno(), 65536)
        if not data:
            return None
        self._heard_s = time.monotonic()
        *lines, self._rest = (self._rest + data).split(b"\n")
        return lines

    def _stop(self, word: bytes) -> None:
        self._stopping_since_s = time.monotonic()
        self._say(word)

    def _say(self, words: bytes) -> None:
        with contextlib.suppress(OSError):  # it has died: its exit status tells
            self._to_driver.write(words)
            self._to_driver.flush()

    def _error(self, problem: str) -> InvalidRunError:
        log = self._folder / LOG_FILE
        text = log.read_text(errors="replace").splitlines() if log.is_file() else []
        tail = "".join(f"\n  {line}" for line in text[-LOG_LINES:])
        samples = self._folder / SAMPLES_FILE
        some = samples.is_file() and samples.stat().st_size
        return InvalidRunError(
            f"the load driver {problem}; the end of {log}:{tail or ' (empty)'}",
            hint="The samples that it had written are in the same folder, but this cell gets no "
            "numbers: run it again."
            if some
            else "It had written no sample.",
        )
