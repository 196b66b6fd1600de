"""A run's file of numbers as it stands in the folder: of a load run `measurements.json`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.rundir import MEASUREMENTS_FILE, RunFolder

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.reports import Report


class AsItStands:
    """A file, to the byte.

    Args:
        file: its name in the run's folder.
        read: raises where it cannot be read as what it should be.
    """

    suffix = ".json"

    def __init__(self, file: str, read: Callable[[RunFolder], object]) -> None:
        self._file = file
        self._read = read

    def render(self, run: RunFolder) -> str:
        """Return the file's text, after checking that it can be read."""
        self._read(run)
        return (run.path / self._file).read_text(encoding="utf-8")


REPORT: Report = AsItStands(MEASUREMENTS_FILE, RunFolder.read_measurements)
