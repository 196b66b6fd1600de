"""A search as charts: what each build holds, its probes, and latencies over the rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from harness.measuring.slo import LATENCIES, observed, parse_slo
from harness.reports.capacity import words
from harness.reports.figures import count, figure, level_value, plain, share
from harness.reports.page.axes import linear, log_between
from harness.reports.page.panels import Panel, hue, panel
from harness.reports.page.svg import Chart, Strip, dot, path
from harness.reports.page.sweeps import Levels, Mark, latency, mark_levels
from harness.sizing.supply import held_value
from harness.sizing.wording import between

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

    from harness.capacity.result import Capacity, Found, Probe
    from harness.evidence.evidence import LoadRun
    from harness.measuring.slo import Limit
    from harness.reports.page.svg import Pen
    from harness.reports.sheets import Sheet
    from harness.sizing.record import Sizing

_LEAST_PERCENT: Final = 0.01
"""The lowest end of an axis of shares."""
_BELOW: Final = 5.0
"""It reaches so many times below the allowed share, and no more."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """What one build holds, in a row of a table."""

    colour: int
    build: str
    picture: Markup
    rate: str
    spread: str
    most: str
    """That was served; empty where that is not known."""


@dataclass(frozen=True, kw_only=True)
class Bars:
    """One such row a build, on one axis."""

    unit: str
    axis: Markup
    rows: list[Bar]


@dataclass(frozen=True, kw_only=True)
class Section:
    """One build's search."""

    title: str
    panels: list[Panel]
    probes: Sheet


def bars(capacity: Capacity) -> Bars:
    """The highest rate of each build with its interval, and the most that it served."""
    return _bars(
        capacity.unit,
        [
            _Held(one.build, one.max_rate, one.max_rate_ci95, _served(one), _why(one))
            for one in capacity.builds
        ],
    )


def bars_of(sizing: Sizing) -> Bars:
    """What one replica of each build holds, by whatever was measured."""
    supplies = [one.supply for one in sizing.builds]
    return _bars(
        supplies[0].unit,
        [_Held(one.build, one.per_server, one.bounds, None, one.basis) for one in supplies],
    )


class _Held(NamedTuple):
    """What one build holds."""

    build: str
    rate: float | None
    ends: tuple[float | None, float | None] | None
    served: float | None
    why: str
    """In the place of a rate, where there is none."""


def _why(one: Found) -> str:
    return one.outcome.replace("_", " ")


def _bars(unit: str, held: Sequence[_Held]) -> Bars:
    known = [value for one in held for value in (one.rate, *(one.ends or ()), one.served) if value]
    strip = Strip(scale=linear(known))
    rows = []
    for place, one in enumerate(held):
        rate = figure(one.rate) if one.rate else one.why
        spread = between(one.ends).strip(" ()")
        spans: list[tuple[float, float, str]] = []
        if one.served is not None:
            spans.append((0.0, one.served, "thin"))
        if one.rate is not None:
            spans.append((0.0, one.rate, "thick"))
            low, high = one.ends or (one.rate, one.rate)
            spans.append((low or one.rate, high or one.rate, "spread"))
        picture = strip.spans(spans, f"{rate} {spread}".strip(), hue(place))
        rows.append(
            Bar(
                colour=place,
                build=plain(one.build),
                picture=picture,
                rate=rate,
                spread=spread,
                most="" if one.served is None else figure(one.served),
            )
        )
    return Bars(unit=unit, axis=strip.axis(), rows=rows)


def _served(one: Found) -> float | None:
    if one.saturation is None:
        return None
    return one.saturation.arrivals_rate or one.saturation.rate


def sections(pen: Pen, capacity: Capacity, run: LoadRun) -> list[Section]:
    """Return one of each build: its charts, and its probes as a table."""
    limits = parse_slo(capacity.slo, recorded=True).limits
    return [
        Section(
            title=plain(one.build),
            panels=_panels(pen, capacity, one, place, run, limits),
            probes=words.probes(one, capacity),
        )
        for place, one in enumerate(capacity.builds)
    ]


def _panels(
    pen: Pen,
    capacity: Capacity,
    one: Found,
    colour: int,
    run: LoadRun,
    limits: Sequence[Limit],
) -> list[Panel]:
    sent = [probe for probe in one.probes if probe.rate is not None]
    if not any(probe.limits for probe in sent):
        return []
    rates = [probe.rate for probe in sent if probe.rate is not None]
    reach = [*rates, *(one.max_rate_ci95 or ())]
    levels = Levels(scale=linear(reach, zero=False), place=float, unit=f"{capacity.unit} sent")
    marks = _marks(one, levels)
    judged = {probe.cell: probe.ended_early for probe in sent if probe.met is not None}
    cells = [cell for cell in run.measurements.cells if cell.id in judged]
    found = []
    for place, limit in sorted(enumerate(limits), key=lambda one: one[1].metric not in LATENCIES):
        found.append(_shares(pen, levels, sent, (place, limit), colour, marks))
        if limit.metric in LATENCIES:
            values = [
                # what was cut off at an early end has not failed
                (level_value(cell), (observed if judged[cell.id] else held_value)(limit, cell))
                for cell in cells
            ]
            found.append(latency(pen, levels, colour, limit, values, marks))
    return found


def _marks(one: Found, levels: Levels) -> list[Mark]:
    marks = []
    if one.max_rate is not None:
        told = "upright line and shade: the highest rate with its 95 % interval"
        marks.append(Mark(level=one.max_rate, ci95=one.max_rate_ci95, told=told))
    served = _served(one)
    if served is not None and levels.scale.low < served < levels.scale.high:
        told = "dashed: the most that was served"
        marks.append(Mark(level=served, kind="line ink dash", told=told))
    return marks


def _shares(
    pen: Pen,
    levels: Levels,
    sent: Sequence[Probe],
    of: tuple[int, Limit],
    colour: int,
    marks: Sequence[Mark],
) -> Panel:
    """The share that broke one limit at each rate, and the share that may."""
    place, limit = of
    shown = [(probe, probe.limits[place]) for probe in sent if place < len(probe.limits)]
    allowed = 100 * shown[0][1].allowed
    least = min([allowed, *(100 * one.broken for _, one in shown if one.broken > 0)])
    x, y = levels.scale, log_between(max(least / 1.5, allowed / _BELOW, _LEAST_PERCENT), 100.0)
    chart = Chart(
        title=f"Broke {plain(limit.text)}",
        x=x,
        y=y,
        unit=levels.unit,
        size="tall",
        described=f"Share of the requests that broke {plain(limit.text)} at each rate.",
    )
    mark_levels(chart, levels, marks)
    chart.marks.append(path([(x.low, allowed), (x.high, allowed)], x, y, "limit"))
    for probe, one in shown:
        rate = probe.rate or 0.0
        told = f"{rate:g}/s: {share(one.broken)} of {count(probe.requests)}"
        told += ", ended early" if probe.ended_early else ""
        chart.marks.append(dot((rate, 100 * one.broken), x, y, hue(colour), told))
    notes = [f"% of all requests due, log scale; the line is what may: {share(allowed / 100)}"]
    if any(100 * one.broken < y.low for _, one in shown):
        notes.append("at the lower edge: fewer, or none")
    return panel(pen, chart, "; ".join(notes))
