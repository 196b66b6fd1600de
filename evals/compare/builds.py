"""One build against its baseline, on pairs: what was lost, where, and whether that is noise."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from evals.compare.matched import Bounded, p_negative, sign_test
from evals.compare.pairs import BITS_PER_BYTE, Pairs, is_perplexity, pair
from evals.compare.perplexity import compare_perplexity
from evals.compare.records import (
    Comparison,
    Flips,
    Interval,
    Noninferiority,
    Part,
    Retained,
    Shift,
    Verdict,
)
from evals.compare.retained import retained
from evals.compare.scores import category_of, joined_interval, split, task_of
from evals.power import items_needed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from evals.records import Answer

ALPHA = 0.05
MARGIN = 0.02
PERPLEXITY_MARGIN = 0.05
NEAR_TIE_NATS = 0.1
FEW_CLUSTERS = 10
"""Degrees of freedom below which a note calls the test by clusters rough (docs/method.md)."""


def compare(
    ours: Iterable[Answer],
    baseline: Iterable[Answer],
    *,
    build: str = "",
    margin: float = MARGIN,
    perplexity_margin: float = PERPLEXITY_MARGIN,
    groups: Mapping[str, str] | None = None,
    chance: Mapping[str, float] | None = None,
) -> Comparison:
    """Compare two builds' answers to one suite.

    With several tasks difference and score are means over tasks, and the verdict is PASS only if
    every task passes (an intersection-union test: R. L. Berger, Technometrics 24 (1982) 295-300; no
    correction is needed), FAIL if one fails by Bonferroni's.

    Args:
        ours: answers of the build in question.
        baseline: answers of the build that it is held against.
        build: the baseline's name.
        margin: loss in score that is still acceptable.
        perplexity_margin: rise of the perplexity that is still acceptable, as a share.
        groups: as for `summarise`.
        chance: task or category → mean score of guessing. Where it says nothing: the answers' own
            `scores["chance"]`, or 1 ÷ the number of choices that were scored.

    Raises:
        PairError: the two were not asked the same.
    """
    pairs = pair(ours, baseline)
    result = Comparison(
        build=build,
        pairs=len(pairs),
        only_ours=pairs.only_ours,
        only_baseline=pairs.only_baseline,
        errors=pairs.errors,
        metric=pairs.metric,
    )
    _note_missing(result)
    if not len(pairs):
        result.notes.append("no pair of answers without an error: nothing is compared")
        return result
    result.outcomes = _shifts(pairs)
    texts = pairs.where(is_perplexity)
    if len(texts):
        if texts.metric == BITS_PER_BYTE:
            result.notes.append("bits per byte are compared as byte perplexity, 2 to their power")
        compare_perplexity(texts, result, perplexity_margin)
        if len(texts) == len(pairs):
            _doubt_lost_windows(result)
    graded = pairs.where(lambda a: not is_perplexity(a)) if len(texts) else pairs
    if len(graded):
        _compare_graded(graded, result, margin, groups, chance or {})
    return result


def _doubt_lost_windows(result: Comparison) -> None:
    """No verdict without the windows that failed: the rest is not the text that was to be told."""
    test = result.noninferiority
    if result.errors and test is not None and test.verdict != "INCONCLUSIVE":
        result.notes.append(
            f"INCONCLUSIVE and not {test.verdict}, which the other windows alone would be: ask for "
            "what is missing (--resume)"
        )
        test.verdict, test.items_needed = "INCONCLUSIVE", None


def _shifts(pairs: Pairs) -> dict[str, Shift]:
    found = {}
    for outcome in ("truncated", "unparsed", "empty"):
        mine = np.array([a.outcome == outcome for a in pairs.ours])
        theirs = np.array([a.outcome == outcome for a in pairs.baseline])
        if mine.any() or theirs.any():
            more, fewer = int((mine & ~theirs).sum()), int((theirs & ~mine).sum())
            found[outcome] = Shift(
                ours=int(mine.sum()),
                baseline=int(theirs.sum()),
                p_value=sign_test(more, fewer, "two-sided"),
            )
    return found


def _note_missing(result: Comparison) -> None:
    if result.only_ours or result.only_baseline:
        result.notes.append(
            f"{result.only_ours} items only ours has, {result.only_baseline} only the baseline: "
            "left out"
        )
    if result.errors:
        result.notes.append(f"{result.errors} pairs left out, one of the two has no answer")


def _compare_graded(
    pairs: Pairs,
    result: Comparison,
    margin: float,
    groups: Mapping[str, str] | None,
    chance: Mapping[str, float],
) -> None:
    whole = part_of(pairs, margin)
    names = list(split(pairs.ours, lambda a: task_of(a, groups)))
    tasks = {n: pairs.where(lambda a, n=n: task_of(a, groups) == n) for n in names}  # type: ignore[misc]
    name_of = category_of(tasks)
    kinds = list(split([a for a in pairs.ours if a.category], name_of))
    categories = {
        n: pairs.where(lambda a, n=n: a.category != "" and name_of(a) == n)  # type: ignore[misc]
        for n in kinds
    }
    if len(tasks) > 1:
        result.tasks = {name: part_of(part, margin) for name, part in tasks.items()}
        whole = _joined(whole, list(result.tasks.values()))
    result.categories = {name: part_of(part, margin) for name, part in categories.items()}
    result.clusters = whole.clusters
    result.score, result.baseline_score = whole.score, whole.baseline_score
    result.difference, result.difference_ci95 = whole.difference, whole.difference_ci95
    if whole.retained is not None:
        result.retained, result.retained_ci95 = whole.retained.share, whole.retained.ci95
    result.above_chance = _above_chance(pairs, chance) if len(tasks) == 1 else None
    result.flips = whole.flips
    result.p_value = _changed(whole.flips)
    result.noninferiority = whole.noninferiority
    parts = result.tasks | result.categories
    if len(parts) > 1:
        result.regressed = _regressed(parts)
        worst = min(parts, key=lambda name: parts[name].difference or 0.0)
        result.worst = worst if (parts[worst].difference or 0.0) < 0 else None
    difference = _values(pairs)
    if not difference.independent and difference.df < FEW_CLUSTERS:
        result.notes.append(
            f"{difference.mean.clusters} clusters of unlike size ({difference.df:.0f} degrees of "
            "freedom): the interval and the verdict are only rough; ask more templates, not more "
            "items of the same ones"
        )


def part_of(pairs: Pairs, margin: float) -> Part:
    """Compare the pairs of one task or category."""
    values = _values(pairs)
    flips = _flips(pairs)
    return Part(
        pairs=len(pairs),
        clusters=values.mean.clusters,
        score=float(pairs.scores.mean()),
        baseline_score=float(pairs.baseline_scores.mean()),
        difference=values.mean.mean,
        difference_ci95=values.interval(),
        retained=retained(pairs.scores, pairs.baseline_scores, pairs.cluster),
        flips=flips,
        p_lost=p_negative(values),
        noninferiority=noninferiority(values, flips, margin),
    )


def _values(pairs: Pairs) -> Bounded:
    difference = pairs.scores - pairs.baseline_scores
    reach = max(1.0, float(np.abs(difference).max()))
    return Bounded.of(difference, pairs.cluster, -reach, reach)


def noninferiority(
    values: Bounded, flips: Flips, margin: float, alpha_fail: float = ALPHA
) -> Noninferiority:
    """Test a difference against the margin from both sides."""
    if values.df <= 0:
        return Noninferiority(margin=margin, verdict="INCONCLUSIVE")
    p_pass, p_fail = values.p_above(-margin), values.p_below(-margin)
    verdict = verdict_of(p_pass, p_fail, alpha_fail)
    bounds = values.interval(1 - 2 * ALPHA)
    needed = None
    if verdict == "INCONCLUSIVE":
        needed = items_needed(
            margin, flips.rate, difference=values.mean.mean, effect=max(1.0, values.spread)
        )
    return Noninferiority(
        margin=margin,
        verdict=verdict,
        p_pass=p_pass,
        p_fail=p_fail,
        bound=-bounds[0] if bounds else None,
        items_needed=needed,
    )


def verdict_of(p_pass: float, p_fail: float, alpha_fail: float = ALPHA) -> Verdict:
    """Return what two one-sided p-values say; neither small enough: INCONCLUSIVE."""
    if p_pass < ALPHA:
        return "PASS"
    return "FAIL" if p_fail < alpha_fail else "INCONCLUSIVE"


def _joined(pooled: Part, parts: Sequence[Part]) -> Part:
    """Return the mean of tasks; flips and pairs are those of all together."""
    known: list[tuple[float, Interval]] = [
        (p.difference, p.difference_ci95)
        for p in parts
        if p.difference is not None and p.difference_ci95 is not None
    ]
    score = math.fsum(p.score or 0.0 for p in parts) / len(parts)
    baseline = math.fsum(p.baseline_score or 0.0 for p in parts) / len(parts)
    verdicts = [p.noninferiority for p in parts if p.noninferiority is not None]
    fails = [v.p_fail for v in verdicts if v.p_fail is not None]
    verdict: Verdict = "INCONCLUSIVE"
    if all(v.verdict == "PASS" for v in verdicts):
        verdict = "PASS"
    elif any(p < ALPHA / len(parts) for p in fails):
        verdict = "FAIL"
    passes = [v.p_pass for v in verdicts if v.p_pass is not None]
    shares = [p.retained for p in parts if p.retained is not None and p.retained.share is not None]
    ratios = [(r.share, r.ci95) for r in shares if r.share is not None and r.ci95 is not None]
    return Part(
        pairs=pooled.pairs,
        clusters=pooled.clusters,
        score=score,
        baseline_score=baseline,
        difference=score - baseline,
        difference_ci95=joined_interval(known) if len(known) == len(parts) else None,
        retained=Retained(
            share=math.fsum(r.share or 0.0 for r in shares) / len(shares) if shares else None,
            ci95=joined_interval(ratios) if len(ratios) == len(parts) else None,
        ),
        flips=pooled.flips,
        noninferiority=Noninferiority(
            margin=verdicts[0].margin,
            verdict=verdict,
            p_pass=max(passes) if len(passes) == len(parts) else None,
            p_fail=min(1.0, min(fails) * len(parts)) if fails else None,
        ),
    )


def _flips(pairs: Pairs) -> Flips:
    difference = pairs.scores - pairs.baseline_scores
    lost, gained = int((difference < 0).sum()), int((difference > 0).sum())
    flipped = np.flatnonzero(difference)
    gaps = [likelihood_gap(pairs.ours[i], pairs.baseline[i]) for i in flipped.tolist()]
    near = None
    if all(gap is not None for gap in gaps) and _have_choices(pairs):
        near = sum(gap < NEAR_TIE_NATS for gap in gaps if gap is not None)
    return Flips(
        lost=lost,
        gained=gained,
        rate=(lost + gained) / len(pairs),
        near_tie=near,
        confident=None if near is None else lost + gained - near,
    )


def _have_choices(pairs: Pairs) -> bool:
    return all(a.loglikelihoods and a.choice is not None for a in pairs.baseline)


def likelihood_gap(ours: Answer, baseline: Answer) -> float | None:
    """Nats by which the baseline preferred its own choice to the one that ours made."""
    likely, mine, theirs = baseline.loglikelihoods, ours.choice, baseline.choice
    if mine is None or theirs is None or mine == theirs or max(mine, theirs) >= len(likely):
        return None
    return abs(likely[theirs] - likely[mine])


def _changed(flips: Flips | None) -> float | None:
    """Exact McNemar test, two-sided (Q. McNemar, Psychometrika 12 (1947) 153-157)."""
    if flips is None:
        return None
    return sign_test(flips.lost, flips.gained, "two-sided")


def _regressed(parts: Mapping[str, Part]) -> list[str]:
    """Fill in Holm's p-values and return the names of the parts that lost, worst first."""
    from statsmodels.stats.multitest import multipletests

    raw = [1.0 if part.p_lost is None else part.p_lost for part in parts.values()]
    adjusted = multipletests(raw, method="holm")[1]
    for part, p in zip(parts.values(), adjusted, strict=True):
        part.p_holm = float(p)
    lost = [name for name, p in zip(parts, adjusted, strict=True) if p < ALPHA]
    return sorted(lost, key=lambda name: parts[name].difference or 0.0)


def _above_chance(pairs: Pairs, chance: Mapping[str, float]) -> Retained | None:
    """Retained share of what is above guessing; None where the chance of guessing is not known."""
    known = []
    for answer in pairs.baseline:
        choices = len(answer.loglikelihoods)
        value = chance.get(answer.category, chance.get(answer.task))
        if value is None:
            value = answer.scores.get("chance", 1 / choices if choices else None)
        if value is None:
            return None
        known.append(value)
    mean = math.fsum(known) / len(known)
    return retained(pairs.scores, pairs.baseline_scores, pairs.cluster, mean)
