"""The server over a cell's window: its queue, its KV cache, its memory and its power."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.reports import figures, words
from harness.reports.page.axes import linear
from harness.reports.page.panels import Panel, panel
from harness.reports.page.svg import Chart, area, bar, path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

    from harness.measuring.measurement import CellMeasurement
    from harness.reports.page.axes import Scale
    from harness.reports.page.material import Seen
    from harness.reports.page.svg import Pen
    from harness.reports.server_line import Points, ServerLine

_RUNNING, _WAITING, _KV, _MEMORY, _POWER = 2, 5, 1, 3, 4
"""Colours."""


def server_panels(pen: Pen, cell: CellMeasurement, seen: Seen) -> list[Panel]:
    """Return a panel for each thing that somebody saw, on the time axis of the others."""
    line, data = seen.server, seen.over_time
    if line is None or data is None:
        return []
    end_s = data["t"][-1] + data["bin_s"]
    x, window_s, where = linear([0, end_s], most=end_s), data["window_s"], words.label(cell)

    def drawn(title: str, unit: str, series: Sequence[tuple[int, str, Points]]) -> Chart | None:
        values = [value for _, _, points in series for _, value in points]
        if not values:
            return None
        y = linear(values)
        chart = Chart(
            title=title, x=x, y=y, size="low", readout=("s", unit),
            described=f"{title} over time, {where}; the same is in the table below.",
        )  # fmt: skip
        chart.marks.append(bar((window_s, y.low), (window_s, y.high), x, y, "end-of-window"))
        chart.marks += [
            path(points, x, y, f"line c{colour}", name) for colour, name, points in series
        ]
        return chart

    found = []
    both = [(_RUNNING, "running", line.running), (_WAITING, "waiting", line.waiting)]
    if chart := drawn("Requests in the engine", "requests", both):
        chart.marks += _pushed(line, x)
        key = ((_RUNNING, "running"), (_WAITING, "waiting"))
        found.append(panel(pen, chart, "", key, loss=_loss(line)))
    shares = [(at, 100 * value) for at, value in line.kv_cache]
    if chart := drawn("KV cache in use", "%", [(_KV, "in use", shares)]):
        chart.marks = [area(a, b, x, "full") for a, b in line.full] + chart.marks + _pushed(line, x)
        note = "% · shaded: more than 95 %" if line.full else "%"
        found.append(panel(pen, chart, note, loss=_loss(line)))
    for title, unit, colour, points in (
        ("Server’s memory", "GiB", _MEMORY, line.memory_gib),
        ("Power of its GPUs", "W", _POWER, line.power_w),
    ):
        if chart := drawn(title, unit, [(colour, title, points)]):
            found.append(panel(pen, chart, unit))
    return found


def _pushed(line: ServerLine, x: Scale) -> list[Markup]:
    y = linear([0, 1])
    return [bar((at, 0), (at, 1), x, y, "lost") for at, _ in line.preempted]


def _loss(line: ServerLine) -> str:
    pushed = round(sum(count for _, count in line.preempted))
    return f"red lines: {figures.count(pushed)} preemptions" if pushed else ""
