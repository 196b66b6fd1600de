"""What `harness compare` was asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.load.request import LoadRequest
    from harness.quality.request import EvalRequest
    from harness.rundir import RunFolder
    from harness.serving import Who


@dataclass(frozen=True, kw_only=True)
class Weighing:
    """How what was measured is judged."""

    baseline: str | None = None
    """None: the first build of the runs."""
    limits: str | None = None
    """The user's own, by the grammar of `harness.evidence.limits`."""
    prices: Mapping[str, float] = field(default_factory=dict)
    """Build → USD an hour of what it runs on; "" for every build."""
    allow_different: bool = False


@dataclass(frozen=True, kw_only=True)
class CompareRequest:
    """Builds to be measured, each several times; servers that run already among them."""

    builds: Sequence[Who]
    """The baseline first."""
    load: LoadRequest
    quality: EvalRequest
    weighing: Weighing
    resume: RunFolder | None = None
    """The run to go on with."""
    asked: Mapping[str, object] = field(default_factory=dict)
    """The manifest's `request`, secrets masked."""
    command: list[str]
    """The command line, secrets masked."""
