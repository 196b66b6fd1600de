"""A limit held to what was measured: PASS, FAIL or INCONCLUSIVE, by the interval.

PASS: the whole 95 % interval is within the limit. FAIL: all of it is beyond. Where there is no
interval all repeats have to lie on one side; of a peak the largest is held. Limits on answers are
tested one-sided at 5 % to either side, as a gate tests them (`harness.comparing.tested`). A limit
on several levels or suites holds where it holds on each.
"""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Final

from harness.comparing import words
from harness.comparing.comparison import LimitResult
from harness.comparing.finding import (
    PEAK,
    SAME,
    Finding,
    Settle,
    by_interval,
    doubted,
    judged,
    nothing,
    peak,
    times,
)
from harness.comparing.quality import is_perplexity
from harness.comparing.tails import longer
from harness.errors import did_you_mean
from harness.evidence.metrics import METRICS
from harness.measuring.measure import WAITING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from evals.compare.records import Interval, Noninferiority, Verdict
    from harness.comparing.comparison import Comparison, QualityPart, QualityRow
    from harness.comparing.rows import LevelRow, Value
    from harness.evidence.limits import Limit

_GOODPUT: Final = "goodput"
_GOODPUT_NEEDS: Final = Settle(
    "a measurement whose --slo limits single requests too, e.g. ttft_ms<=500: goodput counts "
    "those that hold such limits"
)
_A_SERVER: Final = Settle("a server that tells it")


def verdict(limit: Limit, build: str, comparison: Comparison) -> LimitResult:
    """Hold a limit to one build.

    The metrics of load limits have to be among those that the comparison was made with:
    `compare(limits=…)` sees to it.
    """
    if limit.kind == "quality":
        found = list(_of_answers(limit, build, comparison))
    elif limit.kind == "server":
        found = [_of_server(limit, build, comparison)]
    else:
        found = list(_of_levels(limit, build, comparison))
    order = ("FAIL", "INCONCLUSIVE", "PASS")
    worst = min(found, key=lambda one: (order.index(one.verdict), -_beyond(limit, one)))
    others = [one for one in found if one.verdict == worst.verdict != "PASS" and one is not worst]
    text = worst.text
    if others:
        text += f"; also {'; '.join(one.text for one in others)}"
    elif len(found) > 1 and worst.verdict == "PASS":
        text += f" (the nearest to the limit of {len(found)})"
    return LimitResult(
        limit=limit.text,
        verdict=worst.verdict,
        value=worst.value,
        ci95=worst.ci95,
        text=text,
        settle=worst.settle and worst.settle.text,
        more=worst.settle is not None and worst.settle.more,
    )


def _beyond(limit: Limit, one: Finding) -> float:
    """How far a value is beyond the limit; negative: within."""
    if one.value is None:
        return math.inf
    return one.value - limit.value if limit.operator == "<=" else limit.value - one.value


# --- load ----------------------------------------------------------------------------------------


def _of_levels(limit: Limit, build: str, comparison: Comparison) -> Iterator[Finding]:
    rows = [row for row in comparison.load if row.build == build]
    if limit.level is not None:
        rows = [row for row in rows if limit.level.is_(row.level)]
    if not rows:
        where = f" at {limit.level}" if limit.level else ""
        levels = dict.fromkeys(words.level(row.level) for row in comparison.load)
        hint = f"levels measured: {', '.join(levels)}" if levels else "a load run"
        yield nothing(f"no load was measured of {build}{where}", Settle(f"measure it ({hint})"))
    for row in rows:
        found = _at_level(limit, row, comparison)
        yield found if row.valid else doubted(found)


def _at_level(limit: Limit, row: LevelRow, comparison: Comparison) -> Finding:
    at = words.at_level(row.level)
    own = row.metrics.get(limit.metric)
    if limit.ratio:
        if row.build == comparison.baseline:
            return Finding(verdict="PASS", value=1.0, text="it is the baseline itself")
        base = _baseline_row(row, comparison)
        against = row.against.get(limit.metric)
        value = against.ratio if against else None
        ci95 = against.ratio_ci95 if against else None
        few = against is not None and against.few
        if limit.metric == PEAK:
            value, ci95 = _over(peak(own), peak(base.metrics.get(PEAK) if base else None)), None
        repeats = _ratios(own, base.metrics.get(limit.metric) if base else None)
        shown = f"{words.ratio(value)} of {comparison.baseline}{words.between(ci95)}"
    else:
        value, ci95 = (own.value, own.ci95) if own else (None, None)
        few = own is not None and own.few
        if limit.metric == PEAK:
            value, ci95 = peak(own), None
        repeats = _repeats(own)
        shown = f"{words.amount(limit.metric, value)}{_interval(limit.metric, ci95)}"
    name = words.label(limit.metric)
    more = Settle(f"more answers a cell {at}: {longer(limit.metric, row.answers)}", more=True)
    if limit.metric == _GOODPUT and own is None:
        more = _GOODPUT_NEEDS
    if value is None:
        if not row.stable and METRICS[limit.metric].field in WAITING:
            text = f"{name} {at}: the queue grew throughout, so no limit on it is held"
            return Finding(verdict="FAIL", text=text)
        return nothing(f"{name} {at} is not known of {row.build}", more)
    if few:
        text = f"{name} {shown} {at}, of too few answers to decide by"
        return Finding(verdict="INCONCLUSIVE", value=value, text=text, settle=more)
    return judged(limit, value, ci95, f"{name} {shown} {at}", repeats)


