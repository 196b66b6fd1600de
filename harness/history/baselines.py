"""Blessed baselines: what one build answered and how fast it was, kept apart from the runs.

baselines/<name>/
    manifest.json            `Baseline`: who blessed what, when, and where it comes from
    quality/  load/  …       its part of the runs, each an ordinary run folder of that build alone
baselines/<name>@<utc>/      the one that it replaced, with the time at which that was blessed

Such a folder is read like any run: `--baseline` takes its path or its name.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from harness import __version__
from harness.errors import BadInputError, InvalidRunError, did_you_mean
from harness.evidence.evidence import read_evidence
from harness.evidence.figures import figures
from harness.evidence.folders import BASELINE, kind_of, parts, sides_of
from harness.history.portions import build_of, copy_portion
from harness.measuring.measurement import RunInfo
from harness.provenance import git, user
from harness.rundir import MANIFEST_FILE, RunFolder, read_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.evidence.evidence import Evidence

BASELINES: Final = Path("baselines")
"""Where they are unless said otherwise, from the current folder."""
SCHEMA: Final = 1
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_STAMP: Final = "%Y%m%dT%H%M%SZ"


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A run that a baseline was copied from."""

    part: str
    """The folder within the baseline."""
    run: str
    path: str
    started: str
    command: str
    git: dict[str, Any] | None = None
    """Of the folder that it was run in."""


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """On what the numbers were measured; a baseline of several runs may have several."""

    machine: str
    engine: str | None
    engine_version: str | None
    model: str | None


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """`manifest.json` of a baseline."""

    schema: int = SCHEMA
    kind: Literal["baseline"] = BASELINE
    run: RunInfo
    """`started` is when it was blessed, `command` by which command."""
    name: str
    build: str
    blessed_by: str | None
    """As git calls the user, else the account's name."""
    git: dict[str, Any] | None
    """Of the current folder when it was blessed."""
    sources: list[Source]
    origins: list[Origin]
    parts: list[str]
    replaced: str | None = None
    """Folder of the baseline that had the name before."""


