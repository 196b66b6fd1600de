"""Quality rules: non-inferiority tests on the pairs of two builds' answers.

The tests are those of `evals.compare`. A retained share is tested as the loss that it allows:
`retained >= 95%` of a baseline that has 90 % right is a margin of 4.5 points. The baseline's score
is that over these very items; it is no estimate of anything here (docs/ci.md).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from evals.compare.builds import part_of
from evals.compare.clusters import clustered_mean, sums_of
from evals.compare.matched import Bounded
from evals.compare.pairs import Pairs, cluster_codes, is_perplexity, pair
from evals.compare.perplexity import compare_perplexity
from evals.compare.records import Comparison
from evals.errors import PairError
from harness.gating.trial import Trial, UnknownError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evals.compare.records import Interval, Part
    from evals.records import Answer
    from harness.evidence.limits import Limit

EVERY: Final = "*"
"""The part that stands for each category by itself."""


def tries(limit: Limit, ours: Sequence[Answer], theirs: Sequence[Answer]) -> list[Trial]:
    """Try a rule on two builds' answers to one suite.

    Args:
        limit: a rule of kind "quality".
        ours: the candidate's answers.
        theirs: the baseline's; not looked at where the rule needs none.

    Raises:
        UnknownError: they have nothing that the rule could be held to.
    """
    if not limit.needs_baseline:
        answers = [answer for answer in ours if answer.outcome != "error"]
        return [_alone(limit, name, part) for name, part in _parts(limit, answers)]
    try:
        pairs = pair(ours, theirs)
    except PairError as error:
        raise UnknownError(str(error)) from error
    found = []
    for name, kept in _parts(limit, pairs.ours):
        chosen = {id(answer) for answer in kept}
        part = pairs.where(lambda answer, chosen=chosen: id(answer) in chosen)  # type: ignore[misc]
        found.append(_paired(limit, name, part))
    return found


def _parts(limit: Limit, answers: Sequence[Answer]) -> list[tuple[str, list[Answer]]]:
    """Return what a rule is held to, by name; the name is empty where it is all there is."""
    task = limit.suite or ""
    own = [answer for answer in answers if answer.task == task] or list(answers)
    tasks = list(dict.fromkeys(answer.task for answer in own))
    if limit.part is None:
        if len(tasks) > 1:
            return [(name, [a for a in own if a.task == name]) for name in tasks]
        if not own:
            raise UnknownError("no item has an answer")
        return [("", own)]
    names = dict.fromkeys(a.category or a.task for a in own)
    wanted = list(names) if limit.part == EVERY else [limit.part]
    found = [(n, [a for a in own if n and n in {a.category, a.task}]) for n in wanted]
    lacking = [name for name, part in found if not part]
    if lacking or not found:
        there = ", ".join(sorted(filter(None, names))) or "no categories"
        raise UnknownError(
            f"no answers of {', '.join(filter(None, lacking)) or 'any category'}: it has {there}"
        )
    return found


def _paired(limit: Limit, name: str, pairs: Pairs) -> Trial:
    if limit.metric == "perplexity_rise":
        return _rise(limit, name, pairs)
    if is_perplexity(pairs.ours[0]):
        raise UnknownError(
            f"{limit.metric} is of right and wrong answers, and this is a perplexity: write "
            f"perplexity_rise({limit.suite or ''})<=5%"
        )
    before = float(pairs.baseline_scores.mean())
    if limit.metric == "retained":
        if before <= 0:
            raise UnknownError(f"{name or 'it'}: the baseline has nothing right to be retained")
        margin = (1 - limit.value) * before
    else:
        margin = -limit.value
    if margin <= 0:
        raise UnknownError("that nothing is lost cannot be shown by any number of items")
    part = part_of(pairs, margin)
    tested = part.noninferiority
    assert tested is not None  # noqa: S101 - part_of always tests
    value, ci95 = part.difference, part.difference_ci95
    if limit.metric == "retained":
        value = None if value is None else 1 + value / before
        ci95 = None if ci95 is None else (1 + ci95[0] / before, 1 + ci95[1] / before)
    lost = -(part.difference or 0.0)
    return Trial(
        name=name,
        value=value,
        ci95=ci95,
        unit="share",
        text=_told(part, before) + ("" if name else _worst(pairs)),
        p_pass=tested.p_pass,
        p_fail=tested.p_fail,
        settle=_more(tested.items_needed, len(pairs), "items"),
        excess=lost / margin,
    )


def _told(part: Part, before: float) -> str:
    flips = part.flips
    change = points(part.difference, part.difference_ci95)
    told = f"{change} of {100 * before:.1f} % over {part.pairs:,} items"
    if flips is not None:
        told += f" (−{flips.lost} +{flips.gained} answers)"
    return told


def _worst(pairs: Pairs) -> str:
    """Return the category that lost most, where there are several and one lost."""
    names = dict.fromkeys(a.category or a.task for a in pairs.ours)
    if len(names) <= 1:
        return ""
    parts = {
        name: part_of(pairs.where(lambda a, name=name: (a.category or a.task) == name), 0.5)  # type: ignore[misc]
        for name in names
    }
    worst = min(parts, key=lambda name: parts[name].difference or 0.0)
    found = parts[worst]
    if not (found.difference or 0.0) < 0:
        return ""
    return f"; {worst} lost most: {points(found.difference, found.difference_ci95)}"


def _rise(limit: Limit, name: str, pairs: Pairs) -> Trial:
    if not is_perplexity(pairs.ours[0]):
        raise UnknownError("perplexity_rise is of a perplexity, and these are answers: write "
                           f"retained({limit.suite or ''})>=95%")  # fmt: skip
    if limit.value <= 0:
        raise UnknownError("that nothing rises cannot be shown by any number of items")
    result = Comparison(pairs=len(pairs))
    compare_perplexity(pairs, result, limit.value)
    tested, ratio = result.noninferiority, result.perplexity
    assert tested is not None  # noqa: S101 - compare_perplexity fills both in
    assert ratio is not None  # noqa: S101
    ci95 = None if ratio.ci95 is None else (ratio.ci95[0] - 1, ratio.ci95[1] - 1)
    shown = f" (95 % interval {_percent(ci95[0])} to {_percent(ci95[1])})" if ci95 else ""
    text = (
        f"{_percent(ratio.ratio - 1)}{shown}: {result.score:.4f} against "
        f"{result.baseline_score:.4f} over {ratio.windows:,} windows"
    )
    return Trial(
        name=name,
        value=ratio.ratio - 1,
        ci95=ci95,
        unit="share",
        text=text,
        p_pass=tested.p_pass,
        p_fail=tested.p_fail,
        settle=_more(tested.items_needed, ratio.windows, "windows"),
        excess=(ratio.ratio - 1) / limit.value,
    )


def _alone(limit: Limit, name: str, answers: list[Answer]) -> Trial:
    """Try an absolute limit on the candidate's own answers."""
    cluster = cluster_codes(answers)
    values = np.array([answer.score for answer in answers], dtype=np.float64)
    if limit.metric == "perplexity":
        if not is_perplexity(answers[0]):
            raise UnknownError("these are answers, and have no perplexity")
        weights = np.array([answer.weight for answer in answers], dtype=np.float64)
        found = clustered_mean(sums_of(values, cluster), sums_of(weights, cluster))
        p, log_ci = found.p_above(math.log(limit.value)), found.interval()
        ci95 = None if log_ci is None else (math.exp(log_ci[0]), math.exp(log_ci[1]))
        value = math.exp(found.mean)
        return Trial(
            name=name, value=value, ci95=ci95, text=f"{value:.4f} over {len(answers):,} windows",
            p_pass=None if p is None else 1 - p, p_fail=p, excess=value / limit.value,
        )  # fmt: skip
    if is_perplexity(answers[0]):
        raise UnknownError(f"this is a perplexity, and has no {limit.metric}")
    scores = Bounded.of(values, cluster, min(0.0, values.min()), max(1.0, values.max()))
    mean = scores.mean.mean
    known = scores.df > 0
    return Trial(
        name=name, value=mean, ci95=scores.interval(), unit="share",
        text=f"{100 * mean:.1f} % over {len(answers):,} items",
        p_pass=scores.p_above(limit.value) if known else None,
        p_fail=scores.p_below(limit.value) if known else None,
        excess=limit.value / mean if mean > 0 else math.inf,
    )  # fmt: skip


def points(value: float | None, ci95: Interval | None) -> str:
    """A difference of scores in words, e.g. `−8.7 points (95 % interval −11.8 to −6.1)`."""
    if value is None:
        return "no difference is known"
    shown = f" (95 % interval {_signed(ci95[0])} to {_signed(ci95[1])})" if ci95 else ""
    return f"{_signed(value)} points{shown}"


def _signed(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "−")


def _percent(value: float) -> str:
    return f"{100 * value:+.2f} %".replace("-", "−")


def _more(needed: int | None, there: int, what: str) -> str | None:
    if needed is None:
        return None
    if needed <= there:  # what was seen is nearer to the limit than the plan for it
        return f"somewhat more than the {there:,} {what}"
    return f"about {needed - there:,} more {what}"
