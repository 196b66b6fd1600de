"""Reads what one cell left in the run folder, whatever of it is there."""

from __future__ import annotations

import gc
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final, cast

import msgspec
import numpy as np

from harness.measuring.samples import Samples
from launchers.telemetry.records import TELEMETRY_FILE, read_telemetry
from loadprofiles.decoding import NO_RECORD
from loadprofiles.records import (
    SAMPLES_FILE,
    DrivePlan,
    DriveReport,
    cut_bytes,
    read_drive_report,
    read_plan,
    read_samples,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness.rundir import RunFolder
    from launchers.telemetry.records import Reading
    from loadprofiles.records import Sample

_BLOCK: Final = 4 << 20


@dataclass(frozen=True, kw_only=True)
class CellRecords:
    """The files of one cell. A file that is missing or damaged is None (or empty)."""

    samples: Samples = field(default_factory=lambda: Samples.of([]))
    """By phase and number; warm-up included."""
    plan: DrivePlan | None = None
    drive: DriveReport | None = None
    telemetry: tuple[Reading, ...] = ()
    """Of the server, in the order of time."""
    problems: tuple[str, ...] = ()
    """What could not be read, or is not what the driver wrote, a sentence or two each."""

    @property
    def measured(self) -> Samples:
        """The samples of the measured phase, by their due time."""
        chosen = self.samples.measured
        return chosen.take(np.lexsort((chosen.column("seq"), chosen.column("due_ns"))))

    @property
    def answered(self) -> Samples:
        """The samples of every phase that got their answer: throughput counts them all."""
        return self.samples.answered

    def failures(self) -> list[tuple[str, int, str]]:
        """Kind, number and most frequent detail of the measured failures, most frequent first."""
        details: dict[str, Counter[str]] = {}
        measured = self.measured
        for sample in measured.where(~measured.is_in("error", {None})):
            details.setdefault(str(sample.error), Counter())[sample.detail or ""] += 1
        found = [(kind, seen.total(), seen.most_common(1)[0][0]) for kind, seen in details.items()]
        return sorted(found, key=lambda row: (-row[1], row[0]))


class _Times(msgspec.Struct, gc=False):
    """What charts are drawn from: a `Sample` of which the rest is not even decoded."""

    seq: int
    phase: str
    due_ns: int
    sent_ns: int | None = None
    first_ns: int | None = None
    last_ns: int | None = None
    done_ns: int | None = None
    error: str | None = None
    detail: str | None = None
    output_tokens: int | None = None
    chunk_ns: list[int] = []
    body: ClassVar = 0
    request_id: ClassVar = ""
    submitted_ns: ClassVar = None
    first_answer_ns: ClassVar = None
    end_ns: ClassVar = None
    connect_ns: ClassVar = None
    status: ClassVar = 0
    prompt_tokens: ClassVar = None
    planned_output_tokens: ClassVar = 0
    silent_chunks: ClassVar = 0
    output_chars: ClassVar = 0
    endpoint: ClassVar = 0
    worker: ClassVar = 0
    finish_reason: ClassVar = None
    token_source: ClassVar = None
    clock: ClassVar = None
    output_hash: ClassVar = ""
    lag_us: ClassVar = ()
    compression: ClassVar = None
    retried: ClassVar = False


_decode_times: Final = msgspec.json.Decoder(_Times).decode_lines


def _read_times(folder: Path) -> Iterator[Sample]:
    """Yield what `read_samples` would, as far as charts need it; several times as fast."""
    rest = b""
    with (folder / SAMPLES_FILE).open("rb") as file:
        while block := file.read(_BLOCK):
            whole, end, rest = (rest + block).rpartition(b"\n")
            if end:
                yield from _times(folder, whole + end)
    if rest and not cut_bytes(folder):
        yield from _times(folder, rest)


def _times(folder: Path, lines: bytes) -> list[Sample]:
    try:
        with _no_collection():  # that many lists at once set it off again and again
            return cast("list[Sample]", _decode_times(lines))
    except NO_RECORD:
        for _ in read_samples(folder):  # raises, too, and names the line
            pass
        raise


@contextmanager
def _no_collection() -> Iterator[None]:
    """Hold the garbage collector back; what is made meanwhile has no cycles."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def read_drawn(run: RunFolder, cell_id: str) -> CellRecords:
    """Read what charts need of a cell: times, errors and output tokens; other fields are empty."""
    return read_cell(run, cell_id, _read_times)


def read_cell(
    run: RunFolder, cell_id: str, read: Callable[[Path], Iterator[Sample]] = read_samples
) -> CellRecords:
    """Read the records of a cell; never raises for a file that is missing or damaged."""
    folder = run.path / "cells" / cell_id
    problems: list[str] = []
    plan: DrivePlan | None = None
    drive: DriveReport | None = None

    def readable() -> Iterator[Sample]:
        """Those before the first that is none."""
        try:
            yield from read(folder)
        except (OSError, msgspec.DecodeError) as error:
            problems.append(f"Cannot read samples.jsonl of {cell_id}: {_reason(error)}.")

    try:
        samples = Samples.of(readable())
    except msgspec.ValidationError as error:
        samples = Samples.of([])
        problems.append(f"Cannot read samples.jsonl of {cell_id}: {_reason(error)}.")
    try:
        drive = read_drive_report(folder)
    except (OSError, msgspec.DecodeError) as error:
        problems.append(f"Cannot read drive.json of {cell_id}: {_reason(error)}.")
    with suppress(OSError):  # said above
        if cut := cut_bytes(folder):
            problems.append(
                f"samples.jsonl of {cell_id} ends in the first {cut:,} bytes of a sample, "
                "which is in no number."
            )
    if drive is not None and not problems and len(samples) != drive.samples:
        problems.append(
            f"samples.jsonl of {cell_id}: {len(samples):,} samples, but the driver wrote "
            f"{drive.samples:,}. What was lost is in no number."
        )
    try:
        plan = read_plan(folder)
    except (OSError, msgspec.DecodeError) as error:
        problems.append(f"Cannot read plan.json of {cell_id}: {_reason(error)}.")
    telemetry: list[Reading] = []
    try:
        telemetry = read_telemetry(folder)
    except (OSError, msgspec.DecodeError) as error:
        problems.append(f"Cannot read {TELEMETRY_FILE} of {cell_id}: {_reason(error)}.")
    return CellRecords(
        samples=samples,
        plan=plan,
        drive=drive,
        telemetry=tuple(telemetry),
        problems=tuple(problems),
    )


def _reason(error: Exception) -> str:
    """The reason without a path, so that a moved run folder gives the same report."""
    if isinstance(error, OSError):
        return (error.strerror or type(error).__name__).lower()
    return str(error)
