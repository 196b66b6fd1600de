"""A search for a pull request: answer, probes, sizing, and then the load run that it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.capacity.weigh import read_capacity
from harness.reports import markdown
from harness.reports.capacity import words
from harness.reports.markdown import escape
from harness.reports.sheets import markdown_sheet
from harness.reports.sizing import markdown_of

if TYPE_CHECKING:
    from harness.reports import Report
    from harness.rundir import RunFolder


class Markdown:
    """Answer, probes, prediction, sizing, caveats; then the report of the load run."""

    suffix = ".md"

    def render(self, run: RunFolder) -> str:
        """Return the report as Markdown."""
        found = read_capacity(run)
        parts = [f"## Capacity: {escape(words.heading(found))}"]
        for one in found.builds:
            parts.append("\n".join(f"- {escape(text)}" for text in words.sentences(one, found)))
            parts += map(markdown_sheet, words.sheets(one, found))
        if found.sizing is not None:
            parts.append(markdown_of(found.sizing).rstrip())
        if found.caveats:
            notes = [f"- {escape(f'{one.code}: {one.text}')}" for one in found.caveats]
            parts.append("### Caveats of the search\n\n" + "\n".join(notes))
        return "\n\n".join([*parts, markdown.REPORT.render(run)])


REPORT: Report = Markdown()
