"""The workers of one cell as their master knows them, and what becomes of their reports.

Knows no event loop and no wire: `loadprofiles.workers.master` tells it what was heard.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from time import perf_counter_ns as now_ns
from typing import TYPE_CHECKING, Literal

import msgspec

from loadprofiles.records import DriveReport, Progress, WorkerReport
from loadprofiles.wire.clock import wall_minus_monotonic_ns
from loadprofiles.workers.messages import SILENCE_S
from loadprofiles.workers.shipping import new_digest

if TYPE_CHECKING:
    import hashlib
    from collections.abc import Iterable, Sequence

    from loadprofiles.records import DrivePlan
    from loadprofiles.workers.messages import Hello, Manifest
    from loadprofiles.workers.share import Share

_BEFORE: tuple[Literal["failed", "interrupted", "stopped"], ...] = (
    "failed", "interrupted", "stopped",
)  # fmt: skip
"""How a cell has ended if one of its workers has ended so, the gravest first."""


@dataclass
class Member:
    """One worker, from its joining on."""

    index: int
    client_id: str
    """Locust's name for it: where to send."""
    hello: Hello
    heard_ns: int = field(default_factory=now_ns)
    share: Share | None = None
    ready: bool = False
    measured_ns: int | None = None
    progress: Progress | None = None
    received: int = 0
    digest: hashlib.blake2b = field(default_factory=new_digest)
    manifest: Manifest | None = None
    problem: str | None = None
    lost: bool = False
    """Whether nothing more is expected from it: it has died, is silent, or has left."""

    @property
    def title(self) -> str:
        """Which one it is, for people."""
        return f"worker {self.index} (process {self.hello.pid} on {self.hello.host})"

    @property
    def here(self) -> bool:
        """Whether something is still to be expected from it."""
        return self.manifest is None and not self.lost

    @property
    def has_measured(self) -> bool:
        """Whether its measured requests have ended, or nothing more comes from it."""
        return self.measured_ns is not None or not self.here

    def silent(self, at_ns: int) -> bool:
        """Whether it has said nothing for too long."""
        return self.here and at_ns - self.heard_ns > SILENCE_S * 1e9

    def hand_over(self, manifest: Manifest) -> None:
        """Take its manifest, and notice where it differs from what has come."""
        self.manifest = manifest
        if (manifest.samples, manifest.digest) != (self.received, self.digest.hexdigest()):
            self.problem = (
                f"wrote {manifest.samples} samples with the digest {manifest.digest}, and "
                f"{self.received} with {self.digest.hexdigest()} have arrived"
            )


def how_it_died(status: int) -> str:
    """Say in words how a process has ended before its time."""
    if status >= 0:
        return f"ended with exit status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


def joint_progress(members: Sequence[Member], *, started: bool) -> Progress:
    """Say how far the cell is: counts are added up, of TTFT the worst is told."""
    known = [member.progress for member in members if member.progress is not None]
    rates = [one.chunks_per_s for one in known if one.chunks_per_s is not None]
    order = ("warmup", "measured", "drain")
    phases = [one.phase for one in known if one.phase in order]
    return Progress(
        phase=min(phases, key=order.index) if phases else "warmup" if started else "connect",
        elapsed_s=max((one.elapsed_s for one in known), default=0.0),
        left_s=max((one.left_s for one in known if one.left_s is not None), default=None),
        sent=sum(one.sent for one in known),
        ok=sum(one.ok for one in known),
        failed=sum(one.failed for one in known),
        in_flight=sum(one.in_flight for one in known),
        chunks_per_s=round(sum(rates), 1) if rates else None,
        ttft_p50_ms=_worst(one.ttft_p50_ms for one in known),
        ttft_p95_ms=_worst(one.ttft_p95_ms for one in known),
    )


