"""How far a metric's mean over few repeats may be from the truth. Pure; on logarithms.

With two or three repeats a cell's own variance says nearly nothing (t of one degree of freedom is
12.7), and the requests within a cell say nothing of what differs from run to run. So the variance
from run to run is pooled over builds and levels, and its degrees of freedom are counted by where
it comes from: what all levels of a visit share is one observation, not four. docs/method.md has
the formulas, `benchmarks/compare_statistics.py` how often the intervals hold the truth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

if TYPE_CHECKING:
    import numpy.typing as npt

    from evals.compare.records import Interval
    from harness.comparing.rows import Side
    from harness.evidence.metrics import Better

    Floats = npt.NDArray[np.float64]

_ALPHA = 0.05
_EXACT = 1e-24
"""Sums of squared logarithms below are those of equal values."""


@dataclass(frozen=True)
class Spread:
    """Variance of one cell's logarithm from run to run."""

    levels: tuple[float, ...]
    """At each level."""
    df: float
    """Degrees of freedom by Satterthwaite; 0: nothing is known of it."""


def own_spread(logs: Floats, within: Floats) -> Spread:
    """Return the spread of each build's own values.

    Levels differ in their noise by the number of requests: deviations are put on one scale first,
    by the variance that a level's requests account for plus what the run adds. Then sums of squares
    are taken apart as in a three-way analysis of variance without the effects of build and level:
    what a repeat does to all, to a build, to a level, and the rest. The pooled variance is their
    sum over B · L · (R − 1), and with degrees of freedom f of the parts SS the whole has
    (Σ SS)² ÷ Σ (SS² ÷ f): F. E. Satterthwaite, *An approximate distribution of estimates of
    variance components*, Biometrics Bulletin 2 (1946) 110-114.

    Args:
        logs: (B, L, R) logarithms by build, level, repeat; none is missing.
        within: (L,) mean variance that the requests of a level's cells account for; 0: unknown.
    """
    builds, levels, repeats = logs.shape
    return _spread(
        logs, within, builds * levels * (repeats - 1), ("repeat", "visit", "level", "cell")
    )


def paired_spread(logs: Floats, within: Floats) -> Spread:
    """Return the spread of values of which what a repeat does to all builds alike is taken away.

    The variance of a difference of two builds is twice that.

    Args:
        logs: (B, L, R), B at least 2.
        within: as for `own_spread`.
    """
    builds, levels, repeats = logs.shape
    return _spread(logs, within, (builds - 1) * levels * (repeats - 1), ("visit", "cell"))


def interval(mean: float, variance: float, df: float, repeats: int) -> Interval | None:
    """Return the 95 % t interval of a mean of `repeats` logarithms."""
    if df <= 0 or not math.isfinite(variance):
        return None
    reach = half_width(variance, df, repeats)
    return mean - reach, mean + reach


def half_width(variance: float, df: float, repeats: int) -> float:
    """Return how far the 95 % interval of a mean of `repeats` logarithms reaches to each side."""
    return _t(df) * math.sqrt(variance / repeats)


def _t(df: float) -> float:
    """Two-sided 5 % point of Student's t; of the normal distribution where df is infinite."""
    p = 1 - _ALPHA / 2
    return float(special.ndtri(p) if math.isinf(df) else special.stdtrit(df, p))


def side_of(better: Better | None, ci95: Interval | None, same: float) -> Side:
    """Return what an interval shows of a change: nothing where it holds `same`."""
    if ci95 is None or better is None or ci95[0] <= same <= ci95[1]:
        return "unlike"
    return "better" if (ci95[0] > same) == (better == "more") else "worse"


def log_variance(value: float, ci95: Interval | None) -> float:
    """Return the variance of a logarithm that a 95 % interval of its value speaks of; 0: none."""
    if ci95 is None or value <= 0 or ci95[0] <= 0 or not math.isfinite(ci95[1]):
        return 0.0
    return (math.log(ci95[1] / ci95[0]) / (2 * _t(math.inf))) ** 2


def _parts(away: Floats) -> dict[str, tuple[float, int]]:
    """Take the deviations from the means over the repeats apart: part → sum of squares, df."""
    builds, levels, repeats = away.shape
    free = repeats - 1
    shared = away.mean(axis=(0, 1))
    visit = away.mean(axis=1) - shared
    level = away.mean(axis=0) - shared
    rest = away - shared - visit[:, None, :] - level[None, :, :]
    return {
        "repeat": (builds * levels * float((shared**2).sum()), free),
        "visit": (levels * float((visit**2).sum()), (builds - 1) * free),
        "level": (builds * float((level**2).sum()), (levels - 1) * free),
        "cell": (float((rest**2).sum()), (builds - 1) * (levels - 1) * free),
    }


def _spread(logs: Floats, within: Floats, free: int, of: tuple[str, ...]) -> Spread:
    if free <= 0:
        return Spread(tuple(within.tolist()), 0.0)
    away = logs - logs.mean(axis=2, keepdims=True)
    parts = _parts(away)
    plain = math.fsum(parts[name][0] for name in of) / free
    if plain <= _EXACT:
        return Spread((0.0,) * len(within), float(free))
    usual = float(within.mean())
    added = max(plain - usual, _EXACT)
    # By few repeats what a run adds is often seen too small: quiet levels are not believed to be
    # quieter than if it were as much as what the requests account for.
    scale = np.maximum(*((within + a) / (usual + a) for a in (added, max(added, usual))))
    parts = _parts(away / np.sqrt(scale)[None, :, None])
    total = math.fsum(parts[name][0] for name in of)
    below = math.fsum(parts[name][0] ** 2 / parts[name][1] for name in of if parts[name][1])
    return Spread(tuple((total / free * scale).tolist()), total**2 / below)
