"""What the server did over a cell's window: plain series, as the timeline draws them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from harness.measuring.server_rules import KV_FULL
from harness.measuring.server_use import memory_points, power_points, server_gpus
from harness.reports.series import NS_PER_S
from launchers.telemetry.records import GIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from launchers.telemetry.records import EnginePage, Reading

Points = list[tuple[float, float]]
"""Seconds from the window's start, and a value."""


@dataclass(frozen=True, kw_only=True)
class ServerLine:
    """Series of one cell; empty ones are of what nobody could tell."""

    running: Points
    waiting: Points
    kv_cache: Points
    """Shares, 0 to 1."""
    memory_gib: Points
    power_w: Points
    preempted: Points
    """When it was seen that requests had been pushed back, and how many."""
    full: list[tuple[float, float]]
    """From when to when the KV cache was seen more than 95 % full."""
    rows: list[tuple[float, list[float | None]]]
    """The same in few rows: second, and the most of running, waiting, KV cache, memory and power
    from then on, and how many were pushed back; None where nobody saw."""


def server_line(
    readings: Sequence[Reading], seconds: Sequence[float], start_ns: int, *, most: int
) -> ServerLine | None:
    """Return the series of a cell; None where nobody looked.

    Args:
        readings: of the cell, in the order of time.
        seconds: at which the table's rows begin, and where the last one ends.
        start_ns: of the window.
        most: points of a series. Of more the largest of neighbours stand for them.
    """
    end_s = seconds[-1]
    gpus = server_gpus(readings)

    def second(at_ns: int) -> float:
        return (at_ns - start_ns) / NS_PER_S

    def of_looks(points: Iterable[tuple[int, float]], unit: float = 1) -> Points:
        return _known(((second(at_ns), value / unit) for at_ns, value in points), end_s)

    pages = [one.engine for one in readings if one.engine is not None]

    def of_pages(name: str) -> Points:
        return _known(((second(page.at_ns), getattr(page, name)) for page in pages), end_s)

    kv_cache = of_pages("kv_cache_use")
    preempted = [(at, n) for at, n in _pushed_back(pages, second) if 0 <= at <= end_s]
    whole = [
        of_pages("running"),
        of_pages("waiting"),
        kv_cache,
        of_looks(memory_points(readings, gpus)[0], GIB),
        of_looks(power_points(readings, gpus)),
    ]
    if not any(whole):
        return None
    running, waiting, kv_drawn, memory_gib, power_w = (_thin(points, most) for points in whole)
    return ServerLine(
        running=running,
        waiting=waiting,
        kv_cache=kv_drawn,
        memory_gib=memory_gib,
        power_w=power_w,
        preempted=preempted,
        full=_full(kv_cache),
        rows=[
            (low, [*(_most(points, low, high) for points in whole), _sum(preempted, low, high)])
            for low, high in pairwise(seconds)
        ],
    )


def _known(points: Iterable[tuple[float, float | None]], end_s: float) -> Points:
    """Those of the window that have a value."""
    return [(at, value) for at, value in points if value is not None and 0 <= at <= end_s]


def _pushed_back(pages: Sequence[EnginePage], second: Callable[[int], float]) -> Points:
    counts = [(page.at_ns, page.preemptions) for page in pages if page.preemptions is not None]
    return [
        (second(at), later - earlier)
        for (_, earlier), (at, later) in pairwise(counts)
        if later > earlier
    ]


def _full(kv_cache: Points) -> list[tuple[float, float]]:
    """Stretches of successive looks at a cache that was more than 95 % full."""
    found = []
    for full, stretch in groupby(kv_cache, key=lambda point: point[1] > KV_FULL):
        times = [at for at, _ in stretch]
        if full:
            found.append((times[0], times[-1]))
    return found


def _thin(points: Points, most: int) -> Points:
    """At most so many points: of neighbours the largest, at the time of the first."""
    size = max(1, math.ceil(len(points) / most))
    return [
        (points[at][0], max(value for _, value in points[at : at + size]))
        for at in range(0, len(points), size)
    ]


def _most(points: Points, low: float, high: float) -> float | None:
    return max((value for at, value in points if low <= at < high), default=None)


def _sum(points: Points, low: float, high: float) -> float:
    return sum(value for at, value in points if low <= at < high)
