"""From rates to replicas. Pure.

serving = ⌈peak ÷ (rate a replica holds · (1 − headroom))⌉, replicas = serving + spare: with
`spare` of them down the others still take the peak and keep the headroom.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec

from harness.sizing.record import Day, Failing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.sizing.record import Demand, Range, Supply

HOUR_S: Final = 3600.0
_ROUNDING: Final = 1e-9
"""A quotient that is whole but for rounding is taken as whole."""


def serving_for(peak_rate: float, per_replica: float, headroom: float = 0.0) -> int:
    """Return how many replicas a rate takes, at least 1.

    Args:
        peak_rate: arrivals/s.
        per_replica: arrivals/s that one holds.
        headroom: share of it that is left free, 0 ≤ headroom < 1.
    """
    need = peak_rate / (per_replica * (1 - headroom))
    return max(1, math.ceil(need * (1 - _ROUNDING)))


def serving_range(
    peak_rate: float, bounds: Range | None, headroom: float
) -> tuple[int | None, int | None] | None:
    """Return the least and the most replicas by what one may hold.

    Args:
        peak_rate: arrivals/s.
        bounds: (low, high) arrivals/s of one replica; None: not known.
        headroom: as in `serving_for`.
    """
    if bounds is None:
        return None
    low, high = (
        None if rate is None or rate <= 0 else serving_for(peak_rate, rate, headroom)
        for rate in reversed(bounds)
    )
    return low, high


def failing(peak_rate: float, replicas: int, per_replica: float, most: int) -> list[Failing]:
    """Return how loaded the others are at the peak while 0, 1, … `most` replicas are down."""
    found = []
    for failed in range(min(most, replicas) + 1):
        left = replicas - failed
        load = peak_rate / (left * per_replica) if left else None
        holds = load is not None and load <= 1 + _ROUNDING
        found.append(Failing(failed=failed, load=load, holds=holds))
    return found


def grown(peak_rate: float, per_month: float, month: int) -> float:
    """Return the rate after so many months of compound growth."""
    return float(peak_rate * (1 + per_month) ** month)


def day_of(
    demand: Demand, per_replica: float, headroom: float, spare: int, replicas: int
) -> Day | None:
    """Return the replicas of each of a trace's windows; None without a trace.

    Args:
        demand: with the windows' rates.
        per_replica: arrivals/s that one holds.
        headroom: kept free.
        spare: that may fail, at any time.
        replicas: of the fleet for the peak.
    """
    if not demand.rates or demand.window_s is None:
        return None
    per_window = [serving_for(rate, per_replica, headroom) + spare for rate in demand.rates]
    hours = demand.window_s / HOUR_S
    return Day(
        window_s=demand.window_s,
        replicas=per_window,
        replica_hours=sum(per_window) * hours,
        replica_hours_fixed=replicas * len(per_window) * hours,
    )


def efficiency(alone: Supply, several: Supply) -> tuple[float, Range] | None:
    """Return how well servers add up, and by the far ends of both rates how well they may.

    Rate of the several ÷ (their number x the rate of one).

    Args:
        alone: one server.
        several: the same, so many together.
    """
    one, each = alone.per_server, several.per_server
    if alone.servers != 1 or several.servers == 1 or not one or not each:
        return None
    low, high = several.bounds or (each, each)
    low_one, high_one = alone.bounds or (one, one)
    return each / one, (low and high_one and low / high_one, high and low_one and high / low_one)


def add_up(supplies: Sequence[Supply]) -> Supply:
    """Return what the most servers of a build hold together, with how well they add up.

    Args:
        supplies: of one build, by number of servers; at least one.
    """
    most = max(supplies, key=lambda one: one.servers if one.rate else 0)
    alone = next((one for one in supplies if one.servers == 1), None)
    found = None if alone is None else efficiency(alone, most)
    if found is None:
        return most
    return msgspec.structs.replace(most, efficiency=found[0], efficiency_range=found[1])
