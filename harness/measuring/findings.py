"""What a cell's samples say beyond its metrics, each thing in a module of its own. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.measuring.bursts import measure_bursts
from harness.measuring.merges import usual_gap_ns
from harness.measuring.mixture import measure_mixture
from harness.measuring.outputs import audit
from harness.measuring.prefill import measure_prefill
from harness.measuring.stalls import measure_stalls
from harness.measuring.steady import measure_steady
from harness.measuring.throughput import measure_throughput

if TYPE_CHECKING:
    from harness.measuring.measurement import Bursts, Mixture, Outputs, Stalls, Steady
    from harness.measuring.prefill_stats import Prefill
    from harness.measuring.samples import Floats, Samples
    from harness.measuring.sweep import Throughput
    from loadprofiles.records import DrivePlan, DriveReport


@dataclass(frozen=True, kw_only=True)
class Findings:
    """One field for each module; None where a cell has nothing to say of it."""

    bursts: Bursts | None
    mixture: Mixture | None
    prefill: Prefill | None
    stalls: Stalls | None
    steady: Steady
    outputs: Outputs
    throughput: Throughput | None


def find(
    plan: DrivePlan,
    samples: Samples,
    drive: DriveReport,
    values: dict[str, Floats],
    *,
    stable: bool,
) -> Findings:
    """Look at a cell from all sides; `values` are those of its answered measured requests."""
    answered = samples.measured.answered
    steady = measure_steady(plan, samples, drive, values, stable=stable)
    return Findings(
        bursts=measure_bursts(plan, samples, drive, values, stable=stable),
        mixture=measure_mixture(plan, samples, values, stable=stable),
        prefill=measure_prefill(plan, samples, values["ttft_ms"]),
        stalls=measure_stalls(answered, usual_gap_ns(answered)),
        steady=steady,
        outputs=audit(samples.measured),
        throughput=measure_throughput(samples, drive, steady, stable=stable),
    )
