"""A sizing in words: each build's answer, its reasons, and what could not be told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from harness.reports.figures import NOTHING, figure, share

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.sizing.record import Amount, BuildSizing, Demand, Fleet, Range, Supply, Terms

_OFF: Final = 0.1
"""Mean lengths that differ by more than this share are said to differ."""


def told(one: BuildSizing, demand: Demand | None, terms: Terms) -> BuildSizing:
    """Return a build's sizing with its text and with what is not known of it."""
    return msgspec.structs.replace(
        one, text=_answer(one, terms), unknown=_unknown(one, demand, terms)
    )


def usd(amount: Amount | None) -> str:
    """An amount of money with its range, e.g. `USD 0.41 (0.40–0.43)`."""
    if amount is None:
        return NOTHING
    return f"USD {figure(amount.value)}{between(amount.range)}"


def times(amount: Amount, factor: float) -> Amount:
    """The amount of so many."""
    ends = amount.range
    if ends is not None:
        low, high = ends
        ends = (low and low * factor, high and high * factor)
    return msgspec.structs.replace(amount, value=amount.value * factor, range=ends)


def between(ends: Range | None, text: Callable[[float], str] = figure) -> str:
    """Ends as ` (4–7)`, ` (at least 4)`, ` (at most 7)`; nothing where they are one."""
    low, high = ends or (None, None)
    if low == high:
        return ""
    if low is None:
        return f" (at most {text(high or 0)})"
    if high is None:
        return f" (at least {text(low)})"
    return f" ({text(low)}–{text(high)})"


def replicas_of(fleet: Fleet) -> str:
    """How many replicas, with what they may be: `8 (6–9)`."""
    return f"{fleet.replicas:,}{between(fleet.replicas_range, '{:,.0f}'.format)}"


def rate_of(supply: Supply) -> str:
    """What one server holds, with what is known of it, e.g. `8.1/s (7.9–8.4)`."""
    if supply.per_server is None:
        return NOTHING
    per = "/s" if supply.unit == "requests/s" else " sessions/s"
    return f"{figure(supply.per_server)}{per}{between(supply.bounds)}"


def failures(fleet: Fleet) -> str:
    """The fleet at its peak with none, one, … replicas down."""
    parts = []
    for one in fleet.failing:
        head = "all up" if not one.failed else f"{one.failed} down"
        if one.load is None:
            parts.append(f"{head}: none is left")
        else:
            end = "" if one.holds else ", the limits break"
            parts.append(f"{head}: each at {share(one.load)} of what it holds{end}")
    return "; ".join(parts)


def _answer(one: BuildSizing, terms: Terms) -> str:
    supply = one.supply
    if supply.rate is None:
        if supply.basis == "search":
            return "No rate is known that holds the limits, so no number of replicas is, either."
        return (
            "No measured level held the limits, so no number of replicas is known that does: "
            "measure lower levels, or allow more."
        )
    if not one.fleets:
        return f"One replica holds {rate_of(supply)}{_alone(one)}."
    fleet = one.fleets[-1]
    when = f" in {fleet.month} months" if fleet.month else ""
    noun = "replica" if fleet.replicas == 1 else "replicas"
    spare = f", and {terms.spare} to spare" if terms.spare else ""
    text = (
        f"{replicas_of(fleet)} {noun}{when}: {fleet.serving:,} for a peak of "
        f"{figure(fleet.peak_rate)}/s, "
        f"each holding {rate_of(supply)} with {share(terms.headroom)} of it left free{spare}"
    )
    if fleet.usd_per_month is not None:
        text += f"; USD {figure(fleet.usd_per_month)}"
        text += f"{between(fleet.usd_per_month_range)} a month"
    if one.cost is not None:
        both = one.cost.per_million_tokens
        text += f", {usd(both)} a million tokens" if both else ""
    return f"{text}."


def _alone(one: BuildSizing) -> str:
    cost = one.cost_at_capacity
    if cost is None:
        return ""
    if cost.per_million_tokens is not None:
        return f", and costs {usd(cost.per_million_tokens)} a million tokens while it does"
    return f", and costs {usd(cost.per_request)} a request while it does"


def _unknown(one: BuildSizing, demand: Demand | None, terms: Terms) -> list[str]:
    supply = one.supply
    if supply.rate is None:
        return []
    doubts = {
        "How exact the highest rate is: it was measured without an interval.": supply.bounds
        is None,
        "How much more it holds: what was measured does not say where the limits break.": (
            supply.bounds is not None and supply.bounds[1] is None
        ),
        "How replicas add up: one was measured, and N are taken to hold N times as much. Measure "
        "several at once, with --url A,B.": supply.servers == 1,
        f"How well {supply.servers} servers add up: one alone was not measured.": (
            supply.servers > 1 and supply.efficiency is None
        ),
        f"How more than {supply.servers} replicas add up: each is taken to hold as much as each of "
        "those.": supply.servers > 1,
        "What it costs: no --price-per-gpu-hour.": terms.price(one.build) is None,
        "How many replicas: no --demand.": demand is None,
        "What a token of a prompt costs: the server counts none.": supply.prompt_tokens is None,
        "Energy a token: the server's power was not measured.": one.energy is None,
    }
    found = [text for text, true in doubts.items() if true]
    if demand is not None:
        found += _of_demand(one, demand)
    if one.memory is not None and one.memory.fits is None:
        found.append(one.memory.text)
    return found


def _of_demand(one: BuildSizing, demand: Demand) -> list[str]:
    found = []
    if demand.mean_rate is None and one.cost is not None:
        found.append(
            "What quiet hours cost: only the peak is known, and a token's price is as if it never "
            "ended, which is the least. Give --mean-demand or a trace."
        )
    for what in ("prompt", "output"):
        wanted = getattr(demand, f"{what}_tokens")
        measured = getattr(one.supply, f"{what}_tokens")
        if wanted and measured and abs(wanted / measured - 1) > _OFF:
            found.append(
                f"How much it holds of this traffic: its {what}s have {figure(wanted)} tokens on "
                f"average, and those that were measured {figure(measured)}. Measure with the "
                "trace itself (--profile replay), or with lengths like its."
            )
    return found
