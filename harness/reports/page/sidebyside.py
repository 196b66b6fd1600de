"""Builds of one load run side by side: tables, and TTFT by prompt length as a chart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.reports import sidebyside as words
from harness.reports.figures import figure, plain
from harness.reports.page.axes import linear
from harness.reports.page.panels import Panel, hue, panel
from harness.reports.page.svg import Chart, bar, dot, path

if TYPE_CHECKING:
    from harness.comparing.rows import SideBySide, Value
    from harness.reports.page.material import Material
    from harness.reports.page.svg import Pen
    from harness.reports.sheets import Sheet

_ASIDE = 0.006
"""Builds stand beside each other at a length: this share of the width apart."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """What the page has of it."""

    builds: list[str]
    sheets: list[Sheet]
    panels: list[Panel]
    legend: str
    line: str
    told: list[str]


def of(material: Material) -> SideBySide | None:
    """Return the builds of a load run against the first; None of any other run."""
    if material.comparison is not None or material.gate is not None:
        return None
    held = [run.measurements.side_by_side for run in material.evidence.load]
    return held[0] if len(held) == 1 else None


def section(pen: Pen, material: Material) -> Section | None:
    """Return the section of a load run with several builds."""
    found = of(material)
    if found is None:
        return None
    return Section(
        builds=list(map(plain, found.builds)),
        sheets=list(words.sheets(found)),
        panels=_prefill(pen, found),
        legend=words.legend(found),
        line=words.line_told(found),
        told=list(words.told(found)),
    )


def _prefill(pen: Pen, found: SideBySide) -> list[Panel]:
    """TTFT over the prompt's length: medians with their intervals, and the lines."""
    points = {
        build: [
            (row.level["prompt_tokens"], value, value.value)
            for row in found.prefill
            if row.build == build
            and (value := row.metrics.get(words.TTFT)) is not None
            and value.value is not None
        ]
        for build in found.builds
    }
    known = [one for those in points.values() for one in those]
    if len({tokens for tokens, _, _ in known}) < 2:  # noqa: PLR2004 - a curve has two points
        return []
    most = max(tokens for tokens, _, _ in known)
    heights = [ms for _, _, ms in known]
    top = 1.5 * max(heights)
    heights += [min(value.ci95[1], top) for _, value, _ in known if value.ci95]
    x, y = linear([most]), linear(heights)
    chart = Chart(
        title="TTFT p50 by prompt length",
        x=x,
        y=y,
        unit="prompt tokens",
        size="tall",
        described=_described(points),
    )
    for index, (build, those) in enumerate(points.items()):
        if (line := words.line_of(found, build)) is not None:
            ends = [(at, max(0.0, line[0] + line[1] * at)) for at in (0.0, most)]
            chart.marks.append(path(ends, x, y, f"line dash {hue(index)}"))
        aside = _ASIDE * most * (index - (len(points) - 1) / 2)
        for tokens, value, _ in those:
            if value.ci95:
                low, high = value.ci95
                place = max(0.0, tokens + aside)
                chart.marks.append(bar((place, low), (place, high), x, y, hue(index)))
        for tokens, value, ms in those:
            name = f"{plain(build)}, {tokens:,.0f} tokens: {_with(value)} ms"
            chart.marks.append(dot((max(0.0, tokens + aside), ms), x, y, hue(index), name))
    return [panel(pen, chart, "ms")]


def _with(value: Value) -> str:
    ends = f" ({figure(value.ci95[0])}–{figure(value.ci95[1])})" if value.ci95 else ""
    return f"{figure(value.value)}{ends}"


def _described(points: dict[str, list[tuple[float, Value, float]]]) -> str:
    told = [
        f"{plain(build)}: "
        + ", ".join(f"{_with(value)} ms at {tokens:,.0f}" for tokens, value, _ in those)
        for build, those in points.items()
    ]
    return f"TTFT p50 by prompt length and build, with 95 % intervals. {'; '.join(told)}."
