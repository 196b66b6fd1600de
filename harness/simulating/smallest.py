"""The smallest fleet that holds an SLO under some traffic, by the simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from harness.errors import BadInputError
from harness.simulating.predict import predict
from harness.simulating.traffic import Fleet, Traffic

if TYPE_CHECKING:
    from harness.measuring.slo import Slo
    from harness.simulating.fit import Fitted
    from harness.simulating.prediction import LimitForecast, Prediction
    from harness.simulating.routing import Routing

MOST_REPLICAS: Final = 100_000
_LOOKED_AT: Final = 200_000
"""Requests simulated of each fleet that is tried; the answer is simulated in full."""
_ALONE: Final = 500


def smallest_fleet(
    fitted: Fitted,
    traffic: Traffic,
    slo: Slo,
    *,
    scale: float = 1.0,
    routing: Routing = "round-robin",
) -> Prediction | None:
    """Return what the fewest replicas get that hold all limits; None where no number does.

    They hold them by more than the error at held-out levels, if a request alone does so.
    Found by doubling and halving, so it takes for granted that more replicas are never worse, and
    that none are enough which could answer less than half of the requests while they come.
    A fleet that can lose k replicas is this many and k more.

    Raises:
        BadInputError: a limit cannot be simulated, or it would take more than `MOST_REPLICAS`.
    """

    def holds(replicas: int) -> bool:
        found = predict(
            fitted, traffic, Fleet(replicas=replicas),
            scale=scale, routing=routing, slo=slo, most_requests=_LOOKED_AT,
        )  # fmt: skip
        return all(limit.holds and (limit.decided or not surely) for limit in found.limits)

    alone = _alone(fitted, traffic, slo)
    if not all(limit.holds for limit in alone):
        return None
    surely = all(limit.decided for limit in alone)
    enough = max(1, int(_least_busy(fitted, traffic, scale) / 2))
    too_few = enough - 1
    while not holds(enough):
        too_few = enough
        if enough >= MOST_REPLICAS:
            raise BadInputError(
                f"it would take more than {MOST_REPLICAS:,} replicas",
                hint="Lower the demand, or set a limit that does not grow with it.",
            )
        enough *= 2
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        if holds(middle):
            enough = middle
        else:
            too_few = middle
    return predict(fitted, traffic, Fleet(replicas=enough), scale=scale, routing=routing, slo=slo)


def _least_busy(fitted: Fitted, traffic: Traffic, scale: float) -> float:
    """Return how many engines at least are computing at once, on average over the time.

    A request takes its prompt and its tokens, also in a step that it shares with many others.
    """
    cost = fitted.engine.cost
    further = traffic.outputs - 1
    context = traffic.prompts * further + further * (further + 1) / 2
    seconds = (
        cost.prefill_token_s * traffic.prompts
        + cost.sequence_s * traffic.outputs
        + cost.context_token_s * context
    )
    return float(seconds.sum()) * scale / traffic.duration_s


def _alone(fitted: Fitted, traffic: Traffic, slo: Slo) -> list[LimitForecast]:
    """Return the limits on a request as they are for requests that never meet another.

    Raises:
        BadInputError: a limit cannot be simulated.
    """
    some = np.linspace(0, len(traffic) - 1, min(len(traffic), _ALONE)).astype(np.int64)
    apart = Traffic(
        np.arange(some.size, dtype=np.float64) * 1e4,
        traffic.prompts[some],
        traffic.outputs[some],
        some.size * 1e4,
    )
    found = predict(fitted, apart, Fleet(replicas=1), slo=slo)
    for limit in found.limits:
        if limit.predicted is None:
            raise BadInputError(
                f"the simulator cannot say whether {limit.limit} holds",
                hint="Leave that limit out, or name p50, p90, p95, p99, mean or max of "
                "TTFT, ITL, TPOT or e2e.",
            )
    return [
        limit
        for limit, asked in zip(found.limits, slo.limits, strict=True)
        if asked.per_request or asked.metric == "error_rate"
    ]
