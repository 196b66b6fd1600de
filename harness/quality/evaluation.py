"""The shape of `evaluation.json`. Every number in it is a pure function of the run's folder.

Definitions and their sources: docs/evals.md.
"""

from __future__ import annotations

from typing import Any

import msgspec

from evals.compare.divergence import Divergence  # noqa: TC001 - msgspec reads it at run time
from evals.compare.noise import UnderLoad  # noqa: TC001 - msgspec reads it at run time
from evals.compare.records import (
    Flips,
    Interval,
    Noninferiority,
    Part,
    PerplexityRatio,
    Retained,
    Shift,
    SuiteScore,
    Verdict,
)
from evals.compare.retained import QualityScore  # noqa: TC001 - msgspec reads it at run time
from harness.measuring.measurement import (  # noqa: TC001 - msgspec reads them at run time
    Caveat,
    CellMeasurement,
    RunInfo,
)

SCHEMA = 1


class Against(msgspec.Struct, frozen=True, kw_only=True):
    """A suite's answers against the baseline's to the same items: `evals.compare` says how."""

    build: str
    score: float | None
    """The baseline's, over the pairs."""
    our_score: float | None
    """Over the pairs."""
    difference: float | None
    """Ours − the baseline's."""
    difference_ci95: Interval | None = None
    retained: float | None = None
    """Ours ÷ the baseline's."""
    retained_ci95: Interval | None = None
    above_chance: Retained | None = None
    flips: Flips | None = None
    p_value: float | None = None
    """Of "nothing changed": exact McNemar."""
    regressed: list[str] = []
    """Categories that lost more than noise, the worst first."""
    worst: str | None = None
    """The category with the largest loss, noise or not."""
    pairs: int = 0
    clusters: int = 0
    unpaired: int = 0
    """Items that one side was not asked, or has no answer to."""
    verdict: Verdict | None = None
    """Whether the loss is within the margin."""
    noninferiority: Noninferiority | None = None
    categories: dict[str, Part] = {}
    tasks: dict[str, Part] = {}
    outcomes: dict[str, Shift] = {}
    """Truncated, unparsed and empty answers on both sides, where there are any."""
    perplexity: PerplexityRatio | None = None
    divergence: Divergence | None = None
    """Of next-token distributions, where a suite keeps the likeliest tokens."""
    notes: list[str] = []


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Of graded items, in ms."""

    p50: float | None = None
    p95: float | None = None


class LoadEffect(msgspec.Struct, frozen=True, kw_only=True):
    """The same items graded idle, idle again, and under load: what the load did."""

    profile: str
    level: float
    cells: list[str]
    beside: float
    """Share of the items that were asked while the load was being measured."""
    score: float | None
    """Under load."""
    causes: UnderLoad
    """What was lost by load, scheduling or a race, and what by the build."""
    statement: str
    """The same in words."""
    truncated_idle: int
    truncated: int
    """Answers that the output limit ended."""
    output_tokens_idle: float | None
    output_tokens: float | None
    """Mean length of the graded answers."""
    latency_idle_ms: Latency
    latency_ms: Latency
    valid: bool
    """Whether the load cells' own figures are."""


class SuiteResult(SuiteScore, kw_only=True):
    """One suite by one build."""

    suite: str
    kind: str
    route: str | None
    planned: int
    """Items that were to be asked; those without an answer are among them."""
    baseline: Against | None = None
    load: LoadEffect | None = None
    further: dict[str, float] = {}  # noqa: RUF012 - msgspec copies it
    """The same answers by other units: word and byte perplexity, bits per byte."""
    wall_s: float = 0.0
    """Spent asking."""
    caveats: list[Caveat] = []  # noqa: RUF012


class ServerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Who was asked."""

    build: str
    engine: str | None = None
    engine_version: str | None = None
    model: str | None = None
    weights: str | None = None
    """What they are, and the engine's kernel, e.g. `4-bit, group 128, asym, MarlinLinearKernel`."""
    identity: str | None = None


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """All of `evaluation.json` where one build was examined."""

    schema: int = SCHEMA
    run: RunInfo
    server: ServerInfo
    probe: dict[str, Any] | None
    suites: list[SuiteResult]
    quality: QualityScore | None = None
    """Against the baseline, over all suites."""
    load: list[CellMeasurement] = []
    """The load cells that ran beside the grading."""
    valid: bool
    caveats: list[Caveat]


class Evaluations(msgspec.Struct, frozen=True, kw_only=True):
    """All of `evaluation.json` where several builds were: one `Evaluation` each."""

    schema: int = SCHEMA
    run: RunInfo
    evaluations: list[Evaluation]
    valid: bool
    caveats: list[Caveat]
    """Of the run as a whole."""


Result = Evaluation | Evaluations


def each(result: Result) -> list[Evaluation]:
    """Return the evaluations, one a build."""
    return [result] if isinstance(result, Evaluation) else result.evaluations
