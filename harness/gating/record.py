"""The files of a gate: `manifest.json`, what was asked and how it went, and `gate.json`."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from harness.errors import BadInputError
from harness.evidence.folders import GATE, kind_of
from harness.gating.result import SCHEMA, GateResult
from harness.measuring.measurement import (  # noqa: TC001 - msgspec reads them at run time
    Caveat,
    RunInfo,
)
from harness.rundir import MANIFEST_FILE, MANIFEST_SCHEMA, RunFolder, read_json

GATE_FILE: Final = "gate.json"


Ended = Literal["not_begun", "done", "skipped", "out_of_time", "failed"]


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """The candidate or the baseline."""

    build: str
    parts: list[str] = []
    """Those of the parts that tell of it."""
    name: str = ""
    """What it is called in the parts."""
    run: str | None = None
    """The finished run that its numbers are of; None: it was brought up."""


class StageRecord(msgspec.Struct, kw_only=True):
    """How a stage went."""

    name: str
    asks: str = ""
    """The suite's or the profile's own name; empty for the contract."""
    levels: list[float] = []
    """Streams or requests per second that are judged; empty: a suite, or all, in an older gate."""
    rules: list[str] = []
    budget_s: float | None = None
    tests: int = 0
    """Tests that its rules were planned to make: those of a rule for each category count each."""
    ended: Ended = "not_begun"
    """failed: the contract is broken, or the stage could not be gone through."""
    elapsed_s: float = 0.0
    text: str = ""
    """Why it was skipped, or what went wrong."""
    needs_s: float | None = None
    """Where it ran out of time: seconds that were missing, at the pace it had."""


class TurnRecord(msgspec.Struct, kw_only=True):
    """One time that a side's server was up."""

    role: Literal["baseline", "candidate"]
    asks: bool = False
    """Whether it was probed and asked the suites."""
    repeat: int | None = None
    """Which repeat of the load stages was due; None: none, or an older gate's `repeats`."""
    began_s: float = 0.0
    """Since the gate began, when its server was about to start."""
    start_s: float | None = None
    """Until it was ready; None: it did not come up."""


class GateManifest(msgspec.Struct, kw_only=True):
    """`manifest.json` of a gate, as far as its verdict depends on it."""

    schema: int = 1
    kind: Literal["gate"] = GATE
    run: RunInfo
    request: dict[str, Any] = {}
    candidate: Side
    baseline: Side
    rules_file: str
    rules: dict[str, Any]
    """The file's content, as it was."""
    budget_s: float | None = None
    parts: list[str] = []
    """Folders within this one, those of finished runs too."""
    stages: list[StageRecord] = []
    turns: list[TurnRecord] = []
    """In their order; empty where both sides are finished runs, or the gate is an older one."""
    elapsed_s: float = 0.0
    problems: list[Caveat] = []
    host: Any = None
    git: Any = None
    packages: Any = None


def is_gate(run: RunFolder) -> bool:
    """Whether a run's folder is one of `harness gate`.

    Raises:
        BadInputError: its manifest is missing or broken.
    """
    return kind_of(run) == GATE


def read_gate_manifest(run: RunFolder) -> GateManifest:
    """Read a gate's manifest.

    Raises:
        BadInputError: it is missing or broken, or the run is of another kind.
    """
    if not is_gate(run):
        raise BadInputError(f"{run.path} is no gate", hint="Give a folder of `harness gate`.")
    return read_json(run.path / MANIFEST_FILE, GateManifest, MANIFEST_SCHEMA)


def write_gate(run: RunFolder, result: GateResult) -> None:
    """Write `gate.json`.

    Raises:
        BadInputError: the folder cannot be written (any more).
    """
    run.write_json(GATE_FILE, result)


def read_gate(run: RunFolder) -> GateResult:
    """Read `gate.json`.

    Raises:
        BadInputError: it is missing, broken, or of a newer harness.
    """
    return read_json(run.path / GATE_FILE, GateResult, SCHEMA)
