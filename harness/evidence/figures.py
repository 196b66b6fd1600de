"""Every number of every build as one flat list: what rules, histories and tables pick from."""

from __future__ import annotations

from typing import Literal

import msgspec

from evals.compare.records import Interval  # noqa: TC001 - msgspec reads it


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One number of one build in one run, and all that decides whether two may be compared."""

    build: str
    metric: str
    """`ttft_p95_ms`, `aggregate_tps`, `error_rate`, `memory_peak_gib`, `ready_s`, … of a load
    cell; `score`, `perplexity`, `retained`, `difference` of a suite."""
    value: float | None
    ci95: Interval | None = None
    better: Literal["less", "more"] | None = None
    """None: neither is better by itself."""
    profile: str | None = None
    level: dict[str, float] | None = None
    repeat: int | None = None
    suite: str | None = None
    category: str | None = None
    baseline: str | None = None
    """Whom `retained` and `difference` are against."""
    route: str | None = None
    engine: str | None = None
    engine_version: str | None = None
    model: str | None = None
    machine: str
    """One word for the machine, equal for equal machines: CPU, cores, limits and GPUs."""
    run: str
    started: str
    """ISO 8601."""
    valid: bool
    """Whether the run says that this number may be believed."""
