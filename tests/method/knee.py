"""Section "Sweeps": the curve of a closed loop, and its knee."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from arithmetic import quantile
from scipy.special import stdtrit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reading import Record

MOST = 1e12


@dataclass
class Fit:
    """R(N) = a + bN up to the corner, N / plateau beyond it."""

    a: float
    b: float
    plateau: float
    chi2: float

    def at(self, level: float) -> float:
        return level / max(self.a + self.b * level, level / self.plateau)

    def reached(self, wanted: float) -> float:
        """The level at which the rising branch has so much."""
        left = 1 - self.b * wanted
        return self.a * wanted / left if left > 1e-9 else math.inf


@dataclass
class Curve:
    """The fit that was chosen, and those of its bootstrap."""

    corner: bool
    best: Fit
    many: list[Fit]
    highest: float

    def top(self, one: Fit) -> float:
        return one.plateau if self.corner else 1 / max(one.b, 1 / MOST)

    def level(self, one: Fit, share: float) -> float:
        return one.reached(share * self.top(one))

    @property
    def at_knee(self) -> float:
        """The share of the plateau that is reached at the knee."""
        return 1.0 if self.corner else 0.9

    @property
    def knee(self) -> float | None:
        """None where it lies beyond all levels."""
        found = self.level(self.best, self.at_knee)
        return found if found <= self.highest else None


Points = list[tuple[float, float, float]]
"""Level, throughput, and its relative error with 1 % added."""


def fit(levels: Sequence[tuple[float, float, float]], *, again: bool = True) -> Curve | None:
    """The curve through (level, throughput, standard error); `again`: with its bootstrap."""
    if len({at for at, _, _ in levels}) < 4:
        return None
    points = [(at, y, math.hypot(se / y, 0.01)) for at, y, se in sorted(levels)]
    rising, capped = without_corner(points), with_corner(points)
    corner = rising.chi2 - capped.chi2 > 6.6
    best = capped if corner else rising
    free = max(len(points) - (3 if corner else 2), 1)
    wide = math.sqrt(max(1.0, best.chi2 / free))
    wide *= float(stdtrit(free, 0.975)) / 1.96 if free < 30 else 1.0
    draws = np.random.default_rng(20261126).normal(size=(1000, len(points)))
    many = []
    for row in draws if again else ():
        drawn = [
            (at, best.at(at) * math.exp(z * sigma * wide), sigma)
            for z, (at, _, sigma) in zip(row, points, strict=True)
        ]
        many.append(with_corner(drawn) if corner else without_corner(drawn))
    return Curve(corner, best, many, points[-1][0])


def chi2(points: Points, found: Fit) -> float:
    return math.fsum((math.log(y / found.at(at)) / sigma) ** 2 for at, y, sigma in points)


def line(points: Points) -> tuple[float, float]:
    """a > 0 and b ≥ 0 of least relative squares of R = N / X."""
    rows = [(at, at / y, 1 / (sigma * at / y) ** 2) for at, y, sigma in points]
    total = math.fsum(w for _, _, w in rows)
    middle = math.fsum(w * n for n, _, w in rows) / total
    level = math.fsum(w * r for _, r, w in rows) / total
    around = math.fsum(w * (n - middle) ** 2 for n, _, w in rows)
    b = math.fsum(w * (n - middle) * r for n, r, w in rows) / around if around > 0 else 0.0
    b = max(b, 0.0)
    a = level - b * middle
    if a > 0:
        return a, b
    through = math.fsum(w * n * r for n, r, w in rows) / math.fsum(w * n * n for n, _, w in rows)
    return 1 / MOST, through


def without_corner(points: Points) -> Fit:
    found = Fit(*line(points), math.inf, 0.0)
    found.chi2 = chi2(points, found)
    return found


def with_corner(points: Points) -> Fit:
    """The best of all ways to split the levels; at least two lie on the plateau."""
    best: Fit | None = None
    for split in range(1, len(points) - 1):
        flat = [(math.log(y), sigma**-2.0) for _, y, sigma in points[split:]]
        plateau = math.exp(math.fsum(y * w for y, w in flat) / math.fsum(w for _, w in flat))
        found = Fit(*line(points[:split]), plateau, 0.0)
        meets = math.isfinite(found.reached(plateau))
        found.chi2 = chi2(points, found) if meets else math.inf
        if best is None or found.chi2 < best.chi2:
            best = found
    return best


def knee_of(curve: Curve) -> Record:
    """Plateau, knee and what is near it, with intervals; nothing without a knee."""
    if curve.knee is None:
        return {}

    def ends(values: Sequence[float]) -> list[float]:
        return [quantile(sorted(values), q) for q in (0.025, 0.975)]

    def interval(share: float) -> list[float]:
        return ends([min(curve.level(one, share), curve.highest) for one in curve.many])

    near = curve.level(curve.best, 0.95)
    return {
        "plateau": curve.top(curve.best),
        "plateau_ci95": ends([curve.top(one) for one in curve.many]),
        "knee": {
            "level": curve.knee,
            "ci95": interval(curve.at_knee),
            "kind": "corner" if curve.corner else "gradual",
        },
        "near": near if near <= curve.highest else None,
        "near_ci95": interval(0.95) if near <= curve.highest else None,
    }
