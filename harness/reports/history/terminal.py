"""A history for a person at a terminal."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.reports.figures import plain
from harness.reports.history import words

if TYPE_CHECKING:
    from harness.history.history import History, Series
    from harness.reports.history import HistoryReport

_WIDTH: Final = 120
_MOST_RUNS: Final = 50
_MOST_POINTS: Final = 12
_FEW_SERIES: Final = 6
"""Of so many, the points are listed, too."""
_WIDE_ONLY: Final = ("Engine", "Machine")
_WHOLE: Final = ("Started", "Kind", "Verdict")
_STYLES: Final = {"better": "green", "worse": "bold red", None: "yellow"}


class Terminal:
    """Runs as a table; series as lines of blocks with what the test says."""

    def render(self, history: History) -> str:
        """Return what `harness history` prints, as plain text."""
        out = io.StringIO()
        print_history(history, Console(file=out, width=_WIDTH, highlight=False, markup=False))
        return out.getvalue()


def print_history(history: History, console: Console) -> None:
    """Print the list of runs, or the metrics over time where there are such."""
    if history.metrics:
        for name, found in words.by_metric(history):
            if not found:
                console.print(_text(f"{name}: no run has it."))
            for series in found:
                _print_series(series, console, points=len(history.series) <= _FEW_SERIES)
    elif history.runs:
        _print_runs(history, console)
    console.print(_text(words.summary(history), style="dim"))
    for line in words.skipped(history):
        console.print(_text(line, style="yellow"), soft_wrap=True)


def _print_runs(history: History, console: Console) -> None:
    wide = console.width >= _WIDTH
    shown = [at for at, name in enumerate(words.RUN_COLUMNS) if wide or name not in _WIDE_ONLY]
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for at in shown:
        name = words.RUN_COLUMNS[at]
        table.add_column(name, overflow="fold", no_wrap=name in _WHOLE)
    for run in history.runs[:_MOST_RUNS]:
        style = "red" if not run.valid or run.verdict == "FAIL" else ""
        row = words.run_row(run)
        table.add_row(*(_text(row[at]) for at in shown), style=style)
    console.print(table)
    more = len(history.runs) - _MOST_RUNS
    if more > 0:
        console.print(_text(f"and {more:,} older runs: --since, --build or --json", style="dim"))


def _print_series(series: Series, console: Console, *, points: bool) -> None:
    head = _text(f"{series.build}  {series.metric}  {words.place(series)}", style="bold")
    better = words.side(series.better)
    console.print(head + _text(f"  {better}" if better else "", style="dim"), soft_wrap=True)
    console.print(_text(f"  {words.basis(series)}", style="dim"), soft_wrap=True)
    if spread := words.spread(series):
        console.print(_text(f"  {words.sparkline(series)}  {spread}"))
    styles = [_STYLES[change.side] for change in series.changes] or ["dim"]
    for line, style in zip(words.conclusion(series), styles, strict=True):
        console.print(_text(f"  {line}", style=style), soft_wrap=True)
    if points:
        console.print(_points(series))
    console.print()


def _points(series: Series) -> Table:
    columns = ("Started", "Run", "Value", "95 %", "Repeats", "")
    table = Table(*columns, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("Value", "95 %", "Repeats"):
        table.columns[columns.index(name)].justify = "right"
    starts = {change.run for change in series.changes}
    for point in series.points[-_MOST_POINTS:]:
        note = words.note(point)
        told = [f"{words.CHANGE} changed"] if point.run in starts else []
        table.add_row(
            _text(words.moment(point.started)),
            _text(point.run),
            words.value(point.value),
            words.interval(point),
            str(point.repeats),
            _text(", ".join([*told, *filter(None, [note])])),
        )
    return table


def _text(told: str, style: str = "") -> Text:
    return Text(plain(told), style=style)


REPORT: HistoryReport = Terminal()
