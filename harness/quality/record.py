"""What a run of `harness eval` has found so far, and the files that say so."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from harness.errors import BadInputError
from harness.gap import Gap  # noqa: TC001 - msgspec reads it at run time
from harness.measuring.measurement import (
    Caveat,
    RunInfo,
)
from harness.provenance import provenance
from harness.quality.evaluation import SCHEMA, Evaluation, Evaluations
from harness.quality.passes import Pass  # noqa: TC001 - msgspec reads it at run time
from harness.quality.suites import files_of
from harness.rundir import MANIFEST_FILE, MANIFEST_SCHEMA, read_json
from loadprofiles.wire.clock import wall_minus_monotonic_ns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.quality.evaluation import Result
    from harness.quality.request import EvalRequest
    from harness.rundir import RunFolder

KIND: Final = "eval"
EVALUATION_FILE: Final = "evaluation.json"


class ServerFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked, as far as answers depend on it."""

    engine: str
    engine_version: str | None
    model: str
    identity: str
    provenance: dict[str, Any] = {}
    tokenizer_sha256: str | None = None
    """Of its own `tokenizer.json`, or else of --tokenizer's; None where neither is known."""


class SuiteFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A suite, as it was when it was asked."""

    name: str
    kind: str
    settings: dict[str, Any] = {}
    files: dict[str, str] = {}
    """SHA-256 of each file of the user's that it is made of."""


class BaselineFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Whom the others are compared with."""

    build: str
    run: str | None = None
    """The earlier run that its answers were copied from."""


class EvalManifest(msgspec.Struct, kw_only=True):
    """`manifest.json` of such a run, as far as its numbers depend on it."""

    schema: int = 1
    kind: Literal["eval"] = KIND
    run: RunInfo
    request: dict[str, Any] = {}
    builds: list[str]
    """Under examination, in their order."""
    baseline: BaselineFacts | None = None
    suites: list[SuiteFacts]
    passes: list[Pass]
    margin: float
    perplexity_margin: float
    max_fail_ratio: float
    seed: int
    servers: dict[str, ServerFacts] = {}
    problems: list[Caveat] = []
    resumed: list[Gap] = []
    """Each time that it went on, with something still to be asked, after it was cut off."""
    clock: dict[str, int] = {}
    host: Any = None
    git: Any = None
    packages: Any = None


def read_manifest(run: RunFolder) -> EvalManifest:
    """Read the manifest of an evaluation.

    Raises:
        BadInputError: it is missing or broken, or the run is of another kind.
    """
    if not is_evaluation(run):
        raise BadInputError(
            f"{run.path} is no evaluation", hint="Give the folder of a run of `harness eval`."
        )
    return read_json(run.path / MANIFEST_FILE, EvalManifest, MANIFEST_SCHEMA)


def is_evaluation(run: RunFolder) -> bool:
    """Whether a run's folder is one of `harness eval`.

    Raises:
        BadInputError: its manifest is missing or broken.
    """
    return run.read_manifest().get("kind") == KIND


def write_evaluation(run: RunFolder, result: Result) -> None:
    """Write `evaluation.json`.

    Raises:
        BadInputError: the folder cannot be written (any more).
    """
    run.write_json(EVALUATION_FILE, result)


def read_evaluation(run: RunFolder) -> Result:
    """Read `evaluation.json`.

    Raises:
        BadInputError: it is missing, broken, or of a newer harness.
    """
    path = run.path / EVALUATION_FILE
    if "evaluations" in read_json(path, dict[str, object], SCHEMA):
        return read_json(path, Evaluations, SCHEMA)
    return read_json(path, Evaluation, SCHEMA)


class EvalRecord:
    """The manifest of an evaluation under way."""

    def __init__(self, folder: RunFolder, manifest: EvalManifest) -> None:
        self.folder = folder
        self.manifest = manifest

    def add_problem(self, code: str, text: str) -> None:
        """Keep a reason why a part of this run is missing or must not be believed."""
        self.manifest.problems.append(Caveat(code, text, invalidates=True))

    def save(self) -> None:
        """Write `manifest.json`.

        Raises:
            BadInputError: the folder cannot be written (any more).
        """
        if self.manifest.host is None:
            for name, value in self._provenance.items():
                setattr(self.manifest, name, value)
        content = msgspec.to_builtins(self.manifest, enc_hook=_plain)
        self.folder.write_manifest(content)

    @cached_property
    def _provenance(self) -> dict[str, object]:
        return provenance(Path.cwd())


def new_manifest(
    folder: RunFolder,
    request: EvalRequest,
    builds: Sequence[str],
    baseline: BaselineFacts | None,
    passes: Sequence[Pass],
) -> EvalManifest:
    """Return the manifest that a run begins with."""
    return EvalManifest(
        run=folder.begun(request.command, request.seed),
        request=msgspec.to_builtins(dict(request.asked), enc_hook=_plain),
        builds=list(builds),
        baseline=baseline,
        suites=[
            SuiteFacts(
                name=suite.name,
                kind=suite.kind,
                settings=suite.model_dump(mode="json", exclude_none=True),
                files=files_of(suite, base_dir),
            )
            for suite, base_dir in request.suites
        ],
        passes=list(passes),
        margin=request.margin,
        perplexity_margin=request.perplexity_margin,
        max_fail_ratio=request.max_fail_ratio,
        seed=request.seed,
        clock={"wall_minus_monotonic_ns": wall_minus_monotonic_ns()},
    )


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} in a run's JSON")
