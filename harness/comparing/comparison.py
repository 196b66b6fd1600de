"""The shape of `comparison.json`: a pure function of the runs that it is made of.

Definitions and their sources: docs/method.md.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from evals.compare.records import (  # noqa: TC001 - msgspec reads them
    Flips,
    Interval,
    Noninferiority,
    Verdict,
)
from harness.comparing.rows import (  # noqa: TC001 - as above
    Crossover,
    LevelRow,
    PairRow,
    ServerFigures,
    Value,
)
from harness.measuring.measurement import (  # noqa: TC001 - msgspec reads them at run time
    Caveat,
    RunInfo,
)

SCHEMA = 1


class QualityPart(msgspec.Struct, frozen=True, kw_only=True):
    """One build's answers to one category, or one task, of a suite."""

    items: int = 0
    """Pairs, where it is compared."""
    score: float | None = None
    ci95: Interval | None = None
    baseline_score: float | None = None
    difference: float | None = None
    difference_ci95: Interval | None = None
    retained: float | None = None
    retained_ci95: Interval | None = None
    noninferiority: Noninferiority | None = None


class LimitTest(msgspec.Struct, frozen=True, kw_only=True):
    """One of the user's limits tested on one build's answers, as a gate tests it."""

    part: str = ""
    """The task or category; empty where the limit is one test."""
    verdict: Verdict
    value: float | None
    ci95: Interval | None = None
    p_pass: float | None = None
    """One-sided p-value of "the limit is broken"; PASS below 0.05."""
    p_fail: float | None = None
    """Of "the limit is kept", by Holm's correction for the build's tests; FAIL below 0.05."""
    settle: str | None = None


class QualityRow(QualityPart, frozen=True, kw_only=True):
    """One build's answers to one suite."""

    build: str
    suite: str
    kind: str
    route: str | None = None
    metric: str = "accuracy"
    perplexity_ratio: float | None = None
    perplexity_ratio_ci95: Interval | None = None
    verdict: Verdict | None = None
    items_needed: int | None = None
    regressed: list[str] = []
    worst: str | None = None
    worst_difference: float | None = None
    worst_ci95: Interval | None = None
    categories: dict[str, QualityPart] = {}
    tasks: dict[str, QualityPart] = {}
    """Where there are several; those of lm-eval: mmlu, hellaswag, …"""
    flips: Flips | None = None
    tests: dict[str, list[LimitTest]] = {}
    """By the text of the user's limit that is tested."""
    valid: bool = True


class Front(msgspec.Struct, frozen=True, kw_only=True):
    """The Pareto front: builds to which no other is at least equal in all and better in one."""

    objectives: dict[str, Literal["least", "most"]]
    values: dict[str, dict[str, float | None]]
    """Build → objective → value."""
    members: list[str]
    dominated: dict[str, str]
    """Build → one that dominates it."""
    left_out: dict[str, str] = {}
    """Objective → why it is not among them."""
    doubtful: list[str] = []
    """Members and dominated ones whose place the intervals do not settle."""


class LimitResult(msgspec.Struct, frozen=True, kw_only=True):
    """One of the user's limits, held to one build."""

    limit: str
    verdict: Verdict
    value: float | None = None
    """The one furthest beyond, or nearest to, the bound where it is of several levels or suites."""
    ci95: Interval | None = None
    text: str
    """The finding in words."""
    settle: str | None = None
    """Where INCONCLUSIVE: what would settle it."""
    more: bool = False
    """Whether that is more of what was measured, and how much."""


class Recommendation(msgspec.Struct, frozen=True, kw_only=True):
    """What to ship, under the user's own limits."""

    build: str | None
    """None: none can be recommended, or, where verdict is PASS, none of several is preferred."""
    verdict: Verdict
    """PASS: it holds all limits · FAIL: no build does · INCONCLUSIVE: it cannot be told."""
    headline: str
    """One sentence, e.g. "ship awq"."""
    reasons: list[str]
    limits: dict[str, list[LimitResult]]
    """Build → the user's limits, and the margins of suites on which the user set none."""
    preferred_by: str = ""
    """What decided between builds that hold all limits."""
    unknown: list[str] = []
    """What could not be told, each with what would settle it."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """All of `comparison.json`."""

    schema: int = SCHEMA
    run: RunInfo | None
    """None where finished runs are compared."""
    runs: list[str]
    """Folders of the load runs and evaluations that this is made of: those within the comparison's
    from there, others absolute."""
    baseline: str
    builds: list[str]
    servers: list[ServerFigures]
    load: list[LevelRow]
    quality: list[QualityRow]
    pairs: list[PairRow] = []
    """Empty where builds were not interleaved."""
    crossovers: list[Crossover] = []
    front: Front | None = None
    costs: dict[str, Value] = {}
    """Build → USD per million output tokens, where prices are given."""
    cost_levels: dict[str, str] = {}
    """Build → the level that its cost is of."""
    recommendation: Recommendation
    valid: bool
    caveats: list[Caveat] = []
