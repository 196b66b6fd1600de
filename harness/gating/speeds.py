"""Load rules: what repeats say of a metric, or of its ratio to the baseline's.

A repeat is the unit: how much repeats of one build differ is what a number can be trusted with.
Logarithms are compared by Student's t (of two builds with a common variance: they ran on one
machine), so that a ratio's test is that of a difference, and a value cannot be negative.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import stats

from harness.evidence.figures import figures
from harness.evidence.metrics import METRICS
from harness.gating.trial import ALPHA, Trial, UnknownError
from harness.measuring.caveats import DROPPED
from harness.measuring.measure import WAITING
from harness.measuring.stats import share_ci95
from harness.reports.figures import figure

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from harness.evidence.evidence import Evidence
    from harness.evidence.figures import Figure
    from harness.evidence.limits import Limit
    from harness.gating.result import Unit

POWER: Final = 0.8
_MOST: Final = 100
"""Repeats up to which is looked how many would settle a rule."""
_ESTIMATED: Final = ("_ms", "_tps", "request_rate", "goodput")
"""Ends of the names whose values differ from repeat to repeat; others are read as they were seen:
a peak is the largest of all repeats."""
ERRORS: Final = "error_rate"
_UNITS: Final[dict[str, Unit]] = {"ms": "ms", "tps": "tok/s", "rps": "req/s", "GiB": "GiB"}


def tries(limit: Limit, ours: Evidence, theirs: Evidence) -> list[Trial]:
    """Try a rule on two builds' load cells, at each level that it names.

    Args:
        limit: a rule of kind "load" or "server".
        ours: the candidate's runs alone.
        theirs: the baseline's.

    Raises:
        UnknownError: there is no such number, or it must not be believed.
    """
    if limit.metric == ERRORS and not limit.ratio:
        return _errors(limit, ours)
    grew = _grew(limit, ours, "the candidate")
    mine = _by_level(limit, ours, "the candidate", grew)
    if not mine and not grew:
        raise UnknownError(f"the candidate has no {limit.metric}{_at(limit)}")
    other: dict[str, list[float]] = {}
    if limit.ratio:
        if not_held := _grew(limit, theirs, "the baseline") - grew:
            raise UnknownError(f"the baseline's queue grew throughout at {min(not_held)}")
        other = _by_level(limit, theirs, "the baseline", grew)
        _check_alike(limit, ours, theirs)
    several = limit.level is None and len(mine) + len(grew) > 1
    found = [_not_held(limit, level if several else "") for level in sorted(grew)]
    for level, values in mine.items():
        name = level if several else ""
        if not limit.ratio:
            found.append(_absolute(limit, name, values))
            continue
        if level not in other:
            raise UnknownError(f"the baseline has no {limit.metric}{_at(limit)}")
        found.append(_ratio(limit, name, values, other[level]))
    if all(trial.as_seen == "PASS" for trial in found):
        _check_valid(limit, ours, "the candidate")
        if limit.ratio:
            _check_valid(limit, theirs, "the baseline")
    return found


def _grew(limit: Limit, evidence: Evidence, who: str) -> set[str]:
    """Return the levels at whose every repeat the queue grew, where a limit is of what waits.

    Raises:
        UnknownError: it grew in some repeats and not in others, or in a cell that is invalid.
    """
    if METRICS[limit.metric].field not in WAITING:
        return set()
    stable: dict[str, list[bool]] = {}
    for _, cell in evidence.cells:
        if limit.level is not None and not limit.level.is_(cell.level):
            continue
        stable.setdefault(_level(cell.level), []).append(cell.stable)
        if not cell.stable and not cell.client.valid:
            text = next(one.text for one in cell.client.caveats if one.invalidates)
            raise UnknownError(f"{who}: {cell.id}: {text}", invalid=True)
    for level, those in stable.items():
        if any(those) and not all(those):
            raise UnknownError(
                f"{who}: the queue grew throughout in {those.count(False)} of {len(those)} repeats "
                f"at {level}",
                settle="more repeats, or a longer duration_s of the stage",
            )
    return {level for level, those in stable.items() if not any(those)}


def _not_held(limit: Limit, name: str) -> Trial:
    text = f"the queue grew throughout, so no limit on {limit.metric} is held"
    return Trial(name=name, value=None, text=text, as_seen="FAIL", excess=math.inf)


def _errors(limit: Limit, ours: Evidence) -> list[Trial]:
    """Try a limit on the share of requests that failed, over all repeats of a level.

    A share within the limit is taken as it was seen: to show that one in a hundred fails at most
    takes 300 requests without a failure. One beyond it breaks the rule where the exact binomial
    test says that it is no chance. Requests that never left a client which was too slow, so that
    its cell is invalid, are in neither.
    """
    counts: dict[str, tuple[int, int]] = {}
    for _, cell in ours.cells:
        if limit.level is None or limit.level.is_(cell.level):
            bad, asked = counts.get(level := _level(cell.level), (0, 0))
            lost, due = cell.requests.lost, cell.requests.due
            if any(one.code == DROPPED and one.invalidates for one in cell.client.caveats):
                lost, due = cell.requests.failed, cell.requests.sent  # not the candidate's doing
            counts[level] = bad + lost, asked + due
    found = []
    for level, (bad, asked) in counts.items():
        if not asked:
            raise UnknownError(f"the candidate was sent nothing at {level}")
        test = stats.binomtest(bad, asked, min(limit.value, 1.0), alternative="greater")
        kept = limit.holds(bad / asked)
        found.append(
            Trial(
                name=level if limit.level is None and len(counts) > 1 else "",
                value=bad / asked,
                ci95=share_ci95(bad, asked),
                unit="share",
                text=f"{bad} of {asked} requests failed",
                as_seen="PASS" if kept else None,
                p_fail=None if kept else float(test.pvalue),
                settle=None if kept else "more requests: a longer duration_s of the stage",
                excess=_excess(limit, bad / asked),
            )
        )
    if not found:
        raise UnknownError(f"the candidate has no {limit.metric}{_at(limit)}")
    if all(trial.as_seen == "PASS" for trial in found):
        _check_valid(limit, ours, "the candidate")
    return found


def _check_alike(limit: Limit, ours: Evidence, theirs: Evidence) -> None:
    """Look that both were driven on one machine by the same traffic, or a ratio is of these.

    Raises:
        UnknownError: they were not.
    """
    for what in ("machine", "route", "conditions"):
        sides = [
            {getattr(one, what) for one in figures(evidence, metrics=[limit.metric])}
            for evidence in (ours, theirs)
        ]
        if sides[0] == sides[1] and len(sides[0]) <= 1:
            continue
        if what == "machine":
            mine, other = (" and ".join(sorted(map(str, side))) for side in sides)
            text = f"the baseline was driven on another machine: {other}, the candidate on {mine}"
        elif what == "route":
            mine, other = (" and ".join(sorted(map(str, side))) for side in sides)
            text = f"the baseline was asked otherwise: {other}, the candidate {mine}"
        else:
            text = "the baseline was driven by other traffic: another profile, window or length"
        raise UnknownError(text, settle="both builds driven side by side")


def _check_valid(limit: Limit, evidence: Evidence, who: str) -> None:
    """Look that what was seen may be believed; what breaks a rule does so in any cell.

    Raises:
        UnknownError: a cell that it was seen in is invalid.
    """
    for one in figures(evidence, metrics=[limit.metric]):
        named = limit.level is None or limit.level.is_(one.level or {})
        if named and not one.valid:
            raise UnknownError(f"{who}: {_why(evidence, one)}", invalid=True)


def is_estimated(metric: str) -> bool:
    """Whether a metric's repeats are draws around a truth, so that it needs some of them."""
    return metric.endswith(_ESTIMATED)


