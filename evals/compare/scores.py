"""Scores with intervals: of a suite, of its tasks and of its categories."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from evals.compare.clusters import clustered_mean, sums_of
from evals.compare.matched import Bounded
from evals.compare.pairs import BITS_PER_BYTE, cluster_codes, is_perplexity
from evals.compare.records import GroupScore, Interval, IntervalKind, SuiteScore

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from evals.compare.clusters import Floats, Ints
    from evals.records import Answer


def summarise(answers: Iterable[Answer], *, groups: Mapping[str, str] | None = None) -> SuiteScore:
    """Score one suite's answers.

    Errors are counted and left out; truncated, unparsed and empty answers count with their score,
    which is 0. With several tasks the score is the mean of theirs (perplexities apart), each task
    having the mean of its items.

    Args:
        answers: of one server to one suite.
        groups: task → the task that it is a part of, e.g. each subject of MMLU → "mmlu"; items of
            one group are scored together, so that subjects weigh as lm-eval weighs them: by size.
    """
    answers = list(answers)
    tasks = split(answers, lambda a: task_of(a, groups))
    categories = split([a for a in answers if a.category], category_of(tasks))
    scores = {name: group_score(part) for name, part in tasks.items()}
    if len(tasks) > 1:
        averaged = {n: s for n, s in scores.items() if not is_perplexity(tasks[n][0])}
        total = mean_of_tasks(averaged or scores)
    else:
        total = group_score(answers)
    result = SuiteScore(
        items=0,
        score=total.score,
        metric=total.metric,
        ci95=total.ci95,
        interval=total.interval,
        clusters=total.clusters,
        categories={name: group_score(part) for name, part in categories.items()},
        tags=_by_tag(answers),
        tasks=scores if len(tasks) > 1 else {},
        further_ci95=_by_other_units(answers),
    )
    _count_outcomes(result, answers)
    return result


def _by_tag(answers: Sequence[Answer]) -> dict[str, dict[str, GroupScore]]:
    """Score answers by each tag that they have, values in their order."""
    found = {}
    for tag in dict.fromkeys(name for answer in answers for name in answer.tags):
        parts = split([a for a in answers if tag in a.tags], lambda a, tag=tag: a.tags[tag])  # type: ignore[misc]  # a default binds
        found[tag] = {value: group_score(parts[value]) for value in sorted(parts, key=_rank)}
    return found


def _rank(value: str) -> tuple[bool, int, str]:
    """Numbers by size, before words."""
    digits = value.lstrip("0")  # whose number orders as their value does
    return (not value.isdecimal(), len(digits) if value.isdecimal() else 0, value)


def task_of(answer: Answer, groups: Mapping[str, str] | None) -> str:
    """Return the task that an answer is scored under."""
    return (groups or {}).get(answer.task, answer.task)


def category_of(tasks: Collection[str]) -> Callable[[Answer], str]:
    """Return what names an answer's category; with several tasks, the task too."""
    if len(tasks) > 1:
        return lambda a: f"{a.task}/{a.category}"
    return lambda a: a.category


def split(items: Iterable[Answer], key: Callable[[Answer], str]) -> dict[str, list[Answer]]:
    """Return answers by a key, in the order of first appearance."""
    parts: dict[str, list[Answer]] = {}
    for item in items:
        parts.setdefault(key(item), []).append(item)
    return parts


def group_score(answers: Sequence[Answer]) -> GroupScore:
    """Score answers as one group."""
    metric = _metric(answers)
    result = GroupScore(items=0, metric=metric)
    _count_outcomes(result, answers)
    graded = [a for a in answers if a.outcome != "error"]
    if not graded:
        return result
    values = np.array([a.score for a in graded], dtype=np.float64)
    cluster = cluster_codes(graded)
    result.clusters = int(cluster.max()) + 1
    if is_perplexity(graded[0]):
        weights = np.array([a.weight for a in graded], dtype=np.float64)
        result.score, result.ci95 = perplexity(values, weights, cluster)
        if metric == BITS_PER_BYTE:
            result.score, result.ci95 = math.log2(result.score), _bits(result.ci95)
        kind: IntervalKind = "ratio by cluster"
    else:
        result.score = math.fsum(values) / len(values)
        result.ci95, kind = mean_interval(values, cluster)
    result.interval = kind if result.ci95 else "none"
    return result


