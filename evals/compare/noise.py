"""What changes although nothing was changed, and quality under load held against that.

A server that batches does not answer the same question alike each time: the order of its sums, and
with it a near-tie, depends on what else is in the batch. Asked twice, the baseline shows how many
flips that makes (A/A); a build, or a load, has done something only where it flips more.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from evals.compare.builds import ALPHA, MARGIN, PERPLEXITY_MARGIN, compare
from evals.compare.matched import Bounded, p_negative
from evals.compare.pairs import cluster_codes, pair
from evals.compare.records import Comparison, Interval  # noqa: TC001 - read at run time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from evals.records import Answer

Finding = Literal["lost", "changed", "none", "unknown"]
"""lost: the score fell, and chance does not explain it · changed: more flips than the noise floor,
no loss shown · none: a loss of the margin or more is ruled out, and flips are within the floor ·
unknown: neither is shown; more items are needed."""


class BeyondFloor(msgspec.Struct, kw_only=True):
    """Flips of a build (or a load) against those of the same server asked twice."""

    items: int
    """That all three have answered."""
    rate: float
    floor: float
    """Flip rate of the server asked twice."""
    excess: float
    excess_ci95: Interval | None = None
    p_value: float
    """One-sided, of "no more flips than asked twice"."""
    beyond: bool = False
    """p below 5 %."""


class Cause(msgspec.Struct, kw_only=True):
    """One thing that may have cost quality: the load, or the build."""

    finding: Finding
    comparison: Comparison
    floor: BeyondFloor | None = None
    """None where nothing was asked twice."""


class UnderLoad(msgspec.Struct, kw_only=True):
    """Three answers to each item: idle, under load, and by the baseline."""

    by_load: Cause
    """The same build under load against idle: batching, scheduling, races."""
    by_build: Cause | None = None
    """The build against the baseline, both idle: quantization."""
    together: Comparison | None = None
    """The build under load against the idle baseline: what users get."""


def beyond_floor(
    ours: Iterable[Answer], baseline: Iterable[Answer], again: Iterable[Answer]
) -> BeyondFloor | None:
    """Hold the flips ours - baseline against the flips again - baseline, item by item.

    None without an item that all three have answered.

    Raises:
        PairError: they were not asked the same.
    """
    baseline = list(baseline)
    first, second = pair(ours, baseline), pair(again, baseline)
    moved = dict(zip(_keys(first.ours), first.scores != first.baseline_scores, strict=True))
    noise = dict(zip(_keys(second.ours), second.scores != second.baseline_scores, strict=True))
    both = [answer for answer in first.ours if (answer.task, answer.item) in noise]
    if not both:
        return None
    build = np.array([moved[key] for key in _keys(both)], dtype=np.float64)
    floor = np.array([noise[key] for key in _keys(both)], dtype=np.float64)
    values = Bounded.of(build - floor, cluster_codes(both))
    p = p_negative(Bounded.of(floor - build, cluster_codes(both)))
    return BeyondFloor(
        items=len(both),
        rate=float(build.mean()),
        floor=float(floor.mean()),
        excess=values.mean.mean,
        excess_ci95=values.interval(),
        p_value=p,
        beyond=p < ALPHA,
    )


def under_load(  # noqa: PLR0913 - five passes, and what holds of all
    *,
    idle: Sequence[Answer],
    load: Sequence[Answer],
    idle_again: Sequence[Answer] | None = None,
    baseline: Sequence[Answer] | None = None,
    baseline_again: Sequence[Answer] | None = None,
    margin: float = MARGIN,
    perplexity_margin: float = PERPLEXITY_MARGIN,
    groups: Mapping[str, str] | None = None,
    build: str = "",
) -> UnderLoad:
    """Tell what the load cost from what the build cost.

    Args:
        idle: the build's answers without load.
        load: its answers while the profile ran.
        idle_again: its answers without load, asked a second time: the noise floor of the load.
        baseline: the baseline's answers without load.
        baseline_again: the same asked a second time: the noise floor of the build.
        margin: loss in score that is still acceptable.
        perplexity_margin: share by which a perplexity may rise.
        groups: as for `summarise`.
        build: the baseline's name.

    Raises:
        PairError: they were not asked the same.
    """
    beside = partial(compare, margin=margin, perplexity_margin=perplexity_margin, groups=groups)
    result = UnderLoad(by_load=_cause(beside, load, idle, idle_again, "idle"))
    if baseline is not None:
        result.by_build = _cause(beside, idle, baseline, baseline_again, build)
        result.together = beside(load, baseline, build=build)
    return result


def _cause(
    beside: Callable[..., Comparison],
    ours: Sequence[Answer],
    baseline: Sequence[Answer],
    again: Sequence[Answer] | None,
    build: str,
) -> Cause:
    comparison = beside(ours, baseline, build=build)
    floor = None
    if again is not None and comparison.flips is not None:
        floor = beyond_floor(ours, baseline, again)
    return Cause(finding=_finding(comparison, floor), comparison=comparison, floor=floor)


def _finding(comparison: Comparison, floor: BeyondFloor | None) -> Finding:
    interval = comparison.difference_ci95
    worse = comparison.perplexity is not None
    if interval is not None and (interval[0] > 0 if worse else interval[1] < 0):
        return "lost"
    if comparison.regressed:
        return "lost"
    if floor is not None and floor.beyond:
        return "changed"
    tested = comparison.noninferiority
    return "none" if tested is not None and tested.verdict == "PASS" else "unknown"


def _keys(answers: Iterable[Answer]) -> list[tuple[str, str]]:
    return [(answer.task, answer.item) for answer in answers]
