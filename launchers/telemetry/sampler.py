"""Looking at a server at intervals while something else goes on, into `telemetry.jsonl`."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final

import msgspec

from launchers.telemetry.nvml import Gpus, NvmlError, has_gpus
from launchers.telemetry.records import Reading
from launchers.telemetry.scraping import PageWatch
from launchers.telemetry.tree import TreeReader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from launchers.telemetry.records import EnginePage, Gpu
    from launchers.telemetry.scraping import PageSource

INTERVAL_S: Final = 0.5
_BEGIN_S: Final = 5.0


@dataclass
class Telemetry:
    """The peaks of what has been seen so far; None before anything was."""

    memory_peak_bytes: int | None = None
    """Resident, of the process tree."""
    vram_peak_bytes: int | None = None
    """Of the server's processes on all GPUs; of a whole GPU where NVML cannot tell them apart."""

    def add(self, reading: Reading) -> None:
        """Take a reading into account."""
        if reading.memory_bytes is not None:
            self.memory_peak_bytes = max(self.memory_peak_bytes or 0, reading.memory_bytes)
        if (vram := vram_bytes(reading.gpus)) is not None:
            self.vram_peak_bytes = max(self.vram_peak_bytes or 0, vram)


def vram_bytes(gpus: list[Gpu]) -> int | None:
    """What the server takes of all GPUs together; None where no GPU tells."""
    known = [held for gpu in gpus if (held := gpu.server_bytes) is not None]
    return sum(known) if known else None


@contextmanager
def sample_telemetry(
    file: Path,
    pid: int | None,
    page: PageSource | None,
    *,
    gpus: bool = True,
    interval_s: float = INTERVAL_S,
) -> Iterator[Telemetry]:
    """Write a reading at once, one every interval, and one when the context closes.

    What cannot be read costs a reading's `problem`, never an exception.

    Args:
        file: the `telemetry.jsonl`; written anew.
        pid: root of the server's process tree; None where that is not ours.
        page: where its engine has its metrics page; None for no page.
        gpus: whether GPUs of this machine may be the server's.
        interval_s: between two readings of memory, CPU and GPUs.
    """
    sampler = _Sampler(file, pid, page, gpus=gpus, interval_s=interval_s)
    sampler.begin()
    try:
        yield sampler.seen
    finally:
        sampler.end()


class _Sampler:
    """One thread, and another where there is a page."""

    def __init__(
        self,
        file: Path,
        pid: int | None,
        page: PageSource | None,
        *,
        gpus: bool,
        interval_s: float,
    ) -> None:
        self.seen = Telemetry()
        self._path, self._pid, self._interval_s = file, pid, interval_s
        self._tree = None if pid is None else TreeReader(pid)
        self._watch = None if page is None else PageWatch(page)
        self._wants_gpus = gpus and has_gpus()
        self._gpus: Gpus | None = None
        self._file: IO[bytes] | None = None
        self._cpu_s = 0.0
        self._closing, self._begun = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._sample, name="telemetry", daemon=True)

    def begin(self) -> None:
        self._thread.start()
        self._begun.wait(_BEGIN_S)

    def end(self) -> None:
        self._closing.set()
        self._thread.join(2 * _BEGIN_S)

    def _sample(self) -> None:
        problems: list[str] = []
        try:
            self._file = self._path.open("wb")
        except OSError as error:  # the peaks are kept all the same
            problems.append(f"{self._path.name} cannot be written: {error.strerror}")
        if self._wants_gpus:
            try:
                self._gpus = Gpus(self._pid)
            except NvmlError as error:
                problems.append(str(error))
        if self._watch is not None:
            self._watch.begin()
        try:
            self._read_on(problems)
        finally:
            self._begun.set()
            if self._gpus is not None:
                self._gpus.close()
            if self._file is not None:
                with suppress(OSError):
                    self._file.close()

    def _read_on(self, problems: list[str]) -> None:
        due_s = time.monotonic()
        closing = False
        while True:
            self._write(self._read(problems))
            problems = []
            self._begun.set()
            if closing:
                return
            due_s = max(due_s + self._interval_s, time.monotonic())
            closing = self._closing.wait(due_s - time.monotonic())
            if closing and self._watch is not None:
                self._watch.finish()

    def _read(self, problems: list[str]) -> Reading:
        at_ns = time.monotonic_ns()
        tree, gpus = None, []
        try:
            tree = None if self._tree is None else self._tree.read()
            if self._gpus is not None:
                gpus = self._gpus.read(frozenset() if tree is None else tree.pids)
                problems += [self._gpus.problem] if self._gpus.problem else []
        except Exception as error:  # noqa: BLE001 - whatever it is, load goes on
            problems.append(f"memory and GPUs: {type(error).__name__}: {error}")
        took_ms = (time.monotonic_ns() - at_ns) / 1e6
        page: EnginePage | None = None
        if self._watch is not None:
            page, problem = self._watch.take()
            problems += [problem] if problem else []
        if tree is not None:  # an ended process that nobody waited for is not subtracted again
            self._cpu_s = max(self._cpu_s, tree.cpu_s)
        return Reading(
            at_ns=at_ns,
            took_ms=took_ms,
            memory_bytes=None if tree is None else tree.memory_bytes,
            cpu_s=None if tree is None else self._cpu_s,
            gpus=gpus,
            engine=page,
            problem="; ".join(problems),
        )

    def _write(self, reading: Reading) -> None:
        self.seen.add(reading)
        if self._file is None:
            return
        try:
            self._file.write(msgspec.json.encode(reading) + b"\n")
            self._file.flush()
        except OSError:  # the disk is full: the samples, too, will say so
            with suppress(OSError):
                self._file.close()
            self._file = None
