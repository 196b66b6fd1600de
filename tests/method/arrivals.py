"""Section "The realised process"."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from arithmetic import mean, variance
from scipy import stats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reading import Cell, Record


def arrivals(cell: Cell) -> Record | None:
    due, window = cell.plan["due_ns"], cell.end - cell.start
    if due is None or window <= 0:
        return None
    planned = [at for at in due if at < window]
    those = [one for one in cell.measured if one["sent_ns"] is not None and one["seq"] < len(due)]
    sent = sorted(one["sent_ns"] - cell.start for one in those)
    late = [one["sent_ns"] - cell.start - due[one["seq"]] for one in those]
    bins = round(window / 1e9) if window >= 30e9 else 30
    shift = round((3 - math.sqrt(5)) / 2 * window / max(1, len(planned)))
    behind = most_behind(planned, [at for at in sent if at < window])
    return {
        "planned": described(planned, window, bins, shift),
        "realised": described(sent, window, bins, shift),
        "bin_s": window / 1e9 / bins,
        "behind_most": behind,
        "distance": behind / len(planned) if planned else 0.0,
        "lateness_std_ms": math.sqrt(variance(late, 0)) / 1e6 if late else None,
        "tests": tests(cell, planned, [at for at in sent if at < window]),
    }


def described(times: Sequence[int], window: int, bins: int, shift: int) -> Record:
    within = [at for at in times if at < window]
    gaps = [b - a for a, b in itertools.pairwise(within)]
    told = len(within) >= 20 and mean(gaps) > 0
    wide = -(-window // bins)
    counts = Counter((at + shift) % window // wide for at in within)
    each = [counts[at] for at in range(bins)]
    spread = math.sqrt(variance(gaps, 0)) if told else 0.0
    return {
        "n": len(within),
        "rate": len(within) * 1e9 / window,
        "gap_cv": spread / mean(gaps) if told else None,
        "dispersion": variance(each) / mean(each) if told else None,
        "autocorrelation": correlation(gaps) if told and spread > 1 else None,
    }


def correlation(gaps: Sequence[float]) -> float | None:
    """Of each gap with the next; None where they are all the same."""
    level = mean(gaps)
    off = [gap - level for gap in gaps]
    around = math.fsum(one * one for one in off)
    if around <= len(gaps) * (1e-9 * level) ** 2:
        return None
    return math.fsum(a * b for a, b in itertools.pairwise(off)) / around


def most_behind(due: Sequence[int], sent: Sequence[int]) -> int:
    """The most requests that were due at one moment and had not left; one just due is not."""
    if not due:
        return 0
    behind = [at + 1 - bisect_left(sent, when) for at, when in enumerate(due)]
    return max(0, max(behind) - 1)


# --- tests in operational time -------------------------------------------------------------------


def operational(cell: Cell, whole_s: float, times: Sequence[float]) -> list[float]:
    """Λ(t): the requests expected by each of these times, in seconds."""
    plan, rate = cell.plan["arrival"], cell.plan["rate"]
    if plan["kind"] != "diurnal" or plan["hourly"]:
        at, count = zip(*knots(cell, whole_s), strict=True)
        return np.interp(np.clip(times, 0.0, whole_s), at, count).tolist()
    a = (plan["peak_to_trough"] - 1) / (plan["peak_to_trough"] + 1)
    turn = 2 * math.pi * plan["days"] / whole_s
    return [
        rate * (t - a * math.sin(turn * t) / turn) for t in np.clip(times, 0.0, whole_s).tolist()
    ]


def knots(cell: Cell, whole_s: float) -> list[tuple[float, float]]:
    """Seconds, and Λ by then, of a rate that is even between them."""
    kind, rate = cell.plan["arrival"]["kind"], cell.plan["rate"]
    if kind in {"poisson", "gamma"}:
        return [(0.0, 0.0), (whole_s, rate * whole_s)]
    if kind == "diurnal":
        hours = cell.plan["arrival"]["hourly"] * cell.plan["arrival"]["days"]
        parts = itertools.accumulate(hours, initial=0.0)
        return [
            (whole_s * at / len(hours), rate * whole_s * part / sum(hours))
            for at, part in enumerate(parts)
        ]
    if kind not in {"bursty", "spike"}:
        raise NotImplementedError(kind)
    factor = cell.plan["arrival"]["burst_factor" if kind == "bursty" else "spike_factor"]
    found, area, at = [(0.0, 0.0)], 0.0, 0.0
    for begin, end in [(a / 1e9, b / 1e9) for a, b in cell.plan["bursts_ns"]]:
        area += begin - at
        found.append((begin, area))
        area += factor * (end - begin)
        found.append((end, area))
        at = end
    area += whole_s - at
    return [(t, a * rate * whole_s / area) for t, a in [*found, (whole_s, area)]]


def tests(cell: Cell, planned: Sequence[int], sent: Sequence[int]) -> Record | None:
    plan = cell.plan
    random = plan["arrival"] is not None and plan["arrival"]["kind"] not in {"constant", "trace"}
    if not random or plan["rate"] is None or plan["duration_ns"] is None or len(planned) < 20:
        return None
    whole_s = max(plan["duration_ns"] / 1e9, cell.whole_s)

    def expected(times: Sequence[float]) -> list[float]:
        return operational(cell, whole_s, times)

    unit = expected([at / 1e9 for at in sent])
    [total] = expected([cell.whole_s])
    shape = plan["arrival"].get("burstiness", 1.0) if plan["arrival"]["kind"] == "gamma" else 1.0
    v, n, bins = 1 / shape, len(unit), int(total // 20)
    p_dispersion = None
    if bins >= 5:
        counts = np.histogram(unit, bins=bins, range=(0.0, total))[0].tolist()
        usual = total / bins * v + 1 / 6 + v**2 / 2 - 2 * v**2 / 3
        error = math.sqrt(2 / (bins - 1) + 6 * v * bins / total / bins)
        p_dispersion = p_normal((variance(counts) / usual - 1) / error)
    r = correlation([b - a for a, b in itertools.pairwise(unit)])
    gaps = np.diff(expected([at / 1e9 for at in planned]))
    gamma, least = stats.gamma(shape, scale=1 / shape), 1e-6 * plan["rate"]
    cut = gamma.cdf(least)
    above = (gamma.cdf(gaps[gaps > least]) - cut) / (1 - cut)
    return {
        "kind": plan["arrival"]["kind"],
        "p_rate": p_normal((n - total) / math.sqrt(v * total)),
        "p_gaps": float(stats.kstest(above, "uniform").pvalue),
        "p_dispersion": p_dispersion,
        "p_autocorrelation": None if r is None else p_normal((r + 1 / n) * math.sqrt(n)),
    }


def p_normal(z: float) -> float:
    """Two-sided."""
    return math.erfc(abs(z) / math.sqrt(2))
