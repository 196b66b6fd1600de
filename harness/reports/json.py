"""`measurements.json` as it stands in the run folder, and what the IETF drafts ask for besides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from harness.reports.ietf import ietf_facts
from harness.rundir import MEASUREMENTS_FILE

if TYPE_CHECKING:
    from harness.reports import Report
    from harness.rundir import RunFolder


class Json:
    """The run's measurements as the file has them; `ietf` is added."""

    suffix = ".json"

    def render(self, run: RunFolder) -> str:
        """Return the text, after checking that the file can be read as measurements."""
        facts = ietf_facts(run.read_measurements(), run.read_manifest())
        raw: dict[str, Any] = msgspec.json.decode((run.path / MEASUREMENTS_FILE).read_bytes())
        raw["ietf"] = facts
        return msgspec.json.format(msgspec.json.encode(raw), indent=2).decode() + "\n"


REPORT: Report = Json()
