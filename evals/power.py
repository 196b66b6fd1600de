"""How many items a comparison needs, before hours are spent on it. Pure functions.

Two builds answer the same items; a share of them, the flip rate, is right by exactly one of the
two. The test is the one of `evals.compare`: one-sided at 5 %, "worse by less than the margin".
Formula: with flip rate ψ, true difference Δ and margin m, n = (z₁ + z₂)² (ψ - Δ²) ÷ (m + Δ)²; z₁
and z₂ are the normal quantiles of 95 % and of the power (R. J. Connor, *Sample size for testing
differences in proportions for the paired-sample design*, Biometrics 43 (1987) 207-211, moved by
the margin). Clusters multiply n by the design effect 1 + (items a cluster - 1) · ICC (L. Kish,
*Survey Sampling*, 1965).
"""

from __future__ import annotations

import math

import msgspec
from scipy.special import ndtri

ALPHA = 0.05
POWER = 0.8


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """What one set of items can show."""

    items: int
    design_effect: float
    flip_rate: float
    power: float
    margin: float
    """Least margin at which an equal build passes with that power."""
    items_needed: int
    """For the margin that was asked for."""


def design_effect(items_per_cluster: float, icc: float) -> float:
    """Return the factor by which clusters of this size multiply the items needed.

    Args:
        items_per_cluster: on average.
        icc: correlation of two items of one cluster, of what is compared (ours - baseline).
    """
    return max(1.0, 1 + (items_per_cluster - 1) * icc)


def items_needed(
    margin: float,
    flip_rate: float,
    *,
    difference: float = 0.0,
    power: float = POWER,
    alpha: float = ALPHA,
    effect: float = 1.0,
) -> int | None:
    """Return the items that tell a build with this true difference from one at the margin.

    A difference above -margin is then called PASS with this power, one below it FAIL. None where
    the difference is the margin itself: no number would do.

    Raises:
        ValueError: a share is out of range.
    """
    _check(margin, flip_rate, power, alpha)
    distance = margin + difference
    if math.isclose(distance, 0, abs_tol=1e-12):
        return None
    z = -float(ndtri(alpha) + ndtri(1 - power))
    by_flips = z**2 * max(flip_rate - difference**2, 0) / distance**2
    at_least = float(ndtri(alpha)) ** 2 * (1 - margin) / margin if distance > 0 else 0.0
    return math.ceil(max(by_flips, at_least) * effect - 1e-9)


def margin_reachable(
    items: int,
    flip_rate: float,
    *,
    power: float = POWER,
    alpha: float = ALPHA,
    effect: float = 1.0,
) -> float:
    """Return the least margin at which an equal build passes with this power.

    Raises:
        ValueError: there are no items, or a share is out of range.
    """
    if items < 1:
        raise ValueError(f"items: {items} is none")
    _check(0.5, flip_rate, power, alpha)
    independent = items / effect
    z = -ndtri(alpha) - ndtri(1 - power)
    by_flips = z * math.sqrt(flip_rate / independent)
    return float(max(by_flips, ndtri(alpha) ** 2 / (independent + ndtri(alpha) ** 2)))


def reach(
    items: int,
    *,
    margin: float,
    flip_rate: float = 0.1,
    power: float = POWER,
    clusters: int | None = None,
    icc: float = 0.05,
) -> Reach:
    """Say what so many items, in so many clusters, can show."""
    effect = 1.0 if not clusters else design_effect(items / clusters, icc)
    needed = items_needed(margin, flip_rate, power=power, effect=effect)
    return Reach(
        items=items,
        design_effect=effect,
        flip_rate=flip_rate,
        power=power,
        margin=margin_reachable(items, flip_rate, power=power, effect=effect),
        items_needed=needed or 0,
    )


def _check(margin: float, flip_rate: float, power: float, alpha: float) -> None:
    for name, value in (("margin", margin), ("power", power), ("alpha", alpha)):
        if not 0 < value < 1:
            raise ValueError(f"{name}: {value} is not between 0 and 1")
    if not 0 <= flip_rate <= 1:
        raise ValueError(f"flip_rate: {flip_rate} is not a share, 0 to 1")
