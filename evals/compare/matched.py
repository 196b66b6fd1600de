"""What can be said of a mean of bounded values: score tests, and intervals by inverting them.

Of each pair one value is looked at: ours - baseline for a difference, ours - r · baseline for a
retained share of r. Such values are few (-1, 0, 1), most of them are 0, and where few pairs differ
Student's t takes the few that happened to be seen for all there is: with 4 % flips among 100 pairs
it passes a build at the margin 13 times in 100 instead of 5. A score test takes the variance that
goes with the mean under test instead: that of the likeliest distribution which has this mean.

For differences of right-or-wrong answers that is Tango's test (T. Tango, *Equivalence test and
confidence interval for the difference in proportions for the paired-sample design*, Statistics in
Medicine 17 (1998) 891-908), for ratios that of J. Nam, W. C. Blackwelder (Statistics in Medicine 21
(2002) 689-699). The likeliest distribution with a given mean is found as in A. B. Owen, *Empirical
Likelihood* (2001), §2: p = n / N / (1 + λ (x - mean)), one unknown; unlike there, the bounds of the
values may have a share although nobody was seen there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import special

from evals.compare.clusters import Mean, clustered_mean, sums_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from evals.compare.clusters import Floats, Ints

_EDGE = 1e-12
LEAST_SPREAD = 0.25
"""Design effects below are chance: values that happen to sum up alike in all clusters have 0."""
_WIDEST = 60
"""Standard errors in which a limit is looked for, each time twice as far."""


def likeliest(support: Floats, counts: Floats, mean: float) -> Floats:
    """Return the distribution over `support` with this mean that makes `counts` likeliest.

    Args:
        support: (K,) values, ascending; the least and the greatest possible are among them. A value
            may be there twice.
        counts: (K,) how often each was seen.
        mean: strictly between the least and the greatest.
    """
    away = support - mean
    low, high = -1 / away[-1], -1 / away[0]

    def slope(tilt: float) -> float:
        return float((counts * away / (1 + tilt * away)).sum())

    span = high - low
    left, right = low + _EDGE * span, high - _EDGE * span
    if slope(left) <= 0:
        tilt, empty = low, len(support) - 1
    elif slope(right) >= 0:
        tilt, empty = high, 0
    else:
        tilt, empty = root(slope, left, right, xtol=1e-15 * span), None
    seen = counts > 0
    share = np.zeros(len(support))
    share[seen] = counts[seen] / counts.sum() / (1 + tilt * away[seen])
    if empty is not None:
        share[empty] = max(0.0, 1 - share.sum())
    return share


@dataclass(frozen=True)
class Bounded:
    """Values of one mean, each between the least and the greatest of `support`, in clusters."""

    support: Floats
    """(K,) values, ascending; the least and the greatest possible are among them."""
    counts: Floats
    """(K,) how often each was seen."""
    sums: Floats
    """(G,) of the values of each cluster."""
    sizes: Floats
    """(G,) how many values each cluster has."""

    @classmethod
    def of(
        cls, values: Floats, cluster: Ints, least: float = -1.0, greatest: float = 1.0
    ) -> Bounded:
        """Take values and the number of the cluster of each, from 0."""
        support, counts = np.unique(values, return_counts=True)
        sizes = sums_of(np.ones(len(values)), cluster)
        return cls.counted(support, counts, sums_of(values, cluster), sizes, (least, greatest))

    @classmethod
    def counted(
        cls, values: Floats, counts: Ints, sums: Floats, sizes: Floats, bounds: tuple[float, float]
    ) -> Bounded:
        """Take values that were counted; a value may be there twice."""
        support = np.concatenate([values, bounds])
        order = np.argsort(support, kind="stable")
        seen = np.concatenate([counts, (0.0, 0.0)])
        return cls(support[order], seen[order], sums, sizes)

    @cached_property
    def count(self) -> int:
        """How many values there are."""
        return round(float(self.counts.sum()))

    @cached_property
    def mean(self) -> Mean:
        """The mean by clusters."""
        return clustered_mean(self.sums, self.sizes)

    @cached_property
    def independent(self) -> bool:
        """Whether every value is a cluster of its own."""
        return len(self.sizes) == self.count

    @cached_property
    def spread(self) -> float:
        """The design effect: by how much clusters multiply the variance of the mean.

        Variances of independent values are multiplied by it (J. N. K. Rao, A. J. Scott, *A simple
        method for the analysis of clustered binary data*, Biometrics 48 (1992) 577-585). 1 where
        values do not differ: they tell nothing of how alike clusters are.
        """
        if self.independent:
            return 1.0
        squares = float((self.counts * (self.support - self.mean.mean) ** 2).sum())
        if squares <= _EDGE:
            return 1.0
        return max(LEAST_SPREAD, self.mean.variance * self.count * (self.count - 1) / squares)

    @cached_property
    def df(self) -> float:
        """Degrees of freedom of what `z` is distributed by; infinite: the normal distribution."""
        return math.inf if self.independent else self.mean.df

    def z(self, mean: float) -> float:
        """Return how many standard errors the mean seen lies above `mean`, if that is the truth."""
        seen = self.mean.mean
        least, greatest = float(self.support[0]), float(self.support[-1])
        if seen == mean:
            return 0.0
        if not least < mean < greatest:
            return math.copysign(math.inf, seen - mean)
        share = likeliest(self.support, self.counts, mean)
        variance = float((share * (self.support - mean) ** 2).sum()) / self.count * self.spread
        return (seen - mean) / math.sqrt(variance)

    def p_above(self, mean: float) -> float:
        """Return the p-value of "the truth is at most `mean`"; small: it is above."""
        return float(special.stdtr(self.df, -self.z(mean))) if self.df > 0 else math.nan

    def p_below(self, mean: float) -> float:
        """Return the p-value of "the truth is at least `mean`"; small: it is below.

        The larger one of the score test's and Student's: on this side, where the variance under
        test is the smaller of the two, the score test alone would be wrong up to 8 times in 100.
        """
        if self.df <= 0:
            return math.nan
        p = float(special.stdtr(self.df, self.z(mean)))
        if self.mean.variance > 0:
            p = max(p, float(special.stdtr(self.mean.df, self.mean.t(mean))))
        return p

    def interval(self, confidence: float = 0.95) -> tuple[float, float] | None:
        """Return the means that a two-sided test would not reject; None with a single cluster."""
        if self.df <= 0:
            return None
        quantile = -float(special.stdtrit(self.df, (1 - confidence) / 2))
        least, greatest = float(self.support[0]), float(self.support[-1])
        step = (greatest - least) / self.count
        if self.mean.variance > 0:
            step = max(step, math.sqrt(self.mean.variance))
        lower = limit(lambda m: self.z(m) - quantile, self.mean.mean, -step, least)
        upper = limit(lambda m: self.z(m) + quantile, self.mean.mean, step, greatest)
        return lower, upper


def sign_test(more: int, fewer: int, alternative: Literal["two-sided", "greater"]) -> float:
    """Return the p-value of "as many one way as the other".

    Of right-or-wrong pairs it is McNemar's exact test (Psychometrika 12 (1947) 153-157).
    """
    if not more + fewer:
        return 1.0
    if alternative == "greater":
        return float(special.bdtrc(more - 1, more + fewer, 0.5))
    return min(1.0, 2 * float(special.bdtrc(max(more, fewer) - 1, more + fewer, 0.5)))


def p_negative(values: Bounded) -> float:
    """Return the one-sided p-value of "the mean is not below 0".

    Exact where values are -1, 0 or 1 and independent. Otherwise the larger one of that and the test
    by clusters.
    """
    down, up = (
        round(float(values.counts[side].sum())) for side in (values.support < 0, values.support > 0)
    )
    exact = sign_test(down, up, "greater")
    if values.independent and bool(np.isin(values.support, (-1, 0, 1)).all()):
        return exact
    p = values.p_below(0.0)
    return 1.0 if math.isnan(p) else max(exact, p)


def limit(excess: Callable[[float], float], seen: float, step: float, bound: float) -> float:
    """Return where `excess` changes its sign, from `seen` in growing steps up to `bound`."""
    inside = seen
    sign = math.copysign(1, step)
    outside = seen + step
    for _ in range(_WIDEST):
        if (outside - bound) * sign >= 0:
            outside = bound - sign * 1e-9
            if (inside - outside) * sign >= 0 or excess(outside) * sign > 0:
                return bound
            break
        if excess(outside) * sign < 0:
            break
        inside, step = outside, 2 * step
        outside = inside + step
    return root(excess, inside, outside, xtol=1e-9)


def root(of: Callable[[float], float], left: float, right: float, *, xtol: float) -> float:
    """Return where a function is 0, by Brent's method."""
    from scipy.optimize import brentq  # a quarter of a second, which scores alone do not need

    return float(brentq(of, left, right, xtol=xtol, rtol=1e-14))
