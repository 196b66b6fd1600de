"""What the curves draw: every build at every level, over its repeats, with intervals."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final, Literal

from harness.comparing.rows import Value
from harness.reports import figures
from harness.reports.latencies import metrics

if TYPE_CHECKING:
    from collections.abc import Iterator

    from evals.compare.records import Interval
    from harness.comparing.comparison import Comparison
    from harness.measuring.measurement import CellMeasurement
    from harness.reports.page.material import Traffic

Quantile = Literal["p50", "p95"]
Spot = tuple[str, float]
"""Build and level."""
Spots = dict[Spot, dict[str, Value]]
"""Metrics by name, e.g. `itl_p95_ms`, in ms or tokens/s."""

QUANTILES: Final[tuple[Quantile, ...]] = ("p50", "p95")
SPEED: Final = "aggregate_tps"


def name_of(key: str, q: Quantile) -> str:
    """Return a latency's name in full."""
    return f"{key}_{q}_ms"


def spots(traffic: Traffic, comparison: Comparison | None) -> Spots:
    """Return what a comparison says; else what its statistics make of the cells.

    A cell that was measured once keeps its own interval, which is of its requests.
    """
    found: Spots = {}
    if comparison is not None:
        found = {
            (figures.plain(row.build), next(iter(row.level.values()))): dict(row.metrics)
            for row in comparison.load
            if figures.plain(row.profile) == traffic.title
        }
    return _over_repeats(traffic) | found


def _over_repeats(traffic: Traffic) -> Spots:
    cells: dict[Spot, list[CellMeasurement]] = defaultdict(list)
    for cell in traffic.cells:
        cells[figures.plain(figures.series_of(cell)), figures.level_value(cell)].append(cell)
    if not traffic.repeats:
        return {
            at: {
                name: Value(value=value, ci95=ci95)
                for name, value, ci95 in _readings(cell, traffic)
            }
            for at, [cell] in cells.items()
        }
    return _pooled(traffic, cells)


def _pooled(traffic: Traffic, cells: dict[Spot, list[CellMeasurement]]) -> Spots:
    from harness.comparing.values import Cells, Grid, Noise

    grid = Grid(
        profile=traffic.title,
        builds=traffic.builds,
        levels=[("level", level) for level in traffic.levels],
        cells={},
    )
    names: dict[str, None] = {}
    for (build, level), repeats in cells.items():
        at = grid.cells[build, ("level", level)] = Cells()
        for place, cell in enumerate(repeats, start=1):
            at.add((0, place), cell)
            for name, middle, ci95 in _readings(cell, traffic):
                names[name] = None
                if middle is not None:
                    at.read((0, place), name, middle, ci95)
    noise = {name: Noise.of(grid, name) for name in names}
    return {
        (build, where[1]): {name: grid.value(build, where, name, noise[name]) for name in names}
        for build, where in grid.cells
    }


def _readings(
    cell: CellMeasurement, traffic: Traffic
) -> Iterator[tuple[str, float | None, Interval | None]]:
    for metric in metrics(traffic.cells):
        stat = metric.stat_of(cell)
        for q in QUANTILES:
            yield name_of(metric.key, q), getattr(stat, q), stat.ci95.get(q)
    yield SPEED, cell.metrics.aggregate_tps, None
