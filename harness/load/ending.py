"""How a cell came to its end: whole or not, and whether others can be driven after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.errors import InvalidRunError, ServerError
from harness.measuring.remeasure import read_facts
from loadprofiles.records import DRIVE_FILE, read_drive_report

if TYPE_CHECKING:
    from pathlib import Path

    from harness.serving import Served

_WHOLE: Final = "done"
"""How a cell ended that need not be driven again."""


class WorkerLostError(InvalidRunError):
    """Not all workers are there any more, so that no further cell can be driven."""


def is_whole(cell: Path) -> bool:
    """Whether the cell of a folder was driven to its end."""
    if not (cell / DRIVE_FILE).is_file():
        return False
    return read_drive_report(cell).ended == _WHOLE or read_facts(cell).ended_when_decided


def check_ended(cell: Path) -> None:
    """Go on with all workers only, and not after somebody has told the driver to stop.

    Raises:
        WorkerLostError: a worker of the cell of this folder was lost.
        KeyboardInterrupt: it was told to stop, on Locust's page or by a signal.
    """
    report = read_drive_report(cell)
    if report.ended == "worker_lost":
        raise WorkerLostError(f"{cell.name}: {report.problem}")
    if report.ended == "interrupted":
        raise KeyboardInterrupt


def check_alive(when: str, served: Served, run: Path) -> None:
    """See that a server of ours has not died.

    Args:
        when: for the message, e.g. "during CELL".
        served: the server.
        run: where what was measured until now lies.

    Raises:
        ServerError: it has, with the last lines of its log.
    """
    if served.running is None or (ended := served.running.poll()) is None:
        return
    lines = "".join(f"\n  {line}" for line in served.running.tail())
    raise ServerError(
        f"the server died {when} ({ended}); the last lines of {served.server.log}:{lines}",
        hint=f"What was measured until then is in {run}",
    )
