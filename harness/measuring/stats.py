"""Exact percentiles and 95 % bootstrap intervals. Pure; formulas and sources in docs/method.md."""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING, Final, Literal

import msgspec
import numpy as np

from harness.measuring.measurement import Contrast, Stat

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

PERCENTILES: Final[Mapping[str, float]] = {
    "p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99_9": 0.999,
}  # fmt: skip
AT_LEAST: Final[Mapping[str, int]] = {
    "p50": 2, "p90": 10, "p95": 20, "p99": 100, "p99_9": 1000,
}  # fmt: skip
"""Smallest number of values, 1/(1-q), for which a percentile is given."""
PRECISE_AT: Final[Mapping[str, int]] = {name: 10 * n for name, n in AT_LEAST.items()}
"""Number of values, 10/(1-q), below which a percentile is imprecise."""
WITH_INTERVAL: Final = ("p50", "p95")
REPLICATES: Final = 2000
"""Bootstrap samples of independent values."""
POOLED_REPLICATES: Final = 1000
POOLED_GROUPS: Final = 1000
"""Above this many requests, request i joins group i mod 1000 and groups are resampled."""
_RANKS = 256
_KEY_BITS = 63
_BLOCK = 1 << 20
_SEED = 20261121

Slow = Literal["high", "low"]


def rng_for(name: str) -> np.random.Generator:
    """Return the generator of one metric: always the same, and no other metric's."""
    return np.random.default_rng([_SEED, zlib.crc32(name.encode())])


def describe(values: Iterable[float], *, rng: np.random.Generator, slow: Slow = "high") -> Stat:
    """Describe independent values, one a request; `math.inf` stands for a failure.

    `slow` is the side on which users suffer: with "low" (tokens per second) the value named p95
    is the 5th percentile, so that 95 % of the requests were at least this fast. `max` is the
    largest value in either case.

    A bootstrap sample's k-th smallest value is x[floor(n U)], U ~ Beta(k, n - k + 1) (the k-th of
    n uniform numbers), so an interval costs the same for 10² as for 10⁷ values and is exactly
    the percentile bootstrap's.

    Raises:
        ValueError: a value is NaN or minus infinity.
    """
    ordered = _sorted(values)
    intervals: dict[str, tuple[float, float]] = {}
    for name in WITH_INTERVAL:
        if ordered.size >= AT_LEAST[name]:
            replicates = _independent_replicates(ordered, _share(name, slow), rng)
            intervals |= _interval(name, replicates)
    return _stat(ordered, intervals, slow)


def describe_pooled(
    groups: Sequence[npt.NDArray[np.number]], *, rng: np.random.Generator, scale: float = 1.0
) -> Stat:
    """Describe the values of all requests together, `groups` holding one array a request.

    Values of one request resemble each other (they shared their batches), so the bootstrap
    resamples requests, not values: Field & Welsh, Bootstrapping clustered data, JRSS B 69 (2007).
    All values are multiplied by `scale`.

    Raises:
        ValueError: a value is NaN or infinite.
    """
    filled = [group for group in groups if group.size]
    if not filled:
        return Stat()
    lengths = np.array([group.size for group in filled], dtype=np.int64)
    return describe_runs(np.concatenate(filled), lengths, rng=rng, scale=scale)


def describe_runs(
    values: npt.NDArray[np.number], lengths: Ints, *, rng: np.random.Generator, scale: float = 1.0
) -> Stat:
    """Describe values of all requests together as `describe_pooled` does.

    Args:
        values: all of them, those of a request one after the other.
        lengths: how many each request has.
        rng: the metric's generator.
        scale: all values are multiplied by it.

    Raises:
        ValueError: a value is NaN or infinite.
    """
    lengths = lengths[lengths > 0]
    if not lengths.size:
        return Stat()
    if not np.isfinite(values).all():
        raise ValueError("pooled values must be finite")
    ordered, owner = _sorted_with_owner(values, lengths)
    ordered *= scale
    intervals: dict[str, tuple[float, float]] = {}
    count = min(lengths.size, POOLED_GROUPS)
    if count > 1:
        weights = _multinomial(count, rng)
        for name in WITH_INTERVAL:
            if ordered.size >= AT_LEAST[name]:
                share = PERCENTILES[name]
                intervals |= _interval(name, _pooled_replicates(ordered, owner, weights, share))
    return _stat(ordered, intervals, "high")