def joint_report(
    plan: DrivePlan,
    members: Sequence[Member],
    *,
    start_ns: int | None,
    problem: str | None,
    versions: dict[str, str],
) -> DriveReport:
    """Make one report of all workers': what is counted is added up.

    The window is the one that the master has opened; the CPU's use of each worker is scaled to it
    (a worker closes its own a little later than the last answer).
    """
    handed = [
        (member, report, member.manifest.offset_ns)
        for member in members
        if member.manifest is not None and (report := member.manifest.report) is not None
    ]
    begin_ns = start_ns or now_ns()
    end_ns = _window_end(plan, members, begin_ns) if start_ns is not None else begin_ns
    reports = [report for _, report, _ in handed]
    ended = next((how for how in _BEFORE if any(one.ended == how for one in reports)), "done")
    told = [f"{member.title}: {report.problem}" for member, report, _ in handed if report.problem]
    workers = [_worker_report(member, end_ns - begin_ns) for member in members]
    base = reports[0] if reports else _nothing(begin_ns)
    delays = [worker.run_delay_s for worker in workers if worker.run_delay_s is not None]
    peaks = [worker.rss_peak_mib for worker in workers if worker.rss_peak_mib is not None]
    return msgspec.structs.replace(
        base,
        ended="worker_lost" if problem is not None else ended,
        problem=problem if problem is not None else "; ".join(told) or None,
        window_start_ns=begin_ns,
        window_end_ns=end_ns,
        clock="kernel" if reports and all(one.clock == "kernel" for one in reports) else "user",
        wall_minus_monotonic_ns=wall_minus_monotonic_ns(),
        clock_step_ns=max((one.clock_step_ns for one in reports), key=abs, default=0),
        cpu_s=sum(worker.cpu_s for worker in workers),
        run_delay_s=sum(delays) if delays else None,
        gc_collections=sum(one.gc_collections for one in reports),
        paused_s=sum(one.paused_s for one in reports),
        thinking_s=sum(one.thinking_s for one in reports),
        connections=sum(one.connections for one in reports),
        samples=sum(member.received for member in members),
        versions=versions,
        rss_peak_mib=sum(peaks) if peaks else None,
        workers=workers,
    )


def _window_end(plan: DrivePlan, members: Sequence[Member], begin_ns: int) -> int:
    """When the window closed, by the master's clock."""
    measured = [member.measured_ns for member in members if member.share is not None]
    if plan.duration_ns is None and measured and all(at_ns is not None for at_ns in measured):
        return max(at_ns for at_ns in measured if at_ns is not None)
    ends = [
        report.window_end_ns - report.window_start_ns
        for member in members
        if member.manifest is not None and (report := member.manifest.report) is not None
    ]
    return begin_ns + max(ends, default=0)


def _worker_report(member: Member, window_ns: int) -> WorkerReport:
    manifest = member.manifest
    report = manifest.report if manifest is not None else None
    cpu_s, delay_s = 0.0, None
    if report is not None:
        own_ns = max(1, report.window_end_ns - report.window_start_ns)
        cpu_s = report.cpu_s * window_ns / own_ns
        if report.run_delay_s is not None:
            delay_s = report.run_delay_s * window_ns / own_ns
    return WorkerReport(
        index=member.index,
        host=member.hello.host,
        pid=member.hello.pid,
        samples=manifest.samples if manifest is not None else member.received,
        received=member.received,
        digest=manifest.digest if manifest is not None else "",
        problem=member.problem,
        clock_offset_ns=manifest.offset_ns if manifest is not None else 0,
        clock_error_ns=manifest.error_ns if manifest is not None else 0,
        clock_drift_ns=manifest.drift_ns if manifest is not None else 0,
        cpu_s=cpu_s,
        run_delay_s=delay_s,
        rss_peak_mib=report.rss_peak_mib if report is not None else None,
    )


def _nothing(at_ns: int) -> DriveReport:
    """The report of a cell whose workers have all gone."""
    return DriveReport(
        ended="worker_lost",
        window_start_ns=at_ns,
        window_end_ns=at_ns,
        clock="user",
        wall_minus_monotonic_ns=0,
        clock_step_ns=0,
        cpu_s=0.0,
        run_delay_s=None,
        gc_collections=0,
        connections=0,
        samples=0,
        versions={},
    )


def _worst(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
