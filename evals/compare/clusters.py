"""Means whose values come in clusters.

What lies in one cluster (a template, a passage, a window of a text) is not independent, so that the
clusters and not the values say how sure a mean is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]


_SYMMETRIC = 1e-8


@dataclass(frozen=True)
class Mean:
    """A mean, its variance, and how its error is distributed."""

    mean: float
    variance: float
    """NaN with fewer than two clusters."""
    df: float
    """Degrees of freedom of Student's t."""
    clusters: int
    skew: float = 0.0
    """Σ u³ ÷ (Σ u²)^1.5 of the clusters' residuals u: skewness ÷ √clusters."""

    def t(self, mean: float) -> float:
        """Return how many standard errors the mean seen lies above `mean`."""
        away = self.mean - mean
        if self.variance == 0:
            return 0.0 if away == 0 else math.copysign(math.inf, away)
        return away / math.sqrt(self.variance)

    def p_above(self, mean: float) -> float | None:
        """Return the p-value of "the truth is at most `mean`", skewness removed.

        With g(t) = t + κ t² ÷ 3 + κ² t³ ÷ 27 + κ ÷ 6 in the place of t, κ the `skew`: P. Hall, *On
        the removal of skewness by transformation*, J. R. Statist. Soc. B 54 (1992) 221-228.
        """
        if self.df <= 0:
            return None
        t, k = self.t(mean), self.skew
        if not math.isinf(t) and abs(k) > _SYMMETRIC:
            t = ((1 + k * t / 3) ** 3 - 1) / k + k / 6
        return float(special.stdtr(self.df, -t))

    def interval(self, confidence: float = 0.95) -> tuple[float, float] | None:
        """Return the means that two-sided tests with g(t) would not reject."""
        if self.df <= 0:
            return None
        quantile = -float(special.stdtrit(self.df, (1 - confidence) / 2))
        error = math.sqrt(self.variance)
        return self.mean - error * self._t(quantile), self.mean - error * self._t(-quantile)

    def _t(self, g: float) -> float:
        """Return the t that g turns into `g`."""
        k = self.skew
        return 3 / k * (float(np.cbrt(1 + k * (g - k / 6))) - 1) if abs(k) > _SYMMETRIC else g


def codes(labels: Iterable[Hashable]) -> Ints:
    """Number labels in the order in which they first come."""
    seen: dict[Hashable, int] = {}
    return np.array([seen.setdefault(label, len(seen)) for label in labels], dtype=np.int64)


def sums_of(values: Floats, cluster: Ints) -> Floats:
    """Add up values by cluster, numbered from 0."""
    return np.bincount(cluster, values).astype(np.float64)


def clustered_mean(sums: Floats, sizes: Floats) -> Mean:
    """Return Σ sums / Σ sizes of clusters that have these sums and sizes.

    The variance is CR2, the bias-reduced linearisation of R. M. Bell, D. F. McCaffrey, *Bias
    reduction in standard errors for linear regression with multi-stage samples*, Survey
    Methodology 28 (2002) 169-181; the degrees of freedom are their Satterthwaite approximation in
    the form of G. W. Imbens, M. Kolesár, Rev. Econ. Stat. 98 (2016) 701-712. Both are written out
    for a mean: with shares s = sizes / Σ sizes and residual sums u, V = Σ u² / (1 - s) / (Σ sizes)²
    and 1 / df = Σ s² + (Σ q)² - Σ q², q = s² / (1 - s). Clusters of one size give the variance of
    `statsmodels` (`cov_type="cluster"`) and df = clusters - 1.

    Args:
        sums: (G,) of what is averaged.
        sizes: (G,) what it is averaged over: items, or tokens.
    """
    total = float(sizes.sum())
    mean = math.fsum(sums) / total
    if sizes.size < 2:  # noqa: PLR2004 - one cluster tells nothing of its neighbours
        return Mean(mean, math.nan, 0.0, sizes.size)
    share = sizes / total
    residual = sums - mean * sizes
    variance = float((residual**2 / (1 - share)).sum()) / total**2
    q = share**2 / (1 - share)
    inverse = float((share**2).sum() + q.sum() ** 2 - (q**2).sum())
    squares = float((residual**2).sum())
    skew = float((residual**3).sum()) / squares**1.5 if squares > 0 else 0.0
    return Mean(mean, variance, 1 / inverse, sizes.size, skew)


def mean_of(values: Floats, cluster: Ints) -> Mean:
    """Return the mean of values of which each belongs to a cluster, numbered from 0."""
    if len(values) == 0:
        return Mean(math.nan, math.nan, 0.0, 0)
    return clustered_mean(sums_of(values, cluster), sums_of(np.ones(len(values)), cluster))
