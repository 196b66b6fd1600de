"""Which build takes the least. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.comparing.words import listed
from harness.reports.figures import figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.sizing.record import BuildSizing, Range, Terms

Taken = tuple[float, "Range | None"]


def least(builds: Sequence[BuildSizing], terms: Terms) -> tuple[str | None, str]:
    """Return the build that takes the least, and a sentence on it; None where none can be named.

    Compared are, of those that hold the limits and fit their memory, USD a month where all have
    prices, else GPUs; without a demand USD a million tokens.
    """
    able = [
        one
        for one in builds
        if one.supply.rate and not (one.memory is not None and one.memory.fits is False)
    ]
    if not able:
        return None, "No build holds the limits and fits its memory."
    unit, taken = _taken(able, terms)
    if not taken:
        return None, "" if len(builds) == 1 else "Without demand or prices none takes the least."
    best = min(taken, key=lambda build: taken[build][0])
    if len(builds) == 1:
        return best, ""
    value, ends = taken[best]
    most = value if ends is None else ends[1]
    alike = []
    for build, (other, other_ends) in taken.items():
        low = other if other_ends is None else other_ends[0]
        if build != best and (most is None or low is None or low <= most):
            alike.append(build)
    amount = f"USD {figure(value)}" if unit.startswith("USD") else figure(value)
    text = f"{best} takes the least: {amount} {unit.removeprefix('USD ')}"
    if alike:
        text += f". That {listed(alike)} would take more is not shown: the ranges overlap"
    if left := [one.build for one in builds if one.build not in taken]:
        text += f". Not counted: {listed(left)}, for the reasons given there"
    return best, f"{text}."


def _taken(able: Sequence[BuildSizing], terms: Terms) -> tuple[str, dict[str, Taken]]:
    """The unit, and what each build takes with its range."""
    priced = all(terms.price(one.build) is not None for one in able)
    if all(one.fleets for one in able):
        found: dict[str, Taken] = {}
        for one in able:
            fleet = one.fleets[-1]
            if priced and fleet.usd_per_month is not None:
                found[one.build] = fleet.usd_per_month, fleet.usd_per_month_range
            else:
                each = one.gpus_per_replica
                low, high = fleet.replicas_range or (fleet.replicas, fleet.replicas)
                found[one.build] = fleet.gpus, (low and low * each, high and high * each)
        return ("USD a month" if priced else "GPUs"), found
    tokens: dict[str, Taken] = {}
    for one in able:
        full = one.cost_at_capacity
        cost = None if full is None else full.per_million_tokens
        if not priced or cost is None:
            return "", {}
        tokens[one.build] = cost.value, cost.range
    return "USD a million tokens", tokens
