"""Finished runs in a gate: found by name or path, looked at, and copied into its folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import BadInputError, did_you_mean
from harness.evidence.folders import BASELINE, EVAL, GATE, kind_of, parts
from harness.gating.record import read_gate_manifest
from harness.gating.request import Finished
from harness.history.baselines import BASELINES, find_baseline, read_baseline
from harness.history.portions import build_of, copy_portion
from harness.quality.baseline import COPY, check_run
from harness.quality.record import read_manifest
from harness.quality.request import EarlierRun
from harness.rundir import MANIFEST_FILE, RunFolder

if TYPE_CHECKING:
    from harness.gating.plan import Planned


def find_finished(text: str, flag: str, baselines: Path = BASELINES) -> Finished | None:
    """Return the run that RUN, RUN:BUILD or a blessed baseline's name means; None: it means none.

    Raises:
        BadInputError: the run has several builds and none is named, or not the one that is.
    """
    path, build = Path(text), ""
    if not (path / MANIFEST_FILE).is_file():
        head, _, build = text.rpartition(":")
        path = Path(head)
        if not head or not (path / MANIFEST_FILE).is_file():
            blessed = find_baseline(text, baselines)
            if blessed is None:
                return None
            path, build = blessed.path, ""
    run = RunFolder(path)
    known = list(dict.fromkeys(name for part in parts(run) for name in build_of(part)))
    known = [name for name in known if not name.startswith(COPY.format(""))] or known
    if not build:
        build = _own_build(run, known)
    if not build:
        raise BadInputError(
            f"{flag}: {path} has several builds: {', '.join(known)}",
            hint=f"Name one: {path}:{known[0]}",
        )
    if build not in known:
        raise BadInputError(
            f'{flag}: {path} knows nothing of "{build}"{did_you_mean(build, known)}',
            hint=f"It has {', '.join(known) or 'no build'}.",
        )
    return Finished(run=run, build=build)


def _own_build(run: RunFolder, known: list[str]) -> str:
    """Return the build that a run is about, where that is clear."""
    kind = kind_of(run)
    if kind == BASELINE:
        return read_baseline(run).build
    if kind == GATE:
        return read_gate_manifest(run).candidate.name
    if kind == EVAL and len(examined := read_manifest(run).builds) == 1:
        return examined[0]
    return known[0] if len(known) == 1 else ""


def lacking(who: Finished, planned: Planned) -> str:
    """Say what a finished run lacks for a stage; empty: nothing.

    Raises:
        BadInputError: its files are broken.
    """
    own = [part for part in parts(who.run) if who.build in build_of(part)]
    if planned.suite is not None:
        for part in own:
            if kind_of(part) == EVAL and _has_answers(part, who.build, planned.asks):
                return ""
        return f"{who.run.path} has no finished answers of {who.build} to {planned.asks}"
    kind = "concurrency" if planned.profile is not None and planned.profile.is_closed else "rate"
    there = {
        cell.level.get(kind)
        for part in own
        if kind_of(part) != EVAL
        for cell in part.read_measurements().cells
        if (cell.build, cell.profile) == (who.build, planned.asks)
    }
    absent = ", ".join(f"{level:g}" for level in planned.levels if level not in there)
    return f"{who.run.path} has no cells of {planned.asks} at {absent}" if absent else ""


def _has_answers(part: RunFolder, build: str, suite: str) -> bool:
    try:
        check_run(EarlierRun(run=part, build=build), [suite])
    except BadInputError:
        return False
    return True


def copy_side(who: Finished, folder: RunFolder, role: str) -> list[str]:
    """Copy what a finished run knows of its build, and return the parts' names.

    Raises:
        BadInputError: its files are broken, or the folder cannot be written.
    """
    names: list[str] = []
    for part in parts(who.run):
        if who.build not in build_of(part):
            continue
        name = f"{role}-{len(names) + 1}"
        try:
            copy_portion(part, who.build, folder.path / name)
        except OSError as error:
            raise BadInputError(f"cannot copy {part.path}: {error.strerror or error}") from error
        names.append(name)
    return names
