"""A gate's rules as a table: one row a rule."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from harness.gating.record import read_gate
from harness.gating.result import RuleResult
from harness.reports.csv import cell_value

if TYPE_CHECKING:
    from harness.reports import Report
    from harness.rundir import RunFolder


class Csv:
    """The fields of a rule's result as columns; the interval in two."""

    suffix = ".csv"

    def render(self, run: RunFolder) -> str:
        """Return the table."""
        result = read_gate(run)
        fields = [name for name in RuleResult.__struct_fields__ if name != "ci95"]
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["candidate", "baseline", *fields, "low", "high"])
        for rule in result.rules:
            row = [getattr(rule, name) for name in fields]
            ends = rule.ci95 or (None, None)
            writer.writerow(map(cell_value, [result.candidate, result.baseline, *row, *ends]))
        return out.getvalue()


REPORT: Report = Csv()