def mean_interval(values: Floats, cluster: Ints) -> tuple[Interval | None, IntervalKind]:
    """Return the 95 % interval of a mean of scores, and how it was made.

    The score interval: Wilson's, where scores are right or wrong and items independent. With
    clusters the variance is multiplied by the design effect and Student's t takes the normal
    distribution's place.
    """
    least, greatest = min(0.0, float(values.min())), max(1.0, float(values.max()))
    bounded = Bounded.of(values, cluster, least, greatest)
    binary = bool(np.isin(values, (0, 1)).all())
    name: IntervalKind = "wilson" if binary else "t"
    if not bounded.independent:
        name = "wilson by cluster" if binary else "t by cluster"
    return bounded.interval(), name


def perplexity(nats: Floats, units: Floats, cluster: Ints) -> tuple[float, Interval | None]:
    """Return exp(Σ nats ÷ Σ units) with its interval, clusters drawn and not tokens.

    Args:
        nats: (windows,) Σ −ln p.
        units: (windows,) tokens, words or bytes.
        cluster: (windows,) number of the cluster of each.
    """
    found = clustered_mean(sums_of(nats, cluster), sums_of(units, cluster))
    value = math.exp(math.fsum(nats) / math.fsum(units))
    limits = found.interval()
    if limits is None:
        return value, None
    return value, (math.exp(max(limits[0], 0.0)), math.exp(limits[1]))  # none is below 1


def _by_other_units(answers: Sequence[Answer]) -> dict[str, Interval]:
    """Return intervals of word and byte perplexity and bits per byte, where units are known."""
    graded = [a for a in answers if a.outcome != "error" and is_perplexity(a)]
    found: dict[str, Interval] = {}
    nats = np.array([a.score for a in graded], dtype=np.float64)
    for unit in ("word", "byte"):
        units = np.array([a.scores.get(f"{unit}s", 0.0) for a in graded], dtype=np.float64)
        if units.sum() > 0:
            _, ci95 = perplexity(nats, units, cluster_codes(graded))
            if ci95 is not None:
                found[f"{unit}_perplexity"] = ci95
    bits = _bits(found.get("byte_perplexity"))
    return found if bits is None else found | {BITS_PER_BYTE: bits}


def _bits(interval: Interval | None) -> Interval | None:
    return None if interval is None else (math.log2(interval[0]), math.log2(interval[1]))


def mean_of_tasks(scores: Mapping[str, GroupScore]) -> GroupScore:
    """Return the unweighted mean of tasks' scores."""
    known = [s for s in scores.values() if s.score is not None]
    metrics = {s.metric for s in known}
    value = math.fsum(s.score for s in known if s.score is not None) / len(known) if known else None
    found = [(s.score, s.ci95) for s in known if s.score is not None and s.ci95 is not None]
    ci95 = joined_interval(found) if known and len(found) == len(known) else None
    return GroupScore(
        items=sum(s.items for s in scores.values()),
        score=value,
        metric=metrics.pop() if len(metrics) == 1 else "mean of tasks",
        ci95=ci95,
        interval="by task" if ci95 else "none",
        clusters=sum(s.clusters for s in known),
    )


def joined_interval(parts: Sequence[tuple[float, Interval]]) -> Interval:
    """Return the interval of the mean of independent estimates from their own intervals.

    G. Y. Zou, A. Donner, *Construction of confidence limits about effect measures: a general
    approach* (MOVER), Statistics in Medicine 27 (2008) 1693-1702: distances to the limits add up
    as standard errors do.
    """
    count = len(parts)
    mean = math.fsum(value for value, _ in parts) / count
    below = math.sqrt(math.fsum((value - ci[0]) ** 2 for value, ci in parts)) / count
    above = math.sqrt(math.fsum((ci[1] - value) ** 2 for value, ci in parts)) / count
    return mean - below, mean + above


def _count_outcomes(result: GroupScore, answers: Sequence[Answer]) -> None:
    found = Counter(a.outcome for a in answers)
    result.items, result.errors = len(answers) - found["error"], found["error"]
    result.truncated, result.unparsed = found["truncated"], found["unparsed"]
    result.empty = found["empty"]


def _metric(answers: Sequence[Answer]) -> str:
    names = sorted({a.metric for a in answers})
    return " / ".join(names) or "accuracy"
