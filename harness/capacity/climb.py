"""Which level of a sweep comes next, when it ends, and why. Pure: what was seen in, a step out.

Levels grow in geometric steps until the server saturates; then those around the knee are measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.capacity.knee import knee

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.measuring.sweep import Ended

STEP: Final = 2.0
"""Ratio of two levels on the way up."""
CONFIRM: Final = 1.5
"""Ratio of the level that confirms a plateau to the one that showed it."""
GAIN: Final = 0.05
"""Growth of throughput below which a step upwards gained nothing."""
CLOSE: Final = 1.25
"""Ratio of neighbouring levels around a closed loop's knee below which no level is put between."""
CLOSE_RATE: Final = 1.1
"""The same of an open loop."""
REFINE: Final = 4
"""Levels at most that are put between others."""
LIGHT: Final = 0.5
"""Requests in flight on average at which an open loop's load is light."""
SHORT: Final = 0.1
"""Share of an open loop's requests that are not answered in time when it is saturated at last."""
_TELLING: Final = 50


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What a sweep may measure."""

    closed: bool
    low: float
    """The level to begin with."""
    high: float
    """The highest level."""
    least: float
    """Down to here an open loop looks for a light load below `low`."""
    cells: int
    """Levels at most."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One level that was measured, its repeats together."""

    level: float
    throughput: float
    se: float
    offered_rate: float
    answered_rate: float
    latency_s: float | None
    """Median from due to the end of the answer."""
    requests: int
    stable: bool
    client_was_slow: bool
    failing: bool
    """More failed than may."""

    @property
    def usable(self) -> bool:
        """Whether its throughput is the server's, and whole."""
        return not self.client_was_slow and not self.failing and self.throughput > 0

    @property
    def saturated(self) -> bool:
        """Whether more was offered than the server did, in an open loop."""
        short = self.answered_rate < (1 - SHORT) * self.offered_rate
        return not self.stable or (short and self.requests >= _TELLING)


@dataclass(frozen=True, kw_only=True)
class Ask:
    """Measure this level next."""

    level: float
    why: str


@dataclass(frozen=True, kw_only=True)
class Stop:
    """The sweep is at its end."""

    why: Ended
    text: str


def step(bounds: Bounds, seen: Sequence[Seen]) -> Ask | Stop:
    """Say what comes next.

    Args:
        bounds: of the sweep.
        seen: all levels so far, in any order.
    """
    levels = sorted(seen, key=lambda one: one.level)
    if not levels:
        return Ask(level=bounds.low, why="the lowest level")
    if not levels[0].usable and levels[0].throughput <= 0:
        return Stop(why="unanswered", text=f"nothing was answered at {levels[0].level:g}")
    found = _closed(bounds, levels) if bounds.closed else _open(bounds, levels)
    if isinstance(found, Ask) and len(levels) >= bounds.cells:
        text = f"{bounds.cells} levels were measured, which was the limit"
        return Stop(why="levels", text=text)
    return found


def _closed(bounds: Bounds, levels: list[Seen]) -> Ask | Stop:
    usable = [one for one in levels if one.usable]
    on_plateau = _flat_steps(usable)
    top = levels[-1]
    if not on_plateau.confirmed:
        if not top.usable:
            return _broken(top)
        if top.level >= bounds.high:
            return Stop(why="range", text=f"{bounds.high:g} streams were the highest level")
        ratio = CONFIRM if on_plateau.shown else STEP
        wanted = min(max(math.ceil(top.level * ratio), top.level + 1), bounds.high)
        why = "does throughput grow no more?" if on_plateau.shown else "throughput still grows"
        return Ask(level=float(wanted), why=why)
    refined = len(levels) - _doublings(levels)
    inner = _around_knee(usable) if refined < REFINE else None
    if inner is not None:
        return Ask(level=inner, why="around the knee")
    return Stop(why="saturated", text="throughput grows no more")


@dataclass(frozen=True)
class _Flat:
    shown: bool
    confirmed: bool


