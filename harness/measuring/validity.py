"""Whether the client's own weakness changed the numbers. Pure; rules and reasons: docs/method.md.

Judged is what the client did to the numbers. A driver that read late has done nothing to them
while the kernel's stamps were exact: a caveat at most. Gaps that it merged, departures that it
delayed and streams that it did not hold make a cell invalid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from harness.measuring import stats
from harness.measuring.caveats import COUNT_RULES, OTHER_RULES, OWN_CORE, Case, Evidence
from harness.measuring.measurement import Caveat, Client
from harness.measuring.merges import find_merges
from harness.measuring.request import NS_PER_MS, NS_PER_S
from harness.measuring.server_rules import SERVER_RULES
from harness.measuring.workers import WORKER_RULES, busiest_s, longest_delay_s

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.measuring.caveats import Rule
    from harness.measuring.merges import Merges
    from harness.measuring.samples import Floats, Samples
    from loadprofiles.records import DrivePlan, DriveReport

SMEAR_INVALID: Final = 0.01
"""Share of gaps, or of first or last chunks, that the client merged."""
SMEAR_CAVEAT: Final = 0.001
SMEAR_AT_LEAST: Final = 3
"""So many merges make a smear; fewer are an accident of a short cell."""
SLIP_MS: Final = 1.0
SLIP_SHARE: Final = 0.1
"""Departures were late when slip exceeds 1 ms and 10 % of what it is part of."""
HELD_SHARE: Final = 0.99
HELD_EDGE_S: Final = 0.02
"""Idle time a stream that the edges of a short window may cost."""
LAG_MS: Final = 1.0
LAG_SHARE: Final = 0.5
CPU_SHARE: Final = 0.85
RUN_DELAY_SHARE: Final = 0.02
CLOCK_STEP_NS: Final = 50_000
NO_DESCRIPTOR: Final = "Too many open files"
"""What the driver's connections say of EMFILE (`os.strerror`)."""
PASSING: Final = frozenset({"itl_smeared", "late_departures", "streams_not_held"})
"""Caveats that a machine which stood still for a moment leaves, too: they need not come back."""


def judge(plan: DrivePlan, samples: Samples, drive: DriveReport, evidence: Evidence) -> Client:
    """Say how the client fared in a cell, and whether its numbers may be believed.

    Caveats that invalidate come first. `slip_ms` is sent - due without the time that connecting
    took, which is the server's; a request sent anew on a fresh connection has none.
    """
    measured = samples.measured
    answered = measured.answered
    window_s = max(0.0, (drive.window_end_ns - drive.window_start_ns) / NS_PER_S)
    user = drive.clock == "user"
    if answered:  # the samples know better: a clock step ends the kernel's stamps midway
        blind = int(answered.is_in("clock", {"user"}).sum())
        user = blind > SMEAR_INVALID * len(answered)
    delay_s = longest_delay_s(drive)
    case = Case(
        plan=plan,
        drive=drive,
        evidence=evidence,
        found=len(samples),
        measured=measured,
        answered=answered,
        window_s=window_s,
        clock="user" if user else "kernel",
        merges=find_merges(answered),
        lag=stats.describe_runs(
            answered.values("lag_us"),
            answered.lengths("lag_us"),
            rng=stats.rng_for("lag_ms"),
            scale=1e-3,
        ),
        slip=stats.describe(known(slips_ms(measured)), rng=stats.rng_for("slip_ms")),
        cpu=busiest_s(drive) / window_s if window_s else 0.0,
        run_delay=delay_s / window_s if window_s and delay_s is not None else None,
    )
    caveats = [
        caveat
        for rule in (*WORKER_RULES, *COUNT_RULES, *_CLIENT_RULES, *OTHER_RULES, *SERVER_RULES)
        for caveat in rule(case)
    ]
    caveats.sort(key=lambda caveat: not caveat.invalidates)
    return Client(
        clock=case.clock,
        lag_ms=case.lag,
        slip_ms=case.slip,
        merged_reads=case.merges.reads,
        late_merges=case.merges.late_reads,
        streams_held=evidence.in_flight_mean if plan.mode == "closed" else None,
        streams_thinking=drive.thinking_s / window_s if plan.think_ns and window_s else None,
        cpu=case.cpu,
        run_delay=case.run_delay,
        gc_collections=drive.gc_collections,
        valid=not any(caveat.invalidates for caveat in caveats),
        caveats=caveats,
    )


