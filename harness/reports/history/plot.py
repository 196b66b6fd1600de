"""A series as coordinates for a plain SVG."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from harness.reports.history import words

if TYPE_CHECKING:
    from harness.history.history import Point, Series

WIDTH: Final = 760
HEIGHT: Final = 190
LEFT: Final = 70
"""Room for the values on the left, in user units, as all of these."""
RIGHT: Final = 12
TOP: Final = 14
MOST: Final = 200
"""Runs that are drawn, the last ones."""
BOTTOM: Final = 24
_TICKS: Final = 4
_DATES: Final = 5


@dataclass(frozen=True, kw_only=True)
class Dot:
    """One run."""

    x: float
    y: float
    low: float | None
    """Ends of its 95 % interval."""
    high: float | None
    valid: bool
    title: str


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Runs between two changes: a line at their median."""

    x1: float
    x2: float
    y: float


@dataclass(frozen=True, kw_only=True)
class Plot:
    """One series, its runs in equal steps."""

    dots: list[Dot]
    stretches: list[Stretch]
    changes: list[tuple[float, str, str]]
    """Place, `better`, `worse` or empty, sentence."""
    marks: list[tuple[float, str]]
    """Place, and what changed about the server there."""
    ticks: list[tuple[float, str]]
    dates: list[tuple[float, str]]


def plot(series: Series) -> Plot | None:
    """Return the picture of a series; None where no run has a value."""
    skipped = max(0, len(series.points) - MOST)
    points = series.points[skipped:]
    limits = [limit for point in points for limit in _extent(point)]
    if not limits:
        return None
    low, high = min(limits), max(limits)
    room = max((high - low) * 0.08, abs(high) * 1e-3, 1e-9)
    low, high = low - room, high + room
    step = (WIDTH - LEFT - RIGHT) / max(1, len(points))

    def across(at: float) -> float:
        return round(LEFT + step * (at + 0.5), 1)

    def up(value: float) -> float:
        return round(TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    at = {point.run: index for index, point in enumerate(points)}
    changes = [change for change in series.changes if at.get(change.run)]
    cuts = [at[change.run] for change in changes]
    levels = [change.before for change in changes] + [change.after for change in changes[-1:]]
    values = [low + (high - low) * part / (_TICKS - 1) for part in range(_TICKS)]
    return Plot(
        dots=[
            Dot(
                x=across(index),
                y=up(point.value),
                low=up(point.ci95[0]) if point.ci95 else None,
                high=up(point.ci95[1]) if point.ci95 else None,
                valid=point.valid,
                title=_title(series, point),
            )
            for index, point in enumerate(points)
            if point.value is not None
        ],
        stretches=[
            Stretch(x1=across(start - 0.5), x2=across(end - 0.5), y=up(level))
            for (start, end), level in zip(
                pairwise((0, *cuts, len(points))) if cuts else (), levels, strict=True
            )
        ],
        changes=[
            (across(cut - 0.5), change.side or "", words.change(series, change))
            for cut, change in zip(cuts, changes, strict=True)
        ],
        marks=[
            (across(index - 0.5), words.note(point))
            for index, point in enumerate(points)
            if point.marks
        ],
        ticks=[(up(value), words.value(value)) for value in values],
        dates=[
            (across(index), points[index].started[:10])
            for index in sorted(
                {round(n * (len(points) - 1) / (_DATES - 1)) for n in range(_DATES)}
            )
        ],
    )


def _extent(point: Point) -> list[float]:
    return [] if point.value is None else [point.value, *(point.ci95 or ())]


def _title(series: Series, point: Point) -> str:
    spread = words.interval(point)
    told = [
        f"{words.moment(point.started)}, run {point.run}: {words.value(point.value)}"
        + words.unit(series)
        + (f" ({spread})" if spread else ""),
        f"{point.repeats} repeats" if point.repeats > 1 else "",
        words.note(point),
    ]
    return ", ".join(filter(None, told))
