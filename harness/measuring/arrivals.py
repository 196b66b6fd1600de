"""Whether requests came as the schedule says, and the schedule is the process that it claims.

Pure; definitions and sources in docs/method.md. Planned are the due times of an open loop,
realised the moments at which its requests were sent. In a closed loop there is nothing to test.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
from pydantic import TypeAdapter, ValidationError

from harness.measuring.arrival_stats import Arrivals, ArrivalStats, ArrivalTests
from harness.measuring.measurement import Caveat
from harness.measuring.request import NS_PER_MS
from loadprofiles.arrivals import AnyArrival
from loadprofiles.arrivals.gamma import Gamma
from loadprofiles.traffic.schedule import NS, OpenArrival, cumulative_rate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.measuring.samples import Floats, Ints, Samples
    from loadprofiles.records import DrivePlan, DriveReport

TELLING: Final = 50
"""Requests from which a difference is worth a word."""
RATE_OFF: Final = 0.01
CV_OFF: Final = 0.05
DISPERSION_OFF: Final = 0.1
CORRELATION_OFF: Final = 0.1
"""Differences of realised from planned, of the value or as such, that are worth a word. Both are of
one schedule, so there is no chance in them."""
STRAY_MS: Final = 0.5
"""Departures that stray less than this from their due times are as planned."""
STRAY_OFF: Final = 0.05
"""Of the mean gap: what an even spacing bears, whose gaps have no variation to compare."""
_EVEN_CV: Final = 0.05
"""Variation of the planned gaps below which they count as even."""
P_LEAST: Final = 1e-5
_FEW: Final = 20
"""Requests from which gaps and counts say anything."""
_BINS: Final = 30
_PER_BIN: Final = 20
"""Requests expected in each bin of operational time."""
_LEAST_BINS: Final = 5
_SHIFT: Final = (3 - math.sqrt(5)) / 2
"""Of the mean gap, by which bins begin early: evenly spaced due times else lie on their edges. Of
all shifts the golden section is the one farthest from fractions of a small denominator."""


def departures(found: Arrivals | None) -> Iterator[Caveat]:
    """Say what is not as it should be: how requests left, or how they were planned."""
    if found is None or found.planned.n < TELLING:
        return
    planned, realised, off = found.planned, found.realised, []
    if abs(realised.n - planned.n) > max(1, RATE_OFF * planned.n):  # one is cut by the end
        off.append(f"{realised.rate:.4g} requests/s instead of {planned.rate:.4g}")
    off += _strayed(found)
    if off:
        yield Caveat(
            "arrivals_departed",
            f"Requests did not leave as planned: {', '.join(off)}, and at one moment "
            f"{found.behind_most} were behind. The server had another load than the profile's; "
            "find out why the client was late.",
        )
    if found.tests is None:
        return
    tests = {
        "their number": found.tests.p_rate,
        "the gaps' distribution": found.tests.p_gaps,
        "the dispersion of the counts": found.tests.p_dispersion,
        "the autocorrelation of the gaps": found.tests.p_autocorrelation,
    }
    failed = [f"{name} (p = {p:.1g})" for name, p in tests.items() if p is not None and p < P_LEAST]
    if failed:
        yield Caveat(
            "arrivals_unlikely",
            f"The requests sent are hardly {found.tests.kind} arrivals of this rate: "
            f"{', '.join(failed)}. By chance that comes once in some ten thousand cells.",
        )


def _strayed(found: Arrivals) -> Iterator[str]:
    """Say in which respects the requests came otherwise spread than planned."""
    planned, realised, stray_ms = found.planned, found.realised, found.lateness_std_ms
    if stray_ms is None or stray_ms <= STRAY_MS:
        return
    compared = [("dispersion", "a dispersion of", DISPERSION_OFF)]
    if planned.gap_cv is not None and planned.gap_cv < _EVEN_CV:
        gap_ms = 1e3 / planned.rate
        if stray_ms > STRAY_OFF * gap_ms:
            yield f"{stray_ms:.2g} ms (standard deviation) off an even gap of {gap_ms:.3g} ms"
    else:
        compared += [
            ("gap_cv", "a variation of the gaps of", CV_OFF),
            ("autocorrelation", "an autocorrelation of the gaps of", CORRELATION_OFF),
        ]
    for name, words, least in compared:
        wanted, seen = getattr(planned, name), getattr(realised, name)
        if wanted is None or seen is None:
            continue
        if abs(seen - wanted) > max(least, least * wanted):
            yield f"{words} {seen:.2f} instead of {wanted:.2f}"


def arrivals_of(plan: DrivePlan, measured: Samples, drive: DriveReport) -> Arrivals | None:
    """Compare what was sent with what was due in the window; None without a schedule.

    Turns of a session that follow an answer are not of the schedule and do not count.
    """
    start_ns, end_ns = drive.window_start_ns, drive.window_end_ns
    window_ns = end_ns - start_ns
    if plan.due_ns is None or window_ns <= 0:
        return None
    window_s = window_ns / NS
    due = np.array(plan.due_ns, dtype=np.int64)
    due_ns = due[due < window_ns]
    left = measured.has("sent_ns") & (measured.column("seq") < len(due))
    sent_ns = measured.column("sent_ns")[left] - start_ns
    late_ns = sent_ns - due[measured.column("seq")[left]]
    sent_ns.sort()
    due_s, sent_s = due_ns / NS, sent_ns / NS
    bins = round(window_s) if window_s >= _BINS else _BINS
    shift_ns = round(_SHIFT * window_ns / max(1, len(due_ns)))
    planned, realised = (_stats(times, window_ns, bins, shift_ns) for times in (due_ns, sent_ns))
    behind = _behind(due_s, sent_s[sent_s < window_s])
    return Arrivals(
        planned=planned,
        realised=realised,
        bin_s=window_s / bins,
        behind_most=behind,
        distance=behind / len(due_s) if len(due_s) else 0.0,
        lateness_std_ms=float(late_ns.std()) / NS_PER_MS if len(late_ns) else None,
        tests=_tests(plan, due_s, sent_s, window_s),
    )


def _stats(times_ns: Ints, window_ns: int, bins: int, shift_ns: int) -> ArrivalStats:
    """Describe sorted times; what the shift puts behind the window's end counts at its begin."""
    within = times_ns[times_ns < window_ns]
    gaps = np.diff(within)
    told = len(within) >= _FEW and gaps.mean() > 0
    bin_ns = -(-window_ns // bins)
    counts = np.bincount((within + shift_ns) % window_ns // bin_ns, minlength=bins)
    return ArrivalStats(
        n=len(within),
        rate=len(within) * NS / window_ns,
        gap_cv=float(gaps.std() / gaps.mean()) if told else None,
        dispersion=float(counts.var(ddof=1) / counts.mean()) if told else None,
        autocorrelation=_lag_one(gaps) if told and gaps.std() > 1 else None,  # whole ns
    )


def _lag_one(gaps: Floats) -> float | None:
    """Correlation of each gap with the next; None where they are all the same."""
    off = gaps - gaps.mean()
    spread = float((off * off).sum())
    if spread <= len(gaps) * (1e-9 * float(gaps.mean())) ** 2:
        return None
    return float((off[:-1] * off[1:]).sum()) / spread


def _behind(due_s: Floats, sent_s: Floats) -> int:
    """The most requests that were due and not sent at one moment."""
    if not len(due_s):
        return 0
    left_by_then = np.searchsorted(sent_s, due_s, side="left")  # each is due before it leaves
    waiting = np.arange(1, len(due_s) + 1) - left_by_then
    return max(0, int(waiting.max()) - 1)


def _tests(plan: DrivePlan, due_s: Floats, sent_s: Floats, window_s: float) -> ArrivalTests | None:
    """Test the process in operational time (Brown et al. 2002), where its rate is 1."""
    arrival = arrival_of(plan)
    if arrival is None or not arrival.rate_known or arrival.kind == "constant":
        return None  # no random process
    if plan.rate is None or plan.duration_ns is None or len(due_s) < _FEW:
        return None
    whole_s = max(plan.duration_ns / NS, window_s)
    within = np.clip(sent_s[sent_s < window_s], 0.0, whole_s)
    unit, planned = (
        cumulative_rate(arrival, plan.rate, times, whole_s) for times in (within, due_s)
    )
    total = float(cumulative_rate(arrival, plan.rate, np.array([window_s]), whole_s)[0])
    shape = arrival.burstiness if isinstance(arrival, Gamma) else 1.0
    gaps, n = np.diff(unit), len(unit)
    variance = 1 / shape
    bins = int(total // _PER_BIN)
    p_dispersion = None
    if bins >= _LEAST_BINS:
        counts, _ = np.histogram(unit, bins=bins, range=(0.0, total))
        # Counts of a renewal process: variance t·v + 1/6 + v²/2 − μ₃/3 (Cox 1962, § 4.5); how far
        # the sample variance of heavy-tailed counts strays grows with v.
        expected = total / bins * variance + 1 / 6 + variance**2 / 2 - 2 * variance**2 / 3
        z = (counts.var(ddof=1) / expected - 1) / np.sqrt(
            2 / (bins - 1) + (6 * variance * bins / total) / bins
        )
        p_dispersion = _two_sided(float(z))
    correlation = _lag_one(gaps)
    return ArrivalTests(
        kind=arrival.kind,
        p_rate=_two_sided((n - total) / float(np.sqrt(variance * total))),
        p_gaps=_gap_test(np.diff(planned), plan.rate, shape),
        p_dispersion=p_dispersion,
        p_autocorrelation=None
        if correlation is None
        else _two_sided((correlation + 1 / n) * float(np.sqrt(n))),
    )


def _gap_test(gaps: Floats, rate: float, shape: float) -> float:
    """Kolmogorov–Smirnov of the gaps above a microsecond: narrower ones are cut to whole ns."""
    from scipy import stats  # it takes half a second, and only open loops need it

    gamma, least = stats.gamma(shape, scale=1 / shape), 1e-6 * rate
    cut = float(gamma.cdf(least))
    above = (gamma.cdf(gaps[gaps > least]) - cut) / (1 - cut)
    return float(stats.kstest(above, "uniform").pvalue)


def _two_sided(z: float) -> float:
    from scipy.special import erfc

    return float(erfc(abs(z) / np.sqrt(2)))


def arrival_of(plan: DrivePlan) -> OpenArrival | None:
    """The process that a plan's schedule was drawn from; None where the plan does not say."""
    try:
        found = TypeAdapter(AnyArrival).validate_python(plan.arrival)
    except ValidationError:
        return None
    return found if isinstance(found, OpenArrival) else None
