"""What the simulator says of a fleet under some traffic, and how far it can be trusted."""

from __future__ import annotations

from typing import Literal

import msgspec

from harness.simulating.spread import Spread  # noqa: TC001 - a field's type

Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE"]


class HeldOut(msgspec.Struct, frozen=True, kw_only=True):
    """One number of a level that the fit did not see, the mean over its repeats."""

    cells: list[str]
    mode: Literal["open", "closed"]
    level: float
    metric: str
    predicted: float
    measured: float
    repeats: list[float] = []
    """What each repeat measured; `measured` is their mean."""
    at_own_speed: float | None = None
    """Predicted, were the machine as fast as it was in these cells, by the length of their steps:
    what is wrong then is the simulator, and not that the machine was another one."""

    @property
    def error(self) -> float:
        """Predicted ÷ measured - 1."""
        return self.predicted / self.measured - 1

    @property
    def error_at_own_speed(self) -> float | None:
        """The same of `at_own_speed`; None in a record of before it was told."""
        return None if self.at_own_speed is None else self.at_own_speed / self.measured - 1


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """One part of the time, over all replicas."""

    start_s: float
    request_rate: float
    """Requests per second of the whole fleet."""
    ttft_p95_ms: float | None
    e2e_p95_ms: float | None
    waiting: float
    """Requests without their first token, mean over time and replicas: of one replica."""
    in_flight: float
    """Requests without their last token, the same."""


class LimitForecast(msgspec.Struct, frozen=True, kw_only=True):
    """One limit of the SLO."""

    limit: str
    predicted: float | None
    """None: the simulator has no such number."""
    holds: bool | None
    error: float | None
    """The largest relative error of that metric at the held-out levels; None: unknown."""
    decided: bool
    """Whether the limit is further from the prediction than that error."""


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """One fleet under some traffic. All latencies count from the moment a request is sent."""

    replicas: int
    failing: int
    failure_s: float | None
    routing: Literal["round-robin", "least-loaded"]
    duration_s: float
    requests: int
    """Of the whole traffic."""
    replicas_simulated: int
    requests_simulated: int
    request_rate: float
    """Arrivals per second, of the whole fleet, as the other rates."""
    output_tps: float
    """Tokens per second that are answered while the traffic lasts."""
    ttft_ms: Spread
    itl_ms: Spread
    tpot_ms: Spread
    e2e_ms: Spread
    waiting_mean: float
    """Requests without their first token, of one replica, mean over the time."""
    waiting_peak: float
    """The same in the worst window."""
    in_flight_mean: float
    in_flight_peak: float
    busy: float
    """Share of the time in which an engine computes, mean over the replicas."""
    preemptions: float
    """Of the whole fleet."""
    lost: float
    """Requests that were with a replica when it died, of the whole fleet."""
    refused: float
    """Requests that do not fit an engine's KV cache, of the whole fleet."""
    attainment: float | None
    """Share of all requests that hold every per-request limit of the SLO; None without one."""
    goodput: float | None
    """Requests per second that do."""
    limits: list[LimitForecast]
    windows: list[Window]
    held_out: list[HeldOut]
    """How wrong the same simulator was at measured levels that it was not fitted to."""
    outside: list[str]
    """In what the traffic lies beyond the measured cells; there the errors say nothing."""
    approximations: list[str]
