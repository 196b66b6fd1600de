"""What `harness gate` was asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.quality.request import CONCURRENCY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.config import Config
    from harness.gating.rules import Rules
    from harness.rundir import RunFolder
    from launchers.build import Build


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A run whose numbers are read; no server is started for it."""

    run: RunFolder
    build: str


Who = tuple["Build", Path] | Finished
"""A build with the folder that its relative paths count from, or a finished run."""


def name_of(who: Who) -> str:
    """Return what it is called."""
    return who.build if isinstance(who, Finished) else who[0].name


@dataclass(frozen=True, kw_only=True)
class GateRequest:
    """Everything that was asked."""

    candidate: Who
    baseline: Who
    rules: Rules
    rules_dir: Path
    """What the rules' relative paths count from."""
    rules_file: str
    """As it was named."""
    config: Config
    """Where suites and profiles are found by name."""
    fail_fast: bool = True
    allow_underpowered: bool = False
    """Go on although a rule cannot come out as PASS."""
    seed: int = 0
    concurrency: int = CONCURRENCY
    timeout_s: float = 120.0
    asked: Mapping[str, object] = field(default_factory=dict)
    """The manifest's `request`, secrets masked."""
    command: list[str]
    """The command line, secrets masked."""
