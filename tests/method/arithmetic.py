"""Section "Percentiles and intervals": exact percentiles, and the bootstrap draw by draw."""

from __future__ import annotations

import itertools
import math
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reading import Record

SHARES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99_9": 0.999}
LEAST = {"p50": 2, "p90": 10, "p95": 20, "p99": 100, "p99_9": 1000}
Array = Any


def generator(name: str) -> np.random.Generator:
    return np.random.default_rng([20261121, zlib.crc32(name.encode())])


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def median(values: Sequence[float]) -> float:
    return quantile(sorted(values), 0.5)


def between(low: float, high: float, fraction: float) -> float:
    if fraction == 0:
        return low
    return math.inf if math.isinf(high) else low + (high - low) * fraction


def quantile(ordered: Sequence[float], share: float) -> float:
    """Linear interpolation between the neighbours of rank share · (n − 1)."""
    rank = share * (len(ordered) - 1)
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return between(ordered[low], ordered[high], rank - low)


def middle_95(replicates: Sequence[float]) -> list[float]:
    """The values of ranks ⌈0.025 n⌉ and ⌈0.975 n⌉."""
    ordered = sorted(replicates)
    return [float(ordered[math.ceil(q * len(ordered)) - 1]) for q in (0.025, 0.975)]


def replicates(ordered: Sequence[float], share: float, rng: np.random.Generator) -> list[float]:
    """A percentile of 2,000 resamples of independent values."""
    n = len(ordered)
    rank = share * (n - 1)
    below = math.floor(rank)
    values, first = np.array(ordered), rng.beta(below + 1, n - below, 2000)
    low = values[np.minimum((first * n).astype(int), n - 1)]
    if below + 1 >= n:
        return low.tolist()
    following = first + (1 - first) * (1 - rng.random(2000) ** (1 / (n - below - 1)))
    high = values[np.minimum((following * n).astype(int), n - 1)]
    pairs = zip(low.tolist(), high.tolist(), strict=True)
    return [between(a, b, rank - below) for a, b in pairs]


def describe(
    values: Sequence[float | None],
    name: str,
    *,
    slow: str = "high",
    failures: int = 0,
    stable: bool = True,
) -> Record:
    """A distribution of one value a request; `failures` count as +∞."""
    known = sorted(one for one in values if one is not None)
    if not stable:
        return stat(None, n=len(known) + failures, n_infinite=failures, unstable=True)
    ordered = [*known, *[math.inf] * failures]
    rng, ci95 = generator(name), {}
    for key in ("p50", "p95"):
        if len(ordered) >= LEAST[key]:
            share = SHARES[key] if slow == "high" else 1 - SHARES[key]
            ends = middle_95(replicates(ordered, share, rng))
            if math.isfinite(ends[1]):
                ci95[key] = ends
    return stat(ordered, slow=slow, ci95=ci95, n_infinite=failures)


def stat(ordered: Sequence[float] | None, *, slow: str = "high", **more: object) -> Record:
    """The fields of a distribution."""
    found: Record = dict.fromkeys(("mean", *SHARES, "max"))
    found |= {"n": len(ordered or ()), "n_infinite": 0, "ci95": {}, "unstable": False} | more
    if not ordered:
        return found
    for key, share in SHARES.items():
        if len(ordered) >= LEAST[key]:
            value = quantile(ordered, share if slow == "high" else 1 - share)
            found[key] = value if math.isfinite(value) else None
    if math.isfinite(ordered[-1]):
        found |= {"mean": mean(ordered), "max": ordered[-1]}
    return found


# --- values of which a request has many ----------------------------------------------------------


def describe_pooled(groups: Sequence[Sequence[float]], name: str, unit: float) -> Record:
    """All values of all requests, with whole requests resampled; `unit` divides each value."""
    groups = [group for group in groups if group]
    pairs = sorted((value, at % 1000) for at, group in enumerate(groups) for value in group)
    ordered, count, ci95 = [value / unit for value, _ in pairs], min(len(groups), 1000), {}
    if count > 1:
        drawn = generator(name).integers(0, count, (1000, count))
        weights = np.array([np.bincount(row, minlength=count) for row in drawn])
        each = weights[:, [owner for _, owner in pairs]]
        for key in ("p50", "p95"):
            if len(ordered) >= LEAST[key]:
                ci95[key] = middle_95(pooled(ordered, each, SHARES[key]))
    return stat(ordered, ci95=ci95)


def pooled(ordered: Sequence[float], each: Array, share: float) -> list[float]:
    """A percentile of each replicate; `each` says how often it has each value.

    First among 256 ranks of all values, then among 256 of the range that the replicates reach.
    """
    reached = np.cumsum(each, axis=1)
    drawn = reached[:, -1]
    wanted = share * (drawn - 1)
    lower = np.floor(wanted)
    upper = np.minimum(lower + 1, drawn - 1)
    ranks = spread(0, len(ordered) - 1, 256)
    start = ranks[max(0, int(places(reached[:, ranks], lower).min()) - 1)]
    stop = ranks[int(places(reached[:, ranks], upper).max())]
    ranks = spread(start, stop, min(256, stop - start + 1))
    values = np.array(ordered)[ranks]
    low, high = (values[places(reached[:, ranks], rank)] for rank in (lower, upper))
    return [float(one) for one in low + (high - low) * (wanted - lower)]


def spread(start: int, stop: int, count: int) -> list[int]:
    """Whole ranks, spread evenly: rounded down."""
    return sorted({int(at) for at in np.linspace(start, stop, count)})


def places(reached: Array, rank: Array) -> Array:
    """The first of the ranks by which a replicate has more than `rank` values."""
    return np.minimum((reached <= rank[:, None]).sum(axis=1), reached.shape[1] - 1)


def contrast(
    values: Sequence[float | None],
    reference: Sequence[float | None],
    name: str,
    least: int,
    *,
    stable: bool = True,
) -> Record:
    """The medians of two groups, and their difference."""
    one, other = (sorted(v for v in group if v is not None) for group in (values, reference))
    found: Record = dict.fromkeys(("value", "reference", "difference", "ci95"))
    found |= {"n": len(one), "n_reference": len(other), "unstable": not stable}
    if not stable:
        return found
    found["value"], found["reference"] = (quantile(g, 0.5) if g else None for g in (one, other))
    if min(len(one), len(other)) >= least:
        rng = generator(name)
        drawn = replicates(one, 0.5, rng), replicates(other, 0.5, rng)
        found["difference"] = found["value"] - found["reference"]
        found["ci95"] = middle_95([a - b for a, b in zip(*drawn, strict=True)])
    return found


# --- curves and tests ----------------------------------------------------------------------------


def slope(at: Sequence[float], values: Sequence[float]) -> float:
    """Least squares."""
    middle, level = mean(at), mean(values)
    across = math.fsum((x - middle) * (y - level) for x, y in zip(at, values, strict=True))
    return across / math.fsum((x - middle) ** 2 for x in at)


def lag_one(values: Sequence[float]) -> float:
    """Correlation of each value with the next one; 0 where all are alike."""
    level = mean(values)
    off = [value - level for value in values]
    around = math.fsum(one * one for one in off)
    return math.fsum(a * b for a, b in itertools.pairwise(off)) / around if around else 0.0


def variance(values: Sequence[float], less: int = 1) -> float:
    level = mean(values)
    return math.fsum((value - level) ** 2 for value in values) / (len(values) - less)
