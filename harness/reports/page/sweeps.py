"""Sweeps as charts: throughput over the level with the knee, and latencies with their limits."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from harness.measuring.slo import LATENCIES, observed, parse_slo
from harness.reports import sweeps as told
from harness.reports.figures import figure, level_value, plain
from harness.reports.page.axes import Scale, Tick, fitting
from harness.reports.page.panels import Panel, hue, panel
from harness.reports.page.svg import Chart, area, bar, dot, path

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.evidence.evidence import LoadRun
    from harness.measuring.measurement import CellMeasurement
    from harness.measuring.slo import Limit
    from harness.measuring.sweep import Sweep
    from harness.reports.page.material import Material
    from harness.reports.page.svg import Pen

_POINTS: Final = 80
_ROOM: Final = 0.25
_ROOM_ABOVE: Final = 1.1
_BEYOND: Final = 3.0
"""A latency axis reaches at most so many times its limit."""
_UNITS: Final = {"concurrency": "streams", "rate": "requests per second offered"}


@dataclass(frozen=True, kw_only=True)
class Section:
    """One sweep."""

    title: str
    sentences: list[str]
    panels: list[Panel]
    header: list[str]
    rows: list[list[str]]


@dataclass(frozen=True, kw_only=True)
class Levels:
    """The axis of the load."""

    scale: Scale
    place: Callable[[float], float]
    """From a level to a value of the scale."""
    unit: str


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A level that is shown."""

    level: float
    ci95: tuple[float, float] | None = None
    kind: str = "line ink"
    told: str = ""
    """In the note of each chart."""


def sections(pen: Pen, material: Material) -> list[Section]:
    """Return a section for each sweep of all parts of a run."""
    return [
        Section(
            title=f"{plain(sweep.build)}, profile {plain(sweep.profile)}",
            sentences=list(told.sentences(sweep)),
            panels=_panels(pen, run, sweep, material.builds.index(plain(sweep.build))),
            header=told.header(sweep),
            rows=list(told.rows(sweep)),
        )
        for run in material.evidence.load
        for sweep in run.measurements.sweeps
    ]


def _panels(pen: Pen, run: LoadRun, sweep: Sweep, colour: int) -> list[Panel]:
    levels = [one.level for one in sweep.levels]
    if len(levels) < 2:  # noqa: PLR2004 - a curve needs two points
        return []
    axis = Levels(scale=_axis(levels), place=math.log2, unit=_UNITS[sweep.level])
    marks = _marks(axis, sweep)
    asked = (run.manifest.get("request") or {}).get("slo")
    limits = parse_slo(asked, recorded=True).limits if isinstance(asked, str) else ()
    cells = [cell for cell in run.measurements.cells if cell.build == sweep.build]
    found = [_throughput(pen, sweep, axis, colour, marks)]
    found += [
        latency(pen, axis, colour, limit, _finite(limit, cells), marks)
        for limit in limits
        if limit.metric in LATENCIES
    ]
    return found


def _axis(levels: Sequence[float]) -> Scale:
    places = [math.log2(level) for level in levels]
    scale = Scale(low=min(places) - _ROOM, high=max(places) + _ROOM)
    ticks: list[Tick] = []
    for level, place in zip(levels, places, strict=True):
        at = scale.at(place)
        if not ticks or at - ticks[-1].at > 0.06:  # noqa: PLR2004 - labels would touch
            ticks.append(Tick(at, f"{level:g}"))
    return replace(scale, ticks=ticks)


