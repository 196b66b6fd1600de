"""The shape of `harness history --json`: a pure function of the run folders that were read."""

from __future__ import annotations

from typing import Literal

import msgspec

from evals.compare.records import Interval  # noqa: TC001 - msgspec reads it
from harness.evidence.metrics import Better  # noqa: TC001 - msgspec reads it

SCHEMA = 1


class RunLine(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    run: str
    """Its folder's name."""
    path: str
    kind: str
    """load, eval, comparison, gate or baseline."""
    started: str
    command: str
    builds: list[str]
    engines: list[str]
    """With their versions."""
    profiles: list[str]
    suites: list[str]
    machines: list[str]
    valid: bool
    verdict: str | None = None
    """Of a gate or a comparison."""
    commit: str | None = None
    """Of the folder that it was run in."""


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """What one run says of a series."""

    run: str
    started: str
    value: float | None
    """Median of its repeats."""
    ci95: Interval | None = None
    """Of a single repeat; how much several differ is in none of their intervals."""
    repeats: int = 1
    valid: bool = True
    """Whether the run says that this may be believed; others take no part in the test."""
    engine_version: str | None = None
    marks: list[str] = []
    """What changed about the server since the point before: engine, weights, arguments."""


class ChangePoint(msgspec.Struct, frozen=True, kw_only=True):
    """From this run on the values are unlike those before."""

    run: str
    started: str
    before: float
    after: float
    """Medians of the stretches on both sides."""
    p_value: float
    side: Literal["better", "worse"] | None
    """None for metrics of which neither side is better."""
    marks: list[str] = []
    """What changed about the server with this run."""


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """One metric over time, of runs that differ in nothing that is named here."""

    metric: str
    build: str
    better: Better | None
    unit: str
    profile: str | None = None
    level: dict[str, float] | None = None
    suite: str | None = None
    category: str | None = None
    task: str | None = None
    baseline: str | None = None
    engine: str | None = None
    model: str | None = None
    route: str | None = None
    conditions: str | None = None
    """Digest of what was asked, as in `Figure`."""
    machine: str
    points: list[Point]
    """In order of time."""
    changes: list[ChangePoint] = []
    tested: int = 0
    """Points that the test looked at; fewer than 8 can show no change."""


class Skipped(msgspec.Struct, frozen=True, kw_only=True):
    """A folder that could not be read."""

    path: str
    why: str


class History(msgspec.Struct, frozen=True, kw_only=True):
    """What the runs in a folder say."""

    schema: int = SCHEMA
    folder: str
    runs: list[RunLine]
    """The newest first."""
    metrics: list[str]
    """Those that `series` are of."""
    series: list[Series]
    skipped: list[Skipped] = []
