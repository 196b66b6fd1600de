"""A sizing as charts: replicas over a trace and month by month; its tables as they are in text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.reports import sizing as told
from harness.reports.figures import count, figure, plain, plain_lines
from harness.reports.page.axes import linear
from harness.reports.page.panels import Panel, hue, line_kind, panel
from harness.reports.page.svg import Chart, path, steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.reports.page.svg import Pen
    from harness.reports.sheets import Sheet
    from harness.sizing.record import BuildSizing, Sizing

_MOST_STEPS: Final = 480
"""Of more windows several in a row are drawn as one: the most replicas of them."""
_HOUR_S: Final = 3600.0
_DAY_H: Final = 24.0
_DAYS_FROM_H: Final = 72.0


@dataclass(frozen=True, kw_only=True)
class Section:
    """One sizing."""

    intro: str
    panels: list[Panel]
    sheets: list[Sheet]
    sentences: list[str]
    caveats: list[str]


def section(pen: Pen, sizing: Sizing) -> Section:
    """Return its charts, tables and sentences."""
    return Section(
        intro=plain(told.intro(sizing)),
        panels=[*_days(pen, sizing), *_months(pen, sizing)],
        sheets=told.sheets(sizing),
        sentences=list(map(plain, [*told.answers(sizing), *told.further(sizing)])),
        caveats=[plain_lines(caveat.text) for caveat in sizing.caveats],
    )


def _days(pen: Pen, sizing: Sizing) -> list[Panel]:
    """Replicas in each window of the trace, and those that are there all the time."""
    shown = [(place, one) for place, one in enumerate(sizing.builds) if one.day is not None]
    if not shown:
        return []
    edges, _ = _windows(shown[0][1])
    unit, per = ("days", _DAY_H) if edges[-1] > _DAYS_FROM_H else ("hours", 1.0)
    edges = [edge / per for edge in edges]
    most = max(max(_windows(one)[1] + [one.fleets[0].replicas]) for _, one in shown)
    x, y = linear(edges, most=edges[-1]), linear([0.0, float(most)])
    chart = Chart(
        title="Replicas over the trace", x=x, y=y, unit=unit, size="tall",
        described="Replicas that each window of the trace takes, spares included, a line a build.",
        readout=(unit, "replicas"),
    )  # fmt: skip
    for place, one in shown:
        fixed = float(one.fleets[0].replicas)
        chart.marks.append(
            path([(x.low, fixed), (edges[-1], fixed)], x, y, f"line {hue(place)} dash")
        )
        values = [float(value) for value in _windows(one)[1]]
        chart.marks.append(steps(edges, values, x, y, line_kind(place), plain(one.build)))
    key = tuple((place, plain(one.build)) for place, one in shown)
    note = "by the window, were they started in no time; dashed: the fleet for the peak"
    return [panel(pen, chart, note, key)]


def _windows(one: BuildSizing) -> tuple[list[float], list[int]]:
    """Return edges in hours and replicas between them, of few enough windows to be drawn."""
    assert one.day is not None  # noqa: S101 - the caller asked
    values, hours = one.day.replicas, one.day.window_s / _HOUR_S
    some = -(-len(values) // _MOST_STEPS)
    starts = range(0, len(values), some)
    edges = [start * hours for start in starts] + [len(values) * hours]
    return edges, [max(values[start : start + some]) for start in starts]


def _months(pen: Pen, sizing: Sizing) -> list[Panel]:
    """Replicas month by month, where the demand grows."""
    shown = [(place, one) for place, one in enumerate(sizing.builds) if one.fleets]
    if not sizing.terms.months or not shown:
        return []
    most = max(fleet.replicas for _, one in shown for fleet in one.fleets)
    edges = [float(month) for month in range(sizing.terms.months + 2)]
    x, y = linear(edges, most=edges[-1]), linear([0.0, float(most)])
    chart = Chart(
        title="Replicas month by month", x=x, y=y, unit="months from now", size="tall",
        described=_by_month(shown), readout=("months", "replicas"),
    )  # fmt: skip
    for place, one in shown:
        values = [float(fleet.replicas) for fleet in one.fleets]
        chart.marks.append(steps(edges, values, x, y, line_kind(place), plain(one.build)))
    key = tuple((place, plain(one.build)) for place, one in shown)
    growth = figure(100 * sizing.terms.growth_per_month)
    return [panel(pen, chart, f"the demand grows by {growth} % a month, compound", key)]


def _by_month(shown: Sequence[tuple[int, BuildSizing]]) -> str:
    return "; ".join(
        f"{plain(one.build)}: {count(one.fleets[0].replicas)} now, "
        f"{count(one.fleets[-1].replicas)} in {one.fleets[-1].month} months"
        for _, one in shown
    )
