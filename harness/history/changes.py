"""Where a series changed, if a test says that it did.

Definitions and their sources: docs/method.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from scipy.stats import rankdata

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEVEL: Final = 0.05
"""Chance that a series without any change is said to have one, at most."""
LEAST: Final = 8
"""With fewer values no order of them is rare enough to show a change at this level."""
MOST: Final = 200
"""Values that are looked at, the last ones: the work grows with their square."""
BESIDE: Final = 2
"""Values on each side of a change, at least: one by itself is an outlier."""
ORDERS: Final = (1999, 9999)
"""Random orders that a p-value is of, at least and at most: the more values, the fewer orders."""
_RANKS: Final = 600_000
"""Ranks put in order for a p-value, about."""
STEP_SHARE: Final = 0.8
"""Share of the level that is spent on steps; the rest is for changes that went back again."""
_ROUNDING: Final = 1e-9


@dataclass(frozen=True, kw_only=True)
class Change:
    """Values from `at` on are unlike those before."""

    at: int
    """Position of the first value after the change."""
    before: float
    """Median of the values since the change before, and of those until the one after."""
    after: float
    p_value: float
    """Of "no change" in the stretch that this one was found in."""


class _Found(NamedTuple):
    """What a stretch shows."""

    p_value: float
    cuts: list[int]


def change_points(values: Sequence[float], *, level: float = LEVEL) -> list[Change]:
    """Return the changes of a series, in order.

    A stretch is tested by the largest standardized rank sum over all its splits (B. Lausen, M.
    Schumacher, Biometrics 48 (1992) 73-85), and by that of all its middle parts (A. B. Olshen, E.
    S. Venkatraman, R. Lucito, M. Wigler, Biostatistics 5 (2004) 557-572), each against the same of
    random orders of its values. Where it has changed, its parts are searched in turn (binary
    segmentation: L. Ju. Vostrikova, Soviet Math. Dokl. 24 (1981) 55-59). Holm's procedure over the
    stretches that are open (S. Holm, Scand. J. Stat. 6 (1979) 65-70) keeps the level for the whole
    series.

    Args:
        values: (n,) in order of time, independent of each other where nothing changed; of more than
            `MOST` the last ones are looked at.
        level: chance of a change in a series that has none.
    """
    first = max(0, len(values) - MOST)
    series = np.asarray(values[first:], dtype=np.float64)
    open_ = {(0, len(series)): _search(series)}
    cuts: dict[int, float] = {}
    while open_:
        stretch, found = min(open_.items(), key=lambda one: (one[1].p_value, one[0]))
        if found.p_value > level / len(open_):
            break
        del open_[stretch]
        start, end = stretch
        inner = [start + at for at in found.cuts]
        cuts |= dict.fromkeys(inner, found.p_value)
        for part in pairwise((start, *inner, end)):
            open_[part] = _search(series[slice(*part)])
    edges = sorted(cuts)
    parts = pairwise((0, *edges, len(series))) if edges else ()
    middles = [float(np.median(series[slice(*part)])) for part in parts]
    return [
        Change(at=first + at, before=before, after=after, p_value=cuts[at])
        for at, (before, after) in zip(edges, pairwise(middles), strict=True)
    ]


def _search(values: Floats) -> _Found:
    """Look for one step, or one middle part that is unlike the rest, in a stretch."""
    n = len(values)
    if n < LEAST:
        return _Found(1.0, [])
    ranks = rankdata(values)
    step, middle = _largest(ranks[np.newaxis])
    steps, middles = _by_chance(tuple(sorted(ranks.tolist())))
    p_step, p_middle = (
        (1 + int((chance >= found.size[0] - _ROUNDING).sum())) / (1 + len(chance))
        for chance, found in ((steps, step), (middles, middle))
    )
    if p_step / STEP_SHARE <= p_middle / (1 - STEP_SHARE):
        return _Found(min(1.0, p_step / STEP_SHARE), [step.end])
    return _Found(min(1.0, p_middle / (1 - STEP_SHARE)), [middle.start, middle.end])


@lru_cache(maxsize=512)
def _by_chance(ranks: tuple[float, ...]) -> tuple[Floats, Floats]:
    """Two arrays (orders,): what `_largest` finds in random orders; the same for the same ranks."""
    rng = np.random.default_rng(len(ranks))
    count = min(max(_RANKS // len(ranks), ORDERS[0]), ORDERS[1])
    orders = rng.permuted(np.tile(np.asarray(ranks), (count, 1)), axis=1)
    step, middle = _largest(orders)
    return step.size, middle.size


class _Part(NamedTuple):
    """The part of a stretch that is the most unlike the rest."""

    size: Floats
    """(orders,) how far its ranks' sum is from its mean, in standard deviations."""
    start: int
    """Of the first order."""
    end: int


def _largest(ranks: Floats) -> tuple[_Part, _Part]:
    """Return the most unlike part that touches an end, and the most unlike one that does not.

    Args:
        ranks: (orders, n), each row an order of the same ranks.
    """
    orders, n = ranks.shape
    sums = np.zeros((orders, n + 1))
    np.cumsum(ranks - (n + 1) / 2, axis=1, out=sums[:, 1:])
    step = middle = _Part(np.zeros(orders), 0, 0)
    for length in range(BESIDE, n - BESIDE + 1):
        # variance of a sum drawn without replacement
        variance = ranks[0].var() * length * (n - length) / (n - 1)
        off = np.abs(sums[:, length:] - sums[:, :-length]) / math.sqrt(max(variance, _ROUNDING))
        step = _further(step, off[:, :1], 0, length)
        middle = _further(middle, off[:, BESIDE : n - length - BESIDE + 1], BESIDE, length)
    return step, middle


def _further(so_far: _Part, off: Floats, first: int, length: int) -> _Part:
    """Take the parts of one more length into account; the columns of `off` are their starts."""
    if not off.shape[1]:
        return so_far
    size = off.max(axis=1)
    start, end = so_far.start, so_far.end
    if size[0] > so_far.size[0] + _ROUNDING:
        start = first + int(off[0].argmax())
        end = start + length
    return _Part(np.maximum(size, so_far.size), start, end)
