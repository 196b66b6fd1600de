"""Section "Sweeps", `ended`: what a closed loop's levels say of the next one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from knee import fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reading import Record


def ended(plan: Record, levels: Sequence[Record], usable: Sequence[Record]) -> str:
    """Why a closed loop's sweep measures no further level.

    Args:
        plan: `sweep.plan` of the manifest.
        levels: all that were measured, ascending.
        usable: those at which the load was what was asked, ascending.
    """
    if levels[0] not in usable and levels[0]["throughput"] <= 0:
        return "unanswered"
    flat, top = flat_steps(usable), levels[-1]
    if flat < 2:
        if top not in usable:
            return "client" if top["client"] else "failing"
        if top["level"] >= plan["high"]:
            return "range"
    elif len(levels) - way_up(levels) >= 4 or not between(usable):
        return "saturated"
    return "levels" if len(levels) >= plan["levels"] else "under way"


def flat_steps(levels: Sequence[Record]) -> int:
    """How many steps at the top gained less than 5 %."""
    best = last = 0.0
    flat = 0
    for one in levels:
        if one["throughput"] > best * 1.05:
            flat = 0
        elif one["level"] >= last * 1.25:
            flat += 1
        best, last = max(best, one["throughput"]), one["level"]
    return flat


def way_up(levels: Sequence[Record]) -> int:
    """Levels that are at least 1.5 times the one before of their kind."""
    count, at = 1, levels[0]["level"]
    for one in levels[1:]:
        if one["level"] >= at * 1.5:
            count, at = count + 1, one["level"]
    return count


def between(levels: Sequence[Record]) -> bool:
    """Whether there is a whole level left to measure around the knee."""
    curve = fit([(one["level"], one["throughput"], one["se"]) for one in levels], again=False)
    at = None if curve is None else curve.knee
    if at is None:
        return False
    known = [one["level"] for one in levels]
    below = max((level for level in known if level <= at), default=known[0])
    above = min((level for level in known if level > at), default=known[-1])
    gaps = [(below, above)]
    if below == round(at) and known.index(below):
        gaps.append((known[known.index(below) - 1], below))
    return any(
        high / low > 1.25 and low < round(math.sqrt(low * high)) < high for low, high in gaps
    )
