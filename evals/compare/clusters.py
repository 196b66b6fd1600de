"""Means whose values come in clusters.

What lies in one cluster (a template, a passage, a window of a text) is not independent, so that the
clusters and not the values say how sure a mean is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]


LEAST_EFFECT = 0.25
"""Design effects below are chance: values that happen to sum up alike in all clusters have 0."""


@dataclass(frozen=True)
class Mean:
    """A mean, its variance, and the degrees of freedom of Student's t that belong to them."""

    mean: float
    variance: float
    """NaN with fewer than two clusters."""
    df: float
    clusters: int


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
    return Mean(mean, variance, 1 / inverse, sizes.size)


def mean_of(values: Floats, cluster: Ints) -> Mean:
    """Return the mean of values of which each belongs to a cluster, numbered from 0."""
    if len(values) == 0:
        return Mean(math.nan, math.nan, 0.0, 0)
    return clustered_mean(sums_of(values, cluster), sums_of(np.ones(len(values)), cluster))


def design_effect(values: Floats, cluster: Ints) -> float:
    """Return the variance of the mean ÷ what it would be of independent values.

    1 where values do not differ: they tell nothing of how alike clusters are. (J. N. K. Rao,
    A. J. Scott, *A simple method for the analysis of clustered binary data*, Biometrics 48 (1992)
    577-585: counts ÷ design effect are used as if they were independent.)
    """
    independent = float(np.var(values, ddof=1)) / len(values) if len(values) > 1 else 0.0
    if independent <= 0:
        return 1.0
    return max(LEAST_EFFECT, mean_of(values, cluster).variance / independent)
