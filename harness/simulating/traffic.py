"""Whom a fleet serves: a trace, or a steady rate, and what part of it some of its replicas see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from harness.errors import BadInputError

if TYPE_CHECKING:
    import numpy.typing as npt

    from loadprofiles.traffic.traces import Trace

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]


_FEWEST: Final = 2
"""Requests that make a rate."""
_STRETCHES: Final = 48
_SEED: Final = 20261126


@dataclass(frozen=True)
class Traffic:
    """Requests in the order in which they come."""

    times_s: Floats
    """From 0 on."""
    prompts: Ints
    """Tokens, at least 1, as `outputs`."""
    outputs: Ints
    duration_s: float
    """How long it lasts."""

    @classmethod
    def of(cls, trace: Trace) -> Self:
        """Take a trace that was read from a file.

        Raises:
            BadInputError: it is too short to be a load.
        """
        if len(trace) < _FEWEST:
            raise BadInputError(
                f"the trace has {len(trace)} requests, and a load needs at least two",
                hint="Give a trace of the time that you want to predict, e.g. a day.",
            )
        return cls(
            trace.times_s,
            np.maximum(trace.prompt_tokens, 1),
            np.maximum(trace.output_tokens, 1),
            float(trace.times_s[-1] * len(trace) / (len(trace) - 1)),
        )

    @classmethod
    def steady(
        cls, rate: float, duration_s: float, prompts: Ints, outputs: Ints, seed: int = 0
    ) -> Self:
        """Draw Poisson arrivals; prompt and answer of each are those of one of the given requests.

        Raises:
            BadInputError: the rate or the duration is not above 0, the seed is below 0, or no
                request comes.
        """
        if seed < 0:
            raise BadInputError(f"the seed is {seed}", hint="Give 0 or more.")
        for name, value in (("rate", rate), ("duration", duration_s)):
            if not 0 < value < np.inf:
                raise BadInputError(
                    f"the {name} to predict is {value:g}", hint=f"Give a {name} above 0."
                )
        rng = np.random.default_rng(seed)
        count = int(rng.poisson(rate * duration_s))
        if count < _FEWEST:
            raise BadInputError(
                f"at {rate:g} requests/s {count} come in {duration_s:g} s, and a load needs at "
                f"least {_FEWEST}",
                hint="Give a longer duration.",
            )
        which = rng.integers(0, len(prompts), count)
        return cls(
            np.sort(rng.uniform(0, duration_s, count)), prompts[which], outputs[which], duration_s
        )

    def __len__(self) -> int:
        return self.times_s.size

    def at(self, positions: Floats) -> Traffic:
        """Return the requests at these positions of the stream, ascending.

        A position between two requests (a trace scaled up has several between them) lies between
        their times, and is as long as the one before it.
        """
        rows = np.minimum(positions.astype(np.int64), len(self) - 1)
        ends = np.append(self.times_s, max(self.duration_s, self.times_s[-1]))
        times = ends[rows] + (positions - rows) * (ends[rows + 1] - ends[rows])
        return Traffic(times, self.prompts[rows], self.outputs[rows], self.duration_s)

    def sampled(self, share: float) -> Traffic:
        """Return a share of the time: short stretches all over it, one behind the other.

        Of each 48th from a drawn moment on, its end followed by its beginning: no moment is left
        out more likely than another, also of what recurs in each.
        """
        if share >= 1:
            return self
        stretch = self.duration_s / _STRETCHES
        number = np.minimum(np.floor(self.times_s / stretch), _STRETCHES - 1)
        begins = np.random.default_rng(_SEED).uniform(0, stretch, _STRETCHES)
        within = (self.times_s - number * stretch - begins[number.astype(np.int64)]) % stretch
        kept = np.flatnonzero(within < share * stretch)
        times = number[kept] * share * stretch + within[kept]
        order = np.argsort(times, kind="stable")
        kept = kept[order]
        return Traffic(
            times[order], self.prompts[kept], self.outputs[kept], self.duration_s * share
        )


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """How many replicas serve it, and what befalls them."""

    replicas: int
    failing: int = 0
    """So many die at `failure_s`."""
    failure_s: float = 0.0

    def check(self, duration_s: float) -> None:
        """Look that it can be, while traffic lasts so long.

        Raises:
            BadInputError: it cannot.
        """
        if self.replicas < 1:
            raise BadInputError(
                f"a fleet of {self.replicas} replicas serves nobody", hint="Give 1 or more."
            )
        if not 0 <= self.failing < self.replicas:
            raise BadInputError(
                f"{self.failing} of {self.replicas} replicas cannot fail and leave any",
                hint=f"Let 0 to {self.replicas - 1} fail.",
            )
        if self.failing and not 0 <= self.failure_s < duration_s:
            raise BadInputError(
                f"the failure is at {self.failure_s:,g} s, and the traffic lasts {duration_s:,g} s",
                hint="Name a moment in it, in seconds from its start.",
            )


def all_of(traffic: Traffic, scale: float) -> Traffic:
    """Return all of the traffic, `scale` times as much as there is."""
    if scale == 1.0:
        return traffic
    return traffic.at(np.arange(int(len(traffic) * scale)) / scale)


def share_by_turns(traffic: Traffic, scale: float, fleet: Fleet, replica: int) -> Traffic:
    """Return what one surviving replica gets by round robin: each N-th request, exactly.

    After the failure it is each (N - failing)-th.
    """
    total = int(len(traffic) * scale)
    if not fleet.failing:
        return traffic.at(np.arange(replica, total, fleet.replicas) / scale)
    failure = int(np.searchsorted(traffic.times_s, fleet.failure_s) * scale)
    left = fleet.replicas - fleet.failing
    before = np.arange(replica, min(failure, total), fleet.replicas)
    after = np.arange(failure + replica % left, total, left)
    return traffic.at(np.concatenate([before, after]) / scale)


def share_of_some(traffic: Traffic, scale: float, fleet: Fleet, some: int, seed: int) -> Traffic:
    """Return what `some` of the surviving replicas get: each request with equal chance.

    That is what a few of many least-loaded replicas see, but for what the others tell the router.
    """
    rng = np.random.default_rng(seed)
    total = int(len(traffic) * scale)
    failure = total
    if fleet.failing:
        failure = int(np.searchsorted(traffic.times_s, fleet.failure_s) * scale)
    before = _thinned(0, failure, some / fleet.replicas, rng)
    after = _thinned(failure, total, some / (fleet.replicas - fleet.failing), rng)
    return traffic.at(np.concatenate([before, after]) / scale)


def _thinned(start: int, end: int, share: float, rng: np.random.Generator) -> Ints:
    """Draw numbers of [start, end), each with the same chance; the gaps are geometric."""
    expected = (end - start) * share
    gaps = rng.geometric(share, int(expected + 6 * expected**0.5) + 10)
    drawn = start - 1 + np.cumsum(gaps)
    return drawn[drawn < end]
