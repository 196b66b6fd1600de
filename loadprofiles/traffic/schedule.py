"""When requests leave: pure mathematics, no clock and no sleep.

`(arrival, mean rate, window, seed) → due offsets`. The rate given is the MEAN offered rate over
the window for every kind, so profiles of one level offer the same amount of work.

Every schedule is made by inversion (Çinlar, Introduction to Stochastic Processes, 1975, ch. 4.7):
with Γ₁ < Γ₂ < … the arrivals of a process with rate 1 and Λ(t) = ∫₀ᵗ λ, the times Λ⁻¹(Γᵢ) are
those of the process with rate λ(t). That is exact: no thinning, no time steps. The number of
arrivals in a window stays random, as in reality (some tools rescale it to the nominal count, which
takes the variance of the counts away).
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

NS = 1_000_000_000

Finite = Annotated[float, Field(allow_inf_nan=False)]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Span = tuple[float, float]
"""From when to when, in seconds from the window's start."""


class Arrival(BaseModel):
    """One way for requests to come, as the `[arrival]` table of a profile says it.

    Each module of `loadprofiles.arrivals` has one; `kind` is its name there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str


class OpenArrival(Arrival):
    """Requests that come whatever the answers do, at a rate that may change over the window.

    Operational time is the expected number of requests so far at a mean rate of 1/s: it runs
    from 0 to the window's length like the clock does, but faster where the rate is higher.
    """

    whole_window: ClassVar[bool] = False
    """Whether a part of the window has another mean rate than all of it."""
    rate_known: ClassVar[bool] = True
    """Whether the functions below say how the rate changes."""
    point: ClassVar[str] = ""
    """What this kind is about: a window without it has missed the point."""
    point_field: ClassVar[str] = ""
    """The field to lower where a window is too short for it."""

    # --- how the rate changes ------------------------------------------------------------------

    def relative_rate(self, t_s: FloatArray, duration_s: float) -> FloatArray:  # noqa: ARG002
        """λ(t) ÷ its mean over the window, for each t in [0, duration_s)."""
        return np.ones_like(t_s)

    def operational_time(self, t_s: FloatArray, duration_s: float) -> FloatArray:  # noqa: ARG002
        """∫₀ᵗ of `relative_rate`, in seconds; at `duration_s` it is `duration_s`."""
        return t_s

    def clock_time(self, operational_s: FloatArray, duration_s: float) -> FloatArray:  # noqa: ARG002
        """The inverse of `operational_time`."""
        return operational_s

    # --- what lies between two arrivals --------------------------------------------------------

    def first_gap(self, rng: np.random.Generator) -> float:
        """From the window's start to the first arrival, at rate 1."""
        return float(self.gaps(1, rng)[0])

    def gaps(self, count: int, rng: np.random.Generator) -> FloatArray:
        """Gaps between arrivals at rate 1: exponential ones, which make it a Poisson process.

        By inversion: NumPy keeps `random` stable between versions.
        """
        return -np.log1p(-rng.random(count))

    # --- what a window must hold ---------------------------------------------------------------

    def bursts(self, duration_s: float) -> list[Span]:  # noqa: ARG002
        """When it bursts, within a window of that length."""
        return []

    @property
    def least_window_s(self) -> float:
        """A window must be at least this long to hold all of `point`."""
        return 0.0


class Piecewise(OpenArrival):
    """A Poisson process whose rate jumps and is constant in between."""

    whole_window: ClassVar[bool] = True

    def pieces(self, duration_s: float) -> tuple[FloatArray, FloatArray]:
        """Where the rate jumps, 0 and `duration_s` included, and the rate of each piece.

        The rates are relative to each other; their mean is made 1 by who asks.
        """
        raise NotImplementedError

    def relative_rate(self, t_s: FloatArray, duration_s: float) -> FloatArray:
        """See the base class."""
        knots, rates = self.pieces(duration_s)
        _, cumulative = self._integral(duration_s)
        piece = np.searchsorted(knots, t_s, side="right") - 1
        rate: FloatArray = rates[np.clip(piece, 0, len(rates) - 1)]
        return rate * (duration_s / float(cumulative[-1]))

    def operational_time(self, t_s: FloatArray, duration_s: float) -> FloatArray:
        """See the base class."""
        knots, cumulative = self._integral(duration_s)
        return np.interp(t_s, knots, cumulative * (duration_s / float(cumulative[-1])))

    def clock_time(self, operational_s: FloatArray, duration_s: float) -> FloatArray:
        """See the base class."""
        knots, cumulative = self._integral(duration_s)
        return np.interp(operational_s, cumulative * (duration_s / float(cumulative[-1])), knots)

    def _integral(self, duration_s: float) -> tuple[FloatArray, FloatArray]:
        """The knots, and ∫₀ᵗ of the rate at each."""
        knots, rates = self.pieces(duration_s)
        return knots, np.concatenate([[0.0], np.cumsum(np.diff(knots) * rates)])


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
    unbiased estimate of the rate for Poisson arrivals of any shape, and exactly the rate for
    constant ones (for gamma ones it is off by some (1/burstiness − 1)/requests). Bursts and ramps
    are laid out over that window.

    Returns:
        `requests` due offsets in ns as in `schedule`, and the window's length in ns.
    """
    rng = np.random.default_rng(seed)
    unit = np.cumsum(np.concatenate([[arrival.first_gap(rng)], arrival.gaps(requests, rng)]))
    duration_s = float(unit[-1]) / rate
    due = _to_ns(arrival.clock_time(unit[:-1] / rate, duration_s))
    return due, max(math.ceil(duration_s * NS), int(due[-1]) + 1)


def cumulative_rate(
    arrival: OpenArrival, rate: float, t_s: FloatArray, duration_s: float
) -> FloatArray:
    """Λ(t): the expected number of requests due before each t in [0, duration_s]."""
    return rate * arrival.operational_time(t_s, duration_s)


def _unit_arrivals(arrival: OpenArrival, total: float, rng: np.random.Generator) -> FloatArray:
    """Arrivals in [0, total) at a mean rate of 1."""
    chunk = int(total + 6 * math.sqrt(total)) + 16  # a Poisson process needs no second one
    gaps = np.concatenate([[arrival.first_gap(rng)], arrival.gaps(chunk, rng)])
    while gaps.sum() < total:
        gaps = np.concatenate([gaps, arrival.gaps(chunk, rng)])
    unit = np.cumsum(gaps)
    return unit[unit < total]


def _to_ns(t_s: FloatArray) -> IntArray:
    return np.rint(t_s * NS).astype(np.int64)
