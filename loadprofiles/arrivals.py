"""When requests leave: pure mathematics, no clock and no sleep.

`(arrival, mean rate, window, seed) → due offsets`. The rate given is the MEAN offered rate over
the window for every kind, so profiles of one level offer the same amount of work.

Poisson, bursty and ramp are Poisson processes with the rate λ(t). Their arrivals are made by
inversion (Çinlar, Introduction to Stochastic Processes, 1975, ch. 4.7): with Γ₁ < Γ₂ < … the
arrivals of a unit-rate Poisson process and Λ(t) = ∫₀ᵗ λ, the times Λ⁻¹(Γᵢ) are the arrivals of
the process with rate λ. That is exact: no thinning, no time steps. The number of arrivals in a
window stays random, as in reality (some tools rescale it to the nominal count, which takes the
variance of the counts away).
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from loadprofiles.think import Think  # noqa: TC001 - pydantic reads it at run time

NS = 1_000_000_000

Finite = Annotated[float, Field(allow_inf_nan=False)]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class _Arrival(BaseModel):
    """A rate over time, relative to its mean over the window.

    Operational time is the expected number of requests so far at a mean rate of 1/s: it runs
    from 0 to the window's length like the clock does, but faster where the rate is higher.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    def relative_rate(self, t_s: FloatArray, duration_s: float) -> FloatArray:  # noqa: ARG002
        """λ(t) ÷ its mean over the window, for each t in [0, duration_s)."""
        return np.ones_like(t_s)

    def operational_time(self, t_s: FloatArray, duration_s: float) -> FloatArray:  # noqa: ARG002
        """∫₀ᵗ of `relative_rate`, in seconds; at `duration_s` it is `duration_s`."""
        return t_s

    def clock_time(self, operational_s: FloatArray, duration_s: float) -> FloatArray:  # noqa: ARG002
        """The inverse of `operational_time`."""
        return operational_s


class Constant(_Arrival):
    """Evenly spaced: the first request at 0, then one every 1/rate seconds."""

    kind: Literal["constant"]


class Poisson(_Arrival):
    """Independent users: exponential gaps with mean 1/rate."""

    kind: Literal["poisson"]


class Bursty(_Arrival):
    """On–off bursts over a base rate: a Poisson process whose rate jumps.

    Each stretch of `burst_every_s` has one burst in its middle, so that the quiet before it and
    the recovery after it are in the window too. The base rate follows from the level: for a
    window of whole stretches it is level ÷ (1 + (burst_factor − 1)·burst_s/burst_every_s).
    """

    kind: Literal["bursty"]
    burst_factor: Annotated[Finite, Field(gt=1, le=1000)]
    """The rate within a burst ÷ the base rate."""
    burst_s: Annotated[Finite, Field(gt=0)]
    """How long a burst lasts."""
    burst_every_s: Annotated[Finite, Field(ge=0.1)]
    """From the start of one burst to the start of the next."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.burst_s >= self.burst_every_s:
            raise ValueError(
                f"burst_s = {self.burst_s:g} must be shorter than burst_every_s = "
                f"{self.burst_every_s:g}, else there is no quiet between bursts"
            )
        return self

    @property
    def first_burst_end_s(self) -> float:
        """A window must be at least this long to hold one whole burst."""
        return (self.burst_every_s + self.burst_s) / 2

    def relative_rate(self, t_s: FloatArray, duration_s: float) -> FloatArray:
        """See the base class."""
        _, cumulative = self._knots(duration_s)
        start = (self.burst_every_s - self.burst_s) / 2
        phase = np.mod(t_s, self.burst_every_s)
        inside = (phase >= start) & (phase < start + self.burst_s)
        rate: FloatArray = np.where(inside, self.burst_factor, 1.0)
        return rate * (duration_s / float(cumulative[-1]))

    def operational_time(self, t_s: FloatArray, duration_s: float) -> FloatArray:
        """See the base class."""
        knots, cumulative = self._knots(duration_s)
        return np.interp(t_s, knots, cumulative * (duration_s / float(cumulative[-1])))

    def clock_time(self, operational_s: FloatArray, duration_s: float) -> FloatArray:
        """See the base class."""
        knots, cumulative = self._knots(duration_s)
        return np.interp(operational_s, cumulative * (duration_s / float(cumulative[-1])), knots)

    def _knots(self, duration_s: float) -> tuple[FloatArray, FloatArray]:
        """Where the rate jumps, and ∫₀ᵗ of the rate in units of the base rate at each."""
        periods = np.arange(math.ceil(duration_s / self.burst_every_s)) * self.burst_every_s
        start = (self.burst_every_s - self.burst_s) / 2
        edges = np.stack([periods + start, periods + start + self.burst_s], axis=1).ravel()
        knots = np.concatenate([[0.0], edges[edges < duration_s], [duration_s]])
        factors = np.where(np.arange(len(knots) - 1) % 2, self.burst_factor, 1.0)
        return knots, np.concatenate([[0.0], np.cumsum(np.diff(knots) * factors)])


class Ramp(_Arrival):
    """A Poisson process whose rate changes linearly over the window.

    From `from_factor`·level at its start to `to_factor`·level at its end; the two must average
    1, since the level is the mean rate.
    """

    kind: Literal["ramp"]
    from_factor: Annotated[Finite, Field(ge=0, le=2)]
    to_factor: Annotated[Finite, Field(ge=0, le=2)]

    @model_validator(mode="before")
    @classmethod
    def _averages_one(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        low, high = data.get("from_factor"), data.get("to_factor")
        if not isinstance(low, int | float) or not isinstance(high, int | float):
            return data  # the fields' own checks speak
        possible = low >= 0 and high >= 0 and 0 < low + high < math.inf
        if possible and not math.isclose((low + high) / 2, 1):
            fitting = round(2 * low / (low + high), 4)
            raise ValueError(
                f"from_factor = {low:g} and to_factor = {high:g} must average 1, because the "
                f"level is the mean rate; the same growth is from_factor = {fitting:g}, "
                f"to_factor = {round(2 - fitting, 4):g}"
            )
        return data

    def relative_rate(self, t_s: FloatArray, duration_s: float) -> FloatArray:
        """See the base class."""
        return self.from_factor + (self.to_factor - self.from_factor) * t_s / duration_s

    def operational_time(self, t_s: FloatArray, duration_s: float) -> FloatArray:
        """See the base class."""
        growth = (self.to_factor - self.from_factor) / (2 * duration_s)
        return t_s * (self.from_factor + growth * t_s)

    def clock_time(self, operational_s: FloatArray, duration_s: float) -> FloatArray:
        """See the base class; the root of the quadratic in its form without cancellation."""
        growth = (self.to_factor - self.from_factor) / (2 * duration_s)
        root = np.sqrt(np.maximum(self.from_factor**2 + 4 * growth * operational_s, 0.0))
        denominator = self.from_factor + root
        return np.divide(
            2 * operational_s,
            denominator,
            out=np.zeros_like(operational_s),
            where=denominator > 0,
        )


class Closed(BaseModel):
    """As many streams as the level says, each sending again once its answer is complete.

    At once, or after its user has thought about it for `think_s`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["closed"]
    think_s: Think | None = None