def _baseline_row(row: LevelRow, comparison: Comparison) -> LevelRow | None:
    """The baseline's row at the same level of the same profile."""
    for one in comparison.load:
        same = (one.profile, one.level) == (row.profile, row.level)
        if same and one.build == comparison.baseline:
            return one
    return None


def _repeats(found: Value | float | None) -> list[float]:
    """The values of the repeats; a number that a server tells of itself is one."""
    if found is None or isinstance(found, int | float):
        return [] if found is None else [float(found)]
    return [one for one in found.repeats if one is not None]


def _ratios(own: Value | float | None, base: Value | float | None) -> list[float]:
    """Each repeat of ours ÷ the baseline's; ÷ each of them where their number is not the same."""
    ours, theirs = _repeats(own), _repeats(base)
    pairs = zip(ours, theirs, strict=True) if len(ours) == len(theirs) else product(ours, theirs)
    return [a / b for a, b in pairs if b]


def _over(ours: float | None, theirs: float | None) -> float | None:
    return None if ours is None or not theirs else ours / theirs


# --- servers -------------------------------------------------------------------------------------


def _of_server(limit: Limit, build: str, comparison: Comparison) -> Finding:
    name = words.label(limit.metric)
    own, base = (
        next((one for one in comparison.servers if one.build == who), None)
        for who in (build, comparison.baseline)
    )
    found, other = (getattr(one, limit.metric, None) for one in (own, base))
    value, ci95 = _plain(limit, found)
    if value is None:
        return nothing(f"{name} is not known of {build}", _A_SERVER)
    if not limit.ratio:
        shown = f"{name} {words.amount(limit.metric, value)}{_interval(limit.metric, ci95)}"
        return judged(limit, value, ci95, shown, _repeats(found))
    theirs, _ = _plain(limit, other)
    if not theirs:
        return nothing(f"{name} is not known of {comparison.baseline}", _A_SERVER)
    scaled = None if ci95 is None else (ci95[0] / theirs, ci95[1] / theirs)
    shown = f"{name} {words.ratio(value / theirs)} of {comparison.baseline}{words.between(scaled)}"
    return judged(limit, value / theirs, scaled, shown, _ratios(found, other))


def _plain(limit: Limit, found: Value | float | None) -> tuple[float | None, Interval | None]:
    if found is None or isinstance(found, int | float):
        return found, None
    return (peak(found), None) if limit.metric == PEAK else (found.value, found.ci95)


# --- answers -------------------------------------------------------------------------------------


def _of_answers(limit: Limit, build: str, comparison: Comparison) -> Iterator[Finding]:
    rows = [row for row in comparison.quality if row.build == build and speaks_of(limit, row)]
    if limit.suite is not None:
        rows = [row for row in rows if row.suite == limit.suite] or rows
    if not rows:
        known = dict.fromkeys(row.suite for row in comparison.quality)
        typo = limit.suite if limit.suite not in known else None
        near = did_you_mean(typo, known) if typo else ""
        what = f"{limit.suite}{near}" if limit.suite else f"suite that has a {limit.metric}"
        yield nothing(
            f"{build} was not asked {what}", Settle(f"ask it: {limit.suite or 'a suite'}")
        )
    for row in rows:
        if limit.text in row.tests:
            yield from _of_tests(limit, row)
            continue
        part: QualityPart = row
        name = row.suite
        if limit.suite is not None and row.suite != limit.suite:
            part, name = row.tasks[limit.suite], limit.suite
        if limit.part is not None:
            parts = row.categories | row.tasks
            key = next((k for k in (limit.part, f"{name}/{limit.part}") if k in parts), None)
            if key is None:
                near = did_you_mean(limit.part, parts)
                settle = Settle(f"one of {', '.join(parts)}")
                yield nothing(f"{name} has no part {limit.part}{near}", settle)
                continue
            part, name = parts[key], f"{name}/{limit.part}"
        finding = _of_part(limit, row, part, name, comparison)
        yield finding if row.valid else doubted(finding)


def _of_tests(limit: Limit, row: QualityRow) -> Iterator[Finding]:
    """Yield what the tests of a limit on a suite's answers found."""
    name = row.suite if limit.suite in {None, row.suite} else limit.suite
    for test in row.tests[limit.text]:
        own = test.part or limit.part
        told = f"{name}/{own}" if own else f"{name}"
        settle = None
        if test.verdict == "INCONCLUSIVE":
            parts = row.categories | row.tasks
            part = parts.get(own or "") or parts.get(f"{name}/{own}") or row
            settle = _more_items(limit, test.value, test.ci95, part.items)
            if test.settle is not None:
                settle = Settle(test.settle, more=True)
        text = f"{told}: {_shown(limit, test.value or 0.0, test.ci95)}"
        if not own and row.regressed and limit.metric in _OF_SCORES:
            text += f"; {_categories(row)}"
        finding = Finding(
            verdict=test.verdict, value=test.value, ci95=test.ci95, text=text, settle=settle,
        )  # fmt: skip
        yield finding if row.valid else doubted(finding)


