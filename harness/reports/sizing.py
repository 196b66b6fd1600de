"""A sizing for people: tables and sentences on the terminal and in Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from harness.reports.figures import NOTHING, count, figure, plain, share
from harness.reports.markdown import escape
from harness.reports.sheets import Sheet, markdown_sheet, print_sheet
from harness.sizing.wording import between, failures, rate_of, replicas_of, times

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console

    from harness.measuring.measurement import Caveat
    from harness.sizing.record import Amount, BuildSizing, Cost, Demand, Sizing, Terms

_ALL = 13
"""Of a forecast of up to so many months every one is shown, else about so many of them."""


def print_sizing(sizing: Sizing, console: Console) -> None:
    """Write on the terminal: the answer, then what it is made of."""
    print_answers(answers(sizing), console)
    print_reasons(sizing, console, sizing.caveats)


def print_answers(lines: Iterable[str], console: Console) -> None:
    """Write the sentences for whom one is enough."""
    for line in lines:
        console.print(Text(plain(line), style="bold"))


def print_reasons(sizing: Sizing, console: Console, caveats: Sequence[Caveat]) -> None:
    """Write what stands behind an answer, with these caveats."""
    console.print(Text(plain(intro(sizing))))
    for sheet in sheets(sizing, brief=True):
        print_sheet(sheet, console)
    for line in (*further(sizing), *predicted(sizing)):
        console.print(Text(plain(line)))
    print_lists(unknown(sizing), caveats, console)


def print_lists(unsaid: Sequence[str], caveats: Sequence[Caveat], console: Console) -> None:
    """Write what could not be told, and the caveats, each once."""
    for head, lines in _lists(unsaid, caveats):
        console.print(Text(f"\n{head}", style="bold"))
        for line in lines:
            console.print(Text(f"  · {plain(line)}"))


def markdown_of(sizing: Sizing) -> str:
    """Return all of it as Markdown."""
    parts = ["## Sizing", *map(escape, answers(sizing)), escape(intro(sizing))]
    parts += map(markdown_sheet, sheets(sizing))
    parts += [escape(line) for line in (*further(sizing), *predicted(sizing))]
    for head, lines in _lists(unknown(sizing), sizing.caveats):
        parts += [f"**{head}**", "\n".join(f"- {escape(line)}" for line in lines)]
    return "\n\n".join(parts) + "\n"


def sheets(sizing: Sizing, *, brief: bool = False) -> list[Sheet]:
    """The tables, as far as there is something to show.

    Args:
        sizing: the answer.
        brief: of the costs only those of the demand, where there is one.
    """
    found = [_builds(sizing)]
    if sizing.terms.price_per_gpu_hour:
        found.append(_costs(sizing, brief=brief))
    if sizing.terms.months:
        found.append(_months(sizing))
    return [sheet for sheet in found if sheet.rows]


def answers(sizing: Sizing) -> list[str]:
    """Which build takes the least, where one does, and what each takes."""
    lines = of_builds(sizing)
    if sizing.text:
        lines.insert(0 if sizing.cheapest else len(lines), sizing.text)
    return lines


def of_builds(sizing: Sizing) -> list[str]:
    """What each build takes."""
    return [f"{one.build}: {one.text}" for one in sizing.builds]


def further(sizing: Sizing) -> list[str]:
    """What happens when replicas fail, over the day, and what else is known of each build."""
    found = []
    for one in sizing.builds:
        if one.fleets:
            found.append(f"{one.build}, at the peak: {failures(one.fleets[-1])}.")
        if one.day is not None:
            low, high = min(one.day.replicas), max(one.day.replicas)
            saved = 1 - one.day.replica_hours / one.day.replica_hours_fixed
            found.append(
                f"{one.build}, over the trace: {count(low)} to {count(high)} replicas in "
                f"windows of {figure(one.day.window_s)} s; starting and stopping them in no time "
                "would save "
                f"{share(max(saved, 0.0))} of the replica hours."
            )
        if one.supply.efficiency is not None:
            efficiency, servers = one.supply.efficiency, one.supply.servers
            found.append(
                f"{one.build}: {servers} servers together hold {figure(efficiency)}"
                f"{between(one.supply.efficiency_range)} of {servers} times what one does."
            )
        if one.energy is not None:
            found.append(
                f"{one.build}: {figure(one.energy.joules_per_output_token)} J an output token at "
                f"{figure(one.energy.power_w)} W."
            )
        if one.memory is not None and one.memory.fits:
            found.append(f"{one.build}: {one.memory.text}")
    return found


def predicted(sizing: Sizing) -> list[str]:
    """What a simulator says of each build's fleet."""
    return [
        f"{one.build}: {one.prediction.text}" for one in sizing.builds if one.prediction is not None
    ]