OpenArrival = Constant | Poisson | Bursty | Ramp


def schedule(
    arrival: OpenArrival, rate: float, duration_s: float, seed: int | np.random.Generator
) -> IntArray:
    """Departures within a window of given length.

    Args:
        arrival: the kind of arrivals.
        rate: mean offered rate over the window, requests/s.
        duration_s: the window's length.
        seed: a seed, or a generator to draw from.

    Returns:
        Due offsets in ns from the window's start, ascending, all in [0, duration_s).
    """
    unit = _unit_arrivals(arrival, rate * duration_s, np.random.default_rng(seed))
    due = _to_ns(arrival.clock_time(unit / rate, duration_s))
    return due[due < round(duration_s * NS)]


def schedule_requests(
    arrival: OpenArrival, rate: float, requests: int, seed: int | np.random.Generator
) -> tuple[IntArray, int]:
    """A given number of departures; the window's length follows from them.

    The window ends where the next request would have been due, so requests ÷ window is an
    unbiased estimate of the rate (and exactly the rate for constant arrivals). Bursts and ramps
    are laid out over that window.

    Returns:
        `requests` due offsets in ns as in `schedule`, and the window's length in ns.
    """
    rng = np.random.default_rng(seed)
    if isinstance(arrival, Constant):
        unit = np.arange(requests + 1, dtype=np.float64)
    else:
        unit = np.cumsum(_gaps(requests + 1, rng))
    duration_s = float(unit[-1]) / rate
    due = _to_ns(arrival.clock_time(unit[:-1] / rate, duration_s))
    return due, max(math.ceil(duration_s * NS), int(due[-1]) + 1)


def rate_at(arrival: OpenArrival, rate: float, t_s: FloatArray, duration_s: float) -> FloatArray:
    """The offered rate λ(t) in requests/s at each t in [0, duration_s); its mean is `rate`."""
    return rate * arrival.relative_rate(t_s, duration_s)


def cumulative_rate(
    arrival: OpenArrival, rate: float, t_s: FloatArray, duration_s: float
) -> FloatArray:
    """Λ(t): the expected number of requests due before each t in [0, duration_s]."""
    return rate * arrival.operational_time(t_s, duration_s)


def _unit_arrivals(arrival: OpenArrival, total: float, rng: np.random.Generator) -> FloatArray:
    """Arrivals in [0, total) at a mean rate of 1."""
    if isinstance(arrival, Constant):
        return np.arange(math.ceil(total), dtype=np.float64)
    chunk = int(total + 6 * math.sqrt(total)) + 16  # falls short once in a billion
    gaps = _gaps(chunk, rng)
    while gaps.sum() < total:
        gaps = np.concatenate([gaps, _gaps(chunk, rng)])
    unit = np.cumsum(gaps)
    return unit[unit < total]


def _gaps(count: int, rng: np.random.Generator) -> FloatArray:
    """Exponential gaps with mean 1, by inversion: NumPy keeps `random` stable between versions."""
    return -np.log1p(-rng.random(count))


def _to_ns(t_s: FloatArray) -> IntArray:
    return np.rint(t_s * NS).astype(np.int64)
