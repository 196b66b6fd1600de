"""Explain a load run by another tool's definitions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.errors import BadInputError
from harness.evidence.folders import CAPACITY, LOAD, kind_of, parts
from harness.explaining import load_tool
from harness.explaining.explanation import CellExplained, Explanation
from harness.explaining.requests import Cell
from harness.measuring.remeasure import numbers_of
from harness.reports.cells import read_cell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.explaining import Tool
    from harness.measuring.measurement import CellMeasurement
    from harness.rundir import RunFolder

_DECIDED_ELSEWHERE = {
    "truncated": "ended before their end",
    "empty": "brought no text",
    "timeout": "took longer than our timeout, which that tool may not have",
    "error_event": "brought an error inside the stream",
    "malformed": "could not be read",
    "aborted": "were cut off",
}
"""Failures that another tool may have counted as answers, or waited for."""


def explain(run: RunFolder, like: str) -> Explanation:
    """Compute a run's numbers by the definitions of `like`, from its samples.

    Raises:
        BadInputError: no such tool; or the run has no load in it, or cannot be read.
    """
    tool = load_tool(like)
    loads = [part for part in parts(run) if kind_of(part) in {LOAD, CAPACITY}]
    if not loads:
        raise BadInputError(
            f"{run.path} has no load in it: there are no requests to explain",
            hint="Name a run of `harness load`, or a comparison or gate that drove load.",
        )
    return Explanation(
        run=numbers_of(loads[0]).run,
        like=tool.title,
        sources=list(tool.sources),
        general=list(tool.general),
        cells=[explain_cell(tool, one) for part in loads for one in cells_of(part)],
    )


def cells_of(run: RunFolder) -> Iterator[Cell]:
    """Yield the cells of a load run that have numbers.

    Raises:
        BadInputError: the run cannot be read.
    """
    request: Any = run.read_manifest().get("request")
    asked = request.get("slo") if isinstance(request, dict) else None
    for measurement in numbers_of(run).cells:
        records = read_cell(run, measurement.id)
        opened = records.plan is not None and records.plan.mode == "open"
        yield Cell(
            records.measured,
            measurement,
            slo=asked if isinstance(asked, str) else None,
            plan=records.plan,
            schedule_ns=records.drive.window_start_ns if opened and records.drive else None,
            problems=records.problems,
        )


def explain_cell(tool: Tool, cell: Cell) -> CellExplained:
    """Explain one cell."""
    found = cell.measurement
    return CellExplained(
        id=found.id,
        build=found.build,
        profile=found.profile,
        level=found.level,
        repeat=found.repeat,
        answered=len(cell.answered),
        failed=cell.failed,
        metrics=tool.metrics(cell),
        unknown=[*cell.problems, *_uncertain(cell, found)],
    )


def _uncertain(cell: Cell, found: CellMeasurement) -> Iterator[str]:
    """What that tool might have counted otherwise, with how many."""
    for kind, count in found.requests.errors.items():
        if count and kind in _DECIDED_ELSEWHERE:
            yield (
                f"{count} requests {_DECIDED_ELSEWHERE[kind]} ({kind}) and count as failed here; "
                "whether that tool had counted them as answers cannot be told."
            )
    if found.interleaved_with:
        yield (
            f"{', '.join([found.build, *found.interleaved_with])} were asked by turns, so whatever "
            "that tool gives per second of a duration holds the others' time, too. It would have "
            "asked this server alone: go by its latencies here, not by its rates."
        )
    whole = len(cell.measured.answered) - len(cell.answered)
    if whole:
        yield (
            f"{whole} answers came as one document: that tool asks for streams, and what it had "
            "seen of them cannot be told. They are left out."
        )
    if found.requests.dropped:
        yield (
            f"{found.requests.dropped} requests were due, but never sent; that tool would have "
            "sent them late or not planned them: cannot be told."
        )
