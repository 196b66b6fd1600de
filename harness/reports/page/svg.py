"""Charts as plain SVG: axes, lines, bars, dots and text that stay sharp at any width.

A chart's plot area is stretched to the width that it is given, its strokes and text are not.
Nothing has a colour of its own: classes `c0` … `c5` follow the page's light and dark.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Final

from markupsafe import Markup

from harness.reports.page.axes import TICKS
from harness.reports.page.labels import place

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.reports.page.axes import Scale, Tick

FULL: Final = 1000
"""Width and height of a plot area in its own units."""
COLOURS: Final = 6
_NEAR: Final = 0.07
"""Of labels of points that are closer than this share of the height one is left out."""
_CHARACTER: Final = 0.07
"""What a character of a strip's label takes of its width, and some room."""
Point = tuple[float, float]


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
    return " odd" if len(ticks) > TICKS + 1 and index % 2 else ""


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
        """Return the axis, for the head of the column; labels that find no room are left out."""
        shown: list[Tick] = []
        edge = -1.0
        for tick in self.scale.ticks:
            half = _CHARACTER * len(tick.text) / 2
            if tick.at - half > edge:
                shown.append(tick)
                edge = tick.at + half
        labels = Markup("").join(
            Markup('<text x="{}%" y="11" class="mid">{}</text>').format(
                _percent(tick.at), tick.text
            )
            for tick in shown
        )
        return Markup('<svg class="strip axis" aria-hidden="true">{}</svg>').format(labels)

    def _bar(self, low: float, high: float, kind: str) -> Markup:
        return self._line(low, high, f"bar {kind}")

    def _line(self, low: float, high: float, kind: str) -> Markup:
        a, b = _px(self.scale.at(low)), _px(self.scale.at(high))
        drawn = f"M{a} 0V100" if a == b and "zero" in kind else f"M{a} 50H{max(b, a + 2)}"
        return Markup('<path class="{}" d="{}"/>').format(kind, drawn)
