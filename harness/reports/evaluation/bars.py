"""Scores with their intervals as bars: coordinates for a plain SVG."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from harness.quality.evaluation import each
from harness.reports.evaluation import words
from harness.reports.figures import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evals.compare.records import Interval
    from harness.quality.evaluation import Result, SuiteResult

WIDTH: Final = 760
LABELS: Final = 230
"""Room for labels on the left, in user units, as all of these."""
_RIGHT: Final = 90
ROW: Final = 15
_GAP: Final = 9
_MOST_ROWS: Final = 240
_COLOURS: Final = 6
_TICKS: Final = 5


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One score."""

    y: float
    x: float
    low: float
    high: float
    colour: int
    text: str
    title: str


@dataclass(frozen=True, kw_only=True)
class Group:
    """The bars of one category, a build each."""

    label: str
    y: float
    bars: list[Bar]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One suite's picture."""

    suite: str
    height: float
    groups: list[Group]
    ticks: list[tuple[float, str]]
    builds: list[str]


class _Value(NamedTuple):
    """One score of the build of this number."""

    build: int
    score: float | None
    ci95: Interval | None


def charts(result: Result) -> list[Chart]:
    """Return one picture a suite, its total first and then its categories."""
    names = dict.fromkeys(suite.suite for one in each(result) for suite in one.suites)
    drawn = [_chart(result, name) for name in names]
    return [chart for chart in drawn if chart is not None]


def _chart(result: Result, name: str) -> Chart | None:
    found = [
        (plain(one.server.build), suite)
        for one in each(result)
        for suite in one.suites
        if suite.suite == name and suite.score is not None
    ]
    if not found:
        return None
    labels = list(dict.fromkeys(key for _, suite in found for key in suite.categories))
    several = labels if len(labels) > 1 else []
    rows: list[tuple[str, list[_Value]]] = [
        ("all", [_Value(n, suite.score, suite.ci95) for n, (_, suite) in enumerate(found)])
    ]
    for label in several[: _MOST_ROWS // len(found)]:
        parts = [(n, suite.categories.get(label)) for n, (_, suite) in enumerate(found)]
        rows.append((label, [_Value(n, part.score, part.ci95) for n, part in parts if part]))
    # A few texts' perplexity may be anything up to hundreds: such bars are cut, not all flattened.
    wide = rows[:1] if words.is_ratio(found[0][1]) else rows
    values = [bar.score for _, bars in rows for bar in bars]
    values += [limit for _, bars in wide for bar in bars for limit in bar.ci95 or ()]
    low, high = _range([value for value in values if value is not None], found[0][1])
    scale = (WIDTH - LABELS - _RIGHT) / (high - low)

    def place(value: float) -> float:
        return round(LABELS + (min(max(value, low), high) - low) * scale, 1)

    groups, y = [], float(_GAP)
    for label, bars in rows:
        drawn: list[Bar] = []
        for index, value, ci95 in bars:
            if value is None:
                continue
            build, suite = found[index]
            spread, text = words.interval(suite, ci95), words.score(suite, value)
            drawn.append(
                Bar(
                    y=y + ROW * len(drawn),
                    x=place(value),
                    low=place(ci95[0] if ci95 else value),
                    high=place(ci95[1] if ci95 else value),
                    colour=index % _COLOURS,
                    text=text,
                    title=f"{build}, {plain(label)}: {text}" + f" ({spread})" * bool(spread),
                )
            )
        groups.append(Group(label=plain(label), y=y, bars=drawn))
        y += ROW * len(drawn) + _GAP
    step = (high - low) / (_TICKS - 1)
    ticks = [low + step * index for index in range(_TICKS)]
    return Chart(
        suite=plain(name),
        height=y + ROW + _GAP,
        groups=groups,
        ticks=[(place(value), words.score(found[0][1], value)) for value in ticks],
        builds=[build for build, _ in found],
    )


def _range(values: Sequence[float], suite: SuiteResult) -> tuple[float, float]:
    """Return a range that holds all values: of shares within 0 and 1, of perplexities from 1."""
    low, high = min(values), max(values)
    room = max((high - low) * 0.08, abs(high) * 1e-4, 1e-6)
    if words.is_ratio(suite):
        return max(1.0, low - room), high + room
    low = max(0.0, math.floor((low - room) * 20) / 20)
    return low, max(min(1.0, math.ceil((high + room) * 20) / 20), low + 0.05)
