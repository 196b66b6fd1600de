"""Perplexities of two builds over the same windows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from scipy import special

from evals.compare.clusters import Mean, clustered_mean, sums_of
from evals.compare.records import Noninferiority, PerplexityRatio, Verdict

if TYPE_CHECKING:
    from evals.compare.pairs import Pairs
    from evals.compare.records import Comparison

ALPHA = 0.05


def compare_perplexity(pairs: Pairs, result: Comparison, margin: float) -> None:
    """Fill in what the windows that both builds have say.

    The ratio of the perplexities is exp(Σ (nats of ours - nats of the baseline) ÷ Σ units): a ratio
    estimator (W. G. Cochran, *Sampling Techniques*, 3rd ed. 1977, ch. 6) whose variance comes from
    whole windows, or documents where the answers name them as clusters; tokens are no independent
    draws. What is common to both builds, the text's difficulty, drops out.

    Args:
        pairs: windows, scores in nats and weights in units.
        result: where it goes.
        margin: rise of the perplexity that is still acceptable, as a share.
    """
    units = sums_of(pairs.weights, pairs.cluster)
    ours = sums_of(pairs.scores, pairs.cluster)
    baseline = sums_of(pairs.baseline_scores, pairs.cluster)
    rise = clustered_mean(ours - baseline, units)
    total = math.fsum(pairs.weights)
    result.clusters = rise.clusters
    result.score = math.exp(math.fsum(pairs.scores) / total)
    result.baseline_score = math.exp(math.fsum(pairs.baseline_scores) / total)
    result.difference = result.score - result.baseline_score
    # Delta method: what each unit of a cluster does to the difference of two exponentials.
    moved = result.score * (ours - math.log(result.score) * units) - result.baseline_score * (
        baseline - math.log(result.baseline_score) * units
    )
    moves = clustered_mean(moved, units).interval()
    if moves is not None:
        result.difference_ci95 = (result.difference + moves[0], result.difference + moves[1])
    log_ci = rise.interval()
    ratio = math.exp(rise.mean)
    ci95 = None if log_ci is None else (math.exp(log_ci[0]), math.exp(log_ci[1]))
    result.retained = 1 / ratio
    result.retained_ci95 = None if ci95 is None else (1 / ci95[1], 1 / ci95[0])
    result.perplexity = PerplexityRatio(
        ratio=ratio, ci95=ci95, windows=len(pairs), clusters=rise.clusters, units=total
    )
    result.noninferiority = _noninferiority(rise, margin, len(pairs))
    p = rise.p_above(0.0)
    result.p_value = None if p is None else 2 * min(p, 1 - p)


def _noninferiority(rise: Mean, margin: float, windows: int) -> Noninferiority:
    limit = math.log1p(margin)
    p_fail = rise.p_above(limit)
    if p_fail is None:
        return Noninferiority(margin=margin, verdict="INCONCLUSIVE")
    verdict: Verdict = (
        "PASS" if 1 - p_fail < ALPHA else "FAIL" if p_fail < ALPHA else "INCONCLUSIVE"
    )
    bounds = rise.interval(1 - 2 * ALPHA)
    needed = None
    if verdict == "INCONCLUSIVE" and rise.mean != limit:
        z = -float(special.ndtri(ALPHA) + special.ndtri(0.2))
        needed = math.ceil(windows * rise.variance * (z / (limit - rise.mean)) ** 2)
    return Noninferiority(
        margin=margin,
        verdict=verdict,
        p_pass=1 - p_fail,
        p_fail=p_fail,
        bound=math.expm1(bounds[1]) if bounds else None,
        items_needed=needed,
    )
