"""All that one or several finished runs say of builds, as their numbers' files have it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.evidence.folders import EVAL, kind_of, missing, parts
from harness.measuring.remeasure import numbers_of, remeasure
from harness.quality.evaluation import each
from harness.quality.record import EVALUATION_FILE, read_evaluation, read_manifest
from harness.rundir import MEASUREMENTS_FILE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from harness.measuring.measurement import CellMeasurement, Measurements
    from harness.quality.evaluation import Evaluation, Result
    from harness.quality.record import EvalManifest
    from harness.rundir import RunFolder


@dataclass(frozen=True, kw_only=True)
class LoadRun:
    """A run of `harness load`."""

    folder: RunFolder
    manifest: dict[str, Any]
    measurements: Measurements


@dataclass(frozen=True, kw_only=True)
class QualityRun:
    """A run of `harness eval`."""

    folder: RunFolder
    manifest: EvalManifest
    result: Result

    @property
    def evaluations(self) -> list[Evaluation]:
        """One a build."""
        return each(self.result)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What there is, in the order in which the runs were given."""

    load: list[LoadRun]
    quality: list[QualityRun]
    missing: tuple[str, ...] = ()
    """Parts that a run should have and that are not there."""

    @property
    def cells(self) -> list[tuple[LoadRun, CellMeasurement]]:
        """All load cells with the run that each is of."""
        return [(run, cell) for run in self.load for cell in run.measurements.cells]

    @property
    def builds(self) -> list[str]:
        """Every build that anything is known of, in the order of appearance."""
        loaded = [cell.build for _, cell in self.cells]
        graded = [one.server.build for run in self.quality for one in run.evaluations]
        return list(dict.fromkeys([*loaded, *graded]))

    def only(self, folders: Collection[Path]) -> Evidence:
        """Return what lies in these folders."""
        return Evidence(
            load=[run for run in self.load if run.folder.path in folders],
            quality=[run for run in self.quality if run.folder.path in folders],
        )


def read_evidence(runs: Iterable[RunFolder], *, anew: bool = False) -> Evidence:
    """Read finished or interrupted runs of any kind.

    Args:
        runs: load runs, evaluations, comparisons, gates.
        anew: whether numbers are computed from the samples and answers, in place of reading
            the files that have them; where such a file is missing they are in any case.

    Raises:
        BadInputError: a file is missing or broken; the text names it.
    """
    load: list[LoadRun] = []
    quality: list[QualityRun] = []
    given = list(runs)
    for run in (part for one in given for part in parts(one)):
        if kind_of(run) == EVAL:
            there = (run.path / EVALUATION_FILE).is_file() and not anew
            result = read_evaluation(run) if there else _evaluate(run)
            quality.append(QualityRun(folder=run, manifest=read_manifest(run), result=result))
        else:
            there = (run.path / MEASUREMENTS_FILE).is_file() and not anew
            numbers = numbers_of(run) if there else remeasure(run)
            load.append(LoadRun(folder=run, manifest=run.read_manifest(), measurements=numbers))
    gone = tuple(name for one in given for name in missing(one))
    return Evidence(load=load, quality=quality, missing=gone)


def _evaluate(run: RunFolder) -> Result:
    from harness.quality.evaluate import evaluate  # with all that grades, which reading needs not

    return evaluate(run)
