"""A history's numbers and names as text, the same in all formats."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from harness.history.changes import LEAST, MOST
from harness.reports.figures import NOTHING, count, plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.evidence.metrics import Better
    from harness.history.history import ChangePoint, History, Point, RunLine, Series

_DIGITS: Final = 4
_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_TINY: Final = 0.001
CHANGE: Final = "│"
INVALID: Final = "×"


def value(number: float | None) -> str:
    """Four significant digits, whole numbers in full; an en dash for None."""
    if number is None or math.isnan(number):
        return NOTHING
    if number == 0 or math.isinf(number):
        return f"{number:g}"
    power = math.floor(math.log10(abs(number)))
    if power < -_DIGITS:
        return f"{number:.{_DIGITS - 1}e}"
    return f"{number:,.{max(0, _DIGITS - 1 - power)}f}"


def moment(started: str) -> str:
    """A time for a person, e.g. `2026-11-25 20:52`."""
    return plain(started[:16].replace("T", " "))


def level(at: Mapping[str, float] | None) -> str:
    """`8 streams` or `2.5/s`; empty for None."""
    if not at:
        return ""
    if "rate" in at:
        return f"{at['rate']:,g}/s"
    number = next(iter(at.values()))
    return f"{number:,g} stream" if number == 1 else f"{number:,g} streams"


def place(series: Series) -> str:
    """Where a series was measured: its profile and level, or its suite and category."""
    load = " @ ".join(filter(None, (series.profile, level(series.level))))
    suite = " / ".join(filter(None, (series.suite, series.category or series.task)))
    told = " beside ".join(filter(None, (suite, load))) or "server"
    return plain(told + (f" against {series.baseline}" if series.baseline else ""))


def basis(series: Series) -> str:
    """All that its runs have in common and that others may not have."""
    parts = [series.engine, series.model, series.route, series.machine]
    parts += [f"conditions {series.conditions}"] if series.conditions else []
    return plain(" · ".join(filter(None, parts)))


def unit(series: Series) -> str:
    """The unit, with a blank before it; empty where there is none."""
    return f" {series.unit}" if series.unit else ""


def side(better: Better | None) -> str:
    """Which side is better, in words."""
    return "" if better is None else f"{better} is better"


def spread(series: Series) -> str:
    """The last valid value, and the range of all of them; empty where there is none."""
    values = _values(series)
    if not values:
        return ""
    low, high = value(min(values)), value(max(values))
    of = f" of {low}–{high}" if low != high else ""
    return f"last {value(values[-1])}{of}{unit(series)}"


def sparkline(series: Series) -> str:
    """A block a run, those before a change parted from those after it.

    A dot stands for a run without a value, a cross for an invalid one.
    """
    values = _values(series)
    if not values:
        return ""
    low, high = min(values), max(values)
    starts = {change.run for change in series.changes}
    return "".join(
        (CHANGE if point.run in starts else "")
        + (_block(point.value, low, high) if point.valid else INVALID)
        for point in series.points
    )


def _values(series: Series) -> list[float]:
    return [point.value for point in series.points if point.valid and point.value is not None]


def _block(number: float | None, low: float, high: float) -> str:
    if number is None:
        return "·"
    if high == low:
        return _BLOCKS[3]
    return _BLOCKS[min(7, int(8 * (number - low) / (high - low)))]


def change(series: Series, found: ChangePoint) -> str:
    """One change in a sentence."""
    what = {"better": "Better", "worse": "Worse", None: "Changed"}[found.side]
    p_value = f"p < {_TINY}" if found.p_value < _TINY else f"p = {found.p_value:.3f}"
    share = ""
    if found.before:
        share = f", {100 * (found.after / found.before - 1):+.1f} %"
    marks = f"; what changed with it: {', '.join(found.marks)}" if found.marks else ""
    return plain(
        f"{what} from {moment(found.started)} on (run {found.run}): {value(found.before)} → "
        f"{value(found.after)}{unit(series)} ({p_value}{share}){marks}."
    )


def conclusion(series: Series) -> list[str]:
    """What the test says of a series, a sentence a change."""
    if series.changes:
        return [change(series, found) for found in series.changes]
    if series.tested < LEAST:
        return [
            f"{_runs(series.tested)} to test: a change can be shown from {LEAST} on."
            if series.tested
            else "No run to test."
        ]
    last = f"the last {MOST} of " if series.tested > MOST else ""
    return [f"No change shown in {last}{_runs(series.tested)}."]


def note(point: Point) -> str:
    """What a reader must know of a point."""
    told = [] if point.valid else ["invalid, not tested"]
    return plain(", ".join([*told, *point.marks]))


def interval(point: Point) -> str:
    """The 95 % interval; empty where there is none."""
    return f"{value(point.ci95[0])}–{value(point.ci95[1])}" if point.ci95 else ""


def run_row(run: RunLine) -> list[str]:
    """A run in the list."""
    verdict = " ".join(filter(None, (run.verdict, None if run.valid else "INVALID"))) or "valid"
    return [
        moment(run.started),
        plain(run.run),
        plain(run.kind),
        plain(" ".join(run.builds)) or NOTHING,
        plain(" ".join([*run.profiles, *run.suites])) or NOTHING,
        plain(", ".join(run.engines)) or NOTHING,
        plain(" ".join(run.machines)) or NOTHING,
        plain(verdict),
    ]


RUN_COLUMNS: Final = (
    "Started", "Run", "Kind", "Builds", "Profiles, suites", "Engine", "Machine", "Verdict",
)  # fmt: skip


def summary(history: History) -> str:
    """How many runs and folders that could not be read."""
    skipped = len(history.skipped)
    return f"{_runs(len(history.runs))} in {plain(history.folder)}" + (
        f", {count(skipped)} {'folder' if skipped == 1 else 'folders'} skipped" if skipped else ""
    )


def skipped(history: History) -> list[str]:
    """Each folder that could not be read, and why."""
    return [plain(f"Skipped {one.path}: {one.why}") for one in history.skipped]


def by_metric(history: History) -> list[tuple[str, list[Series]]]:
    """The series of each metric, in the order in which they were asked for."""
    found: Sequence[tuple[str, list[Series]]] = [
        (name, [one for one in history.series if one.metric == name]) for name in history.metrics
    ]
    return list(found)


def _runs(number: int) -> str:
    return f"{count(number)} run" if number == 1 else f"{count(number)} runs"
