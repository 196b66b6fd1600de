"""What share of the baseline's score is retained, and the mean of that over tasks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from scipy import special

from evals.compare.clusters import clustered_mean, sums_of
from evals.compare.matched import Bounded, limit
from evals.compare.pairs import is_perplexity
from evals.compare.records import Interval, Retained
from evals.compare.scores import split, task_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from evals.compare.clusters import Floats, Ints
    from evals.compare.pairs import Pairs

REPLICATES = 4000
_BLOCK = 1 << 22
_LARGEST = 100.0
"""Ratio up to which limits are looked for."""


def retained(ours: Floats, baseline: Floats, cluster: Ints, chance: float = 0.0) -> Retained:
    """Return (ours - chance) ÷ (baseline - chance) with its 95 % interval.

    The interval holds the ratios r that the data do not contradict: under a ratio of r the values
    ours - r · baseline have the mean chance · (1 - r), which is tested as any other mean (E. C.
    Fieller, J. R. Statist. Soc. B 16 (1954) 175-185, with the score test's variance). No ratio
    where the baseline is not above chance.

    Args:
        ours: (n,) scores.
        baseline: (n,) scores of the same items.
        cluster: (n,) number of the cluster of each item.
        chance: mean score of guessing.
    """
    above = float(baseline.mean()) - chance if len(baseline) else 0.0
    if above <= 0:
        return Retained(share=None)
    share = (float(ours.mean()) - chance) / above
    sizes = sums_of(np.ones(len(ours)), cluster)
    free = clustered_mean(sums_of(baseline, cluster), sizes)
    if free.df <= 0:
        return Retained(share=share)
    rows, counts = np.unique(np.stack([ours, baseline]), axis=1, return_counts=True)
    mine, theirs = sums_of(ours, cluster), sums_of(baseline, cluster)

    def z(ratio: float) -> float:
        values = rows[0] - ratio * rows[1]
        least = min(0.0, -ratio, float(values.min()))
        greatest = max(1.0, 1.0 - ratio, float(values.max()))
        bounded = Bounded.counted(values, counts, mine - ratio * theirs, sizes, (least, greatest))
        return bounded.z(chance * (1 - ratio))

    df = math.inf if free.clusters == len(ours) else free.df
    quantile = -float(special.stdtrit(df, 0.025))
    step = 1 / (len(ours) * above)
    lower = limit(lambda r: z(r) - quantile, share, -step, -_LARGEST if chance else 0.0)
    upper = limit(lambda r: z(r) + quantile, share, step, _LARGEST)
    return Retained(share=share, ci95=(lower, upper))


class QualityScore(msgspec.Struct, kw_only=True):
    """Mean over tasks of the share of the baseline's score that is retained."""

    score: float | None
    ci95: Interval | None = None
    lower95: float | None = None
    """One-sided bound, to be held against a threshold."""
    tasks: dict[str, float | None] = {}
    replicates: int = REPLICATES


def quality_score(
    suites: Mapping[str, Pairs], *, seed: int, groups: Mapping[str, str] | None = None
) -> QualityScore:
    """Return the mean of the tasks' retained shares with its bootstrap interval.

    The stratified paired bootstrap: of every task its clusters are drawn anew, an item's two scores
    together (B. Efron, R. J. Tibshirani, *An Introduction to the Bootstrap*, 1993, ch. 8; clusters
    as units: C. A. Field, A. H. Welsh, J. R. Statist. Soc. B 69 (2007) 369-390); the interval is
    that of percentiles. Perplexity is not among the tasks.
    """
    tasks: dict[str, Pairs] = {}
    for suite, pairs in suites.items():
        for name in split(pairs.ours, lambda a: task_of(a, groups)):
            part = pairs.where(lambda a, name=name: task_of(a, groups) == name)  # type: ignore[misc]
            if len(part) and not is_perplexity(part.ours[0]):
                tasks[f"{suite}/{name}" if name else suite] = part
    shares = {name: _ratio(part) for name, part in tasks.items()}
    known = [name for name, share in shares.items() if share is not None]
    if not known:
        return QualityScore(score=None, tasks=shares)
    rng = np.random.default_rng(seed)
    drawn = np.mean([_drawn_ratios(tasks[name], rng) for name in known], axis=0)
    score = math.fsum(share for share in shares.values() if share is not None) / len(known)
    enough = all(tasks[name].cluster.max() > 0 for name in known)
    low, lower, high = np.nanquantile(drawn, (0.025, 0.05, 0.975))
    return QualityScore(
        score=score,
        ci95=(float(low), float(high)) if enough else None,
        lower95=float(lower) if enough else None,
        tasks=shares,
    )


def _ratio(pairs: Pairs) -> float | None:
    below = math.fsum(pairs.baseline_scores)
    return math.fsum(pairs.scores) / below if below > 0 else None


def _drawn_ratios(pairs: Pairs, rng: np.random.Generator) -> Floats:
    """Draw clusters with replacement; alike ones are drawn together, by their number."""
    sums = np.stack([sums_of(v, pairs.cluster) for v in (pairs.scores, pairs.baseline_scores)])
    kinds, counts = np.unique(sums, axis=1, return_counts=True)
    rows = max(1, _BLOCK // len(counts))
    found = []
    for start in range(0, REPLICATES, rows):
        size = min(rows, REPLICATES - start)
        times = rng.multinomial(counts.sum(), counts / counts.sum(), size=size)
        below = times @ kinds[1]
        # Nothing can be said of a draw in which the baseline has nothing right.
        found.append((times @ kinds[0]) / np.where(below > 0, below, np.nan))
    return np.concatenate(found)
