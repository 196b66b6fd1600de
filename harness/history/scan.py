"""Runs below a folder, of all kinds and schemas, and the figures in them."""

from __future__ import annotations

import contextlib
import gc
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec

from harness.errors import BadInputError
from harness.evidence.evidence import Evidence, read_evidence
from harness.evidence.figures import Figure, figures
from harness.evidence.folders import BASELINE, EVAL, kind_in, kind_of, made_here, parts
from harness.history.history import RunLine, Skipped
from harness.quality.record import EVALUATION_FILE
from harness.rundir import MANIFEST_FILE, MEASUREMENTS_FILE, RunFolder
from loadprofiles.decoding import decoded

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

_DEEPEST: Final = 4
_VERDICTS: Final = {"gate": "gate.json", "comparison": "comparison.json"}
_OWN_PLACE: Final = ("--host", "--port", "--model", "--served-model-name", "--alias")
"""Arguments that differ from start to start, or are told elsewhere."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a build's server was made of, as far as it is written down."""

    weights: str | None
    """Digest."""
    arguments: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Found:
    """What there is below a folder."""

    runs: list[RunLine] = field(default_factory=list)
    """The newest first."""
    figures: list[Figure] = field(default_factory=list)
    """`run` is the folder's name; by time."""
    setups: dict[tuple[str, str], Setup] = field(default_factory=dict)
    """By run and build."""
    skipped: list[Skipped] = field(default_factory=list)


class _Verdict(msgspec.Struct):
    verdict: str | None = None
    recommendation: dict[str, Any] | None = None


def scan(folder: Path, *, metrics: Collection[str] | None, since: str | None = None) -> Found:
    """Read all runs below a folder; what cannot be read is named and left out.

    Args:
        folder: where run folders lie, in it or in folders within it.
        metrics: figures to gather; None: all.
        since: ISO 8601; runs that started before it are left out.
    """
    found = Found()
    with _uncollected():
        for path in _run_folders(folder, found.skipped):
            try:
                _read(RunFolder(path), found, metrics, since)
            except BadInputError as error:
                found.skipped.append(Skipped(path=str(path), why=error.text))
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                why = f"its files are not as harness writes them ({error})"
                found.skipped.append(Skipped(path=str(path), why=why))
    found.runs.sort(key=lambda run: (run.started, run.run), reverse=True)
    found.figures.sort(key=lambda one: (one.started, one.run))
    return found


def _run_folders(folder: Path, skipped: list[Skipped], depth: int = 1) -> Iterator[Path]:
    """Yield the folders with a manifest; those within them are their parts."""
    if depth == 1 and not folder.is_dir():
        return
    try:
        below = sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError as error:
        skipped.append(Skipped(path=str(folder), why=error.strerror or str(error)))
        return
    for path in below:
        if path.name.startswith("."):
            continue
        if (path / MANIFEST_FILE).is_file():
            yield path
        elif depth < _DEEPEST and (found := list(_run_folders(path, skipped, depth + 1))):
            yield from found
        elif depth == 1:
            skipped.append(Skipped(path=str(path), why=f"it has no {MANIFEST_FILE}"))


def _read(run: RunFolder, found: Found, metrics: Collection[str] | None, since: str | None) -> None:
    manifest: dict[str, Any] = run.read_manifest()
    info = manifest["run"]
    if manifest.get("kind") == BASELINE or (since is not None and info["started"] < since):
        return
    there: list[RunFolder] = []
    missing = 0
    for part in parts(run):
        name = EVALUATION_FILE if kind_of(part) == EVAL else MEASUREMENTS_FILE
        if (part.path / name).is_file():
            there.append(part)
        else:
            missing += 1
    if missing and not there:
        raise BadInputError("it has no numbers yet: `harness report` makes them from what is there")
    evidence = read_evidence(there)
    name = run.path.name
    found.runs.append(_line(run, manifest, evidence, complete=not missing))
    own = {part.path for part in made_here(run)}
    measured = evidence.only(own)
    for one in figures(measured, metrics=metrics):
        one = msgspec.structs.replace(one, run=name, started=info["started"])  # noqa: PLW2901
        found.figures.append(one)
    found.setups.update(_setups(name, measured))


def _line(
    run: RunFolder, manifest: dict[str, Any], evidence: Evidence, *, complete: bool
) -> RunLine:
    info = manifest["run"]
    kind = kind_in(manifest)
    told = figures(evidence, metrics=("aggregate_tps", "score", "perplexity"))
    engines = (" ".join(filter(None, (one.engine, one.engine_version))) for one in told)
    numbers = [one.measurements.valid for one in evidence.load]
    numbers += [one.result.valid for one in evidence.quality]
    return RunLine(
        run=run.path.name,
        path=str(run.path),
        kind=kind,
        started=info["started"],
        command=info.get("command", ""),
        builds=evidence.builds,
        engines=_unique(engines),
        profiles=_unique(one.profile for one in told if one.profile),
        suites=_unique(one.suite for one in told if one.suite),
        machines=_unique(one.machine for one in told),
        valid=complete and bool(numbers) and all(numbers),
        verdict=_verdict(run, kind),
        commit=(manifest.get("git") or {}).get("commit"),
    )


def _verdict(run: RunFolder, kind: str) -> str | None:
    """The verdict of a gate or a comparison; None for others, and before there is one."""
    if kind not in _VERDICTS:
        return None
    try:
        data = (run.path / _VERDICTS[kind]).read_bytes()
        found = decoded(data, _Verdict, kind)
    except (OSError, msgspec.DecodeError):
        return None
    return found.verdict or (found.recommendation or {}).get("verdict")


def _setups(run: str, evidence: Evidence) -> Iterator[tuple[tuple[str, str], Setup]]:
    for load in evidence.load:
        for build, facts in (load.manifest.get("servers") or {}).items():
            if isinstance(facts, dict):
                yield (run, build), _setup(facts)
    for quality in evidence.quality:
        for build, server in quality.manifest.servers.items():
            yield (
                (run, build),
                _setup(server.provenance),
            )


def _setup(facts: dict[str, Any]) -> Setup:
    weights = facts.get("weights")
    argv = [str(word) for word in facts.get("argv") or []]
    flags = (
        word
        if "=" in word or following.startswith("--") or not following
        else f"{word}={following}"
        for word, following in zip(argv, [*argv[1:], ""], strict=False)
        if word.startswith("--")
    )
    return Setup(
        weights=weights.get("sha256") if isinstance(weights, dict) else None,
        arguments=tuple(flag for flag in flags if flag.partition("=")[0] not in _OWN_PLACE),
    )


def _unique(words: Any) -> list[str]:  # noqa: ANN401 - any iterable of text
    return list(dict.fromkeys(words))


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Leave the garbage collector out: it takes four times as long as decoding does."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
