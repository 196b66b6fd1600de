"""How far two builds' distributions over the next token are apart, from the likeliest tokens alone.

A server tells the K likeliest tokens, not the whole vocabulary. The Kullback-Leibler divergence of
distributions that are made coarser is never larger (data-processing inequality: T. M. Cover, J. A.
Thomas, *Elements of Information Theory*, 2nd ed. 2006, §2.8), so that over the tokens told by both,
the token of the text (whose probability both tell in any case), and all others as one, it is a
lower bound of the true divergence. Which token is the likeliest is exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
from scipy.special import rel_entr

from evals.compare.clusters import codes
from evals.compare.records import Interval  # noqa: TC001 - msgspec reads it at run time
from evals.errors import PairError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from evals.compare.clusters import Floats, Ints
    from evals.perplexity.tokens import TokenValues

REPLICATES = 500
_TAIL = 0.99
_LEAST_REST = 1e-6
"""Probability below which what ours leaves over is rounding: sums of 32-bit logarithms."""
_LEAST = 1e-300
_BLOCK = 20_000


class Divergence(msgspec.Struct, kw_only=True):
    """Of the baseline from ours, in nats a token; intervals by windows."""

    tokens: int
    """Places that both have scored."""
    windows: int
    top_k: int
    """Likeliest tokens told by both at most."""
    kl_mean: float | None = None
    """Lower bound of the mean of KL(baseline ‖ ours)."""
    kl_mean_ci95: Interval | None = None
    kl_p99: float | None = None
    kl_p99_ci95: Interval | None = None
    mass: float | None = None
    """Mean probability, by the baseline, of the tokens that are told apart: the nearer to 1, the
    tighter the bound."""
    top1: float | None = None
    """Share of places where both find the same token the likeliest."""
    top1_ci95: Interval | None = None


def divergence(ours: TokenValues, baseline: TokenValues, *, seed: int) -> Divergence:
    """Compare two builds token by token over the places that both have scored.

    Raises:
        PairError: no place in common, or another token at the same place.
    """
    rows, others = _same_places(ours, baseline)
    width = min(ours.top_ids.shape[1], baseline.top_ids.shape[1])
    if width:  # a server that tells no ids has none at any place
        told = (ours.top_ids[rows, 0] >= 0) & (baseline.top_ids[others, 0] >= 0)
        if told.any():
            rows, others = rows[told], others[told]
        else:
            width = 0
    windows = codes(ours.window[rows].tolist())
    count = int(windows.max()) + 1
    result = Divergence(tokens=len(rows), windows=count, top_k=width)
    if not width:
        return result
    parts = [
        lower_bound(ours, baseline, rows[block], others[block]) for block in _blocks(len(rows))
    ]
    kl = np.concatenate([part[0] for part in parts])
    mass = np.concatenate([part[1] for part in parts])
    same = (ours.top_ids[rows, 0] == baseline.top_ids[others, 0]).astype(np.float64)
    result.kl_mean, result.mass, result.top1 = (float(values.mean()) for values in (kl, mass, same))
    result.kl_p99 = float(np.quantile(kl, _TAIL, method="inverted_cdf"))
    if count > 1:
        times = np.random.default_rng(seed).multinomial(
            count, np.full(count, 1 / count), size=REPLICATES
        )
        result.kl_mean_ci95 = _middle(_means(kl, windows, times))
        result.top1_ci95 = _middle(_means(same, windows, times))
        result.kl_p99_ci95 = _middle(_tails(kl, windows, times))
    return result


def lower_bound(
    ours: TokenValues, baseline: TokenValues, rows: Ints, others: Ints
) -> tuple[Floats, Floats]:
    """Return the bound of KL(baseline ‖ ours), and the mass told apart, at each place.

    Args:
        ours: of the build.
        baseline: of the baseline.
        rows: (n,) which rows of ours.
        others: (n,) the rows of the baseline for the same places.
    """
    mine, theirs = ours.top_ids[rows], baseline.top_ids[others]
    match = (theirs[:, :, None] == mine[:, None, :]) & (theirs >= 0)[:, :, None]
    where, here = match.any(axis=2), match.argmax(axis=2)
    p = np.where(where, np.exp(baseline.top_logprobs[others]), 0.0)
    q_all = np.exp(np.take_along_axis(ours.top_logprobs[rows], here, axis=1))
    q = np.where(where, q_all, 0.0)
    told = (where & (theirs == baseline.id[others][:, None])).any(axis=1)
    p = np.column_stack([p, np.where(told, 0.0, np.exp(baseline.logprob[others]))])
    q = np.column_stack([q, np.where(told, 0.0, np.exp(ours.logprob[rows]))])
    mass = p.sum(axis=1)
    rest_p = np.maximum(1 - mass, 0.0)
    rest_q = np.maximum(1 - q.sum(axis=1), _LEAST_REST)
    told_apart = rel_entr(p, np.maximum(q, _LEAST)).sum(axis=1)
    return np.maximum(told_apart + rel_entr(rest_p, rest_q), 0.0), np.minimum(mass, 1.0)


def _same_places(ours: TokenValues, baseline: TokenValues) -> tuple[Ints, Ints]:
    keys = [values.window * (1 << 40) + values.position for values in (ours, baseline)]
    _, rows, others = np.intersect1d(keys[0], keys[1], return_indices=True)
    if not len(rows):
        raise PairError("no token was scored by both: compare perplexities of the same text")
    differ = np.flatnonzero(ours.id[rows] != baseline.id[others])
    if len(differ):
        place = int(ours.position[rows[differ[0]]])
        raise PairError(
            f"{len(differ)} of {len(rows)} tokens differ, the first at place {place}: compare "
            "perplexities of the same text by the same tokenizer"
        )
    return rows, others


def _blocks(count: int) -> Iterator[slice]:
    for start in range(0, count, _BLOCK):
        yield slice(start, start + _BLOCK)


def _means(values: Floats, windows: Ints, times: Ints) -> Floats:
    sums, sizes = np.bincount(windows, values), np.bincount(windows)
    found: Floats = (times @ sums) / (times @ sizes)
    return found


def _tails(values: Floats, windows: Ints, times: Ints) -> Floats:
    order = np.argsort(values)
    ordered, owner = values[order], windows[order]
    found = []
    for row in times:
        reached = np.cumsum(row[owner])
        found.append(ordered[np.searchsorted(reached, _TAIL * reached[-1])])
    return np.array(found)


def _middle(drawn: Floats) -> Interval:
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)