_OF_SCORES: Final = frozenset(("retained", "difference", "score"))


def _more_items(limit: Limit, value: float | None, ci95: Interval | None, there: int) -> Settle:
    if value is None or ci95 is None:
        return Settle("items of more than one cluster")
    needed = times(limit.value, value, ci95)
    return _items(None if needed is None else math.ceil(needed * there), there)


def speaks_of(limit: Limit, row: QualityRow) -> bool:
    """Whether a limit is of a suite or a task of it; one that names none is of all of its kind."""
    if limit.kind != "quality":
        return False
    if limit.suite is None:
        return is_perplexity(row) == limit.metric.startswith("perplexity")
    return limit.suite == row.suite or limit.suite in row.tasks


def _of_part(
    limit: Limit, row: QualityRow, part: QualityPart, name: str, comparison: Comparison
) -> Finding:
    value, ci95 = _known(limit, row, part)
    if limit.needs_baseline and row.build == comparison.baseline:
        return Finding(verdict="PASS", text=f"{name}: it is the baseline itself")
    if value is None:
        what = f"{limit.metric} of {name} is not known of {row.build}"
        return nothing(what, Settle(f"ask {comparison.baseline} the same items"))
    text = f"{name}: {_shown(limit, value, ci95)}"
    if part is row and row.regressed and limit.metric in _OF_SCORES:
        text += f"; {_categories(row)}"
    test = part.noninferiority
    if test is not None and _same_margin(limit, test):
        settle = None
        if test.verdict == "INCONCLUSIVE":
            settle = _items(test.items_needed, part.items)
        return Finding(
            verdict=test.verdict, value=value, ci95=ci95, text=text,
            settle=settle,
        )  # fmt: skip
    found: Verdict = "INCONCLUSIVE" if ci95 is None else by_interval(limit, ci95)
    settle = None
    if found == "INCONCLUSIVE":
        settle = _more_items(limit, value, ci95, part.items)
    return Finding(verdict=found, value=value, ci95=ci95, text=text, settle=settle)


def _known(
    limit: Limit, row: QualityRow, part: QualityPart
) -> tuple[float | None, Interval | None]:
    """Return the number that a limit speaks of, and its interval."""
    match limit.metric:
        case "score" | "perplexity":
            return part.score, part.ci95
        case "retained":
            return part.retained, part.retained_ci95
        case "difference":
            return part.difference, part.difference_ci95
    if part is not row or row.perplexity_ratio is None:
        return None, None
    ci95 = row.perplexity_ratio_ci95
    return row.perplexity_ratio - 1, None if ci95 is None else (ci95[0] - 1, ci95[1] - 1)


def _categories(row: QualityRow) -> str:
    """Which categories lost, the worst with its numbers."""
    parts = row.categories | row.tasks
    worst = parts.get(row.regressed[0])
    text = f"category {row.regressed[0]}"
    if worst is not None and worst.difference is not None:
        text += f" {words.loss(worst.difference, worst.difference_ci95)}"
    else:
        text += " lost more than noise"
    return text + (f", also {', '.join(row.regressed[1:])}" if row.regressed[1:] else "")


def _same_margin(limit: Limit, test: Noninferiority) -> bool:
    if limit.metric == "difference":
        return math.isclose(-limit.value, test.margin, abs_tol=SAME)
    return limit.metric == "perplexity_rise" and math.isclose(
        limit.value, test.margin, abs_tol=SAME
    )


def _items(needed: int | None, there: int) -> Settle:
    if needed is None:
        return Settle("no number of items: it lies at the limit")
    more = max(1, needed - there)
    told = words.more(more, "more item", "more items")
    return Settle(f"about {told} ({there + more:,} in all)", more=True)


def _shown(limit: Limit, value: float, ci95: Interval | None) -> str:
    match limit.metric:
        case "difference":
            return f"{words.points(value)} points{words.points_between(ci95)}"
        case "perplexity":
            return f"perplexity {words.amount('perplexity', value)}{words.between(ci95)}"
        case "perplexity_rise":
            low_high = "" if ci95 is None else _percent(ci95)
            return f"{100 * value:+.2f} %{low_high}".replace("-", "−")
        case "retained":
            return f"{100 * value:.1f} % retained{words.between(ci95, 100)}"
        case _:
            return f"score {100 * value:.1f} %{words.between(ci95, 100)}"


def _percent(ci95: Interval) -> str:
    return f" (95 % {100 * ci95[0]:+.2f} to {100 * ci95[1]:+.2f})".replace("-", "−")


def _interval(metric: str, ci95: Interval | None) -> str:
    return words.between(ci95, 100 if metric == "error_rate" else 1)