def _sorted_with_owner(
    values: npt.NDArray[np.number], lengths: Ints
) -> tuple[Floats, npt.NDArray[np.int16]]:
    """Sort values, equal ones by their request, and say of each which group it belongs to.

    Integers are sorted together with their request's number, both in one 64-bit key, and turned
    into floating point where they lie: that takes a quarter of the memory.
    """
    bits = int(lengths.size).bit_length()
    whole = values.dtype.kind == "i" and int(values.min()) >= 0
    if not whole or int(values.max()).bit_length() + bits >= _KEY_BITS:
        owner = np.repeat((np.arange(lengths.size) % POOLED_GROUPS).astype(np.int16), lengths)
        order = np.argsort(values, kind="stable")
        return values[order].astype(np.float64), owner[order]
    key = values.astype(np.int64)
    key <<= bits
    key |= np.repeat(np.arange(lengths.size, dtype=np.int32), lengths)
    key.sort()
    owner, ordered = np.empty(key.size, dtype=np.int16), key.view(np.float64)
    for start in range(0, key.size, _BLOCK):
        part = key[start : start + _BLOCK].copy()
        owner[start : start + _BLOCK] = (part & ((1 << bits) - 1)) % POOLED_GROUPS
        ordered[start : start + _BLOCK] = part >> bits
    return ordered, owner


def contrast(
    values: Floats,
    reference: Floats,
    rng: np.random.Generator,
    *,
    least: int,
    stable: bool = True,
) -> Contrast:
    """Compare the medians of two groups of independent values; NaN is left out.

    The interval is the percentile bootstrap's of the difference, both groups resampled on their
    own. With fewer than `least` values on a side there is no difference, and of values that have
    no distribution (not `stable`) there are no medians either.
    """
    ordered, others = (np.sort(group[~np.isnan(group)]) for group in (values, reference))
    if not stable:
        return Contrast(n=int(ordered.size), n_reference=int(others.size), unstable=True)
    medians = [percentile(group, 0.5) if group.size else None for group in (ordered, others)]
    found = Contrast(
        value=medians[0], reference=medians[1], n=int(ordered.size), n_reference=int(others.size)
    )
    if min(ordered.size, others.size) < least or None in medians:
        return found
    spread = _independent_replicates(ordered, 0.5, rng) - _independent_replicates(others, 0.5, rng)
    low, high = np.quantile(spread, (0.025, 0.975), method="inverted_cdf")
    return msgspec.structs.replace(
        found, difference=(medians[0] or 0.0) - (medians[1] or 0.0), ci95=(float(low), float(high))
    )


def median_replicates(ordered: Floats, rng: np.random.Generator) -> Floats:
    """Return the medians of bootstrap samples of ascending values, as `describe` draws them."""
    return _independent_replicates(ordered, 0.5, rng)


def percentile(ordered: Floats, share: float) -> float | None:
    """Return numpy's "linear" percentile of ascending values; None if it falls among infinite ones.

    Raises:
        ValueError: there are no values.
    """
    if not ordered.size:
        raise ValueError("a percentile needs at least one value")
    rank = share * (ordered.size - 1)
    low = math.floor(rank)
    high = min(low + 1, ordered.size - 1)
    value = _between(ordered[low : low + 1], ordered[high : high + 1], rank - low)[0]
    return float(value) if math.isfinite(value) else None


def _sorted(values: Iterable[float]) -> Floats:
    ordered = np.sort(np.fromiter(values, dtype=np.float64))
    if ordered.size and (math.isnan(ordered[-1]) or ordered[0] == -math.inf):
        raise ValueError("values must be numbers or +inf")
    return ordered


def _share(name: str, slow: Slow) -> float:
    return PERCENTILES[name] if slow == "high" else 1.0 - PERCENTILES[name]


def _stat(ordered: Floats, intervals: dict[str, tuple[float, float]], slow: Slow) -> Stat:
    n = int(ordered.size)
    infinite = n - int(np.searchsorted(ordered, math.inf))
    found = {
        name: percentile(ordered, _share(name, slow)) if n >= AT_LEAST[name] else None
        for name in PERCENTILES
    }
    whole = n > 0 and not infinite
    return Stat(
        mean=float(ordered.mean()) if whole else None,
        max=float(ordered[-1]) if whole else None,
        n=n,
        n_infinite=infinite,
        ci95=intervals,
        p50=found["p50"],
        p90=found["p90"],
        p95=found["p95"],
        p99=found["p99"],
        p99_9=found["p99_9"],
    )


