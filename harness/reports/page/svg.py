"""Charts as plain SVG: axes, lines, bars, dots and text that stay sharp at any width.

A chart's plot area is stretched to the width that it is given, its strokes and text are not.
Nothing has a colour of its own: classes `c0` … `c5` follow the page's light and dark.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Final, NamedTuple

from markupsafe import Markup

from harness.reports.page.labels import place

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FULL: Final = 1000
"""Width and height of a plot area in its own units."""
COLOURS: Final = 6
_TICKS: Final = 4
_NEAR: Final = 0.07
"""Of labels of points that are closer than this share of the height one is left out."""
_LEADS: Final = ((2000, (1,)), (30, (1, 2, 5)), (3, (1, 1.5, 2, 3, 5, 7)))
"""Leading digits of a log axis's labels, by the ratio of its ends."""

Point = tuple[float, float]


class Tick(NamedTuple):
    """A place on an axis, from 0 to 1, and its label."""

    at: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Values to places from 0 to 1."""

    low: float
    high: float
    log: bool = False
    ticks: Sequence[Tick] = ()

    def at(self, value: float) -> float:
        """Return the place of a value, never outside of the axis."""
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log(max(value, low)), math.log(low), math.log(high)
        return min(1.0, max(0.0, (value - low) / (high - low)))

    @property
    def told(self) -> str:
        """For the read-out: kind and ends."""
        return f"{'log' if self.log else 'lin'} {self.low:.6g} {self.high:.6g}"


def linear(values: Iterable[float], *, zero: bool = True, most: float | None = None) -> Scale:
    """Return a scale with round labels that holds all values.

    Args:
        values: finite ones; none give 0 to 1.
        zero: whether it begins at 0 (or below, where values are).
        most: an end that is not passed, e.g. 1 for shares.
    """
    there = list(values) or [0.0, 1.0]
    low, high = min(there), max(there)
    if zero:
        low, high = min(0.0, low), max(0.0, high)
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-12):
        room = abs(high) * 0.05 or 1.0
        low, high = (low if zero and low == 0 else low - room), high + room
    step = _round_step((high - low) / _TICKS)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    low, high = first * step, last * step
    if most is not None:
        high = min(high, most)
    steps = [number * step for number in range(first, last + 1) if number * step <= high * 1.0001]
    span = high - low
    ticks = [Tick((value - low) / span, _label(value, step)) for value in steps]
    return Scale(low=low, high=high, ticks=ticks)


def logarithmic(values: Iterable[float]) -> Scale:
    """Return a log scale that ends at the nearest round numbers; values are above 0."""
    there = [value for value in values if value > 0] or [1.0, 10.0]
    low, high = min(there), max(there)
    steps = _log_steps(low / 10, high * 10, (1, 1.5, 2, 3, 5, 7))
    low = max(step for step in steps if step <= low * 1.001)
    high = min(step for step in steps if step >= high * 0.999)
    if high <= low:
        low, high = low / 2, high * 2
    return log_between(low, high)


def log_between(low: float, high: float) -> Scale:
    """Return a log scale of exactly these ends, both above 0, with round labels within."""
    scale = Scale(low=low, high=high, log=True)
    leads = next((leads for ratio, leads in _LEADS if high / low >= ratio), None)
    if leads is None:  # less than half a decade: round numbers, evenly spaced
        evenly = linear([low, high], zero=False)
        values = [evenly.low + tick.at * (evenly.high - evenly.low) for tick in evenly.ticks]
        labelled = [(v, tick.text) for v, tick in zip(values, evenly.ticks, strict=True)]
    else:
        labelled = [(step, _tick(step)) for step in _log_steps(low, high, leads)]
    ticks = [Tick(scale.at(value), text) for value, text in labelled if low <= value <= high]
    return Scale(low=low, high=high, log=True, ticks=ticks)


def fitting(values: Sequence[float], *, log_from: float = 40) -> Scale:
    """Return a log scale where only that shows all of the values, and can; else one from 0."""
    if values and min(values) > 0 and max(values) / min(values) > log_from:
        return logarithmic(values)
    return linear(values)


def _round_step(raw: float) -> float:
    power = 10.0 ** math.floor(math.log10(raw))
    return next((lead * power for lead in (1, 2, 2.5, 5) if lead * power >= raw), 10 * power)


def _log_steps(low: float, high: float, leads: Sequence[float]) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = [float(f"{lead * 10.0**power:.3g}") for power in powers for lead in leads]
    return [step for step in steps if low * 0.999 <= step <= high * 1.001]


def _tick(value: float) -> str:
    return f"{value / 1000:,g}k" if abs(value) >= 10_000 else f"{value:,g}"  # noqa: PLR2004


def _label(value: float, step: float) -> str:
    digits = max(0, -math.floor(math.log10(step) + 1e-9) + (1 if f"{step:.1e}"[2] != "0" else 0))
    if abs(value) >= 10_000 and step >= 100:  # noqa: PLR2004 - as `_tick`
        return _tick(value)
    return f"{0.0 if abs(value) < step / 1e6 else value:,.{digits}f}".replace("-", "−")


# --- what is drawn -------------------------------------------------------------------------------


def path(points: Iterable[Point | None], x: Scale, y: Scale, kind: str, name: str = "") -> Markup:
    """Return a line through points; None interrupts it.

    Args:
        points: (x, y) values.
        x: scale.
        y: scale.
        kind: CSS classes.
        name: what the read-out calls it; empty for no read-out.
    """
    parts, pen = [], False
    for point in points:
        if point is None:
            pen = False
            continue
        parts.append(f"{'' if pen else 'M'}{_px(x.at(point[0]))} {_px(1 - y.at(point[1]))}")
        pen = True
    return _path(" ".join(parts), kind, name)


def steps(edges: Sequence[float], ys: Sequence[float], x: Scale, y: Scale, kind: str,
          name: str = "", *, filled: bool = False) -> Markup:  # fmt: skip
    """Return a line that stays at `ys[i]` from `edges[i]` to `edges[i + 1]`."""
    parts = [f"M{_px(x.at(edges[0]))} {FULL if filled else _px(1 - y.at(ys[0]))}"]
    last = None
    for edge, value in zip(edges[1:], ys, strict=True):
        if (level := _px(1 - y.at(value))) != last:
            parts.append(f"V{level}")
        parts.append(f"H{_px(x.at(edge))}")
        last = level
    if filled:
        parts.append(f"V{FULL}Z")
    return _path("".join(parts), kind, name)


def dots(points: Iterable[Point], x: Scale, y: Scale, kind: str) -> Markup:
    """Return many round dots as one path."""
    places = dict.fromkeys((_px(x.at(a)), _px(1 - y.at(b))) for a, b in points)
    return _path("".join(f"M{a} {b}h0" for a, b in places), f"dots {kind}")


def dot(point: Point, x: Scale, y: Scale, kind: str, title: str) -> Markup:
    """Return one dot that tells what it is."""
    drawn = f"M{_px(x.at(point[0]))} {_px(1 - y.at(point[1]))}h0"
    return Markup('<path class="dots {}" d="{}"><title>{}</title></path>').format(
        kind, drawn, title
    )


def bar(low: Point, high: Point, x: Scale, y: Scale, kind: str) -> Markup:
    """Return a straight line from one point to another, e.g. an interval."""
    return path([low, high], x, y, f"bar {kind}")


def area(first: float, last: float, x: Scale, kind: str) -> Markup:
    """Return a band over the whole height."""
    left, right = _px(x.at(first)), _px(x.at(last))
    return Markup('<rect class="{}" x="{}" width="{}" height="{}"/>').format(
        kind, left, max(1, right - left), FULL
    )


def _px(place: float) -> int:
    return round(FULL * place)


def _path(drawn: str, kind: str, name: str = "") -> Markup:
    if not name:
        return Markup('<path class="{}" d="{}"/>').format(kind, drawn)
    return Markup('<path class="{}" d="{}" data-name="{}"/>').format(kind, drawn, name)


# --- whole charts --------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Chart:
    """One picture: axes, what is drawn, and names of points."""

    title: str
    x: Scale
    y: Scale
    described: str = ""
    """What a reader who cannot see it is told; the numbers are in a table nearby."""
    unit: str = ""
    """Under the x axis."""
    size: str = ""
    """`low` or `tall`."""
    marks: list[Markup] = field(default_factory=list)
    names: list[tuple[Point, str]] = field(default_factory=list)
    """Of points; all are shown, each where there is room."""
    spots: list[tuple[Point, str]] = field(default_factory=list)
    """Short labels above points, of which those that find no room are left out."""
    readout: tuple[str, str] | None = None
    """Units of x and y, where a pointer is to read values."""

    @property
    def empty(self) -> bool:
        """Whether nothing is drawn."""
        return not self.marks


class Pen:
    """Numbers the charts of one page, so that each can be named."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def draw(self, chart: Chart) -> Markup:
        """Return a chart's markup."""
        number = next(self._numbers)
        grid = Markup("").join(
            Markup('<line x1="0" x2="100%" y1="{0}%" y2="{0}%"/>').format(_percent(1 - tick.at))
            for tick in chart.y.ticks
        )
        labels = [
            *(
                Markup('<text x="0" dx="-6" y="{}%" dy="4" class="end">{}</text>').format(
                    _percent(1 - tick.at), tick.text
                )
                for tick in chart.y.ticks
            ),
            *(
                Markup('<text x="{}%" y="100%" dy="15" class="mid{}">{}</text>').format(
                    _percent(tick.at), _rank(index, chart.x.ticks), tick.text
                )
                for index, tick in enumerate(chart.x.ticks)
            ),
            *_names(chart),
            *_spots(chart),
        ]
        if chart.unit:
            labels.append(
                Markup('<text x="50%" y="100%" dy="30" class="mid">{}</text>').format(chart.unit)
            )
        reading: Markup | str = ""
        if chart.readout:
            reading = Markup(' data-x="{}" data-y="{}" data-units="{}"').format(
                chart.x.told, chart.y.told, "|".join(chart.readout)
            )
        return Markup(
            '<svg class="chart {size}" role="img" aria-labelledby="t{number} d{number}"{reading}>'
            '<title id="t{number}">{title}</title><desc id="d{number}">{described}</desc>'
            '<g class="grid">{grid}</g>'
            '<svg viewBox="0 0 {full} {full}" preserveAspectRatio="none" width="100%" '
            'height="100%" class="plot">{marks}</svg><g class="labels">{labels}</g></svg>'
        ).format(
            size=chart.size or "mean",
            number=number,
            reading=reading,
            title=chart.title,
            described=chart.described or "The numbers are in the tables.",
            grid=grid,
            full=FULL,
            marks=Markup("").join(chart.marks),
            labels=Markup("").join(labels),
        )


