"""`evaluation.json` as it stands in the folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.quality.record import EVALUATION_FILE, read_evaluation
from harness.reports.json import AsItStands

if TYPE_CHECKING:
    from harness.reports import Report

REPORT: Report = AsItStands(EVALUATION_FILE, read_evaluation)
