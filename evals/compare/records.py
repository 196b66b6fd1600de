"""What is said of one server's answers, and of two servers' answers to the same questions.

`SuiteScore` and `Comparison` are parts of `harness eval --json`; definitions in docs/method.md.
All shares are 0…1, differences are ours - baseline (negative: something was lost).
"""

from __future__ import annotations

from typing import Literal

import msgspec

Interval = tuple[float, float]
"""95 %, two-sided."""
Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE"]
IntervalKind = Literal[
    "wilson", "wilson by cluster", "t", "t by cluster", "ratio by cluster", "by task", "none"
]
"""wilson: independent right-or-wrong answers · by cluster: what lies in one cluster is not
independent · ratio: Σ −ln p ÷ Σ units, windows or documents as clusters · by task: those of the
tasks put together · none: fewer than two clusters, so nothing is known."""


class GroupScore(msgspec.Struct, kw_only=True):
    """Score of a part of the items: a category, or a task."""

    items: int
    """Asked and answered; errors are not among them."""
    errors: int = 0
    truncated: int = 0
    unparsed: int = 0
    empty: int = 0
    score: float | None = None
    """Mean; None without items. Perplexity: exp(Σ −ln p ÷ Σ units)."""
    metric: str = "accuracy"
    ci95: Interval | None = None
    interval: IntervalKind = "none"
    clusters: int = 0


class SuiteScore(GroupScore, kw_only=True):
    """Score of one suite by one server. With several tasks the mean of their scores."""

    categories: dict[str, GroupScore] = {}
    tags: dict[str, dict[str, GroupScore]] = {}
    """Tag → its value → score, e.g. by `hops`: fields by which a domain suite reports."""
    tasks: dict[str, GroupScore] = {}
    """Where there are several; subjects of one group (MMLU) are one task here."""
    further_ci95: dict[str, Interval] = {}
    """Of a perplexity by other units: word_perplexity, byte_perplexity, bits_per_byte."""


class Flips(msgspec.Struct, kw_only=True):
    """Pairs of which exactly one is right (where scores are graded: that differ)."""

    lost: int
    """The baseline was right (better), ours is not."""
    gained: int
    rate: float
    """(lost + gained) ÷ pairs."""
    near_tie: int | None = None
    """Of these, flips between two choices that the baseline held for nearly equally likely (less
    than `NEAR_TIE_NATS` apart); None where likelihoods are not known."""
    confident: int | None = None


class Noninferiority(msgspec.Struct, kw_only=True):
    """Whether ours is worse by less than the margin: two one-sided tests at 5 %."""

    margin: float
    """In score; for perplexity the relative rise."""
    verdict: Verdict
    p_pass: float | None = None
    """p-value of "worse by the margin or more"; PASS below 0.05."""
    p_fail: float | None = None
    """p-value of "worse by the margin or less"; FAIL below 0.05."""
    bound: float | None = None
    """One-sided 95 % bound of the loss: no more than that is lost (negative: something is won)."""
    items_needed: int | None = None
    """Where INCONCLUSIVE: items in all at which it would be settled with a power of 80 %, if this
    difference and this rate of flips are the truth; None where no number would."""


class Retained(msgspec.Struct, kw_only=True):
    """ours ÷ baseline."""

    share: float | None
    ci95: Interval | None = None


class Part(msgspec.Struct, kw_only=True):
    """Comparison of one category or task."""

    pairs: int
    clusters: int = 0
    score: float | None = None
    baseline_score: float | None = None
    difference: float | None = None
    difference_ci95: Interval | None = None
    retained: Retained | None = None
    flips: Flips | None = None
    p_lost: float | None = None
    """One-sided p-value of "nothing was lost", before Holm's correction."""
    p_holm: float | None = None
    noninferiority: Noninferiority | None = None


class Shift(msgspec.Struct, kw_only=True):
    """How often an outcome came, on the two sides of the pairs."""

    ours: int
    baseline: int
    p_value: float
    """Exact McNemar test, two-sided."""


class PerplexityRatio(msgspec.Struct, kw_only=True):
    """Perplexity of ours ÷ of the baseline, over the windows that both have."""

    ratio: float
    ci95: Interval | None = None
    windows: int
    clusters: int
    units: float
    """Tokens (words, bytes) scored."""


class Comparison(msgspec.Struct, kw_only=True):
    """Two builds' answers to the same items."""

    build: str = ""
    """The baseline's."""
    pairs: int
    clusters: int = 0
    only_ours: int = 0
    only_baseline: int = 0
    errors: int = 0
    """Pairs left out since one of the two has no answer."""
    metric: str = "accuracy"
    score: float | None = None
    """Of ours, over the pairs."""
    baseline_score: float | None = None
    difference: float | None = None
    difference_ci95: Interval | None = None
    retained: float | None = None
    retained_ci95: Interval | None = None
    above_chance: Retained | None = None
    """The same of what is above guessing: (score - c) ÷ (baseline - c)."""
    flips: Flips | None = None
    p_value: float | None = None
    """Exact McNemar test (two-sided): whether anything changed. Takes items as independent."""
    noninferiority: Noninferiority | None = None
    regressed: list[str] = []
    """Categories and tasks that lost, at 5 % for the whole list (Holm), the worst first."""
    worst: str | None = None
    """The one with the largest loss, significant or not."""
    categories: dict[str, Part] = {}
    tasks: dict[str, Part] = {}
    outcomes: dict[str, Shift] = {}
    """truncated, unparsed, empty: where either build has any."""
    perplexity: PerplexityRatio | None = None
    notes: list[str] = []
    """What a reader must know of these numbers."""
