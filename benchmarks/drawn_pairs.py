"""Two builds' scores on the same items, drawn with known flips, difference and clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from evals.records import Answer

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Draw = Callable[[np.random.Generator], tuple[Floats, Floats, Ints]]
    """Scores of ours and of the baseline, and the cluster of each item."""


def sizes_of(n: int, clusters: int, *, even: bool, rng: np.random.Generator) -> Ints:
    """Share n items out among clusters: evenly, or with a coefficient of variation of 0.8."""
    if even:
        return np.full(clusters, n // clusters) + (np.arange(clusters) < n % clusters)
    weights = rng.lognormal(0, 0.7, clusters)
    return np.maximum(1, np.rint(weights / weights.sum() * n)).astype(np.int64)


def pairs_of(
    n: int,
    flips: float,
    difference: float,
    *,
    accuracy: float = 0.8,
    clusters: int = 0,
    icc: float = 0.0,
    even: bool = True,
) -> Draw:
    """Draw pairs with these flips and this difference; clusters have shares from a Dirichlet."""
    lost, gained = (flips - difference) / 2, (flips + difference) / 2
    shares = np.array([accuracy - lost, lost, gained, 1 - accuracy - gained])
    ours, baseline = np.array([1.0, 0, 1, 0]), np.array([1.0, 1, 0, 0])

    def draw(rng: np.random.Generator) -> tuple[Floats, Floats, Ints]:
        if not clusters:
            kind = rng.choice(4, size=n, p=shares)
            return ours[kind], baseline[kind], np.arange(n)
        cluster = np.repeat(np.arange(clusters), sizes_of(n, clusters, even=even, rng=rng))
        own = (
            rng.dirichlet(shares * (1 / icc - 1), clusters)
            if icc
            else np.tile(shares, (clusters, 1))
        )
        reached = own.cumsum(axis=1)[cluster]
        kind = (rng.random(len(cluster))[:, None] > reached[:, :3]).sum(axis=1)
        return ours[kind], baseline[kind], cluster

    return draw


def answers_of(ours: Floats, baseline: Floats, cluster: Ints) -> tuple[list[Answer], list[Answer]]:
    """Return scores as answers."""
    alone = len(np.unique(cluster)) == len(cluster)
    mine, theirs = (
        [
            Answer(item=str(i), score=float(s), cluster="" if alone else f"c{c}")
            for i, (s, c) in enumerate(zip(scores, cluster, strict=True))
        ]
        for scores in (ours, baseline)
    )
    return mine, theirs