def slips_ms(samples: Samples) -> Floats:
    """How late the client let requests go: sent - due - connecting; NaN where not its doing."""
    connecting = np.where(samples.has("connect_ns"), samples.column("connect_ns"), 0)
    slip = (samples.column("sent_ns") - samples.column("due_ns") - connecting) / NS_PER_MS
    return np.where(samples.has("sent_ns") & ~samples.retried, slip, np.nan)


def known(values: Floats) -> Floats:
    """Leave out what is NaN."""
    return values[~np.isnan(values)]


# --- what the client did -----------------------------------------------------------------------


def _smear(found: Merges) -> float:
    """Largest share of the gaps, first chunks or last chunks that late merges touched."""
    shares = (
        (found.late_gaps, found.gaps),
        (found.late_first, found.requests),
        (found.late_last, found.requests),
    )
    return max((count / total for count, total in shares if count >= SMEAR_AT_LEAST), default=0.0)


def _itl_smeared(case: Case) -> Iterator[Caveat]:
    found, worst = case.merges, _smear(case.merges)
    if worst > SMEAR_CAVEAT:
        yield Caveat(
            "itl_smeared",
            f"The client was so late that it read {found.late_gaps} of {found.gaps} gaps' chunks "
            f"together and did not see the gap ({found.late_first} first and {found.late_last} "
            f"last chunks of {found.requests} answers among them): ITL, and TTFT or e2e there, "
            f"are off by up to a gap. To cure it {OWN_CORE}.",
            invalidates=worst > SMEAR_INVALID,
        )


def _late_departures(case: Case) -> Iterator[Caveat]:
    if case.plan.mode != "open":
        return
    slips = slips_ms(case.answered)
    end, told = ("first_ns", "TTFT from due") if case.plan.stream else ("last_ns", "e2e")
    felt = (case.answered.column(end) - case.answered.column("due_ns")) / NS_PER_MS
    judged = case.answered.has(end) & ~np.isnan(slips)
    felt, slips = felt[judged], slips[judged]
    if not felt.size:
        return
    n, typical = felt.size, float(np.median(felt))
    late_ms = stats.percentile(np.sort(slips), 0.99) or 0.0
    moved = []
    for name in ("p50", "p95", "p99"):
        if n >= stats.AT_LEAST[name] and (name != "p99" or n >= stats.PRECISE_AT[name]):
            share = stats.PERCENTILES[name]
            seen = stats.percentile(np.sort(felt), share) or 0.0
            punctual = stats.percentile(np.sort(felt - slips), share) or 0.0
            if seen - punctual > max(SLIP_MS, SLIP_SHARE * punctual):
                moved.append(f"{name} from {punctual:.1f} to {seen:.1f} ms")
    if moved or late_ms > max(SLIP_MS, SLIP_SHARE * typical):
        effect = f"is in {told}"
        if moved:
            effect = f"moved {told}: {', '.join(moved)}"
        elif n >= stats.AT_LEAST["p50"]:
            effect = "touched only the slowest answers"
        yield Caveat(
            "late_departures",
            f"The client let requests go late (p99 {late_ms:.1f} ms after they were due), which "
            f"{effect}. To cure it {OWN_CORE}.",
            invalidates=bool(moved),
        )


def _streams_not_held(case: Case) -> Iterator[Caveat]:
    """Streams that were not busy: the client's fault, but for failures and connecting."""
    asked, held = case.plan.streams, case.evidence.in_flight_mean
    if case.plan.mode != "closed" or not asked or not case.answered or not case.window_s:
        return
    if case.drive.ended == "worker_lost":
        return  # that is why, and told
    paused = case.drive.paused_s / case.window_s
    took = case.measured.column("connect_ns")[case.measured.has("connect_ns")]
    connecting = int(took.sum()) / NS_PER_S / case.window_s
    thinking = case.drive.thinking_s / case.window_s
    excused = held + paused + connecting + thinking
    idle_s = (asked - excused) * case.window_s / asked
    if excused < HELD_SHARE * asked and idle_s > HELD_EDGE_S:
        yield Caveat(
            "streams_not_held",
            f"On average {held:.2f} of {asked} streams were in flight, so the server had less "
            f"load than asked and throughput is too low. To cure it {OWN_CORE}; with very short "
            "answers ask for longer ones.",
            invalidates=True,
        )
    elif (
        held + thinking < HELD_SHARE * asked
        and (asked - held - thinking) * case.window_s / asked > HELD_EDGE_S
    ):
        yield Caveat(
            "streams_not_held",
            f"On average {held:.2f} of {asked} streams were in flight, so the server had less "
            f"load than asked: {paused:.2f} paused after failures and {connecting:.2f} were "
            "connecting. Mend the failures, or let the server keep connections open.",
        )


