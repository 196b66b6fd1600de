"""`capacity.json` as it stands in the folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.capacity.result import CAPACITY_FILE
from harness.capacity.weigh import read_capacity
from harness.reports.json import AsItStands

if TYPE_CHECKING:
    from harness.reports import Report

REPORT: Report = AsItStands(CAPACITY_FILE, read_capacity)
