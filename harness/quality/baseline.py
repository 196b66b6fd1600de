"""A baseline from an earlier run: found, checked, and copied into the run that compares with it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from harness.errors import BadInputError, did_you_mean
from harness.evidence.folders import parts
from harness.quality.passes import EVALS, RECORD_FILE, PassRecord, read_pass, write_pass
from harness.quality.record import is_evaluation, read_manifest
from harness.quality.request import EarlierRun
from harness.rundir import MANIFEST_FILE, RunFolder, write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.quality.passes import Pass
    from harness.quality.record import EvalManifest, ServerFacts

COPY: Final = "baseline-{}"
"""What a baseline is called in the run that it was copied into."""


def find_run(text: str) -> EarlierRun | None:
    """Return the run that `--baseline RUN` or `RUN:BUILD` names; None where it names no folder.

    Raises:
        BadInputError: the run is no evaluation, or has several builds and none is named.
    """
    path, build = Path(text), ""
    if not path.is_dir():
        head, _, build = text.rpartition(":")
        path = Path(head)
        if not head or not path.is_dir():
            return None
    if not (path / MANIFEST_FILE).is_file():
        return None if not build and "/" not in text else _no_run(path)
    run = _evaluation_of(RunFolder(path), build)
    manifest = read_manifest(run)
    known = [name for name in manifest.servers if not _is_copy(manifest, name)]
    if not build and len(manifest.builds) == 1:
        build = manifest.builds[0]
    if not build:
        raise BadInputError(
            f"--baseline: {path} has several builds: {', '.join(known)}",
            hint=f"Name one: --baseline {path}:{known[0] if known else 'BUILD'}",
        )
    if build not in known:
        raise BadInputError(
            f'--baseline: {path} has no answers of "{build}"{did_you_mean(build, known)}',
            hint=f"It has {', '.join(known) or 'none'}.",
        )
    return EarlierRun(run=run, build=build)


def _evaluation_of(run: RunFolder, build: str) -> RunFolder:
    """Return the run itself, or the evaluation in a baseline, a comparison or a gate.

    Raises:
        BadInputError: there is none, or several have answers of the build.
    """
    found = [part for part in parts(run) if is_evaluation(part)]
    if not found:
        raise BadInputError(
            f"--baseline: {run.path} graded nothing: it holds runs of `harness load` alone",
            hint="Give the folder of a run of `harness eval`, or a build's name.",
        )
    having = [part for part in found if build in read_manifest(part).servers] or found
    if len(having) > 1:
        raise BadInputError(
            f"--baseline: {run.path} holds several evaluations",
            hint=f"Give one of them: {', '.join(str(part.path) for part in having)}.",
        )
    return having[0]


def _no_run(path: Path) -> EarlierRun | None:
    raise BadInputError(f"--baseline: {path} is no run folder: it has no {MANIFEST_FILE}")


def _is_copy(manifest: EvalManifest, build: str) -> bool:
    baseline = manifest.baseline
    return baseline is not None and baseline.run is not None and baseline.build == build


def kept_run(run: RunFolder) -> EarlierRun | None:
    """Return the earlier run that a run's baseline was read from; None where there is none."""
    kept = read_manifest(run).baseline
    if kept is None or kept.run is None:
        return None
    return EarlierRun(run=RunFolder(Path(kept.run)), build=kept.build.removeprefix(COPY.format("")))


def check_run(earlier: EarlierRun, suites: Sequence[str]) -> None:
    """Look that an earlier run has answers to all suites.

    Raises:
        BadInputError: it lacks one, or was not finished.
    """
    lacking = []
    for suite in suites:
        folder = earlier.run.path / EVALS / suite / earlier.build
        if not (folder / RECORD_FILE).is_file() or read_pass(folder).ended != "done":
            lacking.append(suite)
    if lacking:
        raise BadInputError(
            f"--baseline: {earlier.run.path} has no finished answers of {earlier.build} to "
            f"{', '.join(lacking)}",
            hint="Ask these there first, or give the baseline's build to have it asked now.",
        )


def copy_baseline(
    earlier: EarlierRun, planned: Sequence[Pass], run: RunFolder
) -> tuple[str, ServerFacts]:
    """Copy a baseline's answers, so that the run's folder holds all that its numbers come from.

    Returns:
        What it is called here, and what it was.
    """
    name = COPY.format(earlier.build)
    for one in planned:
        if one.build != name:
            continue
        source = earlier.run.path / EVALS / one.suite / earlier.build
        if one.what != "idle":
            source = source.with_name(f"{earlier.build}-{one.what}")
        target = run.path / EVALS / one.suite / one.folder
        if (target / RECORD_FILE).is_file() or not source.is_dir():
            continue
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=lambda *_: [RECORD_FILE])
        record = read_pass(source)
        write_pass(
            target,
            PassRecord(
                ended=record.ended,
                route=record.route,
                items=record.items,
                problem=record.problem,
                wall_s=record.wall_s,
                copied_from=earlier.run.path.name,
            ),
        )
    for path in (earlier.run.path / "probes").glob(f"{earlier.build}.*"):
        target = run.path / "probes" / f"{name}{path.name.removeprefix(earlier.build)}"
        target.parent.mkdir(exist_ok=True)
        write_atomically(target, path.read_bytes())
    return name, read_manifest(earlier.run).servers[earlier.build]
