"""Where a server saturates: throughput over the level, its plateau and its knee. Pure.

Little's law (J. D. C. Little, Operations Research 9 (1961) 383-387) makes the time in the system
of N streams R(N) = N / X(N). Below saturation it is a + bN (alone, plus what each other stream
costs in a shared batch), beyond it N / P: the bounds of an operational analysis (E. D. Lazowska et
al., Quantitative System Performance (1984), ch. 5), with a cost of sharing. The knee is where both
meet. Why this and not another: `benchmarks/knee.py`; definitions: docs/method.md, `sweeps`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from scipy.special import stdtrit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.measuring.samples import Floats

Interval = tuple[float, float]
Kind = Literal["corner", "gradual"]

NEAR: Final = 0.95
"""Share of the plateau from which a level counts as near it."""
GRADUAL: Final = 0.9
"""Without a corner, the knee is where this share of the limit is reached."""
LEAST: Final = 4
"""Levels below which there is no fit."""
FLOOR: Final = 0.01
"""Relative error of a throughput at least: what windows do not tell of the next start."""
_SURER: Final = 6.6
"""By how much χ² must fall for a corner (1 degree of freedom, p = 1 %)."""
_REPLICATES: Final = 1000
_SEED: Final = 20261126
_MOST: Final = 1e12


@dataclass(frozen=True, kw_only=True)
class Curve:
    """What throughput does over the level."""

    kind: Kind
    plateau: float
    """The most throughput: in the unit of what was given."""
    plateau_ci95: Interval
    knee: float | None
    """The level at the knee; None where it lies beyond all levels."""
    knee_ci95: Interval | None
    """An end at the highest level measured means: there or beyond."""
    near: float | None
    """The level from which throughput is at least `NEAR` of the plateau."""
    near_ci95: Interval | None
    a: float
    b: float

    def at(self, level: float) -> float:
        """Return the fitted throughput."""
        return level / max(self.a + self.b * level, level / self.plateau)


@dataclass(frozen=True)
class _Fits:
    """One fit a replicate."""

    a: Floats
    b: Floats
    plateau: Floats
    corner: Floats
    """Level of the corner; infinite where there is none."""
    chi2: Floats

    def level_at(self, share: float, *, corner: bool) -> Floats:
        """Level at which the rising branch reaches a share of the plateau."""
        top = self.plateau if corner else 1 / np.maximum(self.b, 1 / _MOST)
        return _reach(self.a, self.b, share * top)


def fit(levels: Sequence[float], throughput: Sequence[float], se: Sequence[float]) -> Curve | None:
    """Fit a curve to levels of a closed loop; None for fewer than `LEAST` different ones.

    Args:
        levels: streams; one may be there several times.
        throughput: of each, above 0, in any unit.
        se: its standard error, in the same unit.
    """
    points = _points(levels, throughput, se)
    if points is None:
        return None
    x, y, sigma = points
    kind, chosen = _chosen(x, y, sigma)
    free = x.size - (3 if kind == "corner" else 2)
    spread = math.sqrt(max(1.0, float(chosen.chi2[0]) / max(free, 1)))
    spread *= float(stdtrit(max(free, 1), 0.975)) / 1.96 if free < 30 else 1.0  # noqa: PLR2004
    fitted = _predict(x, chosen)[0]
    draws = np.random.default_rng(_SEED).normal(size=(_REPLICATES, x.size))
    again = fitted * np.exp(draws * sigma * spread)
    return _curve(kind, chosen, (_capped if kind == "corner" else _rising)(x, again, sigma), x[-1])


def knee(levels: Sequence[float], throughput: Sequence[float], se: Sequence[float]) -> float | None:
    """Return the knee of the same fit alone, without an interval; None where there is none."""
    points = _points(levels, throughput, se)
    if points is None:
        return None
    kind, chosen = _chosen(*points)
    corner = kind == "corner"
    found = float(chosen.level_at(1.0 if corner else GRADUAL, corner=corner)[0])
    return found if found <= points[0][-1] else None


def _points(
    levels: Sequence[float], throughput: Sequence[float], se: Sequence[float]
) -> tuple[Floats, Floats, Floats] | None:
    """Return levels ascending, throughput and its relative error; None for too few levels."""
    order = np.argsort(np.asarray(levels, dtype=float), kind="stable")
    x, y, error = (np.asarray(v, dtype=float)[order] for v in (levels, throughput, se))
    return None if np.unique(x).size < LEAST else (x, y, np.hypot(error / y, FLOOR))


def _chosen(x: Floats, y: Floats, sigma: Floats) -> tuple[Kind, _Fits]:
    """Fit with and without a corner, and choose."""
    rising, capped = _rising(x, y[None], sigma), _capped(x, y[None], sigma)
    if rising.chi2[0] - capped.chi2[0] > _SURER:
        return "corner", capped
    return "gradual", rising


def _curve(kind: Kind, one: _Fits, many: _Fits, highest: float) -> Curve:
    corner = kind == "corner"
    places = []
    for share in (1.0 if corner else GRADUAL, NEAR):
        value = float(one.level_at(share, corner=corner)[0])
        low, high = np.quantile(
            np.minimum(many.level_at(share, corner=corner), highest), (0.025, 0.975)
        )
        known = value <= highest
        places.append((value if known else None, (float(low), float(high))))
    tops = many.plateau if corner else 1 / np.maximum(many.b, 1 / _MOST)
    low, high = np.quantile(tops, (0.025, 0.975))
    (knee, knee_ci), (near, near_ci) = places
    return Curve(
        kind=kind,
        plateau=float(one.plateau[0] if corner else 1 / max(float(one.b[0]), 1 / _MOST)),
        plateau_ci95=(float(low), float(high)),
        knee=knee,
        knee_ci95=knee_ci if knee is not None else None,
        near=near,
        near_ci95=near_ci if near is not None else None,
        a=float(one.a[0]),
        b=float(one.b[0]),
    )


def _rising(x: Floats, y: Floats, sigma: Floats) -> _Fits:
    """Fit without a plateau: R(N) = a + bN."""
    a, b = _line(x, y, sigma)
    none = np.full(y.shape[0], math.inf)
    found = _Fits(a, b, none, none, none)
    return _Fits(a, b, none, none, _chi2(x, y, sigma, found))


def _capped(x: Floats, y: Floats, sigma: Floats) -> _Fits:
    """Fit with a plateau that at least two points lie on; the best of all splits.

    Where none fits, χ² is infinite and the corner lies beyond all levels.
    """
    best: _Fits | None = None
    for rising in range(1, x.size - 1):
        a, b = _line(x[:rising], y[:, :rising], sigma[:rising])
        weight = sigma[rising:] ** -2.0
        plateau = np.exp((np.log(y[:, rising:]) * weight).sum(axis=1) / weight.sum())
        corner = _reach(a, b, plateau)
        found = _Fits(a, b, plateau, corner, np.zeros(y.shape[0]))
        chi2 = np.where(np.isfinite(corner), _chi2(x, y, sigma, found), math.inf)
        found = _Fits(a, b, plateau, corner, chi2)
        best = found if best is None else _better(best, found)
    assert best is not None  # noqa: S101 - there are at least LEAST levels
    return best


def _better(one: _Fits, other: _Fits) -> _Fits:
    win = other.chi2 < one.chi2
    names = ("a", "b", "plateau", "corner", "chi2")
    return _Fits(*(np.where(win, getattr(other, n), getattr(one, n)) for n in names))


def _line(x: Floats, y: Floats, sigma: Floats) -> tuple[Floats, Floats]:
    """Weighted least squares of R = x / y by relative errors: a > 0, b ≥ 0."""
    r = x / y
    weight = 1 / (sigma * r) ** 2
    total = weight.sum(axis=1)
    mean_x = (weight * x).sum(axis=1) / total
    mean_r = (weight * r).sum(axis=1) / total
    off = x - mean_x[:, None]
    around = (weight * off**2).sum(axis=1)
    slope = (weight * off * r).sum(axis=1)
    b = np.where(around > 0, slope / np.where(around > 0, around, 1), 0)
    b = np.maximum(b, 0.0)
    a = mean_r - b * mean_x
    through = (weight * x * r).sum(axis=1) / (weight * x * x).sum(axis=1)
    return np.where(a > 0, a, 1 / _MOST), np.where(a > 0, b, through)


def _reach(a: Floats, b: Floats, wanted: Floats) -> Floats:
    """Level at which N / (a + bN) is `wanted`; infinite where it never is."""
    left = 1 - b * wanted
    return np.where(left > 1e-9, a * wanted / np.where(left > 1e-9, left, 1), math.inf)  # noqa: PLR2004


def _predict(x: Floats, found: _Fits) -> Floats:
    r = np.maximum(found.a[:, None] + found.b[:, None] * x, x / found.plateau[:, None])
    return np.asarray(x / r)


def _chi2(x: Floats, y: Floats, sigma: Floats, found: _Fits) -> Floats:
    off = np.log(y / _predict(x, found)) / sigma
    return np.asarray((off**2).sum(axis=1))
