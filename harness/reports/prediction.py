"""How a simulator did at measured levels that it had not seen, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.reports.figures import count, figure, share
from harness.reports.sheets import Sheet

if TYPE_CHECKING:
    from harness.simulating.prediction import HeldOut
    from harness.sizing.prediction import Prediction


def sheet_of(prediction: Prediction) -> Sheet:
    """Predicted and measured at each held-out level."""
    rows: list[tuple[str, ...]] = [
        (level_of(one), one.metric, figure(one.measured), figure(one.predicted), error_of(one))
        for one in prediction.held_out
    ]
    title = f"{prediction.build}: predicted at levels that the fit had not seen"
    return Sheet(title, ("level", "metric", "measured", "predicted", "error"), rows)


def fleets_of(prediction: Prediction) -> Sheet:
    """The fleet that was sized, at its peak, by the simulator."""
    rows = [
        (
            f"{one.failed} down" if one.failed else "all up",
            count(one.replicas),
            figure(one.rate),
            *(figure(getattr(spread, q)) for spread in (one.ttft_ms, one.itl_ms, one.e2e_ms)
              for q in ("p50", "p95")),
            share(one.busy),
            one.verdict,
        )
        for one in prediction.fleets
    ]  # fmt: skip
    columns = (
        "at the peak", "replicas", "each/s", "TTFT p50 ms", "p95 ms", "ITL p50 ms", "p95 ms",
        "e2e p50 ms", "p95 ms", "busy", "limits",
    )  # fmt: skip
    return Sheet(f"{prediction.build}: the sized fleet by the simulator", columns, rows)


def level_of(one: HeldOut) -> str:
    """The level in words."""
    return f"{one.level:g}{'/s' if one.mode == 'open' else ' streams'}"


def error_of(one: HeldOut) -> str:
    """Predicted ÷ measured - 1, e.g. `+4.2 %`."""
    sign = "+" if one.error >= 0 else "−"
    return f"{sign}{figure(100 * abs(one.error))} %"
