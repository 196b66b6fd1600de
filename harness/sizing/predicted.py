"""A simulator fitted to a build's own cells: its errors, and the sized fleet by it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import msgspec
import numpy as np

from harness.errors import BadInputError
from harness.measuring.measurement import Caveat
from harness.reports.figures import figure, is_open, share
from harness.simulating.fit import fit
from harness.simulating.forecast import verdict_of
from harness.simulating.predict import predict
from harness.simulating.sweep import read_sweep
from harness.simulating.traffic import Fleet, Traffic
from harness.sizing.prediction import FleetForecast, Prediction

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from harness.measuring.slo import Slo
    from harness.rundir import RunFolder
    from harness.simulating.engine import Limits
    from harness.simulating.fit import Fitted
    from harness.simulating.observed import Observed
    from harness.simulating.prediction import LimitForecast
    from harness.sizing.record import Fleet as Sized
    from harness.sizing.record import Sizing
    from harness.sizing.supply import Measured

_REQUESTS: Final = 1_600
"""Of all cells together that each try of the fit simulates: it takes seconds, not minutes."""
_TRIES: Final = 150
_LEVELS: Final = 3
_OF_A_FLEET: Final = 5_000
"""Requests that are simulated of one of its replicas."""
_FAMILIES: Final = {"ttft": "TTFT", "e2e": "e2e", "itl": "ITL", "aggregate_tps": "tokens/s"}


@dataclass(frozen=True, kw_only=True)
class Model:
    """An engine fitted to one build's cells."""

    build: str
    cells: Sequence[Observed]
    fitted: Fitted
    notes: tuple[str, ...]

    @classmethod
    def of(cls, build: str, measured: Iterable[Measured]) -> Self:
        """Fit it to the cells in which the client was no bottleneck and no queue grew.

        Args:
            build: whose.
            measured: cells, of any builds.

        Raises:
            BadInputError: it cannot be fitted, or there is no level left to check it.
        """
        by_run: dict[RunFolder, set[str]] = {}
        for run, cell in measured:
            if cell.build == build and cell.client.valid and (cell.stable or not is_open(cell)):
                by_run.setdefault(run.folder, set()).add(cell.id)
        cells: list[Observed] = []
        limits: Limits | None = None
        notes: list[str] = []
        for folder, names in by_run.items():
            try:
                found, known, told = read_sweep([folder], build)
            except BadInputError as error:
                notes += error.text.splitlines()[1:]
                continue
            limits = limits or known
            cells += [cell for cell in found if cell.id in names]
            notes += told
        if not cells:
            overloaded = "every cell was overloaded, or the client was its bottleneck"
            raise BadInputError(notes[0].strip() if notes else overloaded)
        levels = [len({c.level for c in cells if (c.streams is None) == kind}) for kind in (0, 1)]
        few = "too few levels: it takes three of one kind to fit and to check it"
        if max(levels) < _LEVELS:
            raise BadInputError(few)
        try:
            fitted = fit(cells, limits, most_requests=_REQUESTS, most_tries=_TRIES)
        except (ArithmeticError, ValueError, RuntimeError) as error:  # scipy's, of odd numbers
            why = f"these cells' numbers cannot be fitted ({type(error).__name__}: {error})"
            raise BadInputError(why) from error
        if not fitted.held_out:
            raise BadInputError(few)
        notes += fitted.caveats
        return cls(build=build, cells=cells, fitted=fitted, notes=tuple(dict.fromkeys(notes)))

    @property
    def used(self) -> list[Observed]:
        """The cells of the fit."""
        names = set(self.fitted.fitted_on)
        return [cell for cell in self.cells if cell.id in names]

    def prediction(self, fleet: Sized | None, slo: Slo, spare: int = 0) -> Prediction:
        """Return its errors, and what it says of a fleet.

        Args:
            fleet: that was sized; None: none.
            slo: the limits.
            spare: replicas that may fail.
        """
        fleets = []
        if fleet is not None:
            fleets = [
                self._forecast(fleet, failed, slo)
                for failed in sorted({0, spare})
                if failed < fleet.replicas
            ]
        worst = self.fitted.worst()
        return Prediction(
            build=self.build,
            fitted_on=self.fitted.fitted_on,
            held_out=self.fitted.held_out,
            worst=worst,
            fleets=fleets,
            text=" ".join([self._checked(worst), *map(forecast_text, fleets)]),
            notes=list(self.notes),
        )

    def _forecast(self, fleet: Sized, failed: int, slo: Slo) -> FleetForecast:
        up = fleet.replicas - failed
        rate = fleet.peak_rate / up
        traffic = Traffic.steady(
            rate,
            _OF_A_FLEET / rate,
            np.concatenate([cell.prompts for cell in self.used]),
            np.concatenate([cell.outputs for cell in self.used]),
        )
        found = predict(self.fitted, traffic, Fleet(replicas=1), slo=slo)
        return FleetForecast(
            failed=failed,
            replicas=up,
            rate=rate,
            requests=found.requests_simulated,
            ttft_ms=found.ttft_ms,
            itl_ms=found.itl_ms,
            e2e_ms=found.e2e_ms,
            busy=found.busy,
            limits=found.limits,
            verdict=verdict_of(found.limits),
            outside=found.outside,
        )

    def _checked(self, worst: dict[str, float]) -> str:
        fit_to = [(cell.streams is None, cell.level) for cell in self.used]
        unseen = sorted({(one.mode == "open", one.level) for one in self.fitted.held_out})
        noun = "level" if len(unseen) == 1 else "levels"
        return (
            f"A simulator of the engine, fitted to {len(fit_to)} measured cells "
            f"({_levels(fit_to)}), was off by at most {', '.join(_errors(worst))} at "
            f"{len(unseen)} measured {noun} that it had not seen ({_levels(unseen)})."
        )


