"""The shape of `harness explain --json`: every number a pure function of the run's folder."""

from __future__ import annotations

import msgspec

from harness.measuring.measurement import RunInfo  # noqa: TC001 - msgspec reads it at run time

SCHEMA = 1
STATISTICS = ("mean", "p50", "p90", "p95", "p99")


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One metric by both definitions."""

    name: str
    """As the other tool calls it."""
    unit: str
    ours: str | None
    """The metric of `measurements.json` that it is set beside; None: there is none."""
    theirs: dict[str, float | None]
    """By statistic: mean, p50, … or `value` for one number a cell. None: no value."""
    values: dict[str, float | None] = {}
    """Ours, by the same statistics."""
    why: str
    """How it is defined there, and where that parts from ours."""
    here: str = ""
    """What the difference comes from in this cell, with its size."""
    unknown: str = ""
    """What of it these samples cannot tell."""


class CellExplained(msgspec.Struct, frozen=True, kw_only=True):
    """One cell."""

    id: str
    build: str
    profile: str
    level: dict[str, float]
    repeat: int
    answered: int
    failed: int
    """Failed or dropped, by our count."""
    metrics: list[Metric]
    unknown: list[str] = []
    """What of this cell's traffic that tool might have counted differently."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """All of `harness explain RUN --like TOOL --json`."""

    schema: int = SCHEMA
    run: RunInfo
    like: str
    """The tool with the version whose source was read."""
    sources: list[str]
    general: list[str]
    cells: list[CellExplained]
