"""Latency against throughput, and both against the level."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Literal

from harness.reports import charts, figures
from harness.reports.latencies import Metric, metrics
from harness.reports.page.panels import Panel, hue, line_kind, panel
from harness.reports.page.svg import Chart, Scale, Strip, Tick, bar, dot, fitting, logarithmic, path

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from markupsafe import Markup

    from evals.compare.records import Interval
    from harness.comparing.comparison import Comparison, LevelRow
    from harness.measuring.measurement import CellMeasurement, Stat
    from harness.reports.page.material import Traffic
    from harness.reports.page.svg import Pen

Quantile = Literal["p50", "p95"]


@dataclass(frozen=True, kw_only=True)
class Spot:
    """One build at one level."""

    level: float
    x: float
    x_ci: Interval | None
    y: float
    y_ci: Interval | None


def trade(pen: Pen, traffic: Traffic, comparison: Comparison | None) -> list[Panel]:
    """Latency against tokens per second: a line a build, its levels on it.

    By p95, or by p50 where there are too few requests for p95 somewhere.
    """
    if len(traffic.levels) < 2:  # noqa: PLR2004 - a curve needs two points
        return []
    rows = _rows(comparison, traffic)
    found = []
    for metric in metrics(traffic.cells):
        by_p95, by_p50 = (_lines(traffic, rows, metric, q) for q in ("p95", "p50"))
        whole = sum(map(len, by_p95)) >= sum(map(len, by_p50))
        title = f"{metric.title} {'p95' if whole else 'p50'}"
        found.append(_trade(pen, traffic, title, by_p95 if whole else by_p50))
    return found


def _lines(
    traffic: Traffic, rows: dict[tuple[str, float], LevelRow], metric: Metric, q: Quantile
) -> list[list[Spot]]:
    return [
        [spot for level in traffic.levels if (spot := _spot(traffic, rows, b, level, metric, q))]
        for b in traffic.builds
    ]


def _rows(comparison: Comparison | None, traffic: Traffic) -> dict[tuple[str, float], LevelRow]:
    if comparison is None:
        return {}
    return {
        (figures.plain(row.build), next(iter(row.level.values()), 0.0)): row
        for row in comparison.load
        if figures.plain(row.profile) == traffic.title
    }


def _spot(
    traffic: Traffic,
    rows: dict[tuple[str, float], LevelRow],
    build: str,
    level: float,
    metric: Metric,
    q: Quantile,
) -> Spot | None:
    row = rows.get((build, level))
    if row is not None:
        x, y = row.metrics.get("aggregate_tps"), row.metrics.get(f"{metric.key}_{q}_ms")
        if x is not None and y is not None and x.value is not None and y.value is not None:
            return Spot(level=level, x=x.value, x_ci=x.ci95, y=y.value, y_ci=y.ci95)
    cells = [
        cell
        for cell in traffic.cells
        if figures.plain(figures.series_of(cell)) == build and figures.level_value(cell) == level
    ]
    stats = [metric.stat_of(cell) for cell in cells]
    values = [value for stat in stats if (value := getattr(stat, q)) is not None]
    if not values:
        return None
    return Spot(
        level=level,
        x=median(cell.metrics.aggregate_tps for cell in cells),
        x_ci=None,
        y=median(values),
        y_ci=stats[0].ci95.get(q) if len(stats) == 1 else None,
    )


def _trade(pen: Pen, traffic: Traffic, title: str, lines: Sequence[Sequence[Spot]]) -> Panel:
    spots = [spot for line in lines for spot in line]
    xs = [v for s in spots for v in (s.x, *(s.x_ci or ()))]
    ys = [v for s in spots for v in (s.y, *(s.y_ci or ())) if v > 0 or s.y <= 0]
    x, y = fitting(xs, log_from=1e9), fitting(ys)
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
            name = f"{traffic.builds[index]} at {spot.level:g}: {figures.figure(spot.y)} ms, "
            name += f"{figures.figure(spot.x)} tok/s"
            chart.marks.append(dot((spot.x, spot.y), x, y, hue(index), name))
            chart.spots.append(((spot.x, spot.y), f"{spot.level:g}"))
    return panel(pen, chart, "ms; the figure at a point is the level")


def _told(traffic: Traffic, title: str, lines: Sequence[Sequence[Spot]]) -> str:
    parts = [
        f"{build}: "
        + ", ".join(
            f"at {s.level:g} {figures.figure(s.x)} tok/s and {figures.figure(s.y)} ms" for s in line
        )
        for build, line in zip(traffic.builds, lines, strict=True)
        if line
    ]
    return f"{title} by build and level. {'; '.join(parts)}."


def by_level(pen: Pen, traffic: Traffic) -> list[Panel]:
    """p50 and p95 of TTFT, ITL and e2e, and tokens per second, against the level."""
    data = charts.by_level(traffic.measurements)
    if data is None:
        return []
    x = Scale(
        low=data["x"][0] - 0.25,
        high=data["x"][-1] + 0.25,
        ticks=_level_ticks(data["x"], data["ticks"]),
    )
    found = []
    for one in data["panels"]:
        values = [v for line in one["lines"] for v in line["y"] if v is not None]
        ends = [v for line in one["lines"] for ci in line["ci"] if ci for v in ci]
        log = bool(one.get("log"))
        whole = [v for v in (*values, *ends) if v > 0 or not log]
        y = logarithmic(whole) if log else fitting(whole, log_from=1e9)
        chart = Chart(
            title=one["title"], x=x, y=y, unit=data["unit"],
            described=f"{one['title']} against the level, a line a build.",
        )  # fmt: skip
        for line in one["lines"]:
            _level_line(chart, line, data, traffic.builds[line["colour"]], one["unit"])
        found.append(panel(pen, chart, one["unit"]))
    return found


def _level_ticks(xs: Sequence[float], names: Sequence[str]) -> list[Tick]:
    low, high = xs[0] - 0.25, xs[-1] + 0.25
    return [Tick((x - low) / (high - low), name) for x, name in zip(xs, names, strict=True)]


def _level_line(
    chart: Chart, line: charts.Chart, data: charts.Chart, build: str, unit: str
) -> None:
    x, y, colour = chart.x, chart.y, line["colour"]
    points = [
        None if value is None else (place, value)
        for place, value in zip(data["x"], line["y"], strict=True)
    ]
    dashed = " p95" if line["q"] == "p95" else ""
    if any(points):
        chart.marks.append(path([p for p in points if p], x, y, line_kind(colour) + dashed))
    for point, ci, name in zip(points, line["ci"], data["ticks"], strict=True):
        if point is None:
            continue
        if ci and (ci[0] > 0 or not y.log):
            chart.marks.append(bar((point[0], ci[0]), (point[0], ci[1]), x, y, hue(colour)))
        told = f"{build}, {name} {data['unit']}: {line['q']} {figures.figure(point[1])} {unit}"
        if ci:
            told += f" ({figures.figure(ci[0])}–{figures.figure(ci[1])})"
        chart.marks.append(dot(point, x, y, hue(colour), told))


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
