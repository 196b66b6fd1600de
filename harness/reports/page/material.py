"""What a page is made of: the run that was asked for, and all that its parts have measured."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec

from harness.comparing.record import read_comparison
from harness.errors import BadInputError
from harness.evidence.evidence import read_evidence
from harness.evidence.folders import CAPACITY, COMPARISON, COMPARISON_FILE, EVAL, GATE, kind_of
from harness.gating.record import read_gate
from harness.measuring.measurement import Measurements, RunInfo
from harness.reports import charts, figures, words
from harness.reports.cells import read_drawn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.capacity.result import Capacity, Found
    from harness.comparing.comparison import Comparison
    from harness.evidence.evidence import Evidence, LoadRun
    from harness.gating.result import GateResult
    from harness.measuring.measurement import CellMeasurement
    from harness.reports.server_line import ServerLine
    from harness.rundir import RunFolder

MOST_TIMELINES = 24
"""Cells whose course over time is drawn; of more, the first repeat of each comes first."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the page shows of a cell's samples. The samples themselves, which are many, are gone."""

    values: charts.Values
    over_time: charts.Chart | None
    rows: list[tuple[float, float, float, int, float]]
    server: ServerLine | None
    failures: list[tuple[str, int, str]]
    versions: dict[str, str]
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """The cells of one profile, whichever runs they are from, as if they were one run's."""

    title: str
    measurements: Measurements
    seen: Mapping[str, Seen]

    @cached_property
    def cells(self) -> list[CellMeasurement]:
        """By level, build and repeat."""
        return words.in_order(self.measurements)

    @property
    def groups(self) -> list[list[CellMeasurement]]:
        """The same, a list a level."""
        return [list(group) for _, group in groupby(self.cells, figures.level_value)]

    @property
    def builds(self) -> list[str]:
        """What has a colour."""
        return words.unique(figures.plain(figures.series_of(c)) for c in self.measurements.cells)

    @property
    def levels(self) -> list[float]:
        """Ascending."""
        return sorted({figures.level_value(cell) for cell in self.cells})

    @property
    def repeats(self) -> bool:
        """Whether something was measured more than once."""
        return words.has_repeats(self.measurements)

    @property
    def open_loop(self) -> bool:
        """Whether the level is a rate."""
        return figures.is_open(self.cells[0])

    @property
    def itl(self) -> str:
        """What the gaps are called."""
        return figures.itl_name(self.cells)

    @property
    def ttft(self) -> str:
        """What the headline TTFT is called."""
        return "TTFT from due" if self.open_loop else "TTFT"

    def colour(self, cell: CellMeasurement) -> int:
        """Return the number of a cell's colour."""
        return self.builds.index(figures.plain(figures.series_of(cell)))

    @cached_property
    def timelines(self) -> list[CellMeasurement]:
        """The cells whose course over time is drawn."""
        if len(self.cells) <= MOST_TIMELINES:
            return self.cells
        first = [cell for cell in self.cells if cell.repeat == 1]
        return first[:MOST_TIMELINES]


@dataclass(frozen=True, kw_only=True)
class Material:
    """All that a page may show."""

    folder: RunFolder
    kind: str
    manifest: Mapping[str, Any]
    info: RunInfo
    evidence: Evidence
    comparison: Comparison | None
    gate: GateResult | None
    capacity: Capacity | None
    traffic: list[Traffic]

    @property
    def valid(self) -> bool:
        """Whether the run, or every part of it, says that its numbers may be believed."""
        if self.comparison is not None:
            return self.comparison.valid
        if self.gate is not None:
            return self.gate.valid
        if self.capacity is not None:  # probes in which the client was too slow count for nothing
            whole = not any(caveat.invalidates for caveat in self.capacity.caveats)
            builds = self.capacity.builds
            return whole and bool(builds) and all(map(_is_answered, builds))
        return all(run.measurements.valid for run in self.evidence.load) and all(
            run.result.valid for run in self.evidence.quality
        )

    @cached_property
    def builds(self) -> list[str]:
        """Every build, in the order that decides its colour."""
        return [figures.plain(build) for build in _order(self.evidence, self.comparison)]

    @property
    def seen(self) -> list[Seen]:
        """Of all cells."""
        return [seen for traffic in self.traffic for seen in traffic.seen.values()]


