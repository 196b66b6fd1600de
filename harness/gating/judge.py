"""From a gate's folder to its verdict. Pure: the same folder gives the same `gate.json`.

A rule is PASS where each of its tests shows, one-sided at 5 %, that it is kept; the gate is PASS
where all rules are, which needs no correction (an intersection-union test: R. L. Berger,
Technometrics 24 (1982) 295-300). A rule is FAIL where a test shows that it is broken, by Holm's
correction for all tests of the gate: a candidate that breaks none fails 5 times in 100, however
many rules there are.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec

from harness.evidence.limits import parse_limit
from harness.gating import answers, speeds
from harness.gating.record import read_gate_manifest
from harness.gating.result import STAGE_SKIPPED, GateResult, RuleResult, StageResult
from harness.gating.rules import CONTRACT
from harness.gating.sides import read_side
from harness.gating.trial import UnknownError, finding, holm
from harness.measuring.measurement import Caveat

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from evals.compare.records import Verdict
    from harness.evidence.limits import Limit
    from harness.gating.record import GateManifest, StageRecord
    from harness.gating.result import Finding, Unit
    from harness.gating.sides import Known
    from harness.gating.trial import Trial
    from harness.rundir import RunFolder


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A rule with what it was tried on."""

    stage: str
    rule: str
    limit: float | None = None
    unit: Unit = ""
    trials: Sequence[Trial] = ()
    unknown: str = ""
    """Why there are no trials."""
    settle: str | None = None
    skipped: bool = False
    """The rule is not judged, and does not count."""
    invalid: tuple[str, ...] = field(default=())
    """Why what it was to be tried on must not be believed."""


def judge(run: RunFolder) -> GateResult:
    """Compute a gate's result from its folder.

    Raises:
        BadInputError: its manifest, or a file of a part, is missing or broken.
    """
    manifest = read_gate_manifest(run)
    ours, theirs = read_side(run, manifest.candidate), read_side(run, manifest.baseline)
    tried = [one for stage in manifest.stages for one in try_stage(stage, ours, theirs)]
    found = decide(manifest, tried, told=[*theirs.told(), *ours.told()])
    sides = {"candidate": ours.weights(), "baseline": theirs.weights()}
    known = {side: text for side, text in sides.items() if text}
    return msgspec.structs.replace(found, weights=known)


def try_stage(stage: StageRecord, ours: Known, theirs: Known) -> list[Tried]:
    """Try all rules of a stage on what there is."""
    if stage.name == CONTRACT:
        return []
    return [_try(stage, rule, ours, theirs) for rule in stage.rules]


def _try(stage: StageRecord, rule: str, ours: Known, theirs: Known) -> Tried:
    limit = parse_limit(rule, stage.name, recorded=True)
    told = Tried(stage=stage.name, rule=rule, limit=limit.value, unit=_unit(limit))
    if stage.ended != "done":
        return _untried(told, stage)
    try:
        if limit.kind == "quality":
            return _on_answers(told, stage.asks, limit, ours, theirs)
        trials = speeds.tries(
            limit,
            ours.driven(stage.asks, stage.levels),
            theirs.driven(stage.asks, stage.levels),
        )
    except UnknownError as error:
        invalid = (error.text,) if error.invalid else ()
        return replace(told, unknown=error.text, settle=error.settle, invalid=invalid)
    return replace(told, trials=trials)


def _unit(limit: Limit) -> Unit:
    if limit.kind != "quality":
        return speeds.unit_of(limit)
    return "" if limit.metric == "perplexity" else "share"


def _on_answers(told: Tried, suite: str, limit: Limit, ours: Known, theirs: Known) -> Tried:
    mine, other = ours.answers(suite), theirs.answers(suite)
    if mine is None:
        return replace(told, unknown=f"the candidate was not asked {suite}")
    if other is None and limit.needs_baseline:
        return replace(told, unknown=f"the baseline was not asked {suite}")
    invalid = ours.invalid_answers(suite)
    if limit.needs_baseline:
        invalid += theirs.invalid_answers(suite)
    if invalid:
        return replace(told, unknown=invalid[0], invalid=tuple(dict.fromkeys(invalid)))
    theirs_to_it = [] if other is None else other.answers
    return replace(told, trials=answers.tries(limit, mine.answers, theirs_to_it))


def _untried(told: Tried, stage: StageRecord) -> Tried:
    if stage.ended == "out_of_time":
        settle = None if stage.needs_s is None else f"about {stage.needs_s:.0f} s more"
        return replace(told, unknown=stage.text or "its time ran out", settle=settle)
    text = stage.text or "not begun"
    return replace(told, unknown=text, skipped=stage.ended == "skipped")


