"""Latency against throughput, and both against the level."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.comparing.rows import Value
from harness.reports import figures
from harness.reports.latencies import metrics
from harness.reports.page.axes import Scale, Tick, fitting, logarithmic
from harness.reports.page.panels import Panel, hue, line_kind, panel
from harness.reports.page.repeats import QUANTILES, SPEED, name_of
from harness.reports.page.svg import Chart, Strip, bar, dot, path

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from markupsafe import Markup

    from evals.compare.records import Interval
    from harness.measuring.measurement import CellMeasurement, Stat
    from harness.reports.page.material import Traffic
    from harness.reports.page.repeats import Spots
    from harness.reports.page.svg import Pen

_REACH = 2.5
"""An interval widens its axis by this factor beyond the values; what is wider runs to the edge."""
_DODGE = 0.007
"""Lines stand beside each other at a level: this share of the width apart."""


@dataclass(frozen=True, kw_only=True)
class Spot:
    """One build at one level."""

    level: float
    x: float
    x_ci: Interval | None
    y: float
    y_ci: Interval | None


@dataclass(frozen=True, kw_only=True)
class Line:
    """One percentile of one build against the level."""

    colour: int
    q: str
    values: list[Value]
    """One a level; without a value where it is not known."""


def trade(pen: Pen, traffic: Traffic, spots: Spots) -> list[Panel]:
    """Latency against tokens per second: a line a build, its levels on it.

    By p95, or by p50 where there are too few requests for p95 somewhere.
    """
    if len(traffic.levels) < 2:  # noqa: PLR2004 - a curve needs two points
        return []
    found = []
    for metric in metrics(traffic.cells):
        by_p95, by_p50 = (_lines(traffic, spots, name_of(metric.key, q)) for q in ("p95", "p50"))
        whole = sum(map(len, by_p95)) >= sum(map(len, by_p50))
        title = f"{metric.title} {'p95' if whole else 'p50'}"
        found.append(_trade(pen, traffic, title, by_p95 if whole else by_p50))
    return found


def _lines(traffic: Traffic, spots: Spots, name: str) -> list[list[Spot]]:
    return [
        [spot for level in traffic.levels if (spot := _spot(spots.get((b, level)), level, name))]
        for b in traffic.builds
    ]


def _spot(known: dict[str, Value] | None, level: float, name: str) -> Spot | None:
    x, y = (known or {}).get(SPEED), (known or {}).get(name)
    if x is None or y is None or x.value is None or y.value is None:
        return None
    return Spot(level=level, x=x.value, x_ci=x.ci95, y=y.value, y_ci=y.ci95)


def _trade(pen: Pen, traffic: Traffic, title: str, lines: Sequence[Sequence[Spot]]) -> Panel:
    spots = [spot for line in lines for spot in line]
    x = fitting(_reached((s.x, s.x_ci) for s in spots), log_from=1e9)
    y = fitting(_reached((s.y, s.y_ci) for s in spots))
    chart = Chart(
        title=f"{title} against throughput",
        x=x,
        y=y,
        unit="tokens per second in all",
        size="tall",
        described=_told(traffic, title, lines),
    )
    for index, line in enumerate(lines):
        if line:
            chart.marks.append(path([(s.x, s.y) for s in line], x, y, line_kind(index)))
        for spot in line:
            if spot.y_ci:
                low, high = spot.y_ci
                chart.marks.append(bar((spot.x, low), (spot.x, high), x, y, hue(index)))
            if spot.x_ci:
                low, high = spot.x_ci
                chart.marks.append(bar((low, spot.y), (high, spot.y), x, y, hue(index)))
        for spot in line:
            name = f"{traffic.builds[index]} at {spot.level:g}: "
            name += f"{_with(spot.y, spot.y_ci)} ms, {_with(spot.x, spot.x_ci)} tok/s"
            chart.marks.append(dot((spot.x, spot.y), x, y, hue(index), name))
            chart.spots.append(((spot.x, spot.y), f"{spot.level:g}"))
    return panel(pen, chart, "ms; the figure at a point is the level")


def _reached(values: Iterable[tuple[float, Interval | None]]) -> list[float]:
    """Return the values, and their intervals' ends where these are not far beyond all of them."""
    known = list(values)
    if not known:
        return []
    low, high = min(v for v, _ in known) / _REACH, max(v for v, _ in known) * _REACH
    ends = [max(a, low) for _, ci in known if ci for a in ci[:1]]
    ends += [min(b, high) for _, ci in known if ci for b in ci[1:]]
    return [*(v for v, _ in known), *ends]


def _with(value: float, ci95: Interval | None) -> str:
    told = figures.figure(value)
    return told if ci95 is None else f"{told} ({figures.figure(ci95[0])}–{figures.figure(ci95[1])})"


def _told(traffic: Traffic, title: str, lines: Sequence[Sequence[Spot]]) -> str:
    parts = [
        f"{build}: "
        + ", ".join(
            f"at {s.level:g} {_with(s.x, s.x_ci)} tok/s and {_with(s.y, s.y_ci)} ms" for s in line
        )
        for build, line in zip(traffic.builds, lines, strict=True)
        if line
    ]
    return f"{title} by build and level, with 95 % intervals. {'; '.join(parts)}."


