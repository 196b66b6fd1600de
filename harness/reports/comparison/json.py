"""`comparison.json` as it stands in the folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.comparing.record import read_comparison
from harness.evidence.folders import COMPARISON_FILE
from harness.reports.json import AsItStands

if TYPE_CHECKING:
    from harness.reports import Report

REPORT: Report = AsItStands(COMPARISON_FILE, read_comparison)
