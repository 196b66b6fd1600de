"""Made-up cells for the tests of what is found in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from harness.measuring.measure import CellFacts, measure
from loadprofiles.records import DrivePlan, DriveReport, Sample

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.measuring.measurement import CellMeasurement
    from harness.measuring.slo import Slo
    from launchers.telemetry.records import Reading

MS = 1_000_000
S = 1_000_000_000
T0 = 50 * S
"""Start of the window."""


def answer(
    seq: int,
    due_s: float,
    ttft_ms: float = 50,
    gaps_ms: Sequence[float] = (10, 10, 10),
    **changes: Any,  # noqa: ANN401 - a sample's fields
) -> Sample:
    """One answer, sent when it was due; seconds from the window's start."""
    due = T0 + round(due_s * S)
    gaps = [round(gap * MS) for gap in gaps_ms]
    first = due + round(ttft_ms * MS)
    last = first + sum(gaps)
    base = Sample(
        seq=seq, body=seq, request_id=f"r{seq}", phase="measured", due_ns=due, submitted_ns=due,
        sent_ns=due, first_ns=first, first_answer_ns=first, last_ns=last, end_ns=last,
        done_ns=last + 1000, status=200, finish_reason="length", prompt_tokens=20,
        output_tokens=len(gaps) + 1, planned_output_tokens=len(gaps) + 1, chunk_ns=gaps,
        lag_us=[40] * (len(gaps) + 1), output_chars=40, output_hash=f"{seq + 1:016x}",
        compression=1.1,
    )  # fmt: skip
    return msgspec.structs.replace(base, **changes)


def measured(
    samples: Sequence[Sample],
    window_s: float,
    *,
    streams: int | None = None,
    slo: Slo | None = None,
    readings: Sequence[Reading] = (),
    drive: Mapping[str, object] | None = None,
    facts: Mapping[str, Any] | None = None,
    **changes: Any,  # noqa: ANN401 - a plan's fields
) -> CellMeasurement:
    """Measure samples as one cell: an open loop, or a closed one of so many streams.

    `drive` and `facts` are fields of the drive report and of the cell's facts.
    """
    opened = streams is None
    due = sorted(one.due_ns - T0 for one in samples if one.phase == "measured")
    plan = DrivePlan(
        host="127.0.0.1", port=1, path="/v1/completions", dialect="openai-completions",
        mode="open" if opened else "closed", streams=streams, due_ns=due if opened else None,
        duration_ns=round(window_s * S), warmup=0, drain_s=10.0, timeout_s=60.0,
        output_tokens=[4],
    )  # fmt: skip
    report = DriveReport(
        ended="done", window_start_ns=T0, window_end_ns=T0 + round(window_s * S), clock="kernel",
        wall_minus_monotonic_ns=0, clock_step_ns=0, cpu_s=1.0, run_delay_s=0.01,
        gc_collections=0, connections=1, samples=len(samples), versions={},
    )  # fmt: skip
    known = CellFacts(
        id="a-p-r1-1", build="a", engine="vllm", engine_version=None, model="m", profile="p",
        repeat=1, level={"rate": 1.0} if opened else {"concurrency": float(streams or 1)},
        **(facts or {}),
    )  # fmt: skip
    return measure(
        known,
        msgspec.structs.replace(plan, **changes),
        samples,
        msgspec.structs.replace(report, **(drive or {})),
        slo,
        readings,
    )