def _flat_steps(levels: list[Seen]) -> _Flat:
    """Whether the steps at the top gained nothing: one shows a plateau, two confirm it."""
    best, flat = 0.0, 0
    last = 0.0
    for one in levels:
        if one.throughput > best * (1 + GAIN):
            flat = 0
        elif one.level >= last * CLOSE:
            flat += 1
        best, last = max(best, one.throughput), one.level
    return _Flat(shown=flat > 0, confirmed=flat > 1)


def _around_knee(levels: list[Seen]) -> float | None:
    """Return a whole level that is not measured yet beside the fitted knee; None where none is."""
    at = knee(
        [one.level for one in levels],
        [one.throughput for one in levels],
        [one.se for one in levels],
    )
    if at is None:
        return None
    known = [one.level for one in levels]
    below = max((level for level in known if level <= at), default=known[0])
    above = min((level for level in known if level > at), default=known[-1])
    gaps = [(below, above)]
    index = known.index(below)
    if below == round(at) and index:  # it was measured: what lies before it?
        gaps.append((known[index - 1], below))
    for low, high in gaps:
        wanted = float(round(math.sqrt(low * high)))
        if high / low > CLOSE and low < wanted < high:
            return wanted
    return None


def _open(bounds: Bounds, levels: list[Seen]) -> Ask | Stop:
    light = LIGHT / levels[0].latency_s if levels[0].latency_s else None
    lower = _lighter(bounds, levels[0], light)
    if lower is not None:
        return Ask(level=lower, why="a light load")
    over = [one for one in levels if one.saturated and not one.client_was_slow]
    return _over(levels, over) if over else _upwards(bounds, levels[-1], light)


def _lighter(bounds: Bounds, lowest: Seen, light: float | None) -> float | None:
    """Return a rate below the lowest where that was no light load, and can be lowered."""
    if not lowest.saturated and (light is None or lowest.level <= light):
        return None
    lower = lowest.level / STEP**2 if light is None or lowest.saturated else light / STEP
    lower = _rounded(max(min(lower, lowest.level / STEP), bounds.least))
    return lower if lower < lowest.level / CLOSE else None


def _upwards(bounds: Bounds, top: Seen, light: float | None) -> Ask | Stop:
    if not top.usable:
        return _broken(top)
    if top.level >= bounds.high:
        return Stop(why="range", text=f"{bounds.high:g}/s was the highest rate")
    wanted = max(top.level * STEP, light or 0)
    return Ask(level=_rounded(min(wanted, bounds.high)), why="the server keeps up")


def _over(levels: list[Seen], over: list[Seen]) -> Ask | Stop:
    """Say what comes between the highest rate that was held and the lowest that was not."""
    high = over[0].level
    held = [one.level for one in levels if one.usable and not one.saturated and one.level < high]
    if not held:
        return Stop(why="saturated", text="the server keeps up with no rate that was tried")
    answered = [one.answered_rate for one in over if one.usable]
    refined = len(levels) - _doublings(levels)
    if high / held[-1] > CLOSE_RATE and refined < REFINE:
        limit = sum(answered) / len(answered) if answered else 0.0
        wanted = _between(held[-1], high, limit)
        return Ask(level=wanted, why="between what it holds and what not")
    return Stop(why="saturated", text=f"the queue grows from {high:g}/s on")


def _doublings(levels: list[Seen]) -> int:
    """How many levels are on the way up: those at least `CONFIRM` above the one before."""
    count, at = 1, levels[0].level
    for one in levels[1:]:
        if one.level >= at * CONFIRM:
            count, at = count + 1, one.level
    return count


def _between(low: float, high: float, limit: float) -> float:
    """Return a rate between two: just below or above what was answered at most, or the middle."""
    reach = math.sqrt(CLOSE_RATE) * 0.99
    for wanted in (limit / reach, limit * reach):
        if low * 1.02 < wanted < high / 1.02:
            return _rounded(wanted)
    return _rounded(math.sqrt(low * high))


def _rounded(rate: float) -> float:
    """Return a rate with three digits."""
    return float(f"{rate:.3g}")


def _broken(top: Seen) -> Stop:
    if top.client_was_slow:
        text = f"at {top.level:g} the client was the bottleneck, and not the server"
        return Stop(why="client", text=text)
    return Stop(why="failing", text=f"at {top.level:g} too many requests failed")
