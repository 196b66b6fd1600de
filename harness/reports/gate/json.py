"""`gate.json` as it stands in the folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.gating.record import GATE_FILE, read_gate

if TYPE_CHECKING:
    from harness.reports import Report
    from harness.rundir import RunFolder


class Json:
    """The verdict, to the byte."""

    suffix = ".json"

    def render(self, run: RunFolder) -> str:
        """Return the file's text, after checking that it can be read as a gate's."""
        read_gate(run)
        return (run.path / GATE_FILE).read_text(encoding="utf-8")


REPORT: Report = Json()
