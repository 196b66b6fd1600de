"""Requests that failed or were dropped: all repeats together, since most repeats have none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.comparing.noise import side_of
from harness.comparing.rows import Difference, Value
from harness.measuring.stats import share_ci95

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.comparing.values import Cells, RepeatKey


def error_rate(cells: Cells, keys: Sequence[RepeatKey]) -> Value:
    """Return the share of all repeats' requests that failed, with Wilson's interval."""
    listed = [
        cells.counts[key][0] / cells.counts[key][1] if cells.counts[key][1] else None
        for key in keys
    ]
    failed, asked = (sum(pair[place] for pair in cells.counts.values()) for place in (0, 1))
    if not asked:
        return Value(value=None, repeats=listed)
    return Value(value=failed / asked, ci95=share_ci95(failed, asked), repeats=listed)


def error_difference(ours: Cells, theirs: Cells) -> Difference:
    """Return the difference of two shares, with Newcombe's interval (Stat. Med. 17 (1998) 873)."""
    from statsmodels.stats.proportion import confint_proportions_2indep  # slow to load

    a, n = (sum(pair[place] for pair in ours.counts.values()) for place in (0, 1))
    b, m = (sum(pair[place] for pair in theirs.counts.values()) for place in (0, 1))
    if not n or not m:
        return Difference(difference=None)
    low, high = confint_proportions_2indep(a, n, b, m, method="newcomb", compare="diff")
    ci95 = (float(low), float(high))
    return Difference(difference=a / n - b / m, ci95=ci95, side=side_of("less", ci95, 0.0))
