"""What a run has found so far, and the files that say so; written again after every cell."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from harness.calibration import find, summarize
from harness.evidence.folders import kind_of
from harness.evidence.model_code import MODEL_CODE, model_code
from harness.gap import RESUMED, Gap, gap_of, words
from harness.measuring.measurement import (
    Caveat,
    CellMeasurement,
    Measurements,
    measurements,
)
from harness.measuring.repeats import repeats_differ
from harness.provenance import provenance
from harness.reports import write_files
from harness.reports.kinds import package_of
from loadprofiles.wire.clock import wall_minus_monotonic_ns

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from harness.comparing.rows import SideBySide
    from harness.load.matrix import Cell
    from harness.load.order import Visit
    from harness.measuring.sweep import Ended, Sweep, SweepPlan
    from harness.rundir import RunFolder

REPORTS = {"html": "report.html", "markdown": "report.md"}
DRIVEN_AGAIN = "driven_again"
"""The code of the caveat of a cell that has a second time's numbers."""
_KEPT = {RESUMED, DRIVEN_AGAIN, MODEL_CODE}
"""Caveats that stay true of a run that goes on."""


class RunRecord:
    """The numbers of a run under way.

    Args:
        folder: where they are written.
        command: the command line, secrets masked.
        seed: the run's.
        cells: all that are to be measured.
        request: the manifest's `request`: what was asked, as plain values.
        profile: the manifest's `profile`.
        sweep: what a sweep may measure; None where the levels are given.
        baseline: the build that the others are held against; None where they are not.
    """

    def __init__(
        self,
        folder: RunFolder,
        *,
        command: Sequence[str],
        seed: int,
        cells: Sequence[Cell],
        request: Mapping[str, object],
        profile: Mapping[str, object],
        sweep: SweepPlan | None = None,
        baseline: str | None = None,
    ) -> None:
        self.folder = folder
        self._cells = cells
        self._request = request
        self._profile = profile
        self._sweep = sweep
        self._baseline = baseline
        self._side_by_side: SideBySide | None = None
        self._ended: dict[str, Ended] = {}
        self._servers: dict[str, object] = {}
        self._visits: list[object] = []
        self._resumed: list[object] = []
        self._gap: Gap | None = None
        """Of a run that went on: noted once there is something to measure."""
        self._measured: dict[str, CellMeasurement] = {}
        self._caveats: list[Caveat] = []
        self._calibration = summarize(find())
        self._clock = {"wall_minus_monotonic_ns": wall_minus_monotonic_ns()}
        self._info = folder.begun(command, seed)

    def has(self, cell_id: str) -> bool:
        """Whether a cell has numbers."""
        return cell_id in self._measured

    def cell(self, cell_id: str) -> CellMeasurement:
        """The numbers of a cell that has some."""
        return self._measured[cell_id]

    def driven_again(self, cell_id: str, kept: str, why: str) -> None:
        """Say that a cell has a second time's numbers; the first time lies in `kept`."""
        text = (
            f"{cell_id} was driven a second time and has that one's numbers, whatever they are. "
            f"The time before lies in {kept}: {why}"
        )
        self._caveats.append(Caveat(DRIVEN_AGAIN, text))

    def said_driven_again(self) -> set[str]:
        """Return the cells of which the folder's numbers say that they are a second time's.

        Raises:
            BadInputError: `measurements.json` is broken.
        """
        caveats = self.folder.read_measurements().caveats
        return {one.text.partition(" ")[0] for one in caveats if one.code == DRIVEN_AGAIN}

    def go_on(self, whole: Collection[str]) -> None:
        """Take up what an earlier process left in the folder: the numbers of the cells in `whole`.

        Raises:
            BadInputError: what it left is broken.
        """
        manifest, before = self.folder.read_manifest(), self.folder.read_measurements()
        known = {cell.id: cell for cell in before.cells if cell.id in whole}
        self._measured = known
        self._info = before.run
        servers, visits = manifest.get("servers"), manifest.get("visits")
        self._servers = dict(servers) if isinstance(servers, dict) else {}
        self._visits = list(visits) if isinstance(visits, list) else []
        self._caveats = [one for one in before.caveats if one.code in _KEPT]
        earlier = manifest.get("resumed")
        self._resumed = list(earlier) if isinstance(earlier, list) else []
        self._gap = gap_of(self.folder.path, kept=len(known), planned=len(self._cells))

    def _note_gap(self) -> None:
        gap, self._gap = self._gap, None
        if gap is not None:
            self._resumed.append(gap)
            text = (
                f"{words(gap)}: {gap.kept} of {gap.planned} cells are from before. What changed "
                "on the machine in between is in the differences between repeats."
            )
            self._caveats.append(Caveat(RESUMED, text))

    def add_server(self, visit: Visit, found: Mapping[str, object]) -> None:
        """Keep a server's provenance: of its first time by its name, of each time in a list.

        A server is up where something is to be measured: a run that went on says so from here on.
        """
        self._note_gap()
        told = model_code(visit.build, found)
        self._caveats += [caveat for caveat in told if caveat not in self._caveats]
        self._servers.setdefault(visit.build, found)
        self._visits.append({"build": visit.build, "visit": visit.number, **found})

    def add_cell(self, measurement: CellMeasurement) -> None:
        """Keep a cell's numbers."""
        self._measured[measurement.id] = measurement

    def add_problem(self, code: str, text: str) -> None:
        """Keep a reason why this run must not be believed as a whole."""
        self._caveats.append(Caveat(code, text, invalidates=True))

    def end_sweep(self, build: str, why: Ended) -> None:
        """Keep why a build's sweep ended before its levels say so."""
        self._ended[build] = why

    def cells_of(self, build: str) -> list[CellMeasurement]:
        """A build's numbers so far."""
        return [cell for cell in self._measured.values() if cell.build == build]

    @property
    def measured(self) -> int:
        """How many cells have numbers."""
        return len(self._measured)

    def measurements(self) -> Measurements:
        """All numbers so far, in the order of the plan, as `remeasure` has them."""
        place = {cell.id: number for number, cell in enumerate(self._cells)}
        cells = sorted(self._measured.values(), key=lambda one: place.get(one.id, len(place)))
        sweeps: list[Sweep] = []
        if self._sweep:
            from harness.capacity.swept import sweeps_of  # scipy: other runs do without

            sweeps = sweeps_of(self._sweep, cells, self._ended)
        caveats = [*self._caveats, *repeats_differ(cells)]
        found = measurements(self._info, cells, len(self._cells), caveats, sweeps)
        return msgspec.structs.replace(found, side_by_side=self._side_by_side)

    def hold_side_by_side(self) -> None:
        """Hold the builds against the baseline, where that is wanted, and write it down.

        Raises:
            BadInputError: the folder cannot be written (any more).
        """
        if self._baseline is None:
            return
        from harness.comparing.sidebyside import side_by_side  # scipy: other runs do without

        self._side_by_side = side_by_side(self.folder, self.measurements())
        self.folder.write_measurements(self.measurements())

    def save(self) -> None:
        """Write `measurements.json` and `manifest.json`.

        Raises:
            BadInputError: the folder cannot be written (any more).
        """
        self.folder.write_measurements(self.measurements())
        sweep = {"sweep": {"plan": self._sweep, "ended": self._ended}} if self._sweep else {}
        held = {"side_by_side": {"baseline": self._baseline}} if self._baseline else {}
        resumed = {"resumed": self._resumed} if self._resumed else {}
        self.folder.write_manifest(
            {
                "run": self._info,
                **resumed,
                "clock": self._clock,
                "calibration": self._calibration,
                "request": self._request,
                **sweep,
                **held,
                **self._provenance,
                "profile": self._profile,
                "servers": self._servers,
                "visits": self._visits,
                "cells": [{**cell.describe(), "seed": self._info.seed} for cell in self._cells],
            }
        )

    def write_reports(self) -> list[str]:
        """Write the reports. One that fails costs a line of the answer, never the run."""
        return write_files(self.folder, package_of(kind_of(self.folder)).load_report, REPORTS)

    @cached_property
    def _provenance(self) -> dict[str, object]:
        return provenance(Path.cwd())
