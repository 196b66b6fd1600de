"""The answers, flat: one row an item and pass."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Final

from evals.records import Answer
from evals.store import read_answers
from harness.evidence.weights import weights_of
from harness.quality.passes import EVALS
from harness.quality.record import read_manifest
from harness.reports.csv import WEIGHTS, Rows, cell_value

if TYPE_CHECKING:
    from typing import TextIO

    from harness.reports import Report
    from harness.rundir import RunFolder

_PASS_COLUMNS: Final = ("suite", "build", "pass")


class Csv(Rows):
    """One row an answer: by suite, build and pass, then in the order in which they came."""

    def write(self, run: RunFolder, out: TextIO) -> None:
        """Write the table, a row at a time."""
        writer = csv.writer(out, lineterminator="\n")
        fields = Answer.__struct_fields__
        writer.writerow([*_PASS_COLUMNS, *fields, WEIGHTS])
        manifest = read_manifest(run)
        for one in manifest.passes:
            facts = manifest.servers.get(one.build)
            told = None if facts is None else cell_value(weights_of(facts.provenance))
            start = [cell_value(value) for value in (one.suite, one.build, one.what)]
            for answer in read_answers(run.path / EVALS / one.suite / one.folder):
                row = [cell_value(getattr(answer, name)) for name in fields]
                writer.writerow([*start, *row, told])


REPORT: Report = Csv()