def _user_clock(case: Case) -> Iterator[Caveat]:
    blind = int(case.answered.is_in("clock", {"user"}).sum())
    if not blind:
        return
    yield Caveat(
        "user_clock",
        f"The kernel gave no receive times for {blind} of {len(case.answered)} answers (a proxy's "
        "TLS, an old kernel, a sandbox, a clock step), so their times include the client's own "
        "delay, which is unknown. Trust differences well above a millisecond only.",
    )


def _clock_step(case: Case) -> Iterator[Caveat]:
    if abs(case.drive.clock_step_ns) > CLOCK_STEP_NS:
        yield Caveat(
            "clock_step",
            f"The wall clock was set by {case.drive.clock_step_ns / NS_PER_MS:.2f} ms during the "
            "cell, so kernel times were given up. Keep time synchronization slewing, not "
            "stepping, while measuring.",
        )


def _client_lagged(case: Case) -> Iterator[Caveat]:
    lag, gap = case.lag.p99, case.merges.median_gap_ms
    if lag is None or gap is None or _smear(case.merges) > SMEAR_CAVEAT:
        return  # nothing to tell, or told as itl_smeared
    if lag > max(LAG_MS, LAG_SHARE * gap):
        yield Caveat(
            "client_lagged",
            f"The client read chunks up to {lag:.1f} ms (p99) after the kernel had them, near the "
            f"usual gap of {gap:.1f} ms. The kernel's times are exact, so the numbers stand, but "
            f"little more load would smear them: {OWN_CORE}.",
        )


def _starved(case: Case) -> Iterator[Caveat]:
    """The client's CPU: harmless under exact stamps, decisive without them."""
    user = case.clock == "user"
    if user:
        effect = "Without kernel receive times that delay is in the numbers"
    elif _smear(case.merges) > SMEAR_CAVEAT:
        effect = "That is why gaps were smeared"
    else:
        effect = "The kernel's receive times keep the latencies exact"
    if case.cpu > CPU_SHARE:
        yield Caveat(
            "cpu_busy",
            f"The client used {case.cpu:.0%} of its core. {effect}; {OWN_CORE}.",
            invalidates=user,
        )
    if case.run_delay is not None and case.run_delay > RUN_DELAY_SHARE:
        yield Caveat(
            "run_delay",
            f"The client was ready but waited for a CPU during {case.run_delay:.1%} of the window. "
            f"{effect}; {OWN_CORE}.",
            invalidates=user,
        )
    if case.drive.gc_collections:
        yield Caveat(
            "gc_ran",
            f"Python's garbage collector ran {case.drive.gc_collections} times in the window, each "
            f"a pause of up to some 50 ms. {effect}; keep code that turns it on out of the driver.",
        )


def _no_descriptors(case: Case) -> Iterator[Caveat]:
    unconnected = case.measured.where(case.measured.is_in("error", {"connect"}))
    without = sum(said == NO_DESCRIPTOR for said in unconnected.texts("detail"))
    if without:
        yield Caveat(
            "no_descriptors",
            f"For {without} requests the client had no file descriptor left to connect with, so "
            "they failed by its fault and the server had less load than asked: raise its hard "
            "limit (ulimit -Hn, of a container --ulimit nofile=N), ask for less, or have more "
            "--workers.",
            invalidates=True,
        )


_CLIENT_RULES: Final[tuple[Rule, ...]] = (
    _no_descriptors, _itl_smeared, _late_departures, _streams_not_held, _user_clock, _clock_step,
    _client_lagged, _starved,
)  # fmt: skip
