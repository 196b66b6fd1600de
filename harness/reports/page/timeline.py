"""What happened when: arrivals, requests in flight, tokens and TTFT over a cell's window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.reports import figures, words
from harness.reports.page.axes import Scale, fitting, linear
from harness.reports.page.panels import Panel, panel
from harness.reports.page.serverline import server_panels
from harness.reports.page.svg import Chart, area, bar, dots, steps

if TYPE_CHECKING:
    from markupsafe import Markup

    from harness.measuring.measurement import CellMeasurement
    from harness.reports import charts
    from harness.reports.page.material import Traffic
    from harness.reports.page.svg import Pen

_WIDE = 20


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """One cell."""

    label: str
    open: bool
    """Whether it stands open."""
    starts: str
    """`due` or `started`: what the count of requests is of."""
    panels: list[Panel]
    rows: list[tuple[float, float, float, int, float]]
    server: list[Panel]
    server_rows: list[tuple[float, list[float | None]]]


def timelines(pen: Pen, traffic: Traffic) -> list[Timeline]:
    """Return what is drawn of each cell, in the page's order."""
    few = len(traffic.timelines) <= 2  # noqa: PLR2004
    return [
        Timeline(
            label=words.label(cell, repeats=traffic.repeats),
            open=few or index == 0,
            starts="due" if traffic.open_loop else "started",
            panels=_panels(pen, cell, traffic.seen[cell.id].over_time),
            rows=traffic.seen[cell.id].rows,
            server=server_panels(pen, cell, traffic.seen[cell.id]),
            server_rows=line.rows if (line := traffic.seen[cell.id].server) else [],
        )
        for index, cell in enumerate(traffic.timelines)
    ]


def _panels(pen: Pen, cell: CellMeasurement, data: charts.Chart | None) -> list[Panel]:
    if data is None:
        return []
    edges = [*data["t"], data["t"][-1] + data["bin_s"]]
    x = linear([0, edges[-1]], most=edges[-1])
    where = words.label(cell)
    planned = data["planned"]
    starts = "Requests due per second" if data["open"] else "Requests started per second"
    if planned:
        starts += " (thin line: as planned)"
    binned = [
        (starts, "c5", data["arrivals"], planned, "requests/s", f"bins of {data['bin_s']:g} s"),
        ("Requests in flight", "c2", data["in_flight"], None, "in flight", ""),
        ("Tokens per second", "c3", data["tokens"], None, "tok/s", ""),
    ]
    found = []
    for title, colour, values, line, unit, note in binned:
        y = linear([*values, *(line or ())])
        chart = Chart(
            title=title, x=x, y=y, size="low", readout=("s", unit),
            described=f"{title} over time, {where}; the same is in the table below.",
        )  # fmt: skip
        chart.marks += _backdrop(data, x)
        kind = f"area {colour}"
        chart.marks.append(steps(edges, values, x, y, kind, filled=True))
        chart.marks.append(steps(edges, values, x, y, f"line {colour}", unit))
        if line:
            chart.marks.append(steps(edges, line, x, y, "line ink", "planned"))
        found.append(panel(pen, chart, note))
    found.append(_first_tokens(pen, data, x, where))
    return found


def _backdrop(data: charts.Chart, x: Scale) -> list[Markup]:
    marks = [area(a, min(b, x.high), x, "burst") for a, b in data["bursts"] if a < x.high]
    y = linear([0, 1])
    return [*marks, bar((data["window_s"], 0), (data["window_s"], 1), x, y, "end-of-window")]


def _first_tokens(pen: Pen, data: charts.Chart, x: Scale, where: str) -> Panel:
    values = data["ttft_ms"]
    y = fitting(values, log_from=_WIDE)
    title = ("TTFT from due" if data["open"] else "TTFT") + " of each request"
    chart = Chart(
        title=title,
        x=x,
        y=y,
        unit="seconds from the start of the window",
        described=f"{title}, {where}.",
    )
    chart.marks += _backdrop(data, x)
    points = zip(data["ttft_t"], values, strict=True)
    chart.marks.append(dots(points, x, y, "small c0"))
    top = linear([0, 1])
    lost = [(t, 1.0) for t in data["failed_t"] if t <= x.high]
    if lost:
        chart.marks.append(dots(lost, x, top, "lost"))
    note = "ms"
    if data["ttft_n"] > len(values):
        note += (
            f" · {figures.count(len(values))} of {figures.count(data['ttft_n'])} shown, the "
            "extremes among them"
        )
    failed = data["failed_n"]
    loss = f"marks at the top: {figures.count(failed)} failed or dropped" if failed else ""
    return panel(pen, chart, note, loss=loss)
