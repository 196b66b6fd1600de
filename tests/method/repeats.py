"""Section "A metric over its repeats": what runs differ by, pooled over builds and levels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri, stdtrit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reading import Record

Level = tuple[str, float]


@dataclass
class Noise:
    """Variance of one repeat's logarithm at a level, of a value and of half a ratio."""

    own: float
    own_df: float
    paired: float
    paired_df: float


def interval(middle: float, variance: float, df: float, repeats: int) -> list[float] | None:
    """Student's t of the mean of so many logarithms."""
    if df <= 0:
        return None
    t = float(ndtri(0.975) if math.isinf(df) else stdtrit(df, 0.975))
    reach = t * math.sqrt(variance / repeats)
    return [middle - reach, middle + reach]


def pooled(
    builds: Sequence[str],
    levels: Sequence[Level],
    table: Mapping[tuple[str, Level], Sequence[Record]],
) -> dict[Level, Noise]:
    """The noise at each level; nothing where each cell was measured once."""
    repeats = len(next(iter(table.values())))
    if repeats < 2:
        return {}
    y = np.log([[[one["value"] for one in table[b, at]] for at in levels] for b in builds])
    within = np.mean(
        [[[one["within"] for one in table[b, at]] for at in levels] for b in builds], axis=(0, 2)
    )
    b, n = len(builds), len(levels)
    values, own_df = spread(y, within, b * n * (repeats - 1), range(4))
    ratios, paired_df = spread(y, within, (b - 1) * n * (repeats - 1), (1, 3))
    return {
        at: Noise(values[place], own_df, ratios[place], paired_df)
        for place, at in enumerate(levels)
    }


def sums(away: np.ndarray) -> list[tuple[float, int]]:
    """Sum of squares and degrees of freedom: of repeats, visits, levels, and the rest."""
    b, n, r = away.shape
    repeat = away.mean(axis=(0, 1))
    visit = away.mean(axis=1) - repeat
    level = away.mean(axis=0) - repeat
    rest = away - repeat - visit[:, None, :] - level[None, :, :]
    return [
        (b * n * float((repeat**2).sum()), r - 1),
        (n * float((visit**2).sum()), (b - 1) * (r - 1)),
        (b * float((level**2).sum()), (n - 1) * (r - 1)),
        (float((rest**2).sum()), (b - 1) * (n - 1) * (r - 1)),
    ]


def spread(
    y: np.ndarray, within: np.ndarray, free: int, of: Sequence[int]
) -> tuple[list[float], float]:
    """Variance at each level, and its degrees of freedom."""
    if free <= 0:
        return within.tolist(), 0.0
    away = y - y.mean(axis=2, keepdims=True)
    plain = math.fsum(sums(away)[part][0] for part in of) / free
    if plain <= 1e-24:
        return [0.0] * len(within), float(free)
    usual = float(within.mean())
    added = max(plain - usual, 1e-24)
    scale = np.maximum(*((within + a) / (usual + a) for a in (added, max(added, usual))))
    parts = [sums(away / np.sqrt(scale)[None, :, None])[part] for part in of]
    total = math.fsum(square for square, _ in parts)
    below = math.fsum(square**2 / df for square, df in parts if df)
    return (total / free * scale).tolist(), total**2 / below
