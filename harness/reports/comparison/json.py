"""`comparison.json` as it stands in the folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.comparing.record import read_comparison
from harness.evidence.folders import COMPARISON_FILE

if TYPE_CHECKING:
    from harness.reports import Report
    from harness.rundir import RunFolder


class Json:
    """The comparison, to the byte."""

    suffix = ".json"

    def render(self, run: RunFolder) -> str:
        """Return the file's text, after checking that it can be read as a comparison."""
        read_comparison(run)
        return (run.path / COMPARISON_FILE).read_text(encoding="utf-8")


REPORT: Report = Json()
