"""Percentiles of few answers: how far they are biased, and where nothing can be decided by them."""

from __future__ import annotations

import math
from typing import Final

from harness.evidence.metrics import METRICS
from harness.measuring.stats import PERCENTILES

_BEYOND: Final = 4
_POOLED: Final = "itl_ms"
"""A distribution of gaps: a request has many."""


def least_answers(metric: str) -> int:
    """Return the answers below which a cell's percentile decides nothing; 0: it always may.

    That is 4 ÷ (1 − q): 8 for a p50, 80 for a p95, 400 for a p99. With fewer, intervals hold the
    truth too rarely (`benchmarks/compare_statistics.py`).
    """
    share = _share(metric)
    return 0 if share is None else round(_BEYOND / (1 - share))


def longer(metric: str, answers: int | None) -> str:
    """Say how much longer a cell has to be for a percentile."""
    least = least_answers(metric)
    if not answers or answers >= least:
        return "a longer --duration"
    times = math.ceil(10 * least / answers) / 10
    return f"{answers} are there, {least} needed: a --duration about {times:g} times as long"


def missed(metric: str, answers: int, within: float) -> float:
    """Return how much a percentile's logarithm lies nearer to the middle than the truth, signed.

    The linear percentile (type 7: rank (n − 1) q + 1) lies (4q − 2) ÷ 3 ranks below the
    median-unbiased one (type 8: rank (n + 1/3) q + 1/3: R. J. Hyndman, Y. Fan, *Sample quantiles in
    statistical packages*, The American Statistician 50 (1996) 361-365). A rank is 1 ÷ n of the
    distribution, and the percentile's standard error is √(q (1 − q) ÷ n) of it.

    Args:
        metric: any name.
        answers: of the cell.
        within: variance of the logarithm that the cell's requests account for; 0: unknown.
    """
    share = _share(metric)
    if share is None or not answers:
        return 0.0
    ranks = (4 * share - 2) / 3
    away = ranks / math.sqrt(answers * share * (1 - share)) * math.sqrt(within)
    return away if METRICS[metric].better == "less" else -away


def _share(metric: str) -> float | None:
    """The share of a percentile of one value a request; None: the metric is none."""
    known = METRICS.get(metric)
    if known is None or known.field == _POOLED:
        return None
    return PERCENTILES.get(known.statistic)
