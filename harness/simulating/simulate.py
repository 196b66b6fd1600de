"""From finished runs and a demand to what a fleet would give: the whole of `harness simulate`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from harness.errors import BadInputError
from harness.simulating.engine import Engine  # noqa: TC001 - a field's type
from harness.simulating.fit import Seen, fit
from harness.simulating.forecast import verdict_of
from harness.simulating.predict import MOST_REQUESTS, predict
from harness.simulating.prediction import Prediction, Verdict  # noqa: TC001 - fields' types
from harness.simulating.smallest import smallest_fleet
from harness.simulating.sweep import read_sweep
from harness.simulating.traffic import Fleet, Traffic
from loadprofiles.traffic.traces import read_trace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.measuring.slo import Slo
    from harness.rundir import RunFolder
    from harness.simulating.observed import Observed
    from harness.simulating.routing import Routing

SCHEMA: Final = 1
_DURATION_S: Final = 3600.0


class Simulation(msgspec.Struct, frozen=True, kw_only=True):
    """What `harness simulate --json` prints."""

    schema: int = SCHEMA
    runs: list[str]
    """Whose cells the engine was fitted to."""
    build: str
    fitted_on: list[str]
    engine: Engine
    seen: Seen
    caveats: list[str]
    verdict: Verdict | None
    """PASS: all limits hold, by more than the error at held-out levels; FAIL: one does not, by
    more than that; None: no SLO was named."""
    prediction: Prediction | None
    """None: no number of replicas holds the limits."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What is asked."""

    build: str | None = None
    rate: float | None = None
    """Requests per second, with lengths as measured; None: the trace."""
    duration_s: float | None = None
    """Of the rate; None: an hour."""
    trace: Path | None = None
    scale: float = 1.0
    replicas: int | None = None
    """None: the fewest that hold the SLO."""
    failing: int = 0
    failure_s: float | None = None
    """None: in the middle."""
    routing: Routing = "round-robin"
    slo: Slo | None = None
    limits: dict[str, int] | None = None
    """Of the engine, over what the runs say."""
    seed: int = 0

    def check(self) -> None:
        """Look for what contradicts itself or is not enough.

        Raises:
            BadInputError: with everything that was found.
        """
        found = []
        if (self.rate is None) == (self.trace is None):
            found.append("what traffic? Give either --rate (requests per second) or --trace FILE.")
        if self.trace is not None and self.duration_s is not None:
            found.append("--duration is of --rate; a trace lasts as long as it lasts.")
        if self.replicas is None and self.slo is None:
            found.append("how many replicas? Give --replicas, or --slo for the fewest.")
        if self.failing < 0:
            found.append(f"--fail: {self.failing} replicas cannot fail; give 0 or more.")
        if self.failure_s is not None and not self.failing:
            found.append("--fail-at says when, and --fail how many; give both.")
        if found:
            raise BadInputError("\n".join(found))


def simulate(runs: Sequence[RunFolder], asked: Scenario) -> Simulation:
    """Fit an engine to the runs' cells and predict a fleet of it.

    Raises:
        BadInputError: the runs or the question are not enough.
    """
    asked.check()
    cells, limits, caveats = read_sweep(runs, asked.build)
    if asked.limits:
        limits = msgspec.structs.replace(limits, **asked.limits)
    traffic, scale = _traffic(asked, cells)
    fitted = fit(cells, limits)
    replicas = asked.replicas
    if replicas is None:
        assert asked.slo is not None  # noqa: S101 - it was checked
        found = smallest_fleet(fitted, traffic, asked.slo, scale=scale, routing=asked.routing)
        replicas = None if found is None else found.replicas + asked.failing
    prediction = None
    if replicas is not None:
        prediction = predict(
            fitted,
            traffic,
            Fleet(
                replicas=replicas,
                failing=asked.failing,
                failure_s=traffic.duration_s / 2 if asked.failure_s is None else asked.failure_s,
            ),
            scale=scale,
            routing=asked.routing,
            slo=asked.slo,
        )
    return Simulation(
        runs=[str(run.path) for run in runs],
        build=cells[0].build,
        fitted_on=fitted.fitted_on,
        engine=fitted.engine,
        seen=fitted.seen,
        caveats=[*caveats, *fitted.caveats],
        verdict=_verdict(asked, prediction),
        prediction=prediction,
    )


def _traffic(asked: Scenario, cells: Sequence[Observed]) -> tuple[Traffic, float]:
    """Return requests, and how many times as many there are.

    Of a rate with more than can be simulated the first are drawn, for a part of the rate.
    """
    if asked.trace is not None:
        return Traffic.of(read_trace(asked.trace)), asked.scale
    assert asked.rate is not None  # noqa: S101 - it was checked
    duration_s = _DURATION_S if asked.duration_s is None else asked.duration_s
    times = max(1.0, asked.rate * duration_s / MOST_REQUESTS)
    traffic = Traffic.steady(
        asked.rate / times,
        duration_s,
        np.concatenate([cell.prompts for cell in cells]),
        np.concatenate([cell.outputs for cell in cells]),
        asked.seed,
    )
    return traffic, asked.scale * times


def _verdict(asked: Scenario, found: Prediction | None) -> Verdict | None:
    if asked.slo is None:
        return None
    return "FAIL" if found is None else verdict_of(found.limits)
