"""A probe as it lies in its cell's folder, read for the search. A pure function of the folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from harness.capacity.attainment import tallies
from harness.capacity.estimate import Shown
from harness.capacity.search import Scout, Tried
from harness.capacity.settling import conversation_s, served_rate, settle_s, turns_of
from harness.measuring.request import NS_PER_S
from harness.measuring.samples import Samples
from loadprofiles.records import read_drive_report, read_plan, read_samples

if TYPE_CHECKING:
    from pathlib import Path

    from harness.measuring.measurement import CellMeasurement
    from harness.measuring.slo import Slo
    from loadprofiles.records import DrivePlan

CLIENT_CODES: Final = frozenset(
    ("itl_smeared", "late_departures", "streams_not_held", "cpu_busy", "run_delay",
     "departures_dropped", "samples_lost", "worker_lost")
)  # fmt: skip
"""Caveats that say that the client, or its disk, was the bottleneck."""


def client_was_slow(cell: CellMeasurement) -> bool:
    """Whether what a cell shows is the client's and not the server's."""
    return any(one.invalidates and one.code in CLIENT_CODES for one in cell.client.caveats)


def read_probe(folder: Path, cell: CellMeasurement, slo: Slo) -> Scout | Tried:
    """Read one probe.

    Args:
        folder: the cell's.
        cell: its numbers.
        slo: the limits.

    Raises:
        OSError: a file cannot be read.
        msgspec.DecodeError: a file is not what it should be.
    """
    plan, drive = read_plan(folder), read_drive_report(folder)
    samples = Samples.of(read_samples(folder))
    start_ns, end_ns = drive.window_start_ns, drive.window_end_ns
    cut = drive.ended == "interrupted"
    found = tallies(slo, samples, start_ns, end_ns, cut=cut)
    took_s = _answer_s(samples)
    if plan.mode == "closed":
        served = cell.metrics.request_rate
        if not served and took_s:  # no answer ended in the window, which was shorter than one
            served = (plan.streams or 1) / took_s  # Little's law
        return Scout(
            streams=plan.streams or 1,
            shares=tuple(one.share for one in found),
            requests=min((one.at_s.size for one in found), default=0),
            served_rate=served / turns_of(plan),
            latency_s=took_s,
            conversation_s=conversation_s(plan, took_s or 0.0),
            client_was_slow=client_was_slow(cell),
            empty=cut and took_s is None,
        )
    rate = float(cell.level["rate"])
    if client_was_slow(cell):
        return Tried(rate=rate, shown=None)
    to_s = (end_ns - start_ns) / NS_PER_S
    planned_s = to_s if plan.duration_ns is None else plan.duration_ns / NS_PER_S
    from_s = settle_s(plan, planned_s, to_s, took_s or 0.0)
    if took_s is None or not any(one.within(from_s, to_s).counted.any() for one in found):
        return Tried(rate=rate, shown=None, empty=True)
    answered = samples.measured.answered
    ends_s = (answered.column("last_ns")[answered.has("last_ns")] - start_ns) / NS_PER_S
    return Tried(
        rate=rate,
        shown=Shown(
            rate=rate,
            from_s=from_s,
            to_s=to_s,
            tallies=found,
            due_s=np.asarray(plan.due_ns or [], dtype=np.float64) / NS_PER_S,
            work=work_of(plan),
        ),
        served_rate=served_rate(ends_s, to_s) / turns_of(plan),
    )


def _answer_s(samples: Samples) -> float | None:
    """Median from sent to the last token; None where nothing was answered."""
    answered = samples.measured.answered
    took = (answered.column("last_ns") - answered.column("sent_ns")) / NS_PER_S
    took = took[answered.has("last_ns") & answered.has("sent_ns")]
    return float(np.median(took)) if took.size else None


def work_of(plan: DrivePlan) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the planned output tokens of each departure."""
    tokens = plan.output_tokens[plan.warmup :][: len(plan.due_ns or [])]
    return np.maximum(np.asarray(tokens, dtype=np.float64), 1.0)
