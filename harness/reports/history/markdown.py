"""A history for a pull request: GitHub-flavoured Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reports.history import words
from harness.reports.markdown import escape, table

if TYPE_CHECKING:
    from harness.history.history import History, Series
    from harness.reports.history import HistoryReport

_MOST_RUNS: Final = 30


class Markdown:
    """A table a metric with what the test says, then the runs."""

    def render(self, history: History) -> str:
        """Return the report as Markdown."""
        parts = ["## History", escape(words.summary(history))]
        for name, found in words.by_metric(history):
            better = words.side(found[0].better) if found else "no run has it"
            parts.append(f"### {escape(name)}" + (f"\n\n{escape(better)}" if better else ""))
            if found:
                parts.append(_series(found))
        if history.runs:
            parts.append("### Runs")
            rows = [[escape(cell) for cell in words.run_row(run)] for run in history.runs]
            parts.append(table(words.RUN_COLUMNS, rows[:_MOST_RUNS], len(words.RUN_COLUMNS)))
            if len(rows) > _MOST_RUNS:
                parts.append(f"and {len(rows) - _MOST_RUNS:,} older ones")
        parts += [escape(line) for line in words.skipped(history)]
        return "\n\n".join(parts) + "\n"


def _series(found: list[Series]) -> str:
    columns = ("Build", "Where", "On", "Runs", "Last", "Over time", "Change")
    rows = [
        [
            escape(one.build),
            escape(words.place(one)),
            escape(words.basis(one)),
            str(len(one.points)),
            words.spread(one),
            words.sparkline(one),
            " ".join(escape(line) for line in words.conclusion(one)),
        ]
        for one in found
    ]
    return table(columns, rows, {0, 1, 2, 5, 6})


REPORT: HistoryReport = Markdown()
