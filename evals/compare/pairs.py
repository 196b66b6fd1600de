"""Two lists of answers become pairs: the same item, asked in the same words by the same route."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from evals.compare.clusters import codes
from evals.errors import PairError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from evals.compare.clusters import Floats, Ints
    from evals.records import Answer

BITS_PER_BYTE = "bits_per_byte"
_SHOWN = 3


@dataclass(frozen=True)
class Pairs:
    """Answers of two builds to the same items, in the order of ours."""

    ours: Sequence[Answer]
    baseline: Sequence[Answer]
    only_ours: int = 0
    only_baseline: int = 0
    errors: int = 0
    """Items left out since one side or both have no answer."""
    metric: str = field(default="accuracy")

    def __len__(self) -> int:
        return len(self.ours)

    @cached_property
    def scores(self) -> Floats:
        """(n,) of ours."""
        return np.array([a.score for a in self.ours], dtype=np.float64)

    @cached_property
    def baseline_scores(self) -> Floats:
        """(n,) of the baseline."""
        return np.array([a.score for a in self.baseline], dtype=np.float64)

    @cached_property
    def weights(self) -> Floats:
        """(n,) units of perplexity, 1 else."""
        return np.array([a.weight for a in self.ours], dtype=np.float64)

    @cached_property
    def cluster(self) -> Ints:
        """(n,) number of the cluster of each pair."""
        return cluster_codes(self.ours)

    def where(self, keep: Callable[[Answer], bool]) -> Pairs:
        """Return the pairs whose answer of ours is to be kept."""
        chosen = [i for i, answer in enumerate(self.ours) if keep(answer)]
        ours = [self.ours[i] for i in chosen]
        baseline = [self.baseline[i] for i in chosen]
        return Pairs(ours, baseline, metric=_metric(ours))


def cluster_codes(answers: Sequence[Answer]) -> Ints:
    """Number the clusters; an item without one is a cluster of its own."""
    return codes(
        (a.task, "in", a.cluster) if a.cluster else (a.task, "alone", a.item) for a in answers
    )


def is_perplexity(answer: Answer) -> bool:
    """Whether its score is a sum of −ln p over `weight` units."""
    return "perplexity" in answer.metric or answer.metric == BITS_PER_BYTE


def pair(ours: Iterable[Answer], baseline: Iterable[Answer]) -> Pairs:
    """Pair answers by task and item.

    Raises:
        PairError: an item is there twice, or asked or graded differently on the two sides, or
            there is no pair at all.
    """
    mine, theirs = _by_key(ours, "ours"), _by_key(baseline, "the baseline")
    both = [key for key in mine if key in theirs]
    if not both:
        raise PairError(
            f"no item in common: {len(mine)} of ours, {len(theirs)} of the baseline; compare runs "
            "of the same suite with the same --seed and --limit"
        )
    good = [k for k in both if mine[k].outcome != "error" and theirs[k].outcome != "error"]
    _demand_same("route", "by the same route (--route)", good, mine, theirs)
    _demand_same("prompt_hash", "with the same suite and tokenizer", good, mine, theirs)
    _demand_same("expected", "with the same gold answers", good, mine, theirs)
    _demand_same("metric", "with the same grader", good, mine, theirs)
    _demand_same("weight", "with the same windows", good, mine, theirs)
    kept = [mine[key] for key in good]
    return Pairs(
        kept,
        [theirs[key] for key in good],
        only_ours=len(mine) - len(both),
        only_baseline=len(theirs) - len(both),
        errors=len(both) - len(good),
        metric=_metric(kept),
    )


def _metric(answers: Sequence[Answer]) -> str:
    names = sorted({a.metric for a in answers})
    return names[0] if len(names) == 1 else " / ".join(names)


def _by_key(answers: Iterable[Answer], side: str) -> dict[tuple[str, str], Answer]:
    found: dict[tuple[str, str], Answer] = {}
    for answer in answers:
        key = (answer.task, answer.item)
        if key in found:
            raise PairError(f"item {_name(key)} is twice among the answers of {side}")
        found[key] = answer
    return found


def _demand_same(
    name: str,
    remedy: str,
    keys: Sequence[tuple[str, str]],
    mine: dict[tuple[str, str], Answer],
    theirs: dict[tuple[str, str], Answer],
) -> None:
    differ = [key for key in keys if getattr(mine[key], name) != getattr(theirs[key], name)]
    if not differ:
        return
    first = differ[0]
    examples = ", ".join(_name(key) for key in differ[:_SHOWN])
    raise PairError(
        f"{len(differ)} of {len(keys)} items differ in {name} ({examples}"
        f"{', …' if len(differ) > _SHOWN else ''}; {_name(first)}: "
        f"{getattr(mine[first], name)!r} against {getattr(theirs[first], name)!r}): "
        f"ask both builds {remedy}"
    )


def _name(key: tuple[str, str]) -> str:
    task, item = key
    return f"{task}/{item}" if task else item
