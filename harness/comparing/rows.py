"""Builds side by side, number by number: what comparisons and load runs of several builds have.

Definitions and their sources: docs/method.md.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Interval = tuple[float, float]
Side = Literal["better", "worse", "unlike"]
"""better, worse: the interval leaves no doubt which · unlike: no difference is shown."""


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of one build, over the repeats."""

    value: float | None
    """Their geometric mean; of error rates that of all requests together."""
    ci95: Interval | None = None
    """With a single repeat only what its requests say: no noise from run to run is in it. None
    where nothing can be said of its noise."""
    repeats: list[float | None] = []
    """Repeat by repeat, in the order in which they were measured."""
    few: bool = False
    """A percentile of so few answers in a cell that it has no interval, and decides nothing."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of one build against the baseline's."""

    difference: float | None
    """Ours − the baseline's."""
    ci95: Interval | None = None
    ratio: float | None = None
    """Ours ÷ the baseline's."""
    ratio_ci95: Interval | None = None
    side: Side = "unlike"
    few: bool = False
    """Either is a percentile of too few answers."""


class LevelRow(msgspec.Struct, frozen=True, kw_only=True):
    """One build at one level of one profile."""

    build: str
    profile: str
    level: dict[str, float]
    """{"concurrency": N} or {"rate": requests per second}."""
    repeats: int
    answers: int | None = None
    """The fewest in one of its cells."""
    valid: bool
    """Whether all its cells are."""
    stable: bool = True
    """Whether the queue grew throughout in none of them."""
    metrics: dict[str, Value]
    """`ttft_p50_ms`, `itl_p95_ms`, `sequence_p50_tps`, `aggregate_tps`, `e2e_p50_ms`, … as an SLO
    names them; `memory_peak_gib`, `error_rate`."""
    against: dict[str, Difference] = {}
    """By metric; empty for the baseline."""


class ServerFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What a build's server is, and what it takes before the first request."""

    build: str
    engine: str | None = None
    engine_version: str | None = None
    model: str | None = None
    quantization: str | None = None
    scheme: str | None = None
    """What its weights are, e.g. `4-bit, group 128, asym`."""
    kernel: str | None = None
    """Of the linear layers, as the engine's log named it."""
    ready_s: Value | None = None
    """From the start of its process until it answers."""
    first_token_s: Value | None = None
    """From the start of its process to the first generated token."""
    weights_gib: float | None = None
    kv_cache_gib: float | None = None
    kv_cache_tokens: int | None = None
    memory_peak_gib: Value | None = None
    """The largest of all its cells, a value a repeat."""
    memory_kind: str | None = None
    arguments: dict[str, Any] = {}
    """What it was started with, as far as that decides what may be compared."""


class Crossover(msgspec.Struct, frozen=True, kw_only=True):
    """The level below which one build is the better one and above which the other is."""

    metric: str
    profile: str
    build: str
    baseline: str
    below: str | None
    """The build that is better at low levels; None where neither is shown to be."""
    above: str | None
    level: float | None = None
    """Where they cross on a straight line between two levels; None where they do not cross within
    the levels measured."""
    ci95: Interval | None = None
    """The levels measured between which they cross."""
    line_ci95: Interval | None = None
    """Of `level`, as far as the line holds."""
    unit: Literal["concurrency", "rate"] = "concurrency"
    text: str


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """What pairs of requests say of one metric."""

    pairs: int
    """Prompts that both builds have answered."""
    ratio: float
    """Ours ÷ the baseline's, the median of the pairs."""
    ci95: Interval | None = None
    """None where there are too few pairs."""


class PairRow(msgspec.Struct, frozen=True, kw_only=True):
    """One build interleaved with the baseline: the same prompts to both, one after the other."""

    build: str
    profile: str
    level: dict[str, float]
    ratios: dict[str, Ratio]
    """`ttft_ms`, `tpot_ms`, `e2e_ms`; one is missing where no answer has it."""


class WorkRow(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a build did the baseline's work, by the requests that both have answered."""

    build: str
    pairs: int
    prompts: Literal["same", "others"] | None = None
    """Whether both were sent the same prompts, and asked for answers of the same lengths."""
    prompt_tokens: dict[str, int] = {}
    """How many prompt tokens more it counted of the same prompt → in how many pairs."""
    shorter: int = 0
    """Pairs in which its answer has fewer tokens."""
    longer: int = 0
    length_ratio: float | None = None
    """Tokens of its answers ÷ of the baseline's."""
    finish_reasons: dict[str, int] = {}
    """`ours, the baseline's` where they differ → pairs."""
    compared_texts: int = 0
    identical: int = 0
    """Of those, answers with the very same text."""


class Note(msgspec.Struct, frozen=True):
    """Something that a reader of the differences must know."""

    code: str
    text: str


class SideBySide(msgspec.Struct, frozen=True, kw_only=True):
    """The builds of one load run against the first of them."""

    baseline: str
    builds: list[str]
    """The baseline first."""
    sentences: list[str]
    """Who is faster by how much, and from which level on."""
    load: list[LevelRow]
    prefill: list[LevelRow] = []
    """TTFT p50 at one stream by the length of the prompt: `level` is {"prompt_tokens": n}."""
    servers: list[ServerFigures]
    work: list[WorkRow] = []
    pairs: list[PairRow] = []
    """Empty where builds were not interleaved."""
    crossovers: list[Crossover] = []
    notes: list[Note] = []
