"""Answers of passes become the numbers of `evaluation.json`; `evals.compare` computes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from evals.compare import compare, pair, quality_score, summarise
from evals.compare.divergence import divergence
from evals.compare.records import SuiteScore
from evals.errors import EvalError, PairError
from evals.lmeval.results import read_results
from evals.perplexity.result import read_perplexity
from evals.perplexity.tokens import read_tokens
from harness.measuring.measurement import Caveat
from harness.quality.evaluation import Against, SuiteResult

if TYPE_CHECKING:
    from collections.abc import Mapping

    from evals.compare import QualityScore
    from evals.compare.divergence import Divergence
    from evals.compare.records import Comparison
    from harness.quality.evaluate import Asked
    from harness.quality.record import EvalManifest, SuiteFacts

_PERPLEXITY = "perplexity"
_LMEVAL = "lmeval"


def summary(one: Asked, facts: SuiteFacts) -> SuiteResult:
    """Score one pass."""
    score = summarise(one.answers)
    fields = {name: getattr(score, name) for name in SuiteScore.__struct_fields__}
    further: dict[str, float] = {}
    if facts.kind == _PERPLEXITY:
        found, metric = _perplexity(one)
        further |= found
        fields["metric"] = metric or fields["metric"]
    if facts.kind == _LMEVAL and (own := read_results(one.folder)) is not None:
        fields["metric"] = f"{score.metric}, {own.convention}"
    return SuiteResult(
        **fields,
        further=further,
        suite=facts.name,
        kind=facts.kind,
        route=one.record.route,
        planned=one.record.items,
        wall_s=one.record.wall_s,
    )


def part_of_text(one: Asked, facts: SuiteFacts) -> str:
    """Return why a perplexity is not over all of its text; empty where it is, or where it is none.

    Over fewer windows it is another number, however few they are.
    """
    if facts.kind != _PERPLEXITY:
        return ""
    try:
        return "; ".join(read_perplexity(one.folder)[2])
    except EvalError as error:
        return f"of how much text, and by which convention, cannot be told: {error}"


def notes(one: Asked, facts: SuiteFacts) -> list[str]:
    """Return what lm-eval does otherwise than the suite says."""
    found = read_results(one.folder) if facts.kind == _LMEVAL else None
    return [] if found is None else found.notes


def _perplexity(one: Asked) -> tuple[dict[str, float], str | None]:
    """Return perplexities by other units, and the convention that is printed with the number."""
    try:
        found, convention, _ = read_perplexity(one.folder)
    except EvalError:
        return {}, None
    values = {
        "word_perplexity": found.word,
        "byte_perplexity": found.byte,
        "bits_per_byte": found.bits_per_byte,
    }
    return {name: value for name, value in values.items() if value is not None}, str(convention)


def against(
    ours: Asked, theirs: Asked, build: str, facts: SuiteFacts, manifest: EvalManifest
) -> tuple[Against | None, list[Caveat]]:
    """Compare one suite's answers with the baseline's; None, and why, where that cannot be."""
    if ours.record.route != theirs.record.route:
        return None, [
            Caveat(
                "other_route",
                f"{facts.name} was not compared: it was asked by the route {ours.record.route}, "
                f"and of {build} by {theirs.record.route}. Answers by different routes are "
                f"different quantities; --route {theirs.record.route} demands that one.",
                invalidates=True,
            )
        ]
    try:
        found = compare(
            ours.answers,
            theirs.answers,
            build=build,
            margin=manifest.margin / 100,
            perplexity_margin=manifest.perplexity_margin / 100,
        )
    except PairError as error:
        text = f"{facts.name} was not compared with {build}: {error}"
        return None, [Caveat("no_pairs", text, invalidates=True)]
    return msgspec.structs.replace(
        _against(found), divergence=_divergence(ours, theirs, manifest.seed)
    ), []


def _divergence(ours: Asked, theirs: Asked, seed: int) -> Divergence | None:
    """Compare next-token distributions, where both folders hold the likeliest tokens."""
    mine, other = read_tokens(ours.folder), read_tokens(theirs.folder)
    if mine is None or other is None:
        return None
    try:
        found = divergence(mine, other, seed=seed)
    except PairError:
        return None
    return found if found.top_k else None


def _against(found: Comparison) -> Against:
    noninferiority = found.noninferiority
    return Against(
        build=found.build,
        score=found.baseline_score,
        our_score=found.score,
        difference=found.difference,
        difference_ci95=found.difference_ci95,
        retained=found.retained,
        retained_ci95=found.retained_ci95,
        above_chance=found.above_chance,
        flips=found.flips,
        p_value=found.p_value,
        regressed=found.regressed,
        worst=found.worst,
        pairs=found.pairs,
        clusters=found.clusters,
        unpaired=found.only_ours + found.only_baseline + found.errors,
        verdict=None if noninferiority is None else noninferiority.verdict,
        noninferiority=noninferiority,
        categories=found.categories,
        tasks=found.tasks,
        outcomes=found.outcomes,
        perplexity=found.perplexity,
        notes=found.notes,
    )


def quality(pairs: Mapping[str, tuple[Asked, Asked]], seed: int) -> QualityScore | None:
    """Return the mean retained share over suites and tasks; None where nothing was paired."""
    paired = {}
    for name, (ours, theirs) in pairs.items():
        try:
            paired[name] = pair(ours.answers, theirs.answers)
        except PairError:
            continue
    found = quality_score(paired, seed=seed)
    return None if found.score is None else found
