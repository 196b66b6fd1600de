"""A gate for a person at a terminal: the verdict and its reason first."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.gating.record import read_gate
from harness.gating.result import STAGE_SKIPPED
from harness.reports.figures import NOTHING, duration, plain
from harness.reports.gate import words

if TYPE_CHECKING:
    from harness.gating.result import GateResult
    from harness.reports import Report
    from harness.rundir import RunFolder

_WIDTH: Final = 120
_LEAST: Final = {"Verdict": 12, "Rule": 24}
_STYLES: Final = {"PASS": "green", "FAIL": "bold red", "INCONCLUSIVE": "yellow", "SKIPPED": "dim"}


class Terminal:
    """The tables as plain text."""

    suffix = ".txt"

    def render(self, run: RunFolder) -> str:
        """Return what `harness gate` prints, as plain text."""
        out = io.StringIO()
        print_gate(run, Console(file=out, width=_WIDTH, highlight=False, markup=False))
        return out.getvalue()


def print_gate(run: RunFolder, console: Console) -> None:
    """Print the verdict, its reason, a table of rules, one of stages, caveats, the folder."""
    result = read_gate(run)
    console.print(Text(words.heading(result), style=_STYLES[result.verdict]))
    console.print(Text(plain(result.reason)))
    console.print()
    console.print(_rules(result))
    console.print()
    console.print(_stages(result))
    console.print()
    for caveat in result.caveats:
        if caveat.code == STAGE_SKIPPED:
            continue  # the rules have said so
        note = Text("Invalid: " if caveat.invalidates else "Caveat: ", style="yellow")
        console.print(note.append(plain(caveat.text), style="default"))
    if result.weights:
        console.print(Text(words.weights(result), style="dim"))
    if not result.valid:
        console.print(Text(words.validity(result), style="bold red"))
    console.print(
        Text(f"{duration(result.elapsed_s)} in all. Run folder: {plain(run.path)}"), soft_wrap=True
    )


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for name in columns:
        if name in {"Limit", "Found"}:
            table.add_column(name, justify="right", no_wrap=True)
        else:
            table.add_column(name, overflow="fold", min_width=_LEAST.get(name))
    return table


def _rules(result: GateResult) -> Table:
    table = _table("Verdict", "Rule", "Limit", "Found", "Finding")
    for rules in words.grouped(result):
        rule = rules[0]
        found = Text(words.value(rule, rule.value))
        if shown := words.interval(rule):
            found.append(f"\n{shown}", style="dim")
        text = Text(plain(rule.text))
        if rule.settle:
            text.append(f"\n{plain(rule.settle)}", style="dim")
        verdict = Text(rule.verdict, style=_STYLES[rule.verdict])
        names = "\n".join(plain(one.rule) for one in rules)
        limits = "\n".join(map(words.limit, rules))
        table.add_row(verdict, names, limits, found, text)
    return table


def _stages(result: GateResult) -> Table:
    table = _table("Stage", "Verdict", "Took", "Note")
    for stage in result.stages:
        table.add_row(
            plain(stage.stage),
            Text(stage.verdict, style=_STYLES[stage.verdict]),
            words.seconds(stage),
            plain(words.note(result, stage)) or NOTHING,
        )
    return table


REPORT: Report = Terminal()
