"""Axes: values to places from 0 to 1, with round labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TICKS: Final = 4
"""Steps of an axis, about."""
_LEADS: Final = ((2000, (1,)), (30, (1, 2, 5)), (3, (1, 1.5, 2, 3, 5, 7)))
"""Leading digits of a log axis's labels, by the ratio of its ends."""


class Tick(NamedTuple):
    """A place on an axis, from 0 to 1, and its label."""

    at: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Values to places from 0 to 1."""

    low: float
    high: float
    log: bool = False
    ticks: Sequence[Tick] = ()

    def at(self, value: float) -> float:
        """Return the place of a value, never outside of the axis."""
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log(max(value, low)), math.log(low), math.log(high)
        return min(1.0, max(0.0, (value - low) / (high - low)))

    @property
    def told(self) -> str:
        """For the read-out: kind and ends."""
        return f"{'log' if self.log else 'lin'} {self.low:.6g} {self.high:.6g}"


def linear(values: Iterable[float], *, zero: bool = True, most: float | None = None) -> Scale:
    """Return a scale with round labels that holds all values.

    Args:
        values: finite ones; none give 0 to 1.
        zero: whether it begins at 0 (or below, where values are).
        most: an end that is not passed, e.g. 1 for shares.
    """
    there = list(values) or [0.0, 1.0]
    low, high = min(there), max(there)
    if zero:
        low, high = min(0.0, low), max(0.0, high)
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-12):
        room = abs(high) * 0.05 or 1.0
        low, high = (low if zero and low == 0 else low - room), high + room
    step = _round_step((high - low) / TICKS)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    low, high = first * step, last * step
    if most is not None:
        high = min(high, most)
    steps = [number * step for number in range(first, last + 1) if number * step <= high * 1.0001]
    span = high - low
    ticks = [Tick((value - low) / span, _label(value, step)) for value in steps]
    return Scale(low=low, high=high, ticks=ticks)


def logarithmic(values: Iterable[float]) -> Scale:
    """Return a log scale that ends at the nearest round numbers; values are above 0."""
    there = [value for value in values if value > 0] or [1.0, 10.0]
    low, high = min(there), max(there)
    steps = _log_steps(low / 10, high * 10, (1, 1.5, 2, 3, 5, 7))
    low = max(step for step in steps if step <= low * 1.001)
    high = min(step for step in steps if step >= high * 0.999)
    if high <= low:
        low, high = low / 2, high * 2
    return log_between(low, high)


def log_between(low: float, high: float) -> Scale:
    """Return a log scale of exactly these ends, both above 0, with round labels within."""
    scale = Scale(low=low, high=high, log=True)
    leads = next((leads for ratio, leads in _LEADS if high / low >= ratio), None)
    if leads is None:  # less than half a decade: round numbers, evenly spaced
        evenly = linear([low, high], zero=False)
        values = [evenly.low + tick.at * (evenly.high - evenly.low) for tick in evenly.ticks]
        labelled = [(v, tick.text) for v, tick in zip(values, evenly.ticks, strict=True)]
    else:
        labelled = [(step, _tick(step)) for step in _log_steps(low, high, leads)]
    ticks = [Tick(scale.at(value), text) for value, text in labelled if low <= value <= high]
    return Scale(low=low, high=high, log=True, ticks=ticks)


def fitting(values: Sequence[float], *, log_from: float = 40) -> Scale:
    """Return a log scale where only that shows all of the values, and can; else one from 0."""
    if values and min(values) > 0 and max(values) / min(values) > log_from:
        return logarithmic(values)
    return linear(values)


def _round_step(raw: float) -> float:
    power = 10.0 ** math.floor(math.log10(raw))
    return next((lead * power for lead in (1, 2, 2.5, 5) if lead * power >= raw), 10 * power)


def _log_steps(low: float, high: float, leads: Sequence[float]) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = [float(f"{lead * 10.0**power:.3g}") for power in powers for lead in leads]
    return [step for step in steps if low * 0.999 <= step <= high * 1.001]


def _tick(value: float) -> str:
    return f"{value / 1000:,g}k" if abs(value) >= 10_000 else f"{value:,g}"  # noqa: PLR2004


def _label(value: float, step: float) -> str:
    digits = max(0, -math.floor(math.log10(step) + 1e-9) + (1 if f"{step:.1e}"[2] != "0" else 0))
    if abs(value) >= 10_000 and step >= 100:  # noqa: PLR2004 - as `_tick`
        return _tick(value)
    return f"{0.0 if abs(value) < step / 1e6 else value:,.{digits}f}".replace("-", "−")
