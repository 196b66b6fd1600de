"""A history as `harness history --json` prints it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from harness.history.history import History
    from harness.reports.history import HistoryReport


class Json:
    """The whole of it, indented."""

    def render(self, history: History) -> str:
        """Return the JSON, with a line's end."""
        return msgspec.json.format(msgspec.json.encode(history), indent=2).decode() + "\n"


REPORT: HistoryReport = Json()