def decide(
    manifest: GateManifest,
    tried: Sequence[Tried],
    *,
    valid: bool = True,
    told: Sequence[Caveat] = (),
) -> GateResult:
    """Put rules' trials together to the gate's result.

    Args:
        manifest: with its stages as they went.
        tried: every rule of every stage.
        valid: whether the measurements as a whole may be believed.
        told: caveats of the parts that a reader must know.
    """
    contract = [stage for stage in manifest.stages if stage.name == CONTRACT]
    adjusted = _adjusted(manifest.stages, tried)
    rules = [_contract(stage) for stage in contract if stage.ended in {"done", "failed"}]
    rules += [_rule(one, adjusted) for one in tried]
    broken = any(rule.verdict == "FAIL" for rule in rules)
    if broken:
        rules = [_after_failure(rule, manifest.stages) for rule in rules]
    verdict = _whole(rule.verdict for rule in rules)
    invalid = list(dict.fromkeys(text for one in tried for text in one.invalid))
    caveats = [*manifest.problems, *(Caveat("invalid", text, invalidates=True) for text in invalid)]
    caveats += [*told, *_skipped(manifest.stages)]
    return GateResult(
        run=manifest.run,
        candidate=manifest.candidate.build,
        baseline=manifest.baseline.build,
        rules_file=manifest.rules_file,
        verdict=verdict,
        reason=_reason(rules, verdict),
        rules=rules,
        stages=[_stage(stage, rules) for stage in manifest.stages],
        elapsed_s=manifest.elapsed_s,
        budget_s=manifest.budget_s,
        runs=list(manifest.parts),
        valid=valid and not any(caveat.invalidates for caveat in caveats),
        caveats=caveats,
    )


def _adjusted(stages: Sequence[StageRecord], tried: Sequence[Tried]) -> dict[int, float]:
    """Return Holm's p-value of each trial, by its identity."""
    known = [(id(t), t.p_fail) for one in tried for t in one.trials if t.p_fail is not None]
    planned = sum(stage.tests for stage in stages if stage.ended != "skipped")
    found = holm([p for _, p in known], planned)
    return {key: p for (key, _), p in zip(known, found, strict=True)}


def _contract(stage: StageRecord) -> RuleResult:
    kept = stage.ended == "done"
    return RuleResult(
        rule=CONTRACT,
        stage=CONTRACT,
        verdict="PASS" if kept else "FAIL",
        text=stage.text or "both servers were proved able to do what the stages need",
    )


def _rule(one: Tried, adjusted: dict[int, float]) -> RuleResult:
    if not one.trials:
        return RuleResult(
            rule=one.rule,
            stage=one.stage,
            verdict="SKIPPED" if one.skipped else "INCONCLUSIVE",
            limit=one.limit,
            unit=one.unit,
            text=one.unknown,
            settle=one.settle,
        )
    findings = {id(trial): finding(trial, adjusted.get(id(trial))) for trial in one.trials}
    verdict = _whole(findings.values())
    deciding = max(
        (trial for trial in one.trials if findings[id(trial)] == verdict), key=lambda t: t.excess
    )
    also = [
        trial.name
        for trial in one.trials
        if trial is not deciding and findings[id(trial)] == verdict != "PASS"
    ]
    text = f"{deciding.name}: {deciding.text}" if deciding.name else deciding.text
    if also:
        text += f"; and also {', '.join(also)}"
    p = adjusted.get(id(deciding))
    settle = deciding.settle if verdict == "INCONCLUSIVE" else None
    return RuleResult(
        rule=one.rule,
        stage=one.stage,
        verdict=verdict,
        value=deciding.value,
        ci95=deciding.ci95,
        limit=one.limit,
        unit=deciding.unit,
        text=text,
        category=deciding.name or None,
        p_pass=deciding.p_pass,
        p_fail=p,
        settle=settle,
    )


def _whole(findings: Iterable[Finding]) -> Verdict:
    """Return FAIL if one is, PASS if all are that count, else INCONCLUSIVE."""
    counted = [finding for finding in findings if finding != "SKIPPED"]
    if "FAIL" in counted:
        return "FAIL"
    return "PASS" if counted and set(counted) == {"PASS"} else "INCONCLUSIVE"


def _after_failure(rule: RuleResult, stages: Sequence[StageRecord]) -> RuleResult:
    """Mark a rule that was not reached since another had failed: nobody needs to settle it."""
    ended = {stage.name: stage.ended for stage in stages}
    if rule.verdict == "INCONCLUSIVE" and ended.get(rule.stage) == "not_begun":
        return msgspec.structs.replace(rule, verdict="SKIPPED")
    return rule


def _stage(stage: StageRecord, rules: Sequence[RuleResult]) -> StageResult:
    own = [rule.verdict for rule in rules if rule.stage == stage.name]
    verdict: Finding = _whole(own)
    if all(finding == "SKIPPED" for finding in own):
        verdict = "SKIPPED"
    return StageResult(
        stage=stage.name,
        verdict=verdict,
        elapsed_s=stage.elapsed_s,
        budget_s=stage.budget_s,
        text=stage.text,
    )


def _skipped(stages: Sequence[StageRecord]) -> list[Caveat]:
    return [
        Caveat(STAGE_SKIPPED, f"The stage {stage.name} was not judged: {stage.text}")
        for stage in stages
        if stage.ended == "skipped"
    ]


def _reason(rules: Sequence[RuleResult], verdict: Verdict) -> str:
    """Say by which rule the verdict came, and what would settle what is open."""
    own = [rule for rule in rules if rule.verdict == verdict]
    if verdict == "PASS":
        skipped = sum(rule.verdict == "SKIPPED" for rule in rules)
        left = f"; {skipped} were not judged" if skipped else ""
        return f"All {len(own)} rules are kept{left}."
    if not own:
        return "No rule was judged."
    first, *others = own
    word, also = ("is broken", "Broken") if verdict == "FAIL" else ("cannot be told", "Open")
    settle = f"; {first.settle} would settle it" if first.settle else ""
    more = f" {also}, too: {', '.join(rule.rule for rule in others)}." if others else ""
    told = f"{first.rule} {word}: {first.text}{settle}".rstrip(".")
    return f"{told}.{more}"