def by_level(pen: Pen, traffic: Traffic, spots: Spots) -> list[Panel]:
    """p50 and p95 of TTFT, ITL and e2e, and tokens per second, against the level.

    None for one level.
    """
    levels = traffic.levels
    if len(levels) < 2 or levels[0] <= 0:  # noqa: PLR2004 - a line needs two points
        return []
    places = [math.log2(level) for level in levels]
    x = Scale(low=places[0] - 0.25, high=places[-1] + 0.25)
    x = replace(
        x, ticks=[Tick(x.at(at), f"{level:g}") for at, level in zip(places, levels, strict=True)]
    )
    wanted: list[tuple[str, str, list[tuple[str, str]]]] = [
        (metric.title, "ms", [(q, name_of(metric.key, q)) for q in QUANTILES])
        for metric in metrics(traffic.cells)
    ]
    wanted.append(("Tokens per second in all", "tok/s", [("", SPEED)]))
    found = []
    for title, unit, names in wanted:
        lines = [
            Line(
                colour=index,
                q=q,
                values=[
                    spots.get((build, level), {}).get(name, Value(value=None)) for level in levels
                ],
            )
            for index, build in enumerate(traffic.builds)
            for q, name in names
        ]
        there = [(one.value, one.ci95) for line in lines for one in line.values]
        drawn = _reached((value, ci95) for value, ci95 in there if value is not None)
        chart = Chart(
            title=title, x=x, y=fitting(drawn, log_from=40 if unit == "ms" else 1e9),
            unit=level_unit(traffic.cells[0]),
            described=f"{title} against the level, a line a build, with 95 % intervals.",
        )  # fmt: skip
        for number, line in enumerate(lines):
            aside = _DODGE * (x.high - x.low) * (number - (len(lines) - 1) / 2)
            _level_line(chart, line, [at + aside for at in places], traffic, unit)
        found.append(panel(pen, chart, unit))
    return found


def level_unit(cell: CellMeasurement) -> str:
    """Return what the levels count, e.g. `streams`."""
    if cell.sessions:
        return "sessions per second" if figures.is_open(cell) else "users"
    return "requests per second" if figures.is_open(cell) else "streams"


def _level_line(
    chart: Chart, line: Line, places: Sequence[float], traffic: Traffic, unit: str
) -> None:
    x, y, colour = chart.x, chart.y, line.colour
    points = [
        (at, one.value, one.ci95, level)
        for at, one, level in zip(places, line.values, traffic.levels, strict=True)
        if one.value is not None
    ]
    if points:
        kind = line_kind(colour) + (" p95" if line.q == "p95" else "")
        chart.marks.append(path([(at, value) for at, value, _, _ in points], x, y, kind))
    for at, value, ci95, level in points:
        if ci95:
            chart.marks.append(bar((at, ci95[0]), (at, ci95[1]), x, y, hue(colour)))
        told = f"{traffic.builds[colour]}, {level:g} {chart.unit}: "
        told += f"{line.q} {_with(value, ci95)} {unit}".lstrip()
        chart.marks.append(dot((at, value), x, y, hue(colour), told))


@dataclass(frozen=True, kw_only=True)
class Range:
    """p50 to p99 of every cell by one metric."""

    title: str
    axis: Markup
    rows: list[tuple[int, str, Markup, Stat]]
    """Colour, name, picture, values."""


def ranges(traffic: Traffic) -> list[Range]:
    """Where there is one level: from p50 to p99 of each cell, on one log axis a metric."""
    if len(traffic.levels) != 1:
        return []
    found = []
    for metric in metrics(traffic.cells):
        stats = [(cell, metric.stat_of(cell)) for cell in traffic.cells]
        values = list(_positive(stat for _, stat in stats))
        if not values:
            continue
        strip = Strip(scale=logarithmic(values))
        rows = [
            (traffic.colour(cell), _name(traffic, cell), _range(strip, stat, hue(
                traffic.colour(cell))), stat)
            for cell, stat in stats
        ]  # fmt: skip
        found.append(Range(title=metric.title, axis=strip.axis(), rows=rows))
    return found


def _name(traffic: Traffic, cell: CellMeasurement) -> str:
    name = figures.plain(figures.series_of(cell))
    return f"{name} · repeat {cell.repeat}" if traffic.repeats else name


def _positive(stats: Iterable[Stat]) -> Iterable[float]:
    for stat in stats:
        yield from (v for v in (stat.p50, stat.p95, stat.p99) if v is not None and v > 0)


def _range(strip: Strip, stat: Stat, kind: str) -> Markup:
    spans = []
    if stat.p50 and stat.p50 > 0:
        spans.append((stat.p50, max(stat.p50, stat.p95 or 0, stat.p99 or 0), "thin"))
        spans.append((stat.p50, max(stat.p50, stat.p95 or 0), "thick"))
        spans.append((stat.p50, stat.p50, "mark"))
    told = ", ".join(
        f"{name} {figures.figure(getattr(stat, name))}" for name in ("p50", "p95", "p99")
    )
    return strip.spans(spans, f"{told} ms", kind)
