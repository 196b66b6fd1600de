"""`comparison.json` in its folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.comparing.comparison import SCHEMA, Comparison
from harness.evidence.folders import COMPARISON_FILE
from harness.rundir import read_json

if TYPE_CHECKING:
    from harness.rundir import RunFolder


def write_comparison(run: RunFolder, comparison: Comparison) -> None:
    """Write `comparison.json`.

    Raises:
        BadInputError: the folder cannot be written (any more).
    """
    run.write_json(COMPARISON_FILE, comparison)


def read_comparison(run: RunFolder) -> Comparison:
    """Read `comparison.json`.

    Raises:
        BadInputError: it is missing, broken, or of a newer harness.
    """
    return read_json(run.path / COMPARISON_FILE, Comparison, SCHEMA)
