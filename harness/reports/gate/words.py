"""A gate's numbers as text, the same in all formats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.reports.figures import NOTHING, figure, plain

if TYPE_CHECKING:
    from harness.gating.result import GateResult, RuleResult, StageResult

_UNITS: Final = {"share": " %", "": ""}
_TENTHS: Final = 10


def heading(result: GateResult) -> str:
    """What was asked, in one line."""
    return f"{plain(result.candidate)} against {plain(result.baseline)}: {result.verdict}"


def weights(result: GateResult) -> str:
    """What both builds' weights are; empty where nobody says."""
    return plain("; ".join(f"{side}: {text}" for side, text in result.weights.items()))


def grouped(result: GateResult) -> list[list[RuleResult]]:
    """The rules in their order; neighbours that were skipped for one reason are one group."""
    groups: list[list[RuleResult]] = []
    for rule in result.rules:
        last = groups[-1][-1] if groups else None
        if last and rule.verdict == last.verdict == "SKIPPED" and rule.text == last.text:
            groups[-1].append(rule)
        else:
            groups.append([rule])
    return groups


def note(result: GateResult, stage: StageResult) -> str:
    """What is to be said of a stage that its rules do not say."""
    told = any(rule.stage == stage.stage and rule.text == stage.text for rule in result.rules)
    return "" if told else stage.text


def value(rule: RuleResult, number: float | None) -> str:
    """A number in its unit."""
    if number is None:
        return NOTHING
    return f"{_bare(rule, number)}{_UNITS.get(rule.unit, f' {rule.unit}')}"


def limit(rule: RuleResult) -> str:
    """The limit as it was understood, in full: `95 %`, `150 %`, `900 ms`."""
    if rule.limit is None:
        return NOTHING
    number = 100 * rule.limit if rule.unit == "share" else rule.limit
    shown = f"{number:,.10g}".replace("-", "−")
    return f"{shown}{_UNITS.get(rule.unit, f' {rule.unit}')}"


def interval(rule: RuleResult) -> str:
    """The 95 % interval as `92.3–94.9`; empty without one."""
    if rule.ci95 is None:
        return ""
    low, high = (_bare(rule, number) for number in rule.ci95)
    between = " … " if low.startswith("−") else "–"
    return f"{low}{between}{high}"


def _bare(rule: RuleResult, number: float) -> str:
    text = figure(abs(number))
    if rule.unit == "share":
        per_cent = 100 * abs(number)
        text = f"{per_cent:.2f}" if per_cent < _TENTHS else f"{per_cent:.1f}"
    return f"−{text}" if number < 0 else text


def validity(result: GateResult) -> str:
    """Whether the measurements may be believed."""
    if result.valid:
        return "The measurements are valid."
    return "A measurement is not valid: the verdict must not be believed."


def seconds(stage: StageResult) -> str:
    """What a stage took, and might have."""
    budget = "" if stage.budget_s is None else f" (budget {stage.budget_s:.0f} s a build)"
    return f"{stage.elapsed_s:.0f} s{budget}"
