"""What `harness load` was asked for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from harness.measuring.measure import MAX_FAIL_RATIO
from harness.serving import builds_in, names_in, url_of
from launchers.engines import load_engine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from harness.load.matrix import Lengths
    from harness.load.order import Order
    from harness.measuring.slo import Slo
    from harness.measuring.sweep import SweepPlan
    from harness.rundir import RunFolder
    from harness.serving import Url, Who
    from loadprofiles.profile import Profile
    from loadprofiles.records import Fleet

USUAL = "openai-completions"
"""The dialect of servers that have none of their own."""


@dataclass(frozen=True, kw_only=True)
class LoadRequest:
    """Everything that was asked."""

    servers: Sequence[Who]
    profile: Profile
    """With the command line's overrides."""
    levels: list[float]
    repeats: int = 1
    order: Order = "each"
    side_by_side: bool = False
    """Hold the builds against the first of them, in the numbers and in the reports."""
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
    dialect: str | None = None
    """Asked of all; None: each server's own."""
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

    @property
    def processes(self) -> int:
        """How many processes share a cell's load."""
        return 1 if self.fleet is None else self.fleet.local + self.fleet.remote

    def url(self, build: str) -> Url | None:
        """The server of that name that runs already."""
        return url_of(self.servers, build)

    def of(self, build: str) -> LoadRequest:
        """What is asked of one server: what its own table says comes first."""
        at = self.url(build)
        if at is None:
            return self
        return replace(
            self,
            tokenizer=at.tokenizer or self.tokenizer,
            api_key_env=at.api_key_env or self.api_key_env,
        )

    def spoken(self, build: str) -> str:
        """The dialect that one server is asked in.

        Raises:
            UnknownNameError: there is no such engine.
        """
        at = self.url(build)
        if at is not None or self.dialect is not None:
            return (at and at.dialect) or self.dialect or USUAL
        engines = [one.engine for one, _ in builds_in(self.servers) if one.name == build]
        return load_engine(engines[0]).dialects[0] if engines else USUAL

    @property
    def dialects(self) -> dict[str, str]:
        """Server → dialect, of those that are asked in another one than the request's."""
        told = {name: self.spoken(name) for name in names_in(self.servers)}
        usual = self.dialect or USUAL
        return {name: dialect for name, dialect in told.items() if dialect != usual}
