"""An evaluation for a person at a terminal."""

from __future__ import annotations

import io
from functools import partial
from typing import TYPE_CHECKING, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.quality.evaluation import each
from harness.quality.record import read_evaluation
from harness.reports.evaluation import words
from harness.reports.figures import NOTHING, count, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from evals.compare import GroupScore
    from harness.quality.evaluation import Evaluation, Result, SuiteResult
    from harness.reports import Report
    from harness.rundir import RunFolder

    _Parts = Callable[[SuiteResult], dict[str, GroupScore]]

_WIDTH: Final = 120
_NAME: Final = 10
_VERDICT: Final = len("INCONCLUSIVE")
_MOST_PARTS: Final = 60
_SIDE_BY_SIDE: Final = 2
"""So many builds have room for their intervals beside their scores."""
_STYLES: Final = {"PASS": "green", "FAIL": "bold red", "INCONCLUSIVE": "yellow"}


class Terminal:
    """The tables as plain text."""

    suffix = ".txt"

    def render(self, run: RunFolder) -> str:
        """Return what `harness eval` prints, as plain text."""
        out = io.StringIO()
        print_evaluation(run, Console(file=out, width=_WIDTH, highlight=False, markup=False))
        return out.getvalue()


def print_evaluation(run: RunFolder, console: Console) -> None:
    """Print tables, statements, caveats and the report's place."""
    result = read_evaluation(run)
    for table in (_scores(result), _changes(result), *_parts(result)):
        if table.row_count:
            console.print(table)
            console.print()
    console.print(Text("Intervals hold the truth 95 times in 100; score changes in points.", "dim"))
    for line in words.conventions(result):
        console.print(Text(line, style="dim"))
    for one in each(result):
        console.print(Text(words.server_line(one), style="dim"))
        for text in words.sentences(one):
            console.print(Text(_of_build(result, one, text)))
        if one.quality is not None:
            console.print(Text(_of_build(result, one, words.quality(one))))
    for shown in words.caveats(result):
        note = Text("Invalid: " if shown.invalidates else "Caveat: ", style="yellow")
        note.append(shown.text, style="default")
        if shown.where:
            note.append(f" ({shown.where})", style="dim")
        console.print(note)
    console.print(Text(words.validity(result), style="green" if result.valid else "bold red"))
    report = run.path / "report.html"
    place = f"Report: {report}" if report.is_file() else f"Run folder: {run.path}"
    console.print(Text(plain(place)), soft_wrap=True)


def _of_build(result: Result, one: Evaluation, text: str) -> str:
    return text if one is result else f"{plain(one.server.build)}: {text}"


def _rows(result: Result) -> Iterator[tuple[Evaluation, SuiteResult]]:
    for one in each(result):
        for suite in one.suites:
            yield one, suite


def _table(*columns: str, left: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for name in columns:
        if name in left:
            least = _VERDICT if name == "Verdict" else min(len(name), _NAME)
            table.add_column(name, overflow="fold", min_width=least)
        else:
            table.add_column(name, justify="right", no_wrap=True)
    return table


def _scores(result: Result) -> Table:
    """One row a build and suite."""
    left = ("Suite", "Build", "Route", "Metric", "Not graded")
    table = _table(
        "Suite", "Build", "Score", "Items", "Not graded", "Metric", "Route",
        left=left,
    )  # fmt: skip
    for one, suite in _rows(result):
        table.add_row(
            plain(suite.suite),
            plain(one.server.build),
            _with_interval(words.score(suite, suite.score), words.interval(suite, suite.ci95)),
            count(suite.items),
            words.outcomes(suite) or NOTHING,
            words.metric(suite) or NOTHING,
            plain(suite.route or NOTHING),
        )
    return table


def _with_interval(value: str, interval: str) -> Text:
    """A number, and its interval below it."""
    text = Text(value)
    if interval:
        text.append(f"\n{interval}", style="dim")
    return text


def _changes(result: Result) -> Table:
    """One row a comparison."""
    table = _table(
        "Suite", "Build", "Against", "Change", "Retained", "Flips", "p",
        "Verdict",
        left=("Suite", "Build", "Against", "Verdict"),
    )  # fmt: skip
    for one, suite in _rows(result):
        against = suite.baseline
        if against is None:
            continue
        verdict = Text(against.verdict or NOTHING, style=_STYLES.get(against.verdict or "", ""))
        table.add_row(
            plain(suite.suite),
            plain(one.server.build),
            f"{plain(against.build)} {words.score(suite, against.score)}",
            _with_interval(*words.change(suite, against)),
            words.share(against.retained),
            words.flips(against.flips),
            words.p_value(against.p_value),
            verdict,
        )
    return table


def _parts(result: Result) -> Iterator[Table]:
    """A table a suite: its tasks, categories or tags in rows, the builds' scores in columns."""
    for name in dict.fromkeys(suite.suite for _, suite in _rows(result)):
        found = [(one, suite) for one, suite in _rows(result) if suite.suite == name]
        tags = dict.fromkeys(tag for _, suite in found for tag in suite.tags)
        sorts: list[tuple[str, _Parts]] = [("task", _tasks), ("category", _categories)]
        sorts += [(tag, partial(_tagged, tag)) for tag in tags]
        for what, of in sorts:
            labels = list(dict.fromkeys(key for _, suite in found for key in of(suite)))
            if not 1 < len(labels) <= _MOST_PARTS:
                continue
            head = f"{plain(name)}: {plain(what)}"
            builds = [plain(one.server.build) for one, _ in found]
            before = words.before([suite for _, suite in found], labels := sorted(labels))
            table = _table(head, "Items", *([before[0]] if before else []), *builds, left=(head,))
            for place, label in enumerate(labels):
                parts = [(suite, of(suite).get(label)) for _, suite in found]
                items = max((part.items for _, part in parts if part is not None), default=0)
                cells = [
                    _cell(suite, label, part, narrow=len(found) > _SIDE_BY_SIDE)
                    for suite, part in parts
                ]
                known = [before[1][place]] if before else []
                table.add_row(plain(label), count(items), *known, *cells)
            yield table


def _tasks(suite: SuiteResult) -> dict[str, GroupScore]:
    return suite.tasks


def _categories(suite: SuiteResult) -> dict[str, GroupScore]:
    return suite.categories


def _tagged(tag: str, suite: SuiteResult) -> dict[str, GroupScore]:
    return suite.tags.get(tag, {})


def _cell(suite: SuiteResult, label: str, part: GroupScore | None, *, narrow: bool) -> Text:
    """One build's score of a part; `narrow`: its interval below it."""
    if part is None:
        return Text(NOTHING)
    lost = suite.baseline is not None and label in suite.baseline.regressed
    text = Text(words.score(suite, part.score))
    text.append(" ▼" if lost and narrow else "", style="bold red")
    if part.ci95 is not None:
        between = "\n" if narrow else " "
        text.append(f"{between}{words.interval(suite, part.ci95)}", style="dim")
    text.append(" ▼" if lost and not narrow else "", style="bold red")
    return text


REPORT: Report = Terminal()
