"""A gate for a pull request: GitHub-flavoured Markdown, the verdict first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.gating.record import read_gate
from harness.gating.result import STAGE_SKIPPED
from harness.reports.figures import NOTHING, duration
from harness.reports.gate import words
from harness.reports.markdown import code, escape, table

if TYPE_CHECKING:
    from harness.gating.result import GateResult
    from harness.reports import Report
    from harness.rundir import RunFolder

_MARKS: Final = {"PASS": "✅", "FAIL": "❌", "INCONCLUSIVE": "❔", "SKIPPED": "⏭️"}
_RULE_COLUMNS: Final = ["", "Rule", "Limit", "Found", "95 % interval", "Finding"]
_STAGE_COLUMNS: Final = ["Stage", "Verdict", "Took", "Note"]


class Markdown:
    """Verdict, rules, stages, caveats, how to repeat it."""

    suffix = ".md"

    def render(self, run: RunFolder) -> str:
        """Return the report as Markdown."""
        result = read_gate(run)
        parts = [
            f"## {_MARKS[result.verdict]} {escape(words.heading(result))}",
            escape(result.reason),
        ]
        if not result.valid:
            parts.append(f"> [!CAUTION]\n> **{escape(words.validity(result))}**")
        parts += [_rules(result), _stages(result)]
        notes = [
            f"- {'**Invalid:** ' if caveat.invalidates else ''}{escape(caveat.text)}"
            for caveat in result.caveats
            if caveat.code != STAGE_SKIPPED  # the rules have said so
        ]
        if notes:
            parts.append("**Caveats**\n\n" + "\n".join(notes))
        parts.append(_again(result))
        return "\n\n".join(parts) + "\n"


def _rules(result: GateResult) -> str:
    rows = []
    for rules in words.grouped(result):
        rule = rules[0]
        text = escape(" ".join(filter(None, [rule.text, rule.settle and f"({rule.settle})"])))
        names = "<br>".join(code(one.rule) for one in rules)
        limits = "<br>".join(map(words.limit, rules))
        found = [words.value(rule, rule.value), words.interval(rule) or NOTHING]
        rows.append([_MARKS[rule.verdict], names, limits, *found, text])
    return table(_RULE_COLUMNS, rows, (0, 1, 5))


def _stages(result: GateResult) -> str:
    rows = [
        [
            code(stage.stage),
            stage.verdict,
            words.seconds(stage),
            escape(words.note(result, stage)) or NOTHING,
        ]
        for stage in result.stages
    ]
    return table(_STAGE_COLUMNS, rows, (0, 1, 3))


def _again(result: GateResult) -> str:
    text = f"Rules: {code(result.rules_file)}; {duration(result.elapsed_s)} in all."
    if result.weights:
        text += f" {escape(words.weights(result))}."
    if result.run is None:
        return text
    return f"{text} Run again: {code(result.run.command)}"


REPORT: Report = Markdown()