def _rank(index: int, ticks: Sequence[Tick]) -> str:
    """Every second label of many, and those close to another, go where there is little room."""
    return " odd" if len(ticks) > _TICKS + 1 and index % 2 else ""


def _names(chart: Chart) -> list[Markup]:
    """Names beside points, with a line to those that found no room there."""
    points = [((chart.x.at(x), 1 - chart.y.at(y)), name) for (x, y), name in chart.names]
    found = []
    for one in place(points):
        (px, py), x, y = one.point, one.x, one.y
        if one.led:
            found.append(
                Markup('<line class="lead" x1="{}%" y1="{}%" x2="{}%" y2="{}%"/>').format(
                    *map(_percent, (px, py, x, y))
                )
            )
        found.append(
            Markup('<text x="{}%" dx="{}" y="{}%" dy="4" class="{}">{}</text>').format(
                _percent(x), -2 if one.end else 2, _percent(y),
                "end name" if one.end else "name", one.name,
            )
        )  # fmt: skip
    return found


def _spots(chart: Chart) -> list[Markup]:
    """Labels above points, but for those that would stand in another's way."""
    placed: list[tuple[float, float]] = []
    found = []
    for (px, py), name in chart.spots:
        x, y = chart.x.at(px), 1 - chart.y.at(py)
        if any(abs(x - a) < 0.05 and abs(y - b) < _NEAR for a, b in placed):  # noqa: PLR2004
            continue
        placed.append((x, y))
        found.append(
            Markup('<text x="{}%" y="{}%" dy="-7" class="mid soft">{}</text>').format(
                _percent(x), _percent(y), name
            )
        )
    return found


