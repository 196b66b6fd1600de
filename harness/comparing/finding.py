"""What one number says of a limit: by its interval, or by all of its repeats."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

from scipy import special

from harness.comparing import words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evals.compare.records import Interval, Verdict
    from harness.comparing.rows import Value
    from harness.evidence.limits import Limit

_Z: Final = float(special.ndtri(0.975))
_POWER_Z: Final = float(special.ndtri(0.8))
_MOST_TIMES: Final = 10_000
SAME: Final = 1e-9
"""Two numbers no further apart are one."""
PEAK: Final = "memory_peak_gib"
_CERTAIN: Final = frozenset(("weights_gib", "kv_cache_gib", "kv_cache_tokens", PEAK))
"""A number that a server tells of itself, or that a single run shows well enough."""


class Settle(NamedTuple):
    """What would settle a limit that cannot be told."""

    text: str
    more: bool = False
    """Whether it is more of what was measured, and how much; else it is another step, or none."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A limit at one level, or on one suite."""

    verdict: Verdict
    value: float | None = None
    ci95: Interval | None = None
    text: str
    settle: Settle | None = None


def nothing(text: str, settle: Settle) -> Finding:
    """A limit on what is not known."""
    return Finding(verdict="INCONCLUSIVE", text=text, settle=settle)


def doubted(found: Finding) -> Finding:
    """Take the verdict from what an invalid measurement says."""
    return replace(
        found,
        verdict="INCONCLUSIVE",
        text=f"{found.text}; that measurement is invalid",
        settle=Settle("a valid measurement"),
    )


def peak(found: Value | None) -> float | None:
    """Return the largest of all repeats, which is what a limit on a peak is of."""
    if found is None or found.value is None:
        return None
    return max((one for one in found.repeats if one is not None), default=found.value)


def judged(
    limit: Limit, value: float, ci95: Interval | None, text: str, repeats: Sequence[float]
) -> Finding:
    """Hold a limit to a value: by its interval, and without one by all of its repeats.

    Args:
        limit: the bound.
        value: the estimate, a peak or a count.
        ci95: its 95 % interval; None: nothing is known of its noise.
        text: the value in words.
        repeats: what the value is made of, in its unit.
    """
    if ci95 is None:
        return _of_repeats(limit, value, text, repeats)
    found = by_interval(limit, ci95)
    settle = None
    if found == "INCONCLUSIVE":
        needed = times(limit.value, value, ci95)
        if needed is None:
            settle = Settle("no number of repeats: it lies at the limit")
        else:
            there = len(repeats)
            whole = max(there + 1, math.ceil(there * needed))
            more = words.more(whole - there, "more repeat", "more repeats")
            settle = Settle(f"about {more} ({whole:,} in all)", more=True)
    return Finding(verdict=found, value=value, ci95=ci95, text=text, settle=settle)


def _of_repeats(limit: Limit, value: float, text: str, repeats: Sequence[float]) -> Finding:
    if limit.metric in _CERTAIN:
        if limit.metric == PEAK and len(repeats) > 1:
            text += ", the largest of all repeats"
        return Finding(verdict="PASS" if limit.holds(value) else "FAIL", value=value, text=text)
    within = sum(map(limit.holds, repeats))
    if len(repeats) > 1 and within in {0, len(repeats)}:
        return Finding(verdict="PASS" if within else "FAIL", value=value, text=text)
    settle = Settle("at least 2 repeats: nothing is known of its noise", more=True)
    if len(repeats) > 1:
        text = f"{text}, within the limit in {within} of {len(repeats)} repeats"
        settle = Settle("repeats that agree: there is no interval to decide by")
    return Finding(verdict="INCONCLUSIVE", value=value, text=text, settle=settle)


def by_interval(limit: Limit, ci95: Interval) -> Verdict:
    """Say on which side of a limit an interval lies; INCONCLUSIVE: on both."""
    held = [limit.holds(end) for end in ci95]
    if all(held):
        return "PASS"
    return "INCONCLUSIVE" if any(held) else "FAIL"


def times(bound: float, value: float, ci95: Interval) -> float | None:
    """Return how many times the data would settle it with a power of 80 %, if this is the truth."""
    away = abs(bound - value)
    reach = (ci95[1] - value) if bound > value else (value - ci95[0])
    if away <= SAME or reach <= 0:
        return None
    found = (reach / away * (_Z + _POWER_Z) / _Z) ** 2
    return found if found < _MOST_TIMES else None
