"""From p50 to p99 of each cell, on one log axis: plain values ready for a template."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from harness.reports.figures import headline_ttft, is_open, itl_name, plain, series_of
from harness.reports.words import has_repeats, unique

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.measuring.measurement import CellMeasurement, Measurements, Stat

Chart = dict[str, Any]

_LEADS: Final = ((50, (1, 2, 5)), (5, (1, 2, 3, 5)), (0, (1, 1.5, 2, 3, 5, 7)))
"""Leading digits of an axis's labels, by the ratio of its ends."""


def ranges(measurements: Measurements, cells: Sequence[CellMeasurement]) -> list[Chart]:
    """For one level: p50, p95 and p99 of each cell on one log axis, in percent of its width."""
    repeats = has_repeats(measurements)
    builds = unique(series_of(cell) for cell in measurements.cells)
    names = [plain(series_of(c)) + (f" · repeat {c.repeat}" if repeats else "") for c in cells]
    colours = [builds.index(series_of(cell)) for cell in cells]
    ttft = "TTFT from due" if is_open(cells[0]) else "TTFT"
    wanted = (
        (ttft, headline_ttft),
        (itl_name(cells), lambda cell: cell.metrics.itl_ms),
        ("e2e", lambda cell: cell.metrics.e2e_ms),
    )
    return [
        _range(title, list(zip(names, colours, map(stat_of, cells), strict=True)))
        for title, stat_of in wanted
    ]


def _range(title: str, stats: Sequence[tuple[str, int, Stat]]) -> Chart:
    names = ("p50", "p95", "p99")
    values = [v for _, _, stat in stats for name in names if (v := getattr(stat, name) or 0) > 0]
    if not values:
        return {"title": title, "ticks": [], "rows": []}
    low, high = _axis(min(values), max(values))
    width = math.log(high / low)

    def place(value: float | None) -> float | None:
        return round(100 * math.log(value / low) / width, 2) if value and value > 0 else None

    rows = [
        {"name": name, "colour": colour, "stat": stat} | {q: place(getattr(stat, q)) for q in names}
        for name, colour, stat in stats
    ]
    ticks = [(place(value), value) for value in _steps(low, high)]
    return {"title": title, "ticks": ticks, "rows": rows}


def _steps(low: float, high: float) -> list[float]:
    """Round numbers within [low, high], more to a decade where there are few decades."""
    leads = next(leads for ratio, leads in _LEADS if high / low >= ratio)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = [lead * 10.0**power for power in powers for lead in leads]
    return [step for step in steps if low * 0.999 <= step <= high * 1.001]


def _axis(low: float, high: float) -> tuple[float, float]:
    """The nearest round numbers around [low, high], each 1, 2 or 5 times a power of ten."""
    steps = _steps(low / 10, high * 10)
    below = max(step for step in steps if step <= low * 1.001)
    above = min(step for step in steps if step >= high * 0.999)
    return (below, above) if below < above else (below / 2, above * 2)
