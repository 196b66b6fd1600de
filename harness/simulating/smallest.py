"""The smallest fleet that holds an SLO under some traffic, by the simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from harness.errors import BadInputError
from harness.simulating.predict import MOST_REQUESTS, predict
from harness.simulating.traffic import Fleet, Traffic

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.measuring.slo import Slo
    from harness.simulating.fit import Fitted
    from harness.simulating.prediction import LimitForecast, Prediction
    from harness.simulating.routing import Routing

MOST_REPLICAS: Final = 100_000
_LOOKED_AT: Final = 200_000
"""Requests simulated of each fleet that is tried; the answer is simulated in full."""
_CHOICE: Final = 8
"""Replicas that a least-loaded router has at least to choose from, of a fleet that is tried."""
_FEWEST: Final = 1000
_MORE: Final = 9
"""Fleets that are simulated in full, in steps that double, until one holds."""
_ALONE: Final = 500
_FINE: Final = 100
"""A large fleet is found to one in so many: finer would be luck of the requests looked at."""


def smallest_fleet(
    fitted: Fitted,
    traffic: Traffic,
    slo: Slo,
    *,
    scale: float = 1.0,
    routing: Routing = "round-robin",
) -> Prediction | None:
    """Return what the fewest replicas get that hold all limits; None where no number does.

    Of more than 100 the number is found to 1 %, from above.

    They hold them by more than the error at held-out levels, if a request alone does so.
    Found by doubling and halving, each try on stretches of the time where one replica has more
    requests than can be looked at, so it takes for granted that more replicas are never worse, and
    that none are enough which could answer less than half of the requests while they come. Where
    it does not hold them simulated in full, larger ones are, until one does or the last one tried,
    2.5 times as large at least, does not either; that one is returned.
    A fleet that can lose k replicas is this many and k more.

    Raises:
        BadInputError: a limit cannot be simulated, or it would take more than `MOST_REPLICAS`.
    """

    def looked_at(replicas: int) -> Traffic:
        of_some = len(traffic) * scale / replicas * (1 if routing == "round-robin" else _CHOICE)
        return traffic.sampled(max(_LOOKED_AT / of_some, _FEWEST / len(traffic)))

    def held(found: Prediction) -> bool:
        return all(limit.holds and (limit.decided or not surely) for limit in found.limits)

    def predicted(replicas: int, on: Traffic, most_requests: int) -> Prediction:
        return predict(
            fitted, on, Fleet(replicas=replicas),
            scale=scale, routing=routing, slo=slo, most_requests=most_requests,
        )  # fmt: skip

    def holds(replicas: int) -> bool:
        return held(predicted(replicas, looked_at(replicas), _LOOKED_AT))

    alone = _alone(fitted, traffic, slo)
    if not all(limit.holds for limit in alone):
        return None
    surely = all(limit.decided for limit in alone)
    enough = _fewest(holds, max(1, int(_least_busy(fitted, traffic, scale) / 2)))
    return _in_full(lambda replicas: predicted(replicas, traffic, MOST_REQUESTS), held, enough)


def _in_full(
    predicted: Callable[[int], Prediction], held: Callable[[Prediction], bool], least: int
) -> Prediction:
    """Return the prediction of the fewest that hold, from `least` on; of the last where none does.

    Looking at stretches finds nearly the right one: so from there on in small steps, which double.
    """
    enough, too_few, step = least, least, max(1, least // _FINE)
    for _ in range(_MORE):
        found = predicted(enough)
        if held(found):
            break
        too_few, enough, step = enough, enough + step, 2 * step
    else:
        return found
    while enough - too_few > max(1, enough // _FINE):
        middle = (enough + too_few) // 2
        if held(between := predicted(middle)):
            enough, found = middle, between
        else:
            too_few = middle
    return found


def _fewest(holds: Callable[[int], bool], least: int) -> int:
    """Return the fewest, from `least` on, that hold."""
    enough, too_few = least, least - 1
    while not holds(enough):
        too_few = enough
        if enough >= MOST_REPLICAS:
            raise BadInputError(
                f"it would take more than {MOST_REPLICAS:,} replicas",
                hint="Lower the demand, or set a limit that does not grow with it.",
            )
        enough *= 2
    while enough - too_few > max(1, enough // _FINE):
        middle = (enough + too_few) // 2
        if holds(middle):
            enough = middle
        else:
            too_few = middle
    return enough


def _least_busy(fitted: Fitted, traffic: Traffic, scale: float) -> float:
    """Return how many engines at least are computing at once, on average over the time.

    A request takes its prompt and its tokens, also in a step that it shares with many others.
    """
    cost, limits = fitted.engine.cost, fitted.engine.limits
    further = traffic.outputs - 1
    context = traffic.prompts * further + further * (further + 1) / 2
    seconds = (
        cost.prefill_token_s * traffic.prompts
        + (cost.sequence_s + cost.base_s / limits.max_num_seqs) * traffic.outputs
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
