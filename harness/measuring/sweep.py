"""What a sweep over levels found, as `measurements.json` has it. Definitions: docs/method.md."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

UNDER_WAY: Final = "under way"
Ended = Literal[
    "saturated", "range", "levels", "time", "client", "failing", "unanswered", "under way"
]
"""saturated: throughput grows no more, or the queue does · range: the highest level was reached, or
no higher one can be driven · levels: so many levels were allowed · client: it was the bottleneck ·
failing: too many requests failed · unanswered: all did."""


class Throughput(msgspec.Struct, frozen=True, kw_only=True):
    """A cell's throughput with its standard error, over the steady part of its window."""

    tps: float
    """Output tokens/s."""
    tps_se: float
    rate: float
    """Answers/s."""
    rate_se: float
    from_s: float
    """Where in the window it was taken: from here."""
    to_s: float


class SweepPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a sweep may measure, for each build."""

    low: float
    """The level to begin with."""
    high: float
    """The highest level."""
    least: float
    """Down to here an open loop looks for a light load below `low`."""
    levels: int
    """So many at most."""
    limit_s: float
    """No level is begun that would end later, by how long the one before it took."""
    max_fail_ratio: float
    """Share of failed requests above which the sweep goes no higher."""


class SweepLevel(msgspec.Struct, frozen=True, kw_only=True):
    """One level, its repeats together."""

    level: float
    """Streams or requests/s."""
    offered_rate: float
    """Requests/s that were due."""
    answered_rate: float
    """Answers/s."""
    throughput: float
    """In the sweep's unit."""
    se: float
    """Its standard error."""
    in_flight: float
    steady: Literal["steady", "none", "not judged"]
    """The worst of its repeats."""
    cut_share: float
    """Of the windows, what was cut off at both ends as not steady."""
    stable: bool
    """The queue did not grow throughout."""
    fitted: float | None
    """Throughput by the fitted curve."""
    used: bool
    """Whether the fit used it."""

    @property
    def reach(self) -> float:
        """Half of the 95 % interval of its throughput."""
        return 1.96 * self.se


class Knee(msgspec.Struct, frozen=True, kw_only=True):
    """Where the server saturates."""

    level: float
    """Streams or requests/s."""
    ci95: tuple[float, float]
    kind: Literal["corner", "gradual", "queue"]
    """corner: throughput stops growing there · gradual: it reaches 90 % of its limit there ·
    queue: at a higher rate the queue grows."""


class Sweep(msgspec.Struct, frozen=True, kw_only=True):
    """A sweep over the levels of one build."""

    build: str
    profile: str
    level: Literal["concurrency", "rate"]
    unit: Literal["tok/s", "req/s"]
    """Of throughput."""
    levels: list[SweepLevel]
    ended: Ended
    """Why no further level is measured; under way, if one is to come."""
    text: str
    """The same in words."""
    plateau: float | None = None
    """Throughput that is not exceeded, in `unit`."""
    plateau_ci95: tuple[float, float] | None = None
    knee: Knee | None = None
    """None where none was found: `text` and `notes` say why."""
    near: float | None = None
    """Level from which throughput is at least 95 % of the plateau (a closed loop)."""
    near_ci95: tuple[float, float] | None = None
    notes: list[str] = []
    """What a reader must mind."""
