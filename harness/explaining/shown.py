"""An explanation as Markdown and as rows of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.explaining.explanation import STATISTICS
from harness.reports.figures import figure, plain
from harness.reports.markdown import code, escape, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.explaining.explanation import CellExplained, Explanation, Metric

HEADER: Final = ("metric", "by", "mean or value", *STATISTICS[1:])
NAMED: Final = 2
"""How many of its columns are text."""
CANNOT: Final = "Cannot be told: "


def label(cell: CellExplained) -> str:
    """`awq · 32 streams`, with the repeat."""
    unit, value = next(iter(cell.level.items()), ("concurrency", 0.0))
    level = f"{value:,g}/s" if unit == "rate" else f"{value:,g} streams"
    repeat = f" · repeat {cell.repeat}" if cell.repeat > 1 else ""
    return f"{plain(cell.build)} · {level}{repeat} · {cell.answered:,} answered"


def rows(cell: CellExplained, tool: str) -> Iterator[tuple[str, ...]]:
    """Two rows a metric, theirs above ours; one where we have no such metric."""
    name = tool.split(maxsplit=1)[0]
    for metric in cell.metrics:
        unit = f" {metric.unit}" if metric.unit and not metric.name.endswith(metric.unit) else ""
        yield f"{metric.name}{unit}", name, *_figures(metric.theirs)
        if metric.values:
            yield "", f"ours: {metric.ours}" if metric.ours else "ours", *_figures(metric.values)


def _figures(values: dict[str, float | None]) -> list[str]:
    first = values["value"] if "value" in values else values.get("mean")
    return [figure(first), *(_figure(values, name) for name in STATISTICS[1:])]


def _figure(values: dict[str, float | None], name: str) -> str:
    return figure(values[name]) if name in values else ""


def remarks(cell: CellExplained) -> Iterator[str]:
    """What differs in this cell, and what cannot be told, a sentence or two each."""
    for metric in cell.metrics:
        if metric.here:
            yield f"{metric.name}: {metric.here}"
    for told, names in _unknown(cell.metrics).items():
        yield f"{CANNOT}{', '.join(names)}: {told}"
    for told in cell.unknown:
        yield f"{CANNOT}{told}"


def _unknown(metrics: list[Metric]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for metric in metrics:
        if metric.unknown:
            found.setdefault(metric.unknown, []).append(metric.name)
    return found


def definitions(found: Explanation) -> dict[str, str]:
    """How each metric is defined there, once for all cells."""
    return {metric.name: metric.why for cell in found.cells for metric in cell.metrics}


def markdown(found: Explanation) -> str:
    """The whole explanation for a pull request or a page."""
    parts = [f"## {escape(found.run.id)} by the definitions of {escape(found.like)}"]
    parts.append("\n".join(f"- {escape(text)}" for text in found.general))
    for cell in found.cells:
        shown = [[escape(text) for text in row] for row in rows(cell, found.like)]
        parts += [f"### {escape(label(cell))}", table(HEADER, shown, NAMED)]
        told = [f"- {escape(text)}" for text in remarks(cell)]
        if told:
            parts.append("\n".join(told))
    why = [f"- {code(name)}: {escape(text)}" for name, text in definitions(found).items()]
    if why:
        parts += ["### How they are defined", "\n".join(why)]
    parts.append(f"Read in the source: {'; '.join(map(code, found.sources))}.")
    return "\n\n".join(parts) + "\n"
