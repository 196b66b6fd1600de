"""The manifest of a comparison: what was asked, the runs that it is made of; and these weighed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from harness.comparing.compare import compare
from harness.errors import BadInputError
from harness.evidence.evidence import read_evidence
from harness.evidence.folders import COMPARISON, kind_of, missing
from harness.gap import Gap  # noqa: TC001 - msgspec reads it at run time
from harness.measuring.measurement import RunInfo  # noqa: TC001 - msgspec reads it at run time
from harness.provenance import provenance
from harness.rundir import MANIFEST_FILE, MANIFEST_SCHEMA, read_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.comparing.comparison import Comparison
    from harness.comparing.request import Weighing
    from harness.rundir import RunFolder


class CompareManifest(msgspec.Struct, kw_only=True):
    """`manifest.json` of a comparison."""

    schema: int = 1
    kind: Literal["comparison"] = COMPARISON
    run: RunInfo
    request: dict[str, Any] = {}
    baseline: str | None = None
    limits: str | None = None
    prices: dict[str, float] = {}
    allow_different: bool = False
    unlike: list[str] = []
    """In what beside the weights the TOML files of builds differ that were brought up."""
    builds: dict[str, dict[str, Any]] = {}
    """Those that were brought up, as their TOML had them, secrets masked."""
    parts: list[str] = []
    """Folders within this one."""
    runs: list[str] = []
    """Folders of finished runs, where nothing was brought up."""
    resumed: list[Gap] = []
    """Each time that it went on after it was cut off."""
    host: Any = None
    git: Any = None
    packages: Any = None


def new_manifest(
    folder: RunFolder,
    weighing: Weighing,
    *,
    command: Sequence[str],
    seed: int,
    asked: Mapping[str, object],
    builds: Mapping[str, dict[str, Any]] | None = None,
    parts: Sequence[str] = (),
    runs: Iterable[RunFolder] = (),
) -> CompareManifest:
    """Return the manifest that a comparison begins with."""
    known: dict[str, Any] = provenance(Path.cwd())
    return CompareManifest(
        run=folder.begun(command, seed),
        request=msgspec.to_builtins(dict(asked), enc_hook=str),
        baseline=weighing.baseline,
        limits=weighing.limits,
        prices=dict(weighing.prices),
        allow_different=weighing.allow_different,
        builds=dict(builds or {}),
        parts=list(parts),
        runs=[str(run.path) for run in runs],
        host=known.get("host"),
        git=known.get("git"),
        packages=known.get("packages"),
    )


def write_manifest(folder: RunFolder, manifest: CompareManifest) -> None:
    """Write `manifest.json`.

    Raises:
        BadInputError: the folder cannot be written (any more).
    """
    folder.write_manifest(msgspec.to_builtins(manifest, enc_hook=str))


def read_compare_manifest(run: RunFolder) -> CompareManifest:
    """Read the manifest of a comparison.

    Raises:
        BadInputError: it is missing or broken, or the run is of another kind.
    """
    if kind_of(run) != COMPARISON:
        raise BadInputError(
            f"{run.path} is no comparison", hint="Give the folder of a run of `harness compare`."
        )
    return read_json(run.path / MANIFEST_FILE, CompareManifest, MANIFEST_SCHEMA)


def runs_gone(run: RunFolder) -> list[str]:
    """Return the finished runs that a comparison is of and that are not there any more.

    Raises:
        BadInputError: its manifest is missing or broken.
    """
    named = read_compare_manifest(run).runs
    return [name for name in missing(run) if name in named]


def weigh(run: RunFolder, *, anew: bool = False) -> Comparison:
    """Compute what a comparison's folder amounts to; with `anew` from samples and answers.

    Builds that were brought up for it were found alike before; what they tell of themselves
    since then is a caveat, and no reason to lose what was measured.

    Raises:
        BadInputError: a file is missing or broken, a finished run that it compares is not there
            any more, or finished runs are not comparable.
    """
    manifest = read_compare_manifest(run)
    if gone := runs_gone(run):
        raise BadInputError(
            f"{run.path} compares runs that are not there any more: {', '.join(gone)}",
            hint="Put them back, or compare them anew from where they are now.",
        )
    evidence = read_evidence([run], anew=anew)
    baseline = manifest.baseline or next(iter(evidence.builds), None)
    if baseline is None:
        raise BadInputError(f"{run.path}: no build has any numbers")
    found = compare(
        evidence,
        baseline=baseline,
        limits=manifest.limits,
        prices=manifest.prices,
        allow_different=manifest.allow_different or bool(manifest.builds),
        known_unlike=manifest.unlike,
        run=manifest.run,
    )
    return msgspec.structs.replace(found, runs=[_from(run, name) for name in found.runs])


def _from(run: RunFolder, path: str) -> str:
    """A part's folder from this one, so that a moved one says the same; others' where they are."""
    part = Path(path)
    return str(part.relative_to(run.path)) if part.is_relative_to(run.path) else path
