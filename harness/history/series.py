"""Figures of many runs as series: one for each combination of all that they may differ in."""

from __future__ import annotations

import statistics
from itertools import groupby
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from harness.evidence.metrics import METRICS
from harness.history.changes import change_points
from harness.history.history import ChangePoint, Point, Series

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.evidence.figures import Figure
    from harness.evidence.metrics import Better
    from harness.history.scan import Setup

_KEY: Final = (
    "metric", "build", "profile", "level", "suite", "category", "task", "baseline", "engine",
    "model", "route", "conditions", "machine",
)  # fmt: skip
"""What runs of one series agree in. The engine's version is not among it: it is marked."""


def series_of(found: Iterable[Figure], setups: Mapping[tuple[str, str], Setup]) -> list[Series]:
    """Return the series of figures that lie in order of time, by metric, build and where.

    Args:
        found: figures of any number of runs; `run` tells these apart.
        setups: what each run's servers were made of, to mark where that changed.
    """
    groups: dict[tuple[str, ...], list[Figure]] = {}
    for one in found:
        groups.setdefault(_key(one), []).append(one)
    made = [_series(group, setups) for group in groups.values()]
    order = {name: at for at, name in enumerate(METRICS)}
    return sorted(
        made,
        key=lambda one: (
            order.get(one.metric, len(order)),
            one.profile or "",
            tuple((one.level or {}).items()),
            one.suite or "",
            one.category or one.task or "",
            one.build,
            one.points[-1].started,
        ),
    )


def _key(one: Figure) -> tuple[str, ...]:
    return tuple(str(getattr(one, name)) for name in _KEY)


def _series(group: Sequence[Figure], setups: Mapping[tuple[str, str], Setup]) -> Series:
    first = group[0]
    points: list[Point] = []
    before: Setup | None = None
    for run, repeats in groupby(group, key=lambda one: one.run):
        setup = setups.get((run, first.build))
        point = _point(list(repeats))
        marks = _marks(before, setup)
        if points and points[-1].engine_version != point.engine_version:
            versions = (points[-1].engine_version or "?", point.engine_version or "?")
            marks.insert(0, "engine {} → {}".format(*versions))
        points.append(msgspec.structs.replace(point, marks=marks))
        before = setup or before
    tested = [point for point in points if point.valid and point.value is not None]
    changes = [
        ChangePoint(
            run=tested[change.at].run,
            started=tested[change.at].started,
            before=change.before,
            after=change.after,
            p_value=change.p_value,
            side=_side(first.better, change.before, change.after),
            marks=_between(points, tested[change.at - 1], tested[change.at]),
        )
        for change in change_points([point.value for point in tested if point.value is not None])
    ]
    fields = {name: getattr(first, name) for name in _KEY}
    known = METRICS.get(first.metric)
    return Series(
        **fields,
        better=first.better,
        unit=known.unit if known else "",
        points=points,
        changes=changes,
        tested=len(tested),
    )


def _point(repeats: Sequence[Figure]) -> Point:
    """One run's repeats in one: of those that may be believed, where there are such."""
    believed = [one for one in repeats if one.valid]
    taken = [one for one in believed or repeats if one.value is not None]
    values = [one.value for one in taken if one.value is not None]
    return Point(
        run=repeats[0].run,
        started=repeats[0].started,
        value=statistics.median(values) if values else None,
        ci95=taken[0].ci95 if len(taken) == 1 else None,
        repeats=len(values),
        valid=bool(believed),
        engine_version=repeats[0].engine_version,
    )


def _marks(before: Setup | None, now: Setup | None) -> list[str]:
    """What is new about a server, beside its engine's version."""
    if before is None or now is None:
        return []
    marks = []
    if before.weights and now.weights and before.weights != now.weights:
        marks.append("other weights")
    gone = [flag for flag in before.arguments if flag not in now.arguments]
    new = [flag for flag in now.arguments if flag not in before.arguments]
    marks += [f"without {flag}" for flag in gone] + [f"with {flag}" for flag in new]
    return marks


def _between(points: Sequence[Point], last: Point, first: Point) -> list[str]:
    """Marks since the last point before a change, those of untested points among them."""
    start, end = points.index(last), points.index(first)
    return [mark for point in points[start + 1 : end + 1] for mark in point.marks]


def _side(better: Better | None, before: float, after: float) -> Literal["better", "worse"] | None:
    if better is None or before == after:
        return None
    return "better" if (after < before) == (better == "less") else "worse"
