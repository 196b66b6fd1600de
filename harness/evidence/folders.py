"""Runs that are made of runs: a comparison, a gate or a baseline holds others as folders.

runs/<utc>-compare-fp16-awq/
    manifest.json            kind, what was asked, the names of its parts
    comparison.json or gate.json  report.html  report.md
    quality/                 an ordinary run of `harness eval`
    load/                    an ordinary run of `harness load`
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.errors import BadInputError
from harness.rundir import MANIFEST_FILE, RunFolder

if TYPE_CHECKING:
    from collections.abc import Mapping

COMPARISON: Final = "comparison"
GATE: Final = "gate"
BASELINE: Final = "baseline"
LOAD: Final = "load"
EVAL: Final = "eval"
CAPACITY: Final = "capacity"
COMPARISON_FILE: Final = "comparison.json"


def kind_of(run: RunFolder) -> str:
    """Return `load`, `eval`, `comparison`, `gate`, `baseline` or `capacity`.

    A search's folder is that of a load run whose cells are its probes, and more.

    Raises:
        BadInputError: its manifest is missing or broken.
    """
    return kind_in(run.read_manifest())


def kind_in(manifest: Mapping[str, object]) -> str:
    """Return the kind of the run with this manifest."""
    request = manifest.get("request")
    searched = isinstance(request, dict) and bool(request.get("search"))
    return str(manifest.get("kind", CAPACITY if searched else LOAD))  # those two name none


def parts(run: RunFolder) -> list[RunFolder]:
    """Return the load runs and evaluations that a run consists of: itself, where it is one.

    Those of a comparison of finished runs lie elsewhere: its manifest names their folders. Parts
    that have not begun, and runs that are not there any more, are left out.

    Raises:
        BadInputError: a manifest is missing or broken.
    """
    manifest = run.read_manifest()
    if manifest.get("kind", LOAD) not in {COMPARISON, GATE, BASELINE}:
        return [run]
    names = manifest.get("parts")
    if not isinstance(names, list) or any(str(name) in {"", ".", ".."} for name in names):
        raise BadInputError(f"{run.path / MANIFEST_FILE}: parts names no folders")
    folders = [run.path / str(name).replace("/", "_") for name in names]  # never outside of it
    own = [RunFolder(path) for path in folders if (path / MANIFEST_FILE).is_file()]
    named = manifest.get("runs")
    others = [RunFolder(Path(str(name))) for name in named] if isinstance(named, list) else []
    there = [other for other in others if (other.path / MANIFEST_FILE).is_file()]
    return own + [part for other in there for part in parts(other)]


def missing(run: RunFolder) -> list[str]:
    """Return the names of a comparison's or a gate's parts that are not there.

    Raises:
        BadInputError: a manifest is missing or broken.
    """
    manifest = run.read_manifest()
    if manifest.get("kind", LOAD) not in {COMPARISON, GATE, BASELINE}:
        return []
    names = [str(name) for key in ("parts", "runs") for name in manifest.get(key) or ()]  # type: ignore[attr-defined]
    return [name for name in names if not (run.path / name / MANIFEST_FILE).is_file()]


def made_here(run: RunFolder) -> list[RunFolder]:
    """Return the parts that were measured in this run, and not in an earlier one that it reads.

    A comparison may be of runs elsewhere, a gate also holds copies, and a baseline is one.

    Raises:
        BadInputError: a manifest is missing or broken.
    """
    if kind_of(run) == BASELINE:
        return []
    sides = sides_of(run)
    copies = {name for side in sides.values() if side.get("run") for name in side.get("parts", [])}
    own = [part for part in parts(run) if part.path in {run.path, run.path / part.path.name}]
    return [part for part in own if part.path.name not in copies]


def sides_of(run: RunFolder) -> dict[str, dict[str, Any]]:
    """Return a gate's `candidate` and `baseline` as its manifest has them; of others nothing.

    Raises:
        BadInputError: its manifest is missing or broken.
    """
    manifest = run.read_manifest()
    if manifest.get("kind") != GATE:
        return {}
    found = {role: manifest.get(role) for role in ("candidate", "baseline")}
    return {role: side for role, side in found.items() if isinstance(side, dict)}
