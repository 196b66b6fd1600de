"""A comparison for a pull request: GitHub-flavoured Markdown, the recommendation first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.comparing.record import read_comparison
from harness.reports.comparison import words
from harness.reports.figures import NOTHING
from harness.reports.markdown import code, escape, table

if TYPE_CHECKING:
    from harness.comparing.comparison import Comparison
    from harness.comparing.rows import Difference, Value
    from harness.reports import Report
    from harness.rundir import RunFolder

_ALERTS = {"PASS": "TIP", "FAIL": "CAUTION", "INCONCLUSIVE": "WARNING"}


class Markdown:
    """Recommendation, tables, crossovers, front, caveats, how to reproduce."""

    suffix = ".md"

    def render(self, run: RunFolder) -> str:
        """Return the report as Markdown."""
        found = read_comparison(run)
        advice = found.recommendation
        parts = [
            f"## {escape(words.heading(found))}",
            f"> [!{_ALERTS[advice.verdict]}]\n> **{escape(words.headline(found))}**",
        ]
        if not found.valid:
            parts.append(f"> [!CAUTION]\n> **{escape(words.validity(found))}**")
        if advice.reasons:
            parts.append("\n".join(f"- {escape(text)}" for text in advice.reasons))
        if advice.unknown:
            listed = "\n".join(f"- {escape(text)}" for text in advice.unknown)
            parts.append(f"**What could not be told**\n\n{listed}")
        parts += [text for text in (_levels(found), _quality(found), _limits(found)) if text]
        if told := list(words.told(found)):
            parts.append("\n".join(f"- {escape(text)}" for text in told))
        parts += [text for text in (_servers(found), _caveats(found)) if text]
        if found.run is not None:
            parts.append(
                f"Seed {found.run.seed}, harness {escape(found.run.harness_version)}. "
                f"Run again: {code(found.run.command)}"
            )
        return "\n\n".join(parts) + "\n"


def _levels(found: Comparison) -> str:
    names = words.columns(found)
    rows = [
        [
            code(profile),
            level,
            code(row.build) + ("" if row.valid else " **invalid**"),
            *(_cell(row.metrics.get(name), row.against.get(name)) for name in names),
        ]
        for profile, level, those in words.levels(found)
        for row in those
    ]
    if not rows:
        return ""
    head = ["Profile", "Level", "Build", *map(escape, names.values())]
    legend = escape(words.legend(found))
    return f"{table(head, rows, 3)}\n\n{legend}"


def _cell(value: Value | None, against: Difference | None) -> str:
    text = words.value(value)
    if ratio := words.ratio(against):
        ends = words.ends(against.ratio_ci95 if against else None)
        text += f"<br>{ratio}" + (f" [{ends}]" if ends else "")
    return text


def _quality(found: Comparison) -> str:
    head = ["Suite", "Build", "Score", "Change", "95 % interval", "Flips", "Verdict", "Lost in"]
    rows = [
        [
            code(row.suite),
            code(row.build),
            words.score(row),
            words.change(row)[0],
            words.change(row)[1] or NOTHING,
            words.flips(row),
            row.verdict or NOTHING,
            escape(words.lost(row)) or NOTHING,
        ]
        for row in found.quality
    ]
    return table(head, rows, (0, 1, 6, 7)) if rows else ""


def _limits(found: Comparison) -> str:
    limits = found.recommendation.limits
    names = list(dict.fromkeys(one.limit for held in limits.values() for one in held))
    rows = []
    for name in names:
        cells = []
        for build in found.builds:
            one = next((o for o in limits.get(build, []) if o.limit == name), None)
            cells.append(f"{one.verdict}" if one else NOTHING)
        rows.append([code(name), *cells])
    return table(["Limit", *map(code, found.builds)], rows, len(found.builds) + 1) if rows else ""


def _servers(found: Comparison) -> str:
    rows = [
        [code(one.build), *map(escape, words.server(one))]
        for one in found.servers
        if any(text not in {NOTHING, ""} for text in words.server(one))
    ]
    return table(["Build", *words.SERVER], rows, (0, len(words.SERVER))) if rows else ""


def _caveats(found: Comparison) -> str:
    told = [
        f"- {'**Invalid:** ' if caveat.invalidates else ''}{escape(caveat.text)}"
        for caveat in found.caveats
    ]
    return "**Caveats**\n\n" + "\n".join(told) if told else ""


REPORT: Report = Markdown()
