"""What `harness eval` was asked for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from harness.measuring.measure import MAX_FAIL_RATIO
from harness.serving import name_of, url_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from evals.endpoint import Endpoint
    from evals.records import Route
    from evals.suite import Suite
    from harness.rundir import RunFolder
    from harness.serving import Url, Who
    from loadprofiles.profile import Profile

MARGIN = 2.0
"""Points that a build may lose unless --margin says otherwise."""
PERPLEXITY_MARGIN = 5.0
CONCURRENCY = 32


@dataclass(frozen=True, kw_only=True)
class UnderLoad:
    """The load that runs while the same items are graded again."""

    profile: Profile
    level: float


@dataclass(frozen=True, kw_only=True)
class EarlierRun:
    """A baseline that was evaluated before: its answers are read, and no server is started."""

    run: RunFolder
    build: str


@dataclass(frozen=True, kw_only=True)
class EvalRequest:
    """Everything that was asked."""

    servers: Sequence[Who]
    suites: list[tuple[Suite, Path]]
    """With the folders that their relative paths count from."""
    baseline: Who | EarlierRun | None = None
    under_load: UnderLoad | None = None
    route: Route | None = None
    """The only one to take; None: the best that is proved."""
    limit: int | None = None
    seed: int = 0
    margin: float = MARGIN
    """Points of the score that a build may lose."""
    perplexity_margin: float = PERPLEXITY_MARGIN
    """Per cent by which the perplexity may rise."""
    gated: bool = False
    """Whether the margin was asked for, so that the exit code tells the verdict."""
    concurrency: int = CONCURRENCY
    tokenizer: Path | None = None
    calibration: Path | None = None
    """Text that the builds were calibrated on, to be searched for the suites' items."""
    judge: Endpoint | None = None
    """The model that judges answers, where a suite's grader asks for one."""
    headers: dict[str, str] = field(default_factory=dict)
    api_key_env: str | None = None
    timeout_s: float = 120.0
    max_fail_ratio: float = MAX_FAIL_RATIO
    resume: RunFolder | None = None
    """The run to go on with."""
    asked: Mapping[str, object] = field(default_factory=dict)
    """The manifest's `request`, secrets masked."""
    command: list[str]
    """The command line, secrets masked."""

    @property
    def brought_up(self) -> list[Who]:
        """Everyone who is asked, the baseline first, each once."""
        found = list(self.servers)
        if self.baseline is None or isinstance(self.baseline, EarlierRun):
            return found
        name = name_of(self.baseline)
        return [self.baseline, *(who for who in found if name_of(who) != name)]

    def url(self, build: str) -> Url | None:
        """The server of that name that runs already."""
        return url_of(self.brought_up, build)

    def of(self, build: str) -> EvalRequest:
        """What is asked of one server: what its own table says comes first."""
        at = self.url(build)
        if at is None:
            return self
        return replace(
            self,
            tokenizer=at.tokenizer or self.tokenizer,
            api_key_env=at.api_key_env or self.api_key_env,
        )
