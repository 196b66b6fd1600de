"""`gate.json` as it stands in the folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.gating.record import GATE_FILE, read_gate
from harness.reports.json import AsItStands

if TYPE_CHECKING:
    from harness.reports import Report

REPORT: Report = AsItStands(GATE_FILE, read_gate)