def _by_level(
    limit: Limit, evidence: Evidence, who: str, without: Collection[str] = ()
) -> dict[str, list[float]]:
    """Return the values of the repeats by level, some levels left out.

    What is read as it was seen is read of invalid cells, too: too many errors make a cell invalid,
    and break a rule all the same.
    """
    found: dict[str, list[float]] = {}
    for one in figures(evidence, metrics=[limit.metric]):
        if limit.level is not None and not limit.level.is_(one.level or {}):
            continue
        if _level(one.level) in without:
            continue
        if is_estimated(limit.metric) and not one.valid:
            raise UnknownError(f"{who}: {_why(evidence, one)}", invalid=True)
        if one.value is None:
            raise UnknownError(
                f"{who}: a cell has too few values for {limit.metric}",
                settle="a longer duration_s of the stage",
            )
        found.setdefault("" if limit.kind == "server" else _level(one.level), []).append(one.value)
    return found


def _why(evidence: Evidence, one: Figure) -> str:
    """Say why a cell must not be believed, in its own words."""
    for _, cell in evidence.cells:
        if cell.level == one.level and cell.repeat == one.repeat and not cell.client.valid:
            for caveat in cell.client.caveats:
                if caveat.invalidates:
                    return f"{cell.id}: {caveat.text}"
    return "a cell is not valid"


def _level(level: Mapping[str, float] | None) -> str:
    unit, value = next(iter((level or {}).items()), ("", 0.0))
    return f"{unit[:1]}{value:g}"


def _at(limit: Limit) -> str:
    return "" if limit.level is None else f" at {limit.level}"