def _between(low: Floats, high: Floats, fraction: float) -> Floats:
    """Interpolate as numpy does (exact at both ends); infinite where the upper end is."""
    if fraction == 0:
        return low
    with np.errstate(invalid="ignore"):
        step = high - low
        value = low + step * fraction if fraction < 0.5 else high - step * (1 - fraction)  # noqa: PLR2004
    return np.where(np.isfinite(high), value, math.inf)


def _interval(name: str, replicates: Floats) -> dict[str, tuple[float, float]]:
    """Return the middle 95 %; nothing when an end of it is infinite."""
    low, high = np.quantile(replicates, (0.025, 0.975), method="inverted_cdf")
    return {name: (float(low), float(high))} if math.isfinite(high) else {}


def _independent_replicates(ordered: Floats, share: float, rng: np.random.Generator) -> Floats:
    n = ordered.size
    rank = share * (n - 1)
    below = math.floor(rank)
    uniform = rng.beta(below + 1, n - below, REPLICATES)
    low = ordered[np.minimum((uniform * n).astype(np.int64), n - 1)]
    if below + 1 >= n:
        return low
    # the next of n uniform numbers: the least of the n - below - 1 that lie above this one
    gap = 1.0 - rng.random(REPLICATES) ** (1.0 / (n - below - 1))
    above = uniform + (1.0 - uniform) * gap
    high = ordered[np.minimum((above * n).astype(np.int64), n - 1)]
    return _between(low, high, rank - below)


def _multinomial(count: int, rng: np.random.Generator) -> Floats:
    """How often each of `count` groups is drawn, one row a replicate."""
    drawn = rng.integers(0, count, (POOLED_REPLICATES, count))
    rows = np.arange(POOLED_REPLICATES)[:, None] * count
    counts = np.bincount((drawn + rows).ravel(), minlength=POOLED_REPLICATES * count)
    return counts.reshape(POOLED_REPLICATES, count).astype(np.float64)


def _pooled_replicates(
    ordered: Floats, owner: npt.NDArray[np.int16], weights: Floats, share: float
) -> Floats:
    """Return one percentile of each replicate of the cluster bootstrap.

    Two looks: at 256 ranks spread over all values to see how far the replicates reach, then at
    256 within that reach (at every one where it has no more).
    """
    drawn = weights @ _group_sizes(owner, weights.shape[1])
    wanted = share * (drawn - 1)
    lower = np.floor(wanted)
    upper = np.minimum(lower + 1, drawn - 1)
    ranks = np.unique(np.linspace(0, ordered.size - 1, _RANKS).astype(np.int64))
    reached = _reached(owner, weights, ranks)
    first = max(0, int(_position(reached, lower).min()) - 1)
    last = min(ranks.size - 1, int(_position(reached, upper).max()))
    start, stop = int(ranks[first]), int(ranks[last])
    ranks = np.unique(np.linspace(start, stop, min(_RANKS, stop - start + 1)).astype(np.int64))
    reached = _reached(owner, weights, ranks)
    low, high = (ordered[ranks[_position(reached, rank)]] for rank in (lower, upper))
    return np.asarray(low + (high - low) * (wanted - lower), dtype=np.float64)


def _group_sizes(owner: npt.NDArray[np.int16], count: int) -> Floats:
    sizes = np.zeros(count, dtype=np.int64)
    for start in range(0, owner.size, _BLOCK):
        sizes += np.bincount(owner[start : start + _BLOCK], minlength=count)
    return sizes.astype(np.float64)


def _reached(owner: npt.NDArray[np.int16], weights: Floats, ranks: Ints) -> Floats:
    """How many values each replicate (row) has up to each rank (column) of all values."""
    count = weights.shape[1]
    table = np.zeros(count * ranks.size, dtype=np.int64)
    for start in range(0, int(ranks[-1]) + 1, _BLOCK):
        within = owner[start : min(start + _BLOCK, int(ranks[-1]) + 1)].astype(np.int64)
        column = np.searchsorted(ranks, np.arange(start, start + within.size), side="left")
        table += np.bincount(within * ranks.size + column, minlength=table.size)
    return weights @ np.cumsum(table.reshape(count, ranks.size), axis=1).astype(np.float64)


def _position(reached: Floats, rank: Floats) -> Ints:
    """The first column at which each replicate has more than `rank` values."""
    found = (reached <= rank[:, None]).sum(axis=1)
    return np.asarray(np.minimum(found, reached.shape[1] - 1), dtype=np.int64)


def share_ci95(some: int, of: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share (J. Am. Stat. Assoc. 22 (1927) 209)."""
    from scipy.stats import binomtest  # slow to load

    found = binomtest(some, of).proportion_ci(method="wilson")
    return float(found.low), float(found.high)
