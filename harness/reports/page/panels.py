"""A chart with its caption, and what all sections share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.reports.page.svg import COLOURS, Pen

if TYPE_CHECKING:
    from markupsafe import Markup

    from harness.reports.page.svg import Chart

DASHES = ("", "dash", "dots-dash")


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One figure."""

    title: str
    note: str
    """After the title: the unit, what was left out."""
    svg: Markup | None
    """None where there is nothing to draw."""
    key: tuple[tuple[int, str], ...] = ()
    """Colour and name of its lines, where the section's key does not say."""
    loss: str = ""
    """After the note, as a warning."""


def panel(
    pen: Pen, chart: Chart, note: str, key: tuple[tuple[int, str], ...] = (), loss: str = ""
) -> Panel:
    """Draw a chart as a figure."""
    svg = None if chart.empty else pen.draw(chart)
    return Panel(title=chart.title, note=note, svg=svg, key=key, loss=loss)


def hue(index: int) -> str:
    """Return the colour's class of the build of this number."""
    return f"c{index % COLOURS}"


def line_kind(index: int) -> str:
    """Return the classes of a line: beyond six builds it is dashed, too."""
    dash = DASHES[index // COLOURS % len(DASHES)]
    return f"line {hue(index)} {dash}".strip()