def _absolute(limit: Limit, name: str, known: Sequence[float]) -> Trial:
    unit = unit_of(limit)
    if not is_estimated(limit.metric):
        return _seen(limit, name, max(known) if limit.operator == "<=" else min(known), unit)
    if len(known) == 1 or min(known) <= 0:
        return Trial(
            name=name, value=known[0], unit=unit, text=f"{_figure(known[0], unit)} in one repeat",
            settle="at least 1 more repeat", excess=_excess(limit, known[0]),
        )  # fmt: skip
    logs = np.log(known)
    error = float(logs.std(ddof=1)) / math.sqrt(len(logs))
    return _tested(limit, name, float(logs.mean()), error, len(logs) - 1, (len(logs),), unit)


def _ratio(limit: Limit, name: str, mine: Sequence[float], theirs: Sequence[float]) -> Trial:
    if min(theirs) <= 0:
        raise UnknownError(f"the baseline's {limit.metric} is 0: there is no ratio to it")
    if not is_estimated(limit.metric):
        least = max if limit.operator == "<=" else min
        return _seen(limit, name, least(mine) / least(theirs), "share")
    value = math.exp(float(np.log(mine).mean() - np.log(theirs).mean())) if min(mine) > 0 else 0.0
    if len(mine) == 1 or len(theirs) == 1 or min(mine) <= 0:
        return Trial(
            name=name, value=value, unit="share", text=f"{_figure(value, 'share')} in one repeat",
            settle="at least 1 more repeat of each build", excess=_excess(limit, value),
        )  # fmt: skip
    logs, base = np.log(mine), np.log(theirs)
    df = len(logs) + len(base) - 2
    squares = float(((logs - logs.mean()) ** 2).sum() + ((base - base.mean()) ** 2).sum())
    error = math.sqrt(squares / df * (1 / len(logs) + 1 / len(base)))
    sizes = (len(logs), len(base))
    return _tested(limit, name, float(logs.mean() - base.mean()), error, df, sizes, "share")


def _tested(
    limit: Limit,
    name: str,
    mean: float,
    error: float,
    df: int,
    sizes: tuple[int, ...],
    unit: Unit,
) -> Trial:
    away = mean - math.log(limit.value)
    t = away / error if error > 0 else math.copysign(math.inf, away) if away else 0.0
    above = float(stats.t.sf(t, df))  # p of "at most the limit"
    width = float(stats.t.isf(0.025, df)) * error
    ci95 = (math.exp(mean - width), math.exp(mean + width))
    value = math.exp(mean)
    upper = limit.operator == "<="
    repeats = " and ".join(map(str, dict.fromkeys(sizes)))
    text = (
        f"{_figure(value, unit)} (95 % interval {_figure(ci95[0], unit)} to "
        f"{_figure(ci95[1], unit)}) over {repeats} repeats"
    )
    return Trial(
        name=name,
        value=value,
        ci95=ci95,
        unit=unit,
        text=text,
        p_pass=1 - above if upper else above,
        p_fail=above if upper else 1 - above,
        settle=_more(abs(away), error, df, sizes),
        excess=_excess(limit, value),
    )


def _more(away: float, error: float, df: int, sizes: tuple[int, ...]) -> str:
    """Say how many repeats would settle it, if what was seen is the truth."""
    sides, there = len(sizes), min(sizes)
    spread = error * math.sqrt(there)
    for repeats in range(there + 1, _MOST + 1):
        df = sides * (repeats - 1)
        reach = float(stats.t.isf(ALPHA, df) + stats.t.isf(1 - POWER, df))
        if away * math.sqrt(repeats) >= reach * spread:
            more = repeats - there
            return f"about {more} more repeat{'s' if more > 1 else ''}"
    return f"more than {_MOST} repeats: what was seen is too near to the limit"


def _seen(limit: Limit, name: str, value: float, unit: Unit) -> Trial:
    return Trial(
        name=name,
        value=value,
        unit=unit,
        text=f"{_figure(value, unit)}, as it was seen",
        as_seen="PASS" if limit.holds(value) else "FAIL",
        excess=_excess(limit, value),
    )


def _excess(limit: Limit, value: float) -> float:
    if limit.operator == "<=":
        return value / max(limit.value, 1e-12)
    return limit.value / value if value > 0 else math.inf


def unit_of(limit: Limit) -> Unit:
    """Return what a load rule's value and limit are in."""
    if limit.ratio or limit.metric == "error_rate":
        return "share"
    known = METRICS.get(limit.metric)
    return "" if known is None else _UNITS.get(known.unit, "s" if known.unit == "s" else "")


def _figure(value: float, unit: Unit) -> str:
    if unit == "share":
        return f"{100 * value:.1f} %"
    return f"{figure(value)} {unit}".rstrip()