def _percent(place: float) -> str:
    return f"{100 * place:.4g}"


@dataclass(frozen=True, kw_only=True)
class Strip:
    """A small chart in a table's cell: bars and marks on an axis that all rows share."""

    scale: Scale
    zero: float | None = None
    """Where a line marks “no difference”."""

    def draw(
        self, *, value: float | None, ci: tuple[float, float] | None, kind: str, told: str
    ) -> Markup:
        """Return a mark with its interval; an empty cell without a value."""
        parts = []
        if self.zero is not None:
            parts.append(self._line(self.zero, self.zero, "zero"))
        if ci is not None:
            parts.append(self._bar(ci[0], ci[1], f"spread {kind}"))
        if value is not None:
            at = _px(self.scale.at(value))
            parts.append(Markup('<path class="dots {}" d="M{} 50h0"/>').format(kind, at))
        return self.whole(parts, told)

    def spans(self, spans: Sequence[tuple[float, float, str]], told: str, kind: str) -> Markup:
        """Return bars of several kinds over each other."""
        return self.whole([self._bar(a, b, f"{k} {kind}") for a, b, k in spans], told)

    def whole(self, parts: Sequence[Markup], told: str) -> Markup:
        """Return the picture of these parts."""
        return Markup(
            '<svg class="strip" viewBox="0 0 {} 100" preserveAspectRatio="none" role="img" '
            'aria-label="{}">{}</svg>'
        ).format(FULL, told, Markup("").join(parts))

    def axis(self) -> Markup:
        """Return the axis, for the head of the column."""
        labels = Markup("").join(
            Markup('<text x="{}%" y="11" class="mid">{}</text>').format(
                _percent(tick.at), tick.text
            )
            for tick in self.scale.ticks
        )
        return Markup('<svg class="strip axis" aria-hidden="true">{}</svg>').format(labels)

    def _bar(self, low: float, high: float, kind: str) -> Markup:
        return self._line(low, high, f"bar {kind}")

    def _line(self, low: float, high: float, kind: str) -> Markup:
        a, b = _px(self.scale.at(low)), _px(self.scale.at(high))
        drawn = f"M{a} 0V100" if a == b and "zero" in kind else f"M{a} 50H{max(b, a + 2)}"
        return Markup('<path class="{}" d="{}"/>').format(kind, drawn)
