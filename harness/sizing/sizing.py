"""From what was measured, a demand and terms to replicas, costs and what is not known. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from harness.comparing.words import listed
from harness.errors import BadInputError, did_you_mean
from harness.measuring.measurement import Caveat
from harness.sizing import wording
from harness.sizing.costs import (
    HOURS_PER_MONTH,
    cost_of,
    energy_of,
    gpus_of,
    short,
    usd_per_month,
)
from harness.sizing.least import least
from harness.sizing.memory import memory_of
from harness.sizing.record import BuildSizing, Cost, Fleet, Sizing
from harness.sizing.replicas import day_of, failing, grown, serving_for, serving_range

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from harness.sizing.record import Demand, Range, Supply, Terms

_BASES: Final = {
    "search": "a search, which finds the limit itself",
    "open levels": "the highest rate tried that held, which is less than the limit",
    "closed levels": "streams in a closed loop, where nothing queues",
}


def size(supplies: Sequence[Supply], slo: str, demand: Demand | None, terms: Terms) -> Sizing:
    """Return what each build takes and costs, and which takes the least.

    Args:
        supplies: what was measured, a build each.
        slo: the limits that the rates hold.
        demand: None: costs of a server that is always as busy as it may be, and no replicas.
        terms: headroom, spares, growth, prices.

    Raises:
        BadInputError: a trace for sessions.
    """
    for supply in supplies:
        check_unit(supply.build, supply.unit, demand)
    builds = [_one(supply, demand, terms) for supply in supplies]
    first = builds[0]
    last = first.fleets[-1] if first.fleets else None
    cheapest, text = least(builds, terms)
    return Sizing(
        slo=slo,
        max_rate=first.supply.rate,
        max_rate_ci95=first.supply.rate_ci95,
        replicas=None if last is None else last.replicas,
        replicas_range=None if last is None else last.replicas_range,
        cost_per_million_tokens=short(first.cost or first.cost_at_capacity),
        demand=demand,
        terms=terms,
        builds=builds,
        cheapest=cheapest,
        text=text,
        caveats=[*(one for supply in supplies for one in supply.caveats), *_doubts(builds)],
    )


def check_builds(builds: Iterable[str], terms: Terms, *, besides: Collection[str] = ()) -> None:
    """Look whether prices and GPUs are of builds that there are.

    Args:
        builds: those that were or will be measured.
        terms: with prices and GPUs by build.
        besides: further ones that may be named, as a harness.toml names all of a team's.

    Raises:
        BadInputError: one is not.
    """
    known = sorted(builds)
    for flag, given in (
        ("--price-per-gpu-hour", terms.price_per_gpu_hour),
        ("--gpus-per-replica", terms.gpus_per_replica),
    ):
        for name in given.keys() - {"", *known, *besides}:
            raise BadInputError(
                f'{flag}: "{name}" is not among the builds: {", ".join(known)}'
                f"{did_you_mean(name, known)}"
            )


def check_unit(build: str, unit: str, demand: Demand | None) -> None:
    """Look whether a demand is of what was measured.

    Raises:
        BadInputError: it is a trace of requests, and sessions were measured.
    """
    if demand is not None and demand.rates and unit == "sessions/s":
        raise BadInputError(
            f"--demand: {build} is measured in sessions/s, and a trace is of requests",
            hint="Give the peak as a number, in sessions/s.",
        )


def _one(supply: Supply, demand: Demand | None, terms: Terms) -> BuildSizing:
    memory = memory_of(supply, terms, demand)
    per_server = supply.per_server
    if not per_server:
        found = BuildSizing(
            build=supply.build,
            supply=supply,
            gpus_per_replica=gpus_of(supply, terms),
            memory=memory,
        )
    else:
        fleets = [] if demand is None else _fleets(supply, per_server, demand, terms)
        day = None
        if demand is not None:
            now = fleets[0].replicas
            day = day_of(demand, per_server, terms.headroom, terms.spare, now)
        found = BuildSizing(
            build=supply.build,
            supply=supply,
            gpus_per_replica=gpus_of(supply, terms),
            fleets=fleets,
            day=day,
            cost=None if demand is None else _cost(supply, fleets[-1], demand, terms),
            cost_at_capacity=_cost_at_capacity(supply, per_server, terms),
            energy=energy_of(supply),
            memory=memory,
        )
    return wording.told(found, demand, terms)


def _fleets(supply: Supply, per_server: float, demand: Demand, terms: Terms) -> list[Fleet]:
    return [
        _fleet(supply, per_server, month, demand.peak_rate, terms)
        for month in range(terms.months + 1)
    ]


def _fleet(supply: Supply, per_server: float, month: int, now: float, terms: Terms) -> Fleet:
    peak_rate = grown(now, terms.growth_per_month, month)
    serving = serving_for(peak_rate, per_server, terms.headroom)
    replicas = serving + terms.spare
    spread = serving_range(peak_rate, supply.bounds, terms.headroom)
    if spread is not None:
        fewest, most = (None if n is None else n + terms.spare for n in spread)
        spread = fewest, most
    gpus, price = gpus_of(supply, terms), terms.price(supply.build)
    usd: float | None = None
    usd_range: Range | None = None
    if price is not None:
        usd = usd_per_month(replicas, gpus, price)
        if spread is not None:
            low, high = (None if n is None else usd_per_month(n, gpus, price) for n in spread)
            usd_range = low, high
    return Fleet(
        month=month,
        peak_rate=peak_rate,
        serving=serving,
        replicas=replicas,
        replicas_range=spread,
        gpus=replicas * gpus,
        usd_per_month=usd,
        usd_per_month_range=usd_range,
        failing=failing(peak_rate, replicas, per_server, terms.spare + 1),
    )


def _cost(supply: Supply, fleet: Fleet, demand: Demand, terms: Terms) -> Cost | None:
    """What the demand costs in the last month; without a mean as if the peak never ended."""
    if fleet.usd_per_month is None:
        return None
    mean = demand.peak_rate if demand.mean_rate is None else demand.mean_rate
    if demand.output_tokens is not None:  # a trace has lengths of its own
        supply = msgspec.structs.replace(
            supply, prompt_tokens=demand.prompt_tokens, output_tokens=demand.output_tokens
        )
    spread: Range | None = None
    if fleet.replicas_range is not None:
        low, high = fleet.replicas_range
        spread = (low and low / fleet.replicas, high and high / fleet.replicas)
    return cost_of(
        "demand",
        supply,
        fleet.usd_per_month / HOURS_PER_MONTH,
        grown(mean, terms.growth_per_month, terms.months) * supply.turns,
        ratio=terms.output_price_ratio,
        spread=spread,
    )


def _cost_at_capacity(supply: Supply, per_server: float, terms: Terms) -> Cost | None:
    price = terms.price(supply.build)
    if price is None:
        return None
    spread: Range | None = None
    if supply.bounds is not None:
        low, high = supply.bounds
        spread = (high and per_server / high, low and per_server / low)
    return cost_of(
        "capacity",
        supply,
        price * gpus_of(supply, terms),
        per_server * supply.turns,
        ratio=terms.output_price_ratio,
        spread=spread,
    )


def _doubts(builds: Sequence[BuildSizing]) -> list[Caveat]:
    """What makes an answer wrong, and not only wide."""
    found = [
        Caveat("memory", f"{one.build}: {one.memory.text}")
        for one in builds
        if one.memory is not None and one.memory.fits is False
    ]
    for one in builds:
        seen, said = one.supply.gpus, one.gpus_per_replica
        if seen is not None and seen != said:
            text = (
                f"{one.build}: {said} GPU(s) a replica were said, and a server was measured on "
                f"{seen}. What it holds on {said} is another measurement."
            )
            found.append(Caveat("gpus_differ", text))
    return [*found, *_bases(builds)]


def _bases(builds: Sequence[BuildSizing]) -> Iterator[Caveat]:
    """Tell where builds' rates are of different kinds, so that they do not compare."""
    known: dict[str, list[str]] = {}
    for one in builds:
        if one.supply.rate:
            known.setdefault(one.supply.basis, []).append(one.build)
    if len(known) > 1:
        by = "; ".join(f"{listed(names)} by {_BASES[basis]}" for basis, names in known.items())
        yield Caveat(
            "bases_differ",
            f"Sized are {by}. Part of what they differ by may be that: measure all of them in one "
            "way, best by harness capacity --server.",
        )
