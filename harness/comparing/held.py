"""A limit held to what was measured: PASS, FAIL or INCONCLUSIVE, by the interval.

PASS: the whole 95 % interval is within the limit. FAIL: all of it is beyond. Limits on answers are
tested one-sided at 5 % to either side, as a gate tests them (`harness.comparing.tested`). A limit
on several levels or suites holds where it holds on each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from scipy import special

from harness.comparing import words
from harness.comparing.comparison import LimitResult
from harness.comparing.quality import is_perplexity
from harness.comparing.tails import longer
from harness.errors import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from evals.compare.records import Interval, Noninferiority, Verdict
    from harness.comparing.comparison import (
        Comparison,
        LevelRow,
        QualityPart,
        QualityRow,
        Value,
    )
    from harness.evidence.limits import Limit

_Z: Final = float(special.ndtri(0.975))
_POWER_Z: Final = float(special.ndtri(0.8))
_MOST_TIMES: Final = 10_000
_SAME: Final = 1e-9


@dataclass(frozen=True, kw_only=True)
class _Finding:
    """A limit at one level, or on one suite."""

    verdict: Verdict
    value: float | None = None
    ci95: Interval | None = None
    text: str
    settle: str | None = None


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
        settle=worst.settle,
    )


def _beyond(limit: Limit, one: _Finding) -> float:
    """How far a value is beyond the limit; negative: within."""
    if one.value is None:
        return math.inf
    return one.value - limit.value if limit.operator == "<=" else limit.value - one.value


# --- load ----------------------------------------------------------------------------------------


def _of_levels(limit: Limit, build: str, comparison: Comparison) -> Iterator[_Finding]:
    rows = [row for row in comparison.load if row.build == build]
    if limit.level is not None:
        rows = [row for row in rows if limit.level.is_(row.level)]
    if not rows:
        where = f" at {limit.level}" if limit.level else ""
        levels = dict.fromkeys(words.level(row.level) for row in comparison.load)
        hint = f"levels measured: {', '.join(levels)}" if levels else "a load run"
        yield _nothing(f"no load was measured of {build}{where}", f"measure it ({hint})")
    for row in rows:
        found = _at_level(limit, row, comparison)
        yield found if row.valid else _doubted(found)


def _doubted(found: _Finding) -> _Finding:
    """Take the verdict from what an invalid measurement says."""
    return replace(
        found,
        verdict="INCONCLUSIVE",
        text=f"{found.text}; that measurement is invalid",
        settle="a valid measurement",
    )


def _at_level(limit: Limit, row: LevelRow, comparison: Comparison) -> _Finding:
    at = words.at_level(row.level)
    if limit.ratio:
        if row.build == comparison.baseline:
            return _Finding(verdict="PASS", value=1.0, text="it is the baseline itself")
        against = row.against.get(limit.metric)
        value = against.ratio if against else None
        ci95 = against.ratio_ci95 if against else None
        few = against is not None and against.few
        shown = f"{words.ratio(value)} of {comparison.baseline}{words.between(ci95)}"
    else:
        own = row.metrics.get(limit.metric)
        value, ci95 = (own.value, own.ci95) if own else (None, None)
        few = own is not None and own.few
        shown = f"{words.amount(limit.metric, value)}{_interval(limit.metric, ci95)}"
    name = words.label(limit.metric)
    more = f"more answers a cell {at}: {longer(limit.metric, row.answers)}"
    if value is None:
        if not row.stable:
            text = f"{name} {at}: the queue grew throughout, so no limit on it is held"
            return _Finding(verdict="FAIL", text=text)
        return _nothing(f"{name} {at} is not known of {row.build}", more)
    if few:
        text = f"{name} {shown} {at}, of too few answers to decide by"
        return _Finding(verdict="INCONCLUSIVE", value=value, text=text, settle=more)
    return _judged(limit, value, ci95, f"{name} {shown} {at}", row.repeats)


def _judged(limit: Limit, value: float, ci95: Interval | None, text: str, repeats: int) -> _Finding:
    if ci95 is None:
        settle = None
        verdict: Verdict = "INCONCLUSIVE"
        if repeats > 1 or limit.metric in _CERTAIN:
            verdict = "PASS" if limit.holds(value) else "FAIL"
        else:
            settle = "at least 2 repeats: nothing is known of its noise"
        return _Finding(verdict=verdict, value=value, text=text, settle=settle)
    found = _by_interval(limit, ci95)
    settle = None
    if found == "INCONCLUSIVE":
        times = _times(limit.value, value, ci95)
        if times is None:
            settle = "no number of repeats: it lies at the limit"
        else:
            whole = max(repeats + 1, math.ceil(repeats * times))
            more = words.more(whole - repeats, "more repeat", "more repeats")
            settle = f"about {more} ({whole:,} in all)"
    return _Finding(verdict=found, value=value, ci95=ci95, text=text, settle=settle)


_CERTAIN: Final = frozenset(("weights_gib", "kv_cache_gib", "kv_cache_tokens", "memory_peak_gib"))
"""A number that a server tells of itself, or that a single run shows well enough."""


def _by_interval(limit: Limit, ci95: Interval) -> Verdict:
    held = [limit.holds(end) for end in ci95]
    if all(held):
        return "PASS"
    return "INCONCLUSIVE" if any(held) else "FAIL"


def _times(bound: float, value: float, ci95: Interval) -> float | None:
    """Return how many times the data would settle it with a power of 80 %, if this is the truth."""
    away = abs(bound - value)
    reach = (ci95[1] - value) if bound > value else (value - ci95[0])
    if away <= _SAME or reach <= 0:
        return None
    times = (reach / away * (_Z + _POWER_Z) / _Z) ** 2
    return times if times < _MOST_TIMES else None


# --- servers -------------------------------------------------------------------------------------


def _of_server(limit: Limit, build: str, comparison: Comparison) -> _Finding:
    name = words.label(limit.metric)
    own, base = (
        next((one for one in comparison.servers if one.build == who), None)
        for who in (build, comparison.baseline)
    )
    found = getattr(own, limit.metric, None)
    value, ci95, repeats = _plain(found)
    if value is None:
        return _nothing(f"{name} is not known of {build}", "a server that tells it")
    if not limit.ratio:
        shown = f"{name} {words.amount(limit.metric, value)}{_interval(limit.metric, ci95)}"
        return _judged(limit, value, ci95, shown, repeats)
    theirs = _plain(getattr(base, limit.metric, None))[0]
    if not theirs:
        return _nothing(f"{name} is not known of {comparison.baseline}", "a server that tells it")
    scaled = None if ci95 is None else (ci95[0] / theirs, ci95[1] / theirs)
    shown = f"{name} {words.ratio(value / theirs)} of {comparison.baseline}{words.between(scaled)}"
    return _judged(limit, value / theirs, scaled, shown, repeats)


def _plain(found: Value | float | None) -> tuple[float | None, Interval | None, int]:
    if found is None or isinstance(found, int | float):
        return found, None, 1
    return found.value, found.ci95, len(found.repeats)


# --- answers -------------------------------------------------------------------------------------


def _of_answers(limit: Limit, build: str, comparison: Comparison) -> Iterator[_Finding]:
    rows = [row for row in comparison.quality if row.build == build and speaks_of(limit, row)]
    if limit.suite is not None:
        rows = [row for row in rows if row.suite == limit.suite] or rows
    if not rows:
        known = dict.fromkeys(row.suite for row in comparison.quality)
        typo = limit.suite if limit.suite not in known else None
        near = did_you_mean(typo, known) if typo else ""
        what = f"{limit.suite}{near}" if limit.suite else f"suite that has a {limit.metric}"
        yield _nothing(f"{build} was not asked {what}", f"ask it: {limit.suite or 'a suite'}")
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
                yield _nothing(
                    f"{name} has no part {limit.part}{near}", f"one of {', '.join(parts)}"
                )
                continue
            part, name = parts[key], f"{name}/{limit.part}"
        finding = _of_part(limit, row, part, name, comparison)
        yield finding if row.valid else _doubted(finding)


def _of_tests(limit: Limit, row: QualityRow) -> Iterator[_Finding]:
    """Yield what the tests of a limit on a suite's answers found."""
    name = row.suite if limit.suite in {None, row.suite} else limit.suite
    for test in row.tests[limit.text]:
        own = test.part or limit.part
        told = f"{name}/{own}" if own else f"{name}"
        settle = None
        if test.verdict == "INCONCLUSIVE":
            settle = test.settle or _more_items(limit, test.value, test.ci95, row.items)
        text = f"{told}: {_shown(limit, test.value or 0.0, test.ci95)}"
        if not own and row.regressed and limit.metric in _OF_SCORES:
            text += f"; {_categories(row)}"
        finding = _Finding(
            verdict=test.verdict, value=test.value, ci95=test.ci95, text=text, settle=settle,
        )  # fmt: skip
        yield finding if row.valid else _doubted(finding)


