"""What it means for a cell's numbers that several workers drove it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.measuring.measurement import Caveat
from harness.measuring.request import NS_PER_MS, NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.measuring.caveats import Case, Rule
    from loadprofiles.records import DriveReport


def busiest_s(drive: DriveReport) -> float:
    """CPU time of the busiest process, in s: each has a core of its own."""
    return max((worker.cpu_s for worker in drive.workers), default=drive.cpu_s)


def longest_delay_s(drive: DriveReport) -> float | None:
    """How long the process that waited longest for a CPU did so, in s."""
    delays = [worker.run_delay_s for worker in drive.workers if worker.run_delay_s is not None]
    return max(delays, default=drive.run_delay_s)


def _worker_lost(case: Case) -> Iterator[Caveat]:
    if case.drive.ended == "worker_lost":
        yield Caveat(
            "worker_lost",
            f"Not all workers stayed until the end: {case.drive.problem}. What had been measured "
            "by then is kept, but the server had less load than asked. Look at drive.log and at "
            "that machine, and run it again.",
            invalidates=True,
        )


def _worker_clocks(case: Case) -> Iterator[Caveat]:
    told = [
        f"worker {worker.index} on {worker.host} is {worker.clock_offset_ns / NS_PER_S:+.6f} s "
        f"ahead (±{worker.clock_error_ns / NS_PER_MS:.3f} ms, at the end "
        f"{worker.clock_drift_ns / NS_PER_MS:+.3f} ms)"
        for worker in case.drive.workers
        if abs(worker.clock_offset_ns) > worker.clock_error_ns
    ]
    if told:
        yield Caveat(
            "worker_clocks",
            f"Workers with clocks of their own were put on the master's time line: "
            f"{'; '.join(told)}. Latencies are each worker's own and exact; departures and the "
            "window's edges are together to that precision.",
        )


WORKER_RULES: Final[tuple[Rule, ...]] = (_worker_lost, _worker_clocks)
