"""Rank tests in the normal approximation. scipy.stats has them too, for 100 MiB and a second.

The tests compare with scipy's (`mannwhitneyu`, `wilcoxon`, both `method="asymptotic"`/`"approx"`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from harness.samples import Floats


def ranks(values: Floats) -> tuple[Floats, float]:
    """Return ranks from 1, equal values sharing their mean rank, and Σ(t³ - t) over the ties."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    shared = last - (counts - 1) / 2
    ties = counts.astype(np.float64)
    return shared[where], float((ties**3 - ties).sum())


def mann_whitney(one: Floats, other: Floats) -> float:
    """Two-sided p that both come from one distribution (Mann & Whitney 1947, ties corrected)."""
    n, m = one.size, other.size
    if not n or not m:
        return 1.0
    found, ties = ranks(np.concatenate([one, other]))
    u = float(found[:n].sum()) - n * (n + 1) / 2
    total = n + m
    variance = n * m / 12 * (total + 1 - ties / (total * (total - 1)))
    return _two_sided(abs(u - n * m / 2) - 0.5, variance)


def wilcoxon_less(differences: Floats) -> float:
    """One-sided p that paired differences lie below 0 by chance (Wilcoxon 1945, zeros left out)."""
    some = differences[differences != 0]
    n = some.size
    if not n:
        return 1.0
    found, ties = ranks(np.abs(some))
    above = float(found[some > 0].sum())
    variance = n * (n + 1) * (2 * n + 1) / 24 - ties / 48
    return _below((above - n * (n + 1) / 4) / math.sqrt(variance))


def _two_sided(distance: float, variance: float) -> float:
    return min(1.0, 2 * _below(-distance / math.sqrt(variance))) if variance > 0 else 1.0


def _below(z: float) -> float:
    """Return the standard normal distribution at z."""
    return math.erfc(-z / math.sqrt(2)) / 2
