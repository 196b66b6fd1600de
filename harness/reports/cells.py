"""Reads what one cell left in the run folder, whatever of it is there."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from loadprofiles.records import (
    DrivePlan,
    DriveReport,
    Sample,
    read_drive_report,
    read_plan,
    read_samples,
)

if TYPE_CHECKING:
    from harness.rundir import RunFolder


@dataclass(frozen=True, kw_only=True)
class CellRecords:
    """The files of one cell. A file that is missing or damaged is None (or empty)."""

    samples: list[Sample] = field(default_factory=list)
    """In the order in which they finished; warm-up included."""
    plan: DrivePlan | None = None
    drive: DriveReport | None = None
    problems: tuple[str, ...] = ()
    """What could not be read, or is not what the driver wrote, a sentence or two each."""

    @property
    def measured(self) -> list[Sample]:
        """The samples of the measured phase, by their due time."""
        chosen = [sample for sample in self.samples if sample.phase == "measured"]
        return sorted(chosen, key=lambda sample: (sample.due_ns, sample.seq))

    @property
    def answered(self) -> list[Sample]:
        """The samples of every phase that got their answer: throughput counts them all."""
        return [sample for sample in self.samples if sample.error is None]

    def failures(self) -> list[tuple[str, int, str]]:
        """Kind, number and most frequent detail of the measured failures, most frequent first."""
        details: dict[str, Counter[str]] = {}
        for sample in self.measured:
            if sample.error is not None:
                details.setdefault(sample.error, Counter())[sample.detail or ""] += 1
        found = [(kind, seen.total(), seen.most_common(1)[0][0]) for kind, seen in details.items()]
        return sorted(found, key=lambda row: (-row[1], row[0]))


def read_cell(run: RunFolder, cell_id: str) -> CellRecords:
    """Read the records of a cell; never raises for a file that is missing or damaged."""
    folder = run.path / "cells" / cell_id
    problems: list[str] = []
    samples: list[Sample] = []
    plan: DrivePlan | None = None
    drive: DriveReport | None = None
    try:
        samples.extend(read_samples(folder))
    except (OSError, msgspec.DecodeError) as error:
        problems.append(f"Cannot read samples.jsonl of {cell_id}: {_reason(error)}.")
    try:
        drive = read_drive_report(folder)
    except (OSError, msgspec.DecodeError) as error:
        problems.append(f"Cannot read drive.json of {cell_id}: {_reason(error)}.")
    if drive is not None and not problems and len(samples) != drive.samples:
        problems.append(
            f"samples.jsonl of {cell_id}: {len(samples):,} samples, but the driver wrote "
            f"{drive.samples:,}. What was lost is in no number."
        )
    try:
        plan = read_plan(folder)
    except (OSError, msgspec.DecodeError) as error:
        problems.append(f"Cannot read plan.json of {cell_id}: {_reason(error)}.")
    return CellRecords(samples=samples, plan=plan, drive=drive, problems=tuple(problems))


def _reason(error: Exception) -> str:
    """The reason without a path, so that a moved run folder gives the same report."""
    if isinstance(error, OSError):
        return (error.strerror or type(error).__name__).lower()
    return str(error)