def _is_answered(found: Found) -> bool:
    """Whether a build's search has a probe that counts, or needed none."""
    return found.outcome == "not_met_at_any_load" or any(
        probe.rate is not None and probe.met is not None for probe in found.probes
    )


def gather(folder: RunFolder) -> Material:
    """Read all that a page needs of a run.

    Raises:
        BadInputError: a file is missing or broken; the text names it.
    """
    kind, manifest = kind_of(folder), folder.read_manifest()
    evidence = read_evidence([folder])
    comparison = gate = None
    if kind == COMPARISON and (folder.path / COMPARISON_FILE).is_file():
        comparison = read_comparison(folder)
    if kind == GATE and (folder.path / "gate.json").is_file():
        gate = read_gate(folder)
    return Material(
        folder=folder,
        kind=kind,
        manifest=manifest,
        info=_info(kind, manifest, evidence, comparison, gate),
        evidence=evidence,
        comparison=comparison,
        gate=gate,
        capacity=_capacity(folder) if kind == CAPACITY else None,
        traffic=_traffic(evidence, _order(evidence, comparison)),
    )


def _capacity(folder: RunFolder) -> Capacity:
    from harness.capacity.weigh import read_capacity  # scipy: other pages do without

    return read_capacity(folder)


def _info(
    kind: str,
    manifest: Mapping[str, Any],
    evidence: Evidence,
    comparison: Comparison | None,
    gate: GateResult | None,
) -> RunInfo:
    """Return which run this is: as its numbers' file has it, or else its manifest."""
    if kind == EVAL:
        return evidence.quality[0].result.run
    if kind not in {COMPARISON, GATE}:
        return evidence.load[0].measurements.run
    found = comparison or gate
    if found is not None and found.run is not None:
        return found.run
    try:
        return msgspec.convert(manifest.get("run"), RunInfo)
    except msgspec.ValidationError as error:
        raise BadInputError(
            f"the manifest does not say which run it is of: {error}",
            hint="The file is not as harness wrote it.",
        ) from error


def _order(evidence: Evidence, comparison: Comparison | None) -> list[str]:
    """Return every build, baselines first."""
    known = list(comparison.builds) if comparison is not None else []
    known += [
        run.manifest.baseline.build for run in evidence.quality if run.manifest.baseline is not None
    ]
    return list(dict.fromkeys([*known, *evidence.builds]))


def _traffic(evidence: Evidence, order: Sequence[str]) -> list[Traffic]:
    """Put the cells of each profile together, which alone may be drawn on one axis."""
    several = len(evidence.load) > 1
    cells: dict[tuple[str, bool], list[tuple[LoadRun, CellMeasurement, str]]] = {}
    for number, run in enumerate(evidence.load, start=1):
        for cell in run.measurements.cells:
            name = f"{number}:{cell.id}" if several else cell.id
            key = (cell.profile, figures.is_open(cell))
            cells.setdefault(key, []).append((run, cell, name))
    most = charts.points_a_chart(min(MOST_TIMELINES, sum(map(len, cells.values()))))
    found = []
    for (profile, _), members in cells.items():
        members.sort(key=lambda member: order.index(member[1].build))
        kept = [msgspec.structs.replace(cell, id=name) for _, cell, name in members]
        first = members[0][0].measurements
        found.append(
            Traffic(
                title=figures.plain(profile),
                measurements=msgspec.structs.replace(first, cells=kept, caveats=[]),
                seen={name: _see(run, cell, most) for run, cell, name in members},
            )
        )
    return found


def _see(run: LoadRun, cell: CellMeasurement, most: int) -> Seen:
    records = read_drawn(run.folder, cell.id)
    profile = words.table(run.manifest, "profile")
    return Seen(
        values=charts.values_of(cell, records),
        over_time=charts.over_time(cell, records, profile, most=most),
        rows=charts.over_time_rows(cell, records),
        server=charts.server_over_time(cell, records, most=most),
        failures=records.failures(),
        versions=records.drive.versions if records.drive else {},
        problems=records.problems,
    )


def missing(load: Sequence[LoadRun]) -> list[str]:
    """Return the cells that were planned and have no numbers."""
    return [name for run in load for name in words.missing(run.measurements, run.manifest)]
