"""How TTFT and the gaps between chunks are distributed: cumulative, on a log axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.reports import charts, figures
from harness.reports.page.axes import linear, log_between
from harness.reports.page.panels import Panel, line_kind, panel
from harness.reports.page.svg import Chart, path

if TYPE_CHECKING:
    from harness.reports.page.material import Traffic
    from harness.reports.page.svg import Pen


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """One metric: a panel a level."""

    title: str
    panels: list[Panel]


def distributions(pen: Pen, traffic: Traffic) -> list[Distribution]:
    """Return TTFT's and the gaps' distributions; repeats are pooled."""
    values = {name: seen.values for name, seen in traffic.seen.items()}
    data = charts.distributions(traffic.measurements, values)
    return [
        Distribution(
            title=f"{group['title']}: {words}",
            panels=[_panel(pen, group, one) for one in group["panels"]],
        )
        for group, words in zip(
            data, ("time to the first text", "gaps between chunks"), strict=True
        )
    ]


def _panel(pen: Pen, group: charts.Chart, one: charts.Chart) -> Panel:
    title = f"{group['title']} · {one['title']}" if one["title"] else group["title"]
    key = tuple(
        (line["colour"], f"{line['name']} (n = {figures.count(line['n'])})")
        for line in one["lines"]
    )
    if not one["lines"]:
        return Panel(title=title, note="", svg=None)
    x, y = log_between(one["x"][0], one["x"][-1]), linear([0, 100])
    chart = Chart(
        title=title,
        x=x,
        y=y,
        unit=f"{group['unit']}, log scale",
        described="Share of the values that are at most so long: "
        + ", ".join(name for _, name in key)
        + ".",
        readout=(group["unit"], "%"),
    )
    for line in one["lines"]:
        points = list(zip(one["x"], line["y"], strict=True))
        chart.marks.append(path(points, x, y, line_kind(line["colour"]), line["name"]))
    return panel(pen, chart, "% of the values", key)
