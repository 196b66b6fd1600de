"""`evaluation.json` as it stands in the run folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.quality.record import EVALUATION_FILE, read_evaluation

if TYPE_CHECKING:
    from harness.reports import Report
    from harness.rundir import RunFolder


class Json:
    """The run's numbers, to the byte."""

    suffix = ".json"

    def render(self, run: RunFolder) -> str:
        """Return the file's text, after checking that it can be read as an evaluation."""
        read_evaluation(run)
        return (run.path / EVALUATION_FILE).read_text(encoding="utf-8")


REPORT: Report = Json()