def models_of(
    builds: Sequence[str], measured: Sequence[Measured]
) -> tuple[dict[str, Model], list[Caveat]]:
    """Fit a model to each build; where that cannot be, a caveat says why.

    Args:
        builds: in their order.
        measured: cells of all of them.
    """
    models: dict[str, Model] = {}
    caveats = []
    for build in builds:
        try:
            models[build] = Model.of(build, measured)
        except BadInputError as error:
            why = str(error).partition("\n")[0]
            text = f"{build}: no prediction by the simulator: {why}."
            caveats.append(Caveat("no_prediction", text))
    return models, caveats


def checked(sizing: Sizing, models: Mapping[str, Model], slo: Slo) -> Sizing:
    """Return a sizing with what the models say of its fleets, those of the last month.

    A fleet that breaks a limit by more than the error is a caveat.
    """
    builds, caveats = [], list(sizing.caveats)
    for one in sizing.builds:
        model = models.get(one.build)
        fleet = one.fleets[-1] if one.fleets else None
        found = model and model.prediction(fleet, slo, sizing.terms.spare)
        builds.append(msgspec.structs.replace(one, prediction=found))
        fleets = found.fleets if found else []
        failing = [forecast for forecast in fleets if forecast.verdict == "FAIL"]
        if failing:
            text = f"{one.build}: by the simulator it is not enough. {forecast_text(failing[0])}"
            caveats.append(Caveat("simulated_fleet_fails", text))
    return msgspec.structs.replace(
        sizing, builds=builds, prediction=builds[0].prediction, caveats=caveats
    )


def forecast_text(one: FleetForecast) -> str:
    """Return what is said of a fleet, in a sentence."""
    down = f" with {one.failed} down" if one.failed else ""
    noun = "replica" if one.replicas == 1 else "replicas"
    said = "; ".join(map(_limit, one.limits))
    text = f"At the peak{down}, {one.replicas:,} {noun} at {figure(one.rate)}/s each: {said}."
    if one.outside:
        text += f" Beyond what it was fitted to, where its errors say nothing: {one.outside[0]}."
    return text


def _limit(one: LimitForecast) -> str:
    if one.predicted is None:
        return f"{one.limit} is not simulated"
    error = f" ± {share(one.error)}" if one.error else ""
    doubt = "" if one.decided else ", but not by more than its error"
    word = "holds" if one.holds else "breaks"
    return f"{one.limit} comes to {figure(one.predicted)}{error} and {word}{doubt}"


def _levels(levels: Sequence[tuple[bool, float]]) -> str:
    """Return what levels span, e.g. `1 to 32 streams, 40 to 78/s`; True marks arrivals/s."""
    parts = []
    for opened, unit in ((False, " streams"), (True, "/s")):
        some = sorted({level for kind, level in levels if kind == opened})
        if some:
            text = " to ".join(f"{level:.4g}" for level in dict.fromkeys((some[0], some[-1])))
            parts.append(f"{text}{unit if text != '1' or opened else ' stream'}")
    return ", ".join(parts)


def _errors(worst: dict[str, float]) -> Iterator[str]:
    for family, title in _FAMILIES.items():
        found = [error for name, error in worst.items() if name.startswith(family)]
        if found:
            yield f"{share(max(found))} in {title}"