def _throughput(
    pen: Pen, sweep: Sweep, levels: Levels, colour: int, marks: Sequence[Mark]
) -> Panel:
    x = levels.scale
    reach = [one.throughput + one.reach for one in sweep.levels]
    y = fitting([0.0, *reach], log_from=math.inf)
    chart = Chart(
        title="Throughput over the load",
        x=x,
        y=y,
        unit=levels.unit,
        size="tall",
        described=" ".join(told.sentences(sweep)),
    )
    mark_levels(chart, levels, marks)
    if sweep.level == "rate":
        ends = [2**x.low, 2**x.high]
        line = [(math.log2(v), v) for v in _between(*ends) if v <= y.high]
        chart.marks.append(path(line, x, y, "line ink dash"))
    fitted = [(math.log2(o.level), o.fitted) for o in sweep.levels if o.fitted is not None]
    if fitted:
        chart.marks.append(path(fitted, x, y, f"line {hue(colour)} dash"))
    for one in sweep.levels:
        at = math.log2(one.level)
        low, high = one.throughput - one.reach, one.throughput + one.reach
        chart.marks.append(bar((at, low), (at, high), x, y, hue(colour)))
    for one in sweep.levels:
        name = f"{one.level:g}: {figure(one.throughput)} {sweep.unit}"
        chart.marks.append(dot((math.log2(one.level), one.throughput), x, y, hue(colour), name))
    notes = {
        sweep.unit: True,
        "shaded: the knee’s 95 % interval": sweep.knee is not None,
        "dashed: the fitted curve": bool(fitted),
        "dashed: all that is offered": sweep.level == "rate",
    }
    return panel(pen, chart, "; ".join(note for note, drawn in notes.items() if drawn))


def _between(low: float, high: float) -> list[float]:
    step = (high / low) ** (1 / _POINTS)
    return [low * step**number for number in range(_POINTS + 1)]


def _finite(limit: Limit, cells: Sequence[CellMeasurement]) -> list[tuple[float, float | None]]:
    values = [(level_value(cell), observed(limit, cell)) for cell in cells]
    return [(level, value) for level, value in values if value is None or math.isfinite(value)]


def mark_levels(chart: Chart, levels: Levels, marks: Sequence[Mark]) -> None:
    """Draw places on the axis of the load: their intervals as shades, and lines over all."""
    x, y = chart.x, chart.y
    for mark in marks:
        if mark.ci95 is not None:
            low, high = (levels.place(end) for end in mark.ci95)
            chart.marks.append(area(low, high, x, "burst"))
        at = levels.place(mark.level)
        chart.marks.append(path([(at, y.low), (at, y.high)], x, y, mark.kind))


def _marks(levels: Levels, sweep: Sweep) -> list[Mark]:
    if sweep.knee is None:
        return []
    low, high = sweep.knee.ci95
    lowest = 2**levels.scale.low
    ends = max(low, lowest), max(high, lowest)
    return [Mark(level=sweep.knee.level, ci95=ends, told="the shade the knee’s 95 % interval")]


def latency(
    pen: Pen,
    levels: Levels,
    colour: int,
    limit: Limit,
    values: Sequence[tuple[float, float | None]],
    marks: Sequence[Mark],
) -> Panel:
    """One limit's own percentile over the load, with the limit as a line.

    Args:
        pen: draws.
        levels: the axis of the load.
        colour: of the build.
        limit: on a latency.
        values: level and percentile of each cell of one build; infinite where failures, counted
            as that, reach so far.
        marks: places on the axis that are shown, with their intervals.
    """
    x = levels.scale
    known = sorted((level, v) for level, v in values if v is not None)
    top = max([_ROOM_ABOVE * limit.value, *(min(v, _BEYOND * limit.value) for _, v in known)])
    y = fitting([0.0, top], log_from=math.inf)
    chart = Chart(
        title=plain(limit.text),
        x=x,
        y=y,
        unit=levels.unit,
        size="tall",
        described=f"{plain(limit.text)} over the load; the limit is a line.",
    )
    mark_levels(chart, levels, marks)
    chart.marks.append(path([(x.low, limit.value), (x.high, limit.value)], x, y, "limit"))
    line = [(levels.place(level), value) for level, value in known]
    if line:
        chart.marks.append(path(line, x, y, f"line {hue(colour)}"))
    for (place, value), (level, _) in zip(line, known, strict=True):
        chart.marks.append(dot((place, value), x, y, hue(colour), f"{level:g}: {figure(value)} ms"))
    beyond = any(value > y.high for _, value in known)
    notes = ["ms; the line is the limit", *(mark.told for mark in marks if mark.told)]
    notes += ["at the upper edge: beyond it"] if beyond else []
    return panel(pen, chart, "; ".join(notes))
