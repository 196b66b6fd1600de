"""Predicted against measured, at levels that the simulator's fit had not seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.reports import prediction as told
from harness.reports.figures import figure, plain
from harness.reports.page.axes import logarithmic
from harness.reports.page.panels import Panel, hue, panel
from harness.reports.page.svg import Chart, dot, path

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.reports.page.svg import Pen
    from harness.reports.sheets import Sheet
    from harness.sizing.prediction import Prediction

BAND: Final = 0.15
"""To either side of the line, as a ratio."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """One build's."""

    title: str
    text: str
    panels: list[Panel]
    sheets: list[Sheet]
    notes: list[str]


def sections(pen: Pen, found: Iterable[Prediction | None]) -> list[Section]:
    """Return one of each build of which there is a prediction."""
    return [
        Section(
            title=plain(one.build),
            text=plain(one.text),
            panels=[_scatter(pen, one)],
            sheets=[told.sheet_of(one), *([told.fleets_of(one)] if one.fleets else [])],
            notes=list(map(plain, one.notes)),
        )
        for one in found
        if one is not None
    ]


def _scatter(pen: Pen, prediction: Prediction) -> Panel:
    """Latencies, both in ms on a log scale: on the line they are alike."""
    shown = [one for one in prediction.held_out if one.metric.endswith("_ms")]
    values = [value for one in shown for value in (one.measured, one.predicted) if value > 0]
    x = y = logarithmic(values)
    chart = Chart(
        title="Predicted against measured latency", x=x, y=y, unit="measured, ms", size="tall",
        described=f"{plain(prediction.text)} Each is in the table below.",
    )  # fmt: skip
    ends = (x.low, x.high)
    chart.marks.append(path([(end, end) for end in ends], x, y, "line ink"))
    for factor in (1 + BAND, 1 - BAND):
        low, high = max(x.low, y.low / factor), min(x.high, y.high / factor)
        ray = [(end, end * factor) for end in (low, high)]
        chart.marks.append(path(ray, x, y, "end-of-window"))
    metrics = list(dict.fromkeys(one.metric for one in shown))
    for one in shown:
        name = f"{told.level_of(one)}: {one.metric} predicted {figure(one.predicted)}, "
        name += f"measured {figure(one.measured)}"
        kind = hue(metrics.index(one.metric))
        chart.marks.append(dot((one.measured, one.predicted), x, y, kind, name))
    key = tuple((place, _name(metric)) for place, metric in enumerate(metrics))
    note = f"ms, log scales; line: alike, dotted: ±{figure(100 * BAND)} %"
    return panel(pen, chart, note, key)


def _name(metric: str) -> str:
    return (
        metric.removesuffix("_ms").replace("_", " ").replace("ttft", "TTFT").replace("itl", "ITL")
    )
