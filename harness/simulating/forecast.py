"""What a prediction says of the limits of an SLO."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from harness.simulating.prediction import LimitForecast

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from harness.measuring.slo import Limit, Slo
    from harness.simulating.fit import Fitted
    from harness.simulating.prediction import Verdict
    from harness.simulating.spread import Spread

    Floats = npt.NDArray[np.float64]

_CHECKED_BY: Final = {
    "ttft_ms": "ttft", "ttft_due_ms": "ttft", "e2e_ms": "e2e", "tpot_ms": "e2e", "itl_ms": "itl",
}  # fmt: skip
"""Whose held-out errors stand for a metric's."""


def forecast(
    slo: Slo | None,
    spreads: Mapping[str, Spread],
    totals: Mapping[str, float],
    requests: tuple[Floats, Floats, npt.NDArray[np.int64]],
    fitted: Fitted,
) -> tuple[list[LimitForecast], float | None]:
    """Say of each limit whether it holds, and which share of the answers holds all of them.

    Args:
        slo: the limits; None for none.
        spreads: percentiles by the name of the metric.
        totals: metrics with one value.
        requests: TTFT and e2e in ms, and tokens after the first, of each answered request.
        fitted: for the errors.

    Returns:
        The limits, and the share of answered requests within all per-request ones; None without
        an SLO.
    """
    if slo is None:
        return [], None
    good = np.ones(requests[0].size, dtype=np.bool_)
    for limit in slo.limits:
        values = _own(limit, requests)
        if values is not None:
            good &= np.isnan(values) | (
                values <= limit.value if limit.operator == "<=" else values >= limit.value
            )
    share = float(good.mean()) if good.size else None
    worst = fitted.worst()
    return [_limit(limit, spreads, totals, worst) for limit in slo.limits], share


def verdict_of(limits: Sequence[LimitForecast]) -> Verdict:
    """Return PASS where all hold by more than the error, FAIL where one breaks by more than it."""
    if any(limit.decided and not limit.holds for limit in limits):
        return "FAIL"
    return "PASS" if all(limit.decided for limit in limits) else "INCONCLUSIVE"


def _own(limit: Limit, requests: tuple[Floats, Floats, npt.NDArray[np.int64]]) -> Floats | None:
    """Return each request's own value; NaN where it has none, None where nobody has one."""
    ttft, e2e, further = requests
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = np.where(further > 0, (e2e - ttft) / further, np.nan)
        values: dict[str, Floats] = {
            "ttft_ms": ttft,
            "ttft_due_ms": ttft,
            "e2e_ms": e2e,
            "tpot_ms": gap,
            "itl_ms": gap,
            "decode_tps": 1000 / gap,
            "sequence_tps": 1000 * (further + 1) / e2e,
        }
    return values.get(limit.metric)


def _limit(
    limit: Limit, spreads: Mapping[str, Spread], totals: Mapping[str, float],
    worst: Mapping[str, float],
) -> LimitForecast:  # fmt: skip
    if limit.metric in totals:
        predicted: float | None = totals[limit.metric]
        errors = [worst["aggregate_tps"]] if "aggregate_tps" in worst else []
        exact = limit.metric == "error_rate"
    else:
        spread = spreads.get(limit.metric)
        predicted = getattr(spread, limit.statistic or "p95", None)
        family = _CHECKED_BY.get(limit.metric, "-")
        errors = [error for name, error in worst.items() if name.startswith(family)]
        exact = False
    error = 0.0 if exact else max(errors, default=None)
    holds = None if predicted is None else limit.holds(predicted)
    return LimitForecast(
        limit=limit.text,
        predicted=predicted,
        holds=holds,
        error=error,
        decided=predicted is not None
        and error is not None
        and all(limit.holds(value) == holds for value in _span(predicted, error)),
    )


def _span(predicted: float, error: float) -> tuple[float, float]:
    """Return between what the truth lies, the error being predicted ÷ measured - 1 at most."""
    return predicted / (1 + error), predicted / (1 - error) if error < 1 else math.inf
