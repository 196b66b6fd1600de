"""A day, compressed into the window."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from loadprofiles.traffic.schedule import Arrival, Finite, FloatArray, Piecewise

_HOURS = 24


class Diurnal(Piecewise):
    """A Poisson process whose rate goes up and down as over a day, from one night to the next.

    Either a sinusoid, lowest at the window's ends, λ(t) = level·(1 − a·cos(2π·days·t/duration))
    with a = (r − 1)/(r + 1) for a ratio r of peak to trough; or a weight for each hour of the day,
    as counted in a log, with the rate constant within the hour.

    A sinusoid's operational time is that of Kepler's equation M = E − a·sin E, with
    E = 2π·days·t/duration, and is inverted by Newton's method within a bracket.
    """

    kind: Literal["diurnal"]
    peak_to_trough: Annotated[Finite, Field(ge=1, le=1000)] | None = None
    """The highest rate ÷ the lowest."""
    hourly: (
        Annotated[
            tuple[Annotated[Finite, Field(ge=0)], ...],
            Field(min_length=_HOURS, max_length=_HOURS),
        ]
        | None
    ) = None
    """Requests in each hour of the day, from midnight, in any unit."""
    days: Annotated[int, Field(ge=1, le=366, strict=True)] = 1
    """How many of them the window holds."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.peak_to_trough is None) == (self.hourly is None):
            raise ValueError("give peak_to_trough, or 24 hourly weights, and not both")
        if self.hourly is not None and not any(self.hourly):
            raise ValueError("hourly: the weights are all 0; give at least one hour a rate")
        return self

    def pieces(self, duration_s: float) -> tuple[FloatArray, FloatArray]:
        """The hours."""
        assert self.hourly is not None  # noqa: S101 - the caller asked
        weights = np.tile(np.array(self.hourly), self.days)
        return np.linspace(0.0, duration_s, len(weights) + 1), weights

    def relative_rate(self, t_s: FloatArray, duration_s: float) -> FloatArray:
        """See the base class."""
        if self.peak_to_trough is None:
            return super().relative_rate(t_s, duration_s)
        swing, turns = self._sinusoid(self.peak_to_trough, duration_s)
        return 1 - swing * np.cos(turns * t_s)

    def operational_time(self, t_s: FloatArray, duration_s: float) -> FloatArray:
        """See the base class."""
        if self.peak_to_trough is None:
            return super().operational_time(t_s, duration_s)
        swing, turns = self._sinusoid(self.peak_to_trough, duration_s)
        return t_s - swing / turns * np.sin(turns * t_s)

    def clock_time(self, operational_s: FloatArray, duration_s: float) -> FloatArray:
        """See the base class."""
        if self.peak_to_trough is None:
            return super().clock_time(operational_s, duration_s)
        swing, turns = self._sinusoid(self.peak_to_trough, duration_s)
        return _kepler(operational_s * turns, swing) / turns

    def _sinusoid(self, ratio: float, duration_s: float) -> tuple[float, float]:
        """Its amplitude, and radians per second of the window."""
        return (ratio - 1) / (ratio + 1), 2 * np.pi * self.days / duration_s


def _kepler(mean: FloatArray, swing: float) -> FloatArray:
    """Solve mean = x − swing·sin x for x, to the last bits, for 0 ≤ swing < 1."""
    low, high = mean - swing, mean + swing
    x = mean.astype(np.float64)
    for _ in range(100):
        excess = x - swing * np.sin(x) - mean
        low, high = np.where(excess < 0, x, low), np.where(excess < 0, high, x)
        step = excess / (1 - swing * np.cos(x))
        within = (x - step >= low) & (x - step <= high)
        better = np.where(within, x - step, (low + high) / 2)
        if np.array_equal(better, x):
            break
        x = better
    return x


ARRIVAL: type[Arrival] = Diurnal
