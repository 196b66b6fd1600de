"""A comparison for a person at a terminal: the recommendation first."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from harness.comparing.record import read_comparison
from harness.reports.comparison import words
from harness.reports.figures import NOTHING, plain

if TYPE_CHECKING:
    from harness.comparing.comparison import Comparison
    from harness.comparing.rows import Difference, LevelRow, Value
    from harness.reports import Report
    from harness.rundir import RunFolder

_WIDTH: Final = 100
_STYLES: Final = {"PASS": "green", "FAIL": "bold red", "INCONCLUSIVE": "yellow"}
_LESS: Final = ("e2e_p50_ms", "itl_p95_ms", "sequence_p50_tps")
"""Columns that a narrow terminal goes without; the other reports have them."""
_SIDES: Final = {"better": "green", "worse": "red", "unlike": ""}


class Terminal:
    """The tables as plain text."""

    suffix = ".txt"

    def render(self, run: RunFolder) -> str:
        """Return what `harness compare` prints, as plain text."""
        out = io.StringIO()
        print_comparison(run, Console(file=out, width=_WIDTH, highlight=False, markup=False))
        return out.getvalue()


def print_comparison(run: RunFolder, console: Console) -> None:
    """Print the recommendation, the tables, what follows from them, caveats, the report's place."""
    found = read_comparison(run)
    advice = found.recommendation
    console.print(Text(words.headline(found), style=_STYLES[advice.verdict]))
    for text in advice.reasons:
        console.print(Text(f"  · {plain(text)}"))
    for text in advice.unknown:
        console.print(Text(f"  ? {plain(text)}", style="yellow"))
    console.print()
    for table in (_fitting(found, console), _quality(found), _limits(found), _servers(found)):
        if table.row_count:
            console.print(table)
            if table.title == "Load":
                console.print(Text(words.legend(found), style="dim"))
            console.print()
    for text in words.told(found):
        console.print(Text(text))
    for caveat in found.caveats:
        note = Text("Invalid: " if caveat.invalidates else "Caveat: ", style="yellow")
        console.print(note.append(plain(caveat.text), style="default"))
    console.print(Text(words.validity(found), style="green" if found.valid else "bold red"))
    report = run.path / "report.html"
    place = f"Report: {report}" if report.is_file() else f"Run folder: {run.path}"
    console.print(Text(plain(place)), soft_wrap=True)


def _table(title: str, *columns: str, left: int, fold: int = 0) -> Table:
    """Make a table whose first `left` columns are text, and whose last `fold` may be broken."""
    table = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0),
        pad_edge=False, show_edge=False,
    )  # fmt: skip
    for place, name in enumerate(columns):
        if place < left or place >= len(columns) - fold:
            table.add_column(
                name, overflow="fold", min_width=8 if name == "Build" else min(8, len(name))
            )
        else:
            table.add_column(name, justify="right", no_wrap=True)
    return table


def _fitting(found: Comparison, console: Console) -> Table:
    """The table of levels with so many columns as there is room for."""
    names = dict(words.columns(found))
    wide = console.options.update(width=1000)
    for less in ("", *_LESS):
        names.pop(less, None)
        table = _levels(found, names)
        if Measurement.get(console, wide, table).maximum <= console.width:
            break
    return table


def _levels(found: Comparison, names: dict[str, str]) -> Table:
    """Three lines a build and level: the value, the ratio to the baseline's, its interval."""
    heads = [title.replace(" ", "\n", 1) for title in names.values()]
    table = _table("Load", "Level", "Build", *heads, left=2)
    several = len({row.profile for row in found.load}) > 1
    for profile, level, rows in words.levels(found):
        for row in rows:
            at = f"{level}\n{plain(profile)}" if several else level
            build = Text(plain(row.build))
            if not row.valid:
                build.append("\ninvalid", style="bold red")
            if not row.stable:
                build.append("\nunstable", style="yellow")
            table.add_row(at if row is rows[0] else "", build, *_cells(row, names))
        table.add_section()
    return table


def _cells(row: LevelRow, names: dict[str, str]) -> list[Text]:
    return [_cell(row.metrics.get(name), row.against.get(name)) for name in names]


def _cell(value: Value | None, against: Difference | None) -> Text:
    text = Text(words.value(value))
    if against is not None and against.ratio is not None:
        text.append(f"\n{words.ratio(against)}", style=_SIDES[against.side])
        if ends := words.ends(against.ratio_ci95):
            text.append(f"\n{ends}", style="dim")
    return text


def _quality(found: Comparison) -> Table:
    table = _table(
        "Answers", "Suite", "Build", "Score", "Change", "95 %", "Flips", "Verdict", "Lost in",
        left=2, fold=2,
    )  # fmt: skip
    for row in found.quality:
        change, ends = words.change(row)
        table.add_row(
            plain(row.suite),
            plain(row.build),
            words.score(row),
            change,
            ends or NOTHING,
            words.flips(row),
            Text(row.verdict or NOTHING, style=_STYLES.get(row.verdict or "", "")),
            words.lost(row) or NOTHING,
        )
    return table


def _limits(found: Comparison) -> Table:
    """One row a limit, one column a build."""
    limits = found.recommendation.limits
    names = list(dict.fromkeys(one.limit for held in limits.values() for one in held))
    table = _table("Limits", "Limit", *map(plain, found.builds), left=1, fold=len(found.builds))
    for name in names:
        cells = []
        for build in found.builds:
            one = next((o for o in limits.get(build, []) if o.limit == name), None)
            verdict = one.verdict if one else None
            cells.append(Text(verdict or NOTHING, style=_STYLES.get(verdict or "", "")))
        table.add_row(plain(name), *cells)
    return table


def _servers(found: Comparison) -> Table:
    table = _table("Servers", "Build", *words.SERVER, left=1, fold=1)
    for one in found.servers:
        if any(text not in {NOTHING, ""} for text in words.server(one)):
            table.add_row(plain(one.build), *words.server(one))
    return table


REPORT: Report = Terminal()
