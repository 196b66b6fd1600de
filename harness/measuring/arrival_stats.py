"""What `measurements.json` says of how the requests of an open loop came."""

from __future__ import annotations

import msgspec


class ArrivalStats(msgspec.Struct, frozen=True, kw_only=True):
    """What requests of an open loop look like on the time line; None for too few of them."""

    n: int
    rate: float
    """Requests/s over the window."""
    gap_cv: float | None
    """Coefficient of variation of the gaps: 0 for a metronome, 1 for a Poisson process."""
    dispersion: float | None
    """Variance ÷ mean of the counts in bins of `bin_s`; 1 for a Poisson process."""
    autocorrelation: float | None
    """Of each gap with the next; 0 for independent gaps."""


class ArrivalTests(msgspec.Struct, frozen=True, kw_only=True):
    """Two-sided p-values that the process which the profile asks for gives such a schedule."""

    kind: str
    p_rate: float
    """Of the number of requests sent."""
    p_gaps: float
    """Kolmogorov–Smirnov, of the gaps of the schedule."""
    p_dispersion: float | None
    """Of the counts sent in bins in which 20 are expected."""
    p_autocorrelation: float | None
    """Of the gaps between requests sent."""


class Arrivals(msgspec.Struct, frozen=True, kw_only=True):
    """How requests of an open loop were to come, and how they came."""

    planned: ArrivalStats
    realised: ArrivalStats
    bin_s: float
    behind_most: int
    """The most requests that were due at one moment and had not left."""
    distance: float
    """Kolmogorov's distance of the realised times from the planned ones: `behind_most` ÷ n."""
    lateness_std_ms: float | None = None
    """How far requests strayed from their due times: standard deviation of sent − due. A delay
    that all have alike is not in it. None where none was sent."""
    tests: ArrivalTests | None
    """None where the arrivals are no random process (constant, a trace) or too few."""