def intro(sizing: Sizing) -> str:
    """The limits, the demand and the terms."""
    terms, demand = sizing.terms, sizing.demand
    return f"Limits: {sizing.slo}. Demand: {_demand(demand)}. {_terms(terms)}"


def _demand(demand: Demand | None) -> str:
    if demand is None:
        return "not said"
    if demand.window_s is None:
        mean = "" if demand.mean_rate is None else f", {figure(demand.mean_rate)}/s on average"
        return f"{figure(demand.peak_rate)}/s at the peak{mean}"
    return (
        f"{demand.source}, {count(demand.requests)} requests in "
        f"{figure((demand.span_s or 0.0) / 3600)} h, {figure(demand.peak_rate)}/s in the busiest "
        f"{figure(demand.window_s)} s and {figure(demand.mean_rate)}/s on average"
    )


def _terms(terms: Terms) -> str:
    text = f"{share(terms.headroom)} headroom, {terms.spare} to spare"
    if terms.months:
        text += f", {share(terms.growth_per_month)} growth a month for {terms.months} months"
    return f"{text}."


def _builds(sizing: Sizing) -> Sheet:
    columns = ("build", "one replica holds", "by", "replicas", "GPUs", "USD/month", "kWh/M tokens")
    rows: list[tuple[str, ...]] = []
    for one in sizing.builds:
        fleet = one.fleets[-1] if one.fleets else None
        usd = None if fleet is None else fleet.usd_per_month
        energy = None if one.energy is None else one.energy.kwh_per_million_tokens
        rows.append(
            (
                one.build,
                rate_of(one.supply),
                one.supply.basis,
                NOTHING if fleet is None else replicas_of(fleet),
                NOTHING if fleet is None else count(fleet.gpus),
                NOTHING if fleet is None else figure(usd) + between(fleet.usd_per_month_range),
                figure(energy),
            )
        )
    return Sheet("What it takes", columns, rows)


def _costs(sizing: Sizing, *, brief: bool) -> Sheet:
    ratio = figure(sizing.terms.output_price_ratio)
    columns = (
        "build", "of", "1,000 requests", "M tokens in", "M tokens out",
        "M tokens, in and out alike", "M tokens out, if all is on them",
    )  # fmt: skip
    rows = []
    for one in sizing.builds:
        known = [cost for cost in (one.cost, one.cost_at_capacity) if cost is not None]
        rows += [_cost(one, cost) for cost in (known[:1] if brief else known)]
    title = f"USD (in and out apart: a token out is counted as {ratio} in, by convention)"
    return Sheet(title, columns, rows)


def _cost(one: BuildSizing, cost: Cost) -> tuple[str, ...]:
    of = "this demand" if cost.at == "demand" else "a replica always full"
    amounts = (
        times(cost.per_request, 1000),
        cost.per_million_input_tokens,
        cost.per_million_output_tokens,
        cost.per_million_tokens,
        cost.per_million_output_tokens_alone,
    )
    return one.build, of, *map(_amount, amounts)


def _amount(amount: Amount | None) -> str:
    if amount is None:
        return NOTHING
    return f"{figure(amount.value)}{between(amount.range)}"


def _months(sizing: Sizing) -> Sheet:
    able = [one for one in sizing.builds if one.fleets]
    columns = ("month", "peak/s", *(name for one in able for name in (one.build, "USD/month")))
    step = -(-sizing.terms.months // (_ALL - 1))
    shown = sorted({*range(0, sizing.terms.months, step), sizing.terms.months})
    rows = []
    for month in shown:
        fleets = [one.fleets[month] for one in able]
        peak = figure(fleets[0].peak_rate) if fleets else NOTHING
        cells = [
            text
            for fleet in fleets
            for text in (count(fleet.replicas), figure(fleet.usd_per_month))
        ]
        rows.append((f"{month}", peak, *cells))
    return Sheet("Replicas month by month", columns, rows)


def unknown(sizing: Sizing) -> list[str]:
    """What could not be told, each once."""
    of: dict[str, list[str]] = {}
    for one in sizing.builds:
        for text in one.unknown:
            of.setdefault(text, []).append(one.build)
    everywhere = len(sizing.builds)
    return [
        text if len(builds) == everywhere else f"{', '.join(builds)}: {text}"
        for text, builds in of.items()
    ]


def _lists(unsaid: Sequence[str], caveats: Sequence[Caveat]) -> list[tuple[str, Sequence[str]]]:
    told = list(dict.fromkeys(f"{caveat.code}: {caveat.text}" for caveat in caveats))
    return [
        (head, found) for head, found in (("Could not be told", unsaid), ("Caveats", told)) if found
    ]