def bless(
    run: RunFolder,
    build: str,
    name: str,
    *,
    command: Sequence[str],
    folder: Path = BASELINES,
) -> RunFolder:
    """Keep what a run knows of one build as the baseline called `name`, and return its folder.

    Args:
        run: a load run, an evaluation, a comparison or a gate.
        build: whose numbers.
        name: what the baseline is called; an earlier one of that name is kept with its date.
        command: the command line that blesses it, secrets masked.
        folder: where baselines are.

    Raises:
        BadInputError: the name cannot be one, the run has no such build, or the folder cannot be
            written.
        InvalidRunError: the run must not be believed; the text says why.
    """
    if not _NAME.fullmatch(name):
        raise BadInputError(
            f'--bless: "{name}" cannot name a baseline', hint="Use letters, digits, . _ and -."
        )
    sources = _sources(run, build)
    evidence = read_evidence(sources)
    if build not in evidence.builds:
        known = evidence.builds
        raise BadInputError(
            f'--bless: {run.path} knows nothing of "{build}"{did_you_mean(build, known)}',
            hint=f"It has {', '.join(known) or 'no build'}.",
        )
    _check(evidence, build)
    now = dt.datetime.now(dt.UTC)
    target = folder / name
    draft = folder / f".{name}.{os.getpid()}.tmp"
    try:
        draft.mkdir(parents=True)
        named = _copy(sources, build, draft)
        replaced = _dated(target)
        _write(draft, target, build, named, command=command, now=now, replaced=replaced)
        if replaced is not None:
            target.rename(replaced)
        draft.rename(target)
    except OSError as error:
        raise BadInputError(
            f"--bless: cannot write {folder}: {error.strerror or error}",
            hint="Choose a folder that you may write with --baselines DIR.",
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return RunFolder(target)


def find_baseline(name: str, folder: Path = BASELINES) -> RunFolder | None:
    """Return the baseline called `name`, or `name@<utc>` of a replaced one; None: there is none."""
    if not _NAME.fullmatch(name.partition("@")[0]) or "/" in name:
        return None
    path = folder / name
    return RunFolder(path) if (path / MANIFEST_FILE).is_file() else None


def all_baselines(folder: Path = BASELINES) -> list[tuple[Path, Baseline]]:
    """Return all baselines with their folders, replaced ones too, by name and date.

    Raises:
        BadInputError: a manifest is broken.
    """
    paths = sorted(folder.glob(f"[!.]*/{MANIFEST_FILE}")) if folder.is_dir() else []
    return sorted(
        ((path.parent, read_baseline(RunFolder(path.parent))) for path in paths),
        key=lambda one: (one[1].name, one[1].run.started, one[0]),
    )


def read_baseline(run: RunFolder) -> Baseline:
    """Read who blessed what.

    Raises:
        BadInputError: it is missing or broken, or the folder is no baseline.
    """
    if kind_of(run) != BASELINE:
        raise BadInputError(f"{run.path} is no baseline: `harness gate --bless` makes them")
    return read_json(run.path / MANIFEST_FILE, Baseline, SCHEMA)


def _sources(run: RunFolder, build: str) -> list[RunFolder]:
    """What a run consists of; of a gate its parts of one side."""
    for side in sides_of(run).values():  # the candidate first, should both have one name
        if side.get("build") == build:
            own = side.get("parts", [])
            return [part for part in parts(run) if part.path.name in own]
    return parts(run)


def _check(evidence: Evidence, build: str) -> None:
    """Look that all that is known of a build may be believed.

    Raises:
        InvalidRunError: it may not, or a part of it is missing.
    """
    why: list[str] = []
    for load in evidence.load:
        cells = [cell for cell in load.measurements.cells if cell.build == build]
        if not cells:
            continue
        why += [caveat.text for caveat in load.measurements.caveats if caveat.invalidates]
        for cell in cells:
            texts = [caveat.text for caveat in cell.client.caveats if caveat.invalidates]
            if not cell.client.valid:
                why.append(f"{cell.id}: {' '.join(texts) or 'it is invalid'}")
    for quality in evidence.quality:
        for one in quality.evaluations:
            if one.server.build == build:
                told = [*one.caveats, *(caveat for suite in one.suites for caveat in suite.caveats)]
                texts = [caveat.text for caveat in told if caveat.invalidates]
                why += texts or ([] if one.valid else ["its evaluation is not complete"])
    if why:
        raise InvalidRunError(
            f"--bless: {build} cannot be a baseline: {' '.join(dict.fromkeys(why))}",
            hint="Bless a run that is valid: the next gate would be held against its numbers.",
        )


def _copy(sources: Sequence[RunFolder], build: str, draft: Path) -> list[tuple[str, RunFolder]]:
    """Copy each source's portion; return the names of the parts with where they came from."""
    named: list[tuple[str, RunFolder]] = []
    for source in sources:
        if build not in build_of(source):
            continue
        base = "quality" if kind_of(source) == "eval" else "load"
        taken = sum(name.partition("-")[0] == base for name, _ in named)
        part = base if not taken else f"{base}-{taken + 1}"
        copy_portion(source, build, draft / part)
        named.append((part, source))
    return named


def _write(
    draft: Path,
    target: Path,
    build: str,
    named: Sequence[tuple[str, RunFolder]],
    *,
    command: Sequence[str],
    now: dt.datetime,
    replaced: Path | None,
) -> None:
    """Read the copies back and write down where they come from."""
    copies = read_evidence([RunFolder(draft / part) for part, _ in named])
    told = (one for one in figures(copies) if one.build == build)
    origins = dict.fromkeys(
        (one.machine, one.engine, one.engine_version, one.model) for one in told
    )
    manifest = Baseline(
        run=RunInfo(
            id=target.name,
            path=str(target.absolute()),
            started=now.isoformat(timespec="seconds"),
            command=shlex.join(command),
            seed=0,
            harness_version=__version__,
        ),
        name=target.name,
        build=build,
        blessed_by=user(Path.cwd()),
        git=git(Path.cwd()),
        sources=[_source(part, source) for part, source in named],
        origins=[
            Origin(machine=machine, engine=engine, engine_version=version, model=model)
            for machine, engine, version, model in origins
        ],
        parts=[part for part, _ in named],
        replaced=None if replaced is None else replaced.name,
    )
    RunFolder(draft).write_json(MANIFEST_FILE, manifest)


def _source(part: str, source: RunFolder) -> Source:
    manifest: dict[str, Any] = source.read_manifest()
    run = manifest["run"]
    return Source(
        part=part,
        run=run["id"],
        path=str(source.path),
        started=run["started"],
        command=run["command"],
        git=manifest.get("git"),
    )


def _dated(target: Path) -> Path | None:
    """Where the baseline that now has the name is to be kept; None where there is none.

    Raises:
        BadInputError: what has the name is no baseline.
    """
    if not target.exists():
        return None
    if not (target / MANIFEST_FILE).is_file():
        raise BadInputError(f"--bless: {target} is there, and is no baseline")
    blessed = dt.datetime.fromisoformat(read_baseline(RunFolder(target)).run.started)
    name = f"{target.name}@{blessed.astimezone(dt.UTC).strftime(_STAMP)}"
    dated, count = target.with_name(name), 2
    while dated.exists():
        dated, count = target.with_name(f"{name}-{count}"), count + 1
    return dated