_OF_SCORES: Final = frozenset(("retained", "difference", "score"))


def _more_items(limit: Limit, value: float | None, ci95: Interval | None, there: int) -> str:
    if value is None or ci95 is None:
        return "items of more than one cluster"
    times = _times(limit.value, value, ci95)
    return _items(None if times is None else math.ceil(times * there), there)


def speaks_of(limit: Limit, row: QualityRow) -> bool:
    """Whether a limit is of a suite or a task of it; one that names none is of all of its kind."""
    if limit.kind != "quality":
        return False
    if limit.suite is None:
        return is_perplexity(row) == limit.metric.startswith("perplexity")
    return limit.suite == row.suite or limit.suite in row.tasks


def _of_part(
    limit: Limit, row: QualityRow, part: QualityPart, name: str, comparison: Comparison
) -> _Finding:
    value, ci95 = _known(limit, row, part)
    if limit.needs_baseline and row.build == comparison.baseline:
        return _Finding(verdict="PASS", text=f"{name}: it is the baseline itself")
    if value is None:
        what = f"{limit.metric} of {name} is not known of {row.build}"
        return _nothing(what, f"ask {comparison.baseline} the same items")
    text = f"{name}: {_shown(limit, value, ci95)}"
    if part is row and row.regressed and limit.metric in _OF_SCORES:
        text += f"; {_categories(row)}"
    test = part.noninferiority
    if test is not None and _same_margin(limit, test):
        settle = None
        if test.verdict == "INCONCLUSIVE":
            settle = _items(test.items_needed, part.items)
        return _Finding(
            verdict=test.verdict, value=value, ci95=ci95, text=text,
            settle=settle,
        )  # fmt: skip
    found: Verdict = "INCONCLUSIVE" if ci95 is None else _by_interval(limit, ci95)
    settle = None
    if found == "INCONCLUSIVE":
        settle = _more_items(limit, value, ci95, part.items)
    return _Finding(verdict=found, value=value, ci95=ci95, text=text, settle=settle)


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
        return math.isclose(-limit.value, test.margin, abs_tol=_SAME)
    return limit.metric == "perplexity_rise" and math.isclose(
        limit.value, test.margin, abs_tol=_SAME
    )


def _items(needed: int | None, there: int) -> str:
    if needed is None:
        return "no number of items: it lies at the limit"
    more = max(1, needed - there)
    return f"about {words.more(more, 'more item', 'more items')} ({there + more:,} in all)"


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


def _nothing(text: str, settle: str) -> _Finding:
    return _Finding(verdict="INCONCLUSIVE", text=text, settle=settle)
