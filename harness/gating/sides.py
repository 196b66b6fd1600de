"""What the parts of a gate say of the candidate, and of the baseline."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec

from harness.evidence.evidence import Evidence, read_evidence
from harness.evidence.folders import EVAL, kind_of
from harness.evidence.model_code import model_code
from harness.evidence.weights import weights_of
from harness.gap import RESUMED
from harness.load.record import DRIVEN_AGAIN
from harness.measuring.measurement import Caveat
from harness.quality.evaluate import asked, pass_caveats
from harness.quality.probing import drift_caveats
from harness.quality.record import read_manifest
from harness.rundir import MANIFEST_FILE, RunFolder

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from harness.evidence.evidence import LoadRun
    from harness.gating.record import Side
    from harness.quality.evaluate import Asked


@dataclass(frozen=True, kw_only=True)
class Known:
    """One side's parts, of which nothing but its own build is looked at."""

    side: Side
    quality: Sequence[RunFolder]
    load: Sequence[LoadRun]

    def answers(self, suite: str) -> Asked | None:
        """Return the answers to a suite; None where it was not asked."""
        return next((found for _, found in self._asked(suite)), None)

    def invalid_answers(self, suite: str) -> list[str]:
        """Return why the answers to a suite may not be believed."""
        found = []
        for run, one in self._asked(suite):
            manifest = read_manifest(run)
            facts = next(facts for facts in manifest.suites if facts.name == suite)
            caveats = [*pass_caveats(one, manifest, facts, self.side.build)]
            caveats += drift_caveats(run, self.side.name)
            found += [caveat.text for caveat in caveats if caveat.invalidates]
            break
        return found

    def told(self) -> list[Caveat]:
        """Return what its runs say of how their cells came about, and of the model's own code."""
        name = self.side.name
        found = list(dict.fromkeys(one for told in self._told() for one in model_code(name, told)))
        for run in self.load:
            own = tuple(f"{c.id} " for c in run.measurements.cells if c.build == self.side.name)
            found += [
                Caveat(caveat.code, f"{run.folder.path.name}: {caveat.text}")
                for caveat in run.measurements.caveats
                if caveat.code == RESUMED
                or (caveat.code == DRIVEN_AGAIN and caveat.text.startswith(own))
            ]
        return found

    def weights(self) -> str | None:
        """Return what its build's weights are, as its servers' provenance says."""
        found = map(weights_of, self._told())
        return next((text for text in found if text), None)

    def _told(self) -> list[dict[str, Any]]:
        """The provenance of its servers, of all runs."""
        name = self.side.name
        told = [(run.manifest.get("servers") or {}).get(name) for run in self.load]
        graded = (read_manifest(run).servers.get(name) for run in self.quality)
        told += [facts.provenance for facts in graded if facts is not None]
        return [one for one in told if isinstance(one, dict)]

    def driven(self, profile: str, levels: Collection[float] = ()) -> Evidence:
        """Return its load cells of one profile, at some levels; none named: at all of them."""
        runs = [self._cells(run, profile, levels) for run in self.load]
        return Evidence(load=[run for run in runs if run.measurements.cells], quality=[])

    def _asked(self, suite: str) -> list[tuple[RunFolder, Asked]]:
        found = []
        for run in self.quality:
            if not any(facts.name == suite for facts in read_manifest(run).suites):
                continue
            one = asked(run, suite, self.side.name)
            if one is not None and one.answers:
                found.append((run, one))
        return found

    def _cells(self, run: LoadRun, profile: str, levels: Collection[float]) -> LoadRun:
        cells = [
            cell
            for cell in run.measurements.cells
            if cell.build == self.side.name
            and cell.profile == profile
            and (not levels or {*cell.level.values()} & {*levels})
        ]
        servers = run.manifest.get("servers") or {}
        own = {name: facts for name, facts in servers.items() if name == self.side.name}
        return replace(
            run,
            manifest={**run.manifest, "servers": own},
            measurements=msgspec.structs.replace(run.measurements, cells=cells),
        )


def read_side(run: RunFolder, side: Side) -> Known:
    """Read one side's parts of a gate's folder; those that have not begun are left out.

    Raises:
        BadInputError: a part's files are broken.
    """
    folders = [run.path / name for name in side.parts]
    there = [RunFolder(path) for path in folders if (path / MANIFEST_FILE).is_file()]
    graded = [one for one in there if kind_of(one) == EVAL]
    load = read_evidence(one for one in there if kind_of(one) != EVAL).load
    return Known(side=side, quality=graded, load=load)
