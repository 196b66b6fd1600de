"""What `harness load` was asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.measuring.measure import MAX_FAIL_RATIO

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.load.matrix import Lengths
    from harness.load.order import Order
    from harness.measuring.slo import Slo
    from harness.measuring.sweep import SweepPlan
    from harness.rundir import RunFolder
    from harness.serving import Url
    from launchers.build import Build
    from loadprofiles.profile import Profile
    from loadprofiles.records import Fleet


@dataclass(frozen=True, kw_only=True)
class LoadRequest:
    """Everything that was asked."""

    servers: list[tuple[Build, Path]] | Url
    """Builds with the folders that their relative paths count from, or a URL."""
    profile: Profile
    """With the command line's overrides."""
    levels: list[float]
    repeats: int = 1
    order: Order = "each"
    interleave: bool = False
    """All builds are up at once, and asked by turns, request by request."""
    again: bool = False
    """A cell that the client alone made invalid is driven once more while its server is up, and has
    that time's numbers, whatever they are."""
    lengths: tuple[Lengths, ...] = ("forced",)
    sweep: SweepPlan | None = None
    """Levels are found as it goes, from `levels[0]` on; None: they are those given."""
    resume: RunFolder | None = None
    """Go on with this run."""
    seed: int = 0
    slo: Slo | None = None
    dialect: str = "openai-completions"
    stream: bool = True
    """Whether answers are asked for as a stream of events; else as one document."""
    tokenizer: Path | None = None
    headers: dict[str, str] = field(default_factory=dict)
    api_key_env: str | None = None
    force_ignore_eos: bool = False
    max_fail_ratio: float = MAX_FAIL_RATIO
    fleet: Fleet | None = None
    """The workers that drive together; None: one process drives."""
    asked: Mapping[str, object] = field(default_factory=dict)
    """The manifest's `request`, secrets masked."""
    command: list[str]
    """The command line, secrets masked."""
