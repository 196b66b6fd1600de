"""What `harness gate` was asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from harness.quality.request import CONCURRENCY
from harness.serving import Who
from harness.serving import name_of as name_served

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.config import Config
    from harness.gating.rules import Rules
    from harness.rundir import RunFolder


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A run whose numbers are read; no server is started for it."""

    run: RunFolder
    build: str


Named: TypeAlias = "Who | Finished"
"""A build, a server that runs already, or a finished run."""


def name_of(side: Named) -> str:
    """Return what it is called."""
    return side.build if isinstance(side, Finished) else name_served(side)


@dataclass(frozen=True, kw_only=True)
class GateRequest:
    """Everything that was asked."""

    candidate: Named
    baseline: Named
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
