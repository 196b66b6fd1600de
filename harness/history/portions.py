"""One build's portion of a run, copied so that it is a run of that build alone."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, Final

import msgspec

from harness.evidence.folders import EVAL, kind_of
from harness.measuring.measurement import Measurements, measurements
from harness.quality.evaluate import evaluate
from harness.quality.passes import EVALS, read_pass
from harness.quality.probing import PROBES
from harness.quality.record import read_manifest, write_evaluation
from harness.rundir import CELLS, SERVERS, RunFolder

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_HIDDEN: Final = shutil.ignore_patterns(".*")


def build_of(run: RunFolder) -> list[str]:
    """Return the builds that a load run measured, or that an evaluation asked.

    Raises:
        BadInputError: its manifest or its numbers are missing or broken.
    """
    if kind_of(run) == EVAL:
        manifest = read_manifest(run)
        return list(dict.fromkeys(one.build for one in manifest.passes))
    return list(dict.fromkeys(cell.build for cell in run.read_measurements().cells))


def copy_portion(source: RunFolder, build: str, target: Path) -> None:
    """Copy what one build of a load run or an evaluation left, with its manifest and numbers.

    Raises:
        BadInputError: the run's files are broken, or the target cannot be written.
        OSError: a file cannot be copied.
    """
    target.mkdir()
    if kind_of(source) == EVAL:
        _copy_quality(source, build, RunFolder(target))
    else:
        _copy_load(source, build, RunFolder(target))


def _copy_quality(source: RunFolder, build: str, target: RunFolder) -> None:
    """The absolute scores are computed anew; what was against a baseline is not a part of it."""
    manifest = read_manifest(source)
    own = [one for one in manifest.passes if one.build == build]
    cells: list[str] = []
    for one in own:
        folder = source.path / EVALS / one.suite / one.folder
        if folder.is_dir():
            _tree(folder, target.path / EVALS / one.suite / one.folder)
            cells += read_pass(folder).cells
    _trees(source, target, CELLS, cells)
    _trees(source, target, SERVERS, [build])
    for path in (source.path / PROBES).glob(f"{build}.*"):
        (target.path / PROBES).mkdir(exist_ok=True)
        shutil.copy2(path, target.path / PROBES / path.name)
    suites = {one.suite for one in own}
    kept: dict[str, Any] = {
        "builds": [build],
        "baseline": None,
        "suites": [facts for facts in manifest.suites if facts.name in suites],
        "passes": own,
        "servers": {name: one for name, one in manifest.servers.items() if name == build},
    }
    target.write_manifest(msgspec.to_builtins(msgspec.structs.replace(manifest, **kept)))
    write_evaluation(target, evaluate(target))


def _copy_load(source: RunFolder, build: str, target: RunFolder) -> None:
    """The numbers are copied as they are."""
    manifest: dict[str, Any] = source.read_manifest()
    numbers: Measurements = source.read_measurements()
    own = [cell for cell in numbers.cells if cell.build == build]
    ids = {cell.id for cell in own}
    planned = [cell for cell in manifest.get("cells") or [] if cell.get("id") in ids]
    servers = manifest.get("servers") or {}
    manifest |= {
        "cells": [cell | {"baseline": None} for cell in planned],
        "servers": {name: facts for name, facts in servers.items() if name == build},
    }
    if isinstance(manifest.get("visits"), list):
        manifest["visits"] = [one for one in manifest["visits"] if one.get("build") == build]
    _trees(source, target, CELLS, ids)
    _trees(source, target, SERVERS, [build])
    target.write_manifest(manifest)
    target.write_measurements(measurements(numbers.run, own, len(own), numbers.caveats))


def _trees(source: RunFolder, target: RunFolder, kind: str, names: Iterable[str]) -> None:
    for name in names:
        folder = source.path / kind / name
        if folder.is_dir():
            _tree(folder, target.path / kind / name)


def _tree(source: Path, target: Path) -> None:
    shutil.copytree(source, target, dirs_exist_ok=True, ignore=_HIDDEN)
