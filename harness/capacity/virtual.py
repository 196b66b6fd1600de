"""A virtual queue on a probe's own arrivals: takes most of their luck out of what it showed. Pure.

How many requests break a limit depends on how the arrivals of that one probe happened to clump.
The same arrivals sent through a queue of one server on paper clump alike there, and how many of
them *it* keeps waiting too long in the long run is known. The difference is the luck, and is
subtracted: a control variate (Lavenberg & Welch, A perspective on the use of control variables to
increase the efficiency of Monte Carlo simulations, Management Science 27 (1981) 322-335). The
queue need not be like the server: one that is unlike it takes away less, and shifts nothing.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeGuard

import numpy as np

from loadprofiles.traffic.schedule import OpenArrival

if TYPE_CHECKING:
    from harness.measuring.samples import Floats

UTILIZATIONS: Final = 1 - np.geomspace(0.75, 0.015, 28)
"""Of the queue on paper."""
WIDTHS: Final = np.geomspace(8, 1024, 8)
"""Of the crowd, in mean gaps between arrivals."""
SHARES: Final = (0.004, 0.6)
"""Bounds of the share that it is made to keep waiting too long."""
_LONG: Final = 1_000_000
"""Arrivals from which its long run is taken."""
_BURN_IN: Final = 20_000
_LEVELS: Final = 1 - np.geomspace(0.7, 0.003, 200)
"""Quantiles of the wait that are kept."""


def can_control(arrival: object) -> TypeGuard[OpenArrival]:
    """Whether the arrivals have one rate and a known law, so that a queue has a long run."""
    return isinstance(arrival, OpenArrival) and not arrival.whole_window and arrival.rate_known


def waits(due: Floats, service: Floats) -> Floats:
    """Return how long each request waits for one server, first come, first served.

    Lindley's recursion W' = max(0, W + S - A), solved by a running maximum (Asmussen, Applied
    Probability and Queues, 2nd ed. 2003, ch. III.6).
    """
    before = np.cumsum(service) - service
    return np.asarray(np.maximum.accumulate(due - before) + before - due, dtype=np.float64)


def crowd(due: Floats, work: Floats, width: float) -> Floats:
    """Return how much work comes around each request: in full what comes with it, less the further.

    The weights fall in a straight line to 0 at `width` to either side: as requests that run
    together for so long slow each other down.
    """
    count, moment = (np.concatenate([[0.0], np.cumsum(one)]) for one in (work, work * due))

    def until(at: Floats) -> Floats:
        """Work so far, integrated over time."""
        place = np.searchsorted(due, at, side="right")
        return np.asarray(count[place] * at - moment[place], dtype=np.float64)

    return (until(due + width) - 2 * until(due) + until(due - width)) / width


class VirtualQueue:
    """The queue on paper for one law of arrivals and of work, at any utilization, and the crowd.

    Args:
        arrival: how requests come.
        work: of requests like those of the probes, which is drawn from with replacement.
    """

    def __init__(self, arrival: OpenArrival, work: Floats) -> None:
        rng = np.random.default_rng(20261126)
        due = np.cumsum(np.concatenate([[arrival.first_gap(rng)], arrival.gaps(_LONG - 1, rng)]))
        due *= _LONG / due[-1]  # its own luck, too
        self.varies = bool(work.min() != work.max())
        """Whether requests differ in their work."""
        self._mean = float(work.mean())
        jobs = rng.choice(work / self._mean, size=_LONG)
        jobs /= jobs.mean()
        self._waits = [
            np.quantile(waits(due, used * jobs)[_BURN_IN:], _LEVELS) for used in UTILIZATIONS
        ]
        self._crowds = [
            np.quantile(crowd(due, jobs, width)[_BURN_IN:-_BURN_IN], _LEVELS) for width in WIDTHS
        ]

    def exceeded(self, due: Floats, work: Floats, used: float, share: float) -> Floats:
        """Say of each request whether it would wait longer than `share` of all do: 1 or 0.

        Args:
            due: in mean gaps between arrivals, from an empty queue on.
            work: of each.
            used: the queue's utilization; the nearest of `UTILIZATIONS` is taken.
            share: of all requests, in the long run.
        """
        at = int(np.argmin(np.abs(UTILIZATIONS - used)))
        limit = float(np.interp(1 - share, _LEVELS, self._waits[at]))
        found = waits(due, UTILIZATIONS[at] * self._of_mean(work))
        return (found > max(limit, 1e-9)).astype(np.float64)

    def crowded(self, due: Floats, work: Floats, width: float, share: float) -> Floats:
        """Say of each request whether more come around it than around all but `share`: 1 or 0.

        Args:
            due: in mean gaps between arrivals.
            work: of each.
            width: of the crowd, in mean gaps; the nearest of `WIDTHS` is taken.
            share: of all requests, in the long run.
        """
        at = int(np.argmin(np.abs(np.log(WIDTHS / width))))
        limit = float(np.interp(1 - share, _LEVELS, self._crowds[at]))
        return (crowd(due, self._of_mean(work), WIDTHS[at]) > limit).astype(np.float64)

    def _of_mean(self, work: Floats) -> Floats:
        return work / self._mean if self.varies else np.ones(work.size)


@lru_cache(maxsize=4)
def virtual_queue(arrival: OpenArrival, work: tuple[float, ...]) -> VirtualQueue:
    """Return the queue on paper for these, made once."""
    return VirtualQueue(arrival, np.asarray(work))
