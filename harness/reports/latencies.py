"""The latencies that charts show: TTFT, gaps between chunks, and the whole answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from harness.reports.figures import headline_ttft, is_open, itl_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.measuring.measurement import CellMeasurement, Stat


class Metric(NamedTuple):
    """One of them."""

    key: str
    """As SLOs and comparisons name it, less its percentile and unit."""
    title: str
    stat_of: Callable[[CellMeasurement], Stat]


def metrics(cells: Sequence[CellMeasurement]) -> list[Metric]:
    """Return those of cells that all are of an open loop, or of a closed one."""
    from_due = is_open(cells[0])
    return [
        Metric(
            "ttft_due" if from_due else "ttft",
            "TTFT from due" if from_due else "TTFT",
            headline_ttft,
        ),
        Metric("itl", itl_name(cells), lambda cell: cell.metrics.itl_ms),
        Metric("e2e", "e2e", lambda cell: cell.metrics.e2e_ms),
    ]
