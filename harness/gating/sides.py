"""What the parts of a gate say of the candidate, and of the baseline."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from harness.evidence.evidence import Evidence, read_evidence
from harness.quality.evaluate import asked
from harness.quality.evaluation import each
from harness.rundir import RunFolder

if TYPE_CHECKING:
    from harness.evidence.evidence import LoadRun
    from harness.gating.record import Side
    from harness.quality.evaluate import Asked


@dataclass(frozen=True, kw_only=True)
class Known:
    """One side's evidence: runs of which nothing but this build is looked at."""

    side: Side
    evidence: Evidence

    def answers(self, suite: str) -> Asked | None:
        """Return the answers to a suite; None where it was not asked."""
        for run in self.evidence.quality:
            found = asked(run.folder, suite, self.side.name)
            if found is not None and found.answers:
                return found
        return None

    def invalid_answers(self, suite: str) -> list[str]:
        """Return why answers to a suite may not be believed, by the evaluation that has them."""
        found = []
        for run in self.evidence.quality:
            for one in each(run.result):
                if one.server.build != self.side.name:
                    continue
                found += [c.text for c in one.caveats if c.invalidates]
                for result in one.suites:
                    if result.suite == suite:
                        found += [c.text for c in result.caveats if c.invalidates]
        return found

    def driven(self, profile: str) -> Evidence:
        """Return its load cells of one profile."""
        runs = [self._cells(run, profile) for run in self.evidence.load]
        return Evidence(load=[run for run in runs if run.measurements.cells], quality=[])

    def _cells(self, run: LoadRun, profile: str) -> LoadRun:
        cells = [
            cell
            for cell in run.measurements.cells
            if cell.build == self.side.name and cell.profile == profile
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
    there = [RunFolder(path) for path in folders if (path / "manifest.json").is_file()]
    return Known(side=side, evidence=read_evidence(there))
