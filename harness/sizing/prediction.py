"""What a simulator of the measured engine says beside a search or a sizing."""

from __future__ import annotations

import msgspec

from harness.simulating.prediction import (  # noqa: TC001 - msgspec reads them at run time
    HeldOut,
    LimitForecast,
    Verdict,
)
from harness.simulating.spread import Spread  # noqa: TC001 - as above


class FleetForecast(msgspec.Struct, frozen=True, kw_only=True):
    """The fleet that the sizing came to, at its peak; latencies count from sent."""

    failed: int
    """Replicas that are down."""
    replicas: int
    """That are up."""
    rate: float
    """Arrivals/s at each: Poisson, as if each request went to any of them by chance."""
    requests: int
    """Simulated, of one replica."""
    ttft_ms: Spread
    itl_ms: Spread
    e2e_ms: Spread
    busy: float
    """Share of the time in which the engine computes."""
    limits: list[LimitForecast]
    verdict: Verdict
    """PASS: all limits hold by more than the error at held-out levels; FAIL: one does not, by more
    than that."""
    outside: list[str]
    """In what this lies beyond the measured cells; there the errors say nothing."""


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """An engine fitted to half of a build's measured levels, held against the other half."""

    build: str
    fitted_on: list[str]
    """Cells."""
    held_out: list[HeldOut]
    """Never empty: where no level is left to check it, there is no prediction."""
    worst: dict[str, float]
    """The largest error of each metric, without its sign: 0.15 is 15 %."""
    fleets: list[FleetForecast] = []
    """All up, and with those down that may fail; empty without a demand."""
    text: str
    notes: list[str] = []
    """What the fit itself warns of."""
