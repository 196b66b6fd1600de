"""An engine fitted to measured cells, and its errors at levels that the fit did not see.

Two stages. `steps` finds the lengths of steps directly. Then all parameters are moved until the
simulator, given the same requests, comes to the same percentiles and throughput as the cells did
(simulated moments: McFadden, A method of simulated moments, Econometrica 57, 1989; the simplex of
Nelder & Mead, 1965, since a schedule's figures jump): only so do the overheads outside the steps
get a value, and stamps that a busy API server smears do not bias it. Each cell is simulated at the
speed that the machine had in it, by its steps: what it came to is that of the mean over cells.
"""

from __future__ import annotations

import math
from itertools import groupby
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
from scipy.optimize import minimize, nnls

from harness.errors import BadInputError
from harness.simulating.engine import Engine, Limits, StepCost
from harness.simulating.prediction import HeldOut
from harness.simulating.rehearse import METRICS, measured, rehearsed
from harness.simulating.steps import equations, slowness, step_cost

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from harness.simulating.observed import Observed
    from harness.simulating.rehearse import Figures

    Floats = npt.NDArray[np.float64]

_WEIGHTS: Final = {
    "ttft_p50_ms": 1.0, "ttft_p95_ms": 0.5, "e2e_p50_ms": 1.0, "e2e_p95_ms": 0.5,
    "aggregate_tps": 2.0,
}  # fmt: skip
"""Of a relative error: tails of short cells vary by themselves."""
_PULL: Final = 0.1
"""Weight of a coefficient's distance (log) from what the steps alone said."""
_FURTHEST: Final = math.log(5)
_NOTHING: Final = 3.0
"""Stands for the log of a ratio where nothing was predicted."""
_LARGE: Final = 0.3
_SIZE: Final = 0.3
"""Of the first simplex (log)."""
_MOST_TRIES: Final = 400
_MOST_REQUESTS: Final = 12_000
"""Of all cells together that are simulated at each try: the first part of long ones."""
_FEW: Final = 200
_MOST_OF_A_CELL: Final = 20_000
"""Requests that are looked at: of a longer cell its first part."""
_LEAST_S: Final = 1e-6
_NUDGE: Final = 1.05
_ERROR: Final = 0.05
"""Relative error of a figure on a machine of steady speed."""
_SLOWER: Final = 0.2
"""Share by which a cell's steps may differ from the fit unmentioned."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What the cells of the fit covered; a prediction beyond it is an extrapolation."""

    batch: float
    """The largest mean of sequences in a step of a cell."""
    prompt_tokens: tuple[int, int]
    """The shortest and the longest."""
    output_tokens: tuple[int, int]
    tokens_per_s: float
    """The highest output of a cell."""


class Fitted(msgspec.Struct, frozen=True, kw_only=True):
    """An engine's parameters, how they came about and how wrong they are."""

    engine: Engine
    fitted_on: list[str]
    """Cells."""
    held_out: list[HeldOut]
    """Empty where there were too few levels to leave any out."""
    seen: Seen
    caveats: list[str] = []

    def worst(self) -> dict[str, float]:
        """Return the largest error of each metric over the held-out levels, without its sign."""
        metrics = dict.fromkeys(one.metric for one in self.held_out)
        return {
            name: max(abs(one.error) for one in self.held_out if one.metric == name)
            for name in metrics
        }


def fit(
    cells: Sequence[Observed],
    limits: Limits | None = None,
    *,
    most_requests: int = _MOST_REQUESTS,
    most_tries: int = _MOST_TRIES,
) -> Fitted:
    """Fit an engine to half of the levels and predict the other half.

    Every second level is left out, the lowest and the highest of a sweep never; repeats go
    together. The engine stays the one of the half that it was fitted to, so that its errors are
    those of every prediction made with it.

    Args:
        cells: of one build on one server, several levels.
        limits: of the engine; None: none.
        most_requests: of all cells together that each try simulates, as `most_tries` of them: a
            fit with less is faster and less exact, which its held-out errors show.
        most_tries: of the second stage.

    Raises:
        BadInputError: there are no cells, or they show no steps.
    """
    if not cells:
        raise BadInputError(
            "the simulator has no measured cell to be fitted to",
            hint="Measure a sweep first, e.g. harness load --profile closed --level 1,2,4,8,16,32.",
        )
    cells = [cell.shortened(_MOST_OF_A_CELL) for cell in cells]
    used, left_out = _halves(cells)
    start = Engine(cost=step_cost(used), limits=limits or Limits())
    engine = refined(used, start, most_requests, most_tries)
    held_out = [one for level in left_out for one in _compared(level, engine)]
    caveats = _disturbed(cells, engine)
    if not left_out:
        caveats.append(
            f"The simulator was fitted to {len(used)} cells and none was left to check it: "
            "its error is unknown. Measure at least three levels of one kind."
        )
    return Fitted(
        engine=engine,
        fitted_on=[cell.id for cell in used],
        held_out=held_out,
        seen=_seen(used),
        caveats=caveats,
    )


def _halves(cells: Sequence[Observed]) -> tuple[list[Observed], list[list[Observed]]]:
    """Return the cells to fit, and the levels to check, each with all its repeats."""

    def kind(cell: Observed) -> tuple[bool, float]:
        return cell.streams is None, cell.level

    used: list[Observed] = []
    left_out: list[list[Observed]] = []
    for _, sweep in groupby(sorted(cells, key=kind), key=lambda cell: cell.streams is None):
        levels = [list(level) for _, level in groupby(sweep, key=kind)]
        for index, level in enumerate(levels):
            if index % 2 == 1 and index < len(levels) - 1:
                left_out.append(level)
            else:
                used += level
    return used, left_out


def _compared(level: Sequence[Observed], engine: Engine) -> Iterable[HeldOut]:
    truths = [measured(cell) for cell in level]
    guesses = [rehearsed(cell, engine) for cell in level]
    own = [rehearsed(cell, engine.slower(slowness(cell, engine.cost))) for cell in level]
    for name in METRICS:
        predicted = float(np.mean([getattr(guess, name) for guess in guesses]))
        repeats = [float(getattr(truth, name)) for truth in truths]
        was = float(np.mean(repeats))
        if not (was > 0 and math.isfinite(predicted)):
            continue
        yield HeldOut(
            cells=[cell.id for cell in level],
            mode="open" if level[0].streams is None else "closed",
            level=level[0].level,
            metric=name,
            predicted=predicted,
            measured=was,
            repeats=repeats,
            at_own_speed=float(np.mean([getattr(guess, name) for guess in own])),
        )


def _disturbed(cells: Sequence[Observed], engine: Engine) -> list[str]:
    """Name the cells in which the engine was faster or slower than in the others."""
    found = {cell.id: slowness(cell, engine.cost) for cell in cells}
    named = [f"{name} {much:.2g}" for name, much in found.items() if abs(much - 1) > _SLOWER]
    if not named:
        return []
    text = (
        "Steps took longer or shorter than the fit says, by these factors: "
        f"{', '.join(named)}. Something else had the server's machine for a while, or its steps "
        "are not linear: repeat these cells before you trust a prediction."
    )
    return [text]


def _seen(cells: Sequence[Observed]) -> Seen:
    batches = []
    for cell in cells:
        rows, _ = equations(cell)
        batches.append(float(rows[:, 1].sum() / rows[:, 0].sum()) if len(rows) else 1.0)
    return Seen(
        batch=max(batches),
        prompt_tokens=_range(np.concatenate([cell.prompts for cell in cells])),
        output_tokens=_range(np.concatenate([cell.outputs for cell in cells])),
        tokens_per_s=max(measured(cell).aggregate_tps for cell in cells),
    )


def _range(values: npt.NDArray[np.int64]) -> tuple[int, int]:
    return int(values.min()), int(values.max())


# --- the second stage ----------------------------------------------------------------------------


def refined(
    cells: Sequence[Observed],
    start: Engine,
    most_requests: int = _MOST_REQUESTS,
    most_tries: int = _MOST_TRIES,
) -> Engine:
    """Move all parameters until simulated cells come to the measured figures."""
    most = max(_FEW, most_requests // len(cells))
    cells = [cell.shortened(most) for cell in cells]
    truths = [measured(cell) for cell in cells]
    speeds = [slowness(cell, start.cost) for cell in cells]
    trust = _trust(cells, speeds, start)
    start = _with_overheads(cells, truths, speeds, trust, start)
    names = [name for name in StepCost.__struct_fields__ if getattr(start.cost, name) > 0]
    overheads = np.array([start.overhead_s, start.overhead_each_s])

    def engine_at(at: Floats) -> Engine:
        factors = dict(zip(names, np.exp(at[2:]).tolist(), strict=True))
        cost = {name: getattr(start.cost, name) * factor for name, factor in factors.items()}
        first, each = (overheads * np.exp(at[:2])).tolist()
        return msgspec.structs.replace(
            start,
            cost=msgspec.structs.replace(start.cost, **cost),
            overhead_s=first,
            overhead_each_s=each,
        )

    def misses(at: Floats) -> Floats:
        engine = engine_at(at)
        errors = [
            known * _errors(rehearsed(cell, engine.slower(speed)), truth)
            for cell, truth, speed, known in zip(cells, truths, speeds, trust, strict=True)
        ]
        return np.concatenate([*errors, _PULL * at[2:]])

    start_at = np.zeros(2 + len(names))
    simplex = np.vstack([start_at, np.diag(np.full(start_at.size, _SIZE))])
    found = minimize(
        lambda at: _soft(misses(np.clip(at, -_FURTHEST, _FURTHEST))),
        start_at,
        method="Nelder-Mead",
        options={
            "initial_simplex": simplex, "maxfev": most_tries, "xatol": 0.01, "fatol": 1e-4
        },
    )  # fmt: skip
    return engine_at(np.clip(found.x, -_FURTHEST, _FURTHEST))


def _soft(errors: Floats) -> float:
    """Return the sum of squares, large errors (a level that was disturbed) counted less."""
    return float((np.sqrt(1 + (errors / _LARGE) ** 2) - 1).sum())


def _errors(guess: Figures, truth: Figures) -> Floats:
    """Return weighted logs of predicted ÷ measured; a large one where nothing was predicted."""
    errors = []
    for name, weight in _WEIGHTS.items():
        was, said = getattr(truth, name), getattr(guess, name)
        if was > 0:
            errors.append(weight * (math.log(said / was) if said > 0 else _NOTHING))
    return np.array(errors)


def _trust(cells: Sequence[Observed], speeds: Sequence[float], engine: Engine) -> list[Floats]:
    """Return the weight of each figure of each cell, beside one that the speed does not change.

    The speed is taken to vary within a cell as much as it does from cell to cell; near saturation
    a queue makes much of that. Weights are the inverse of the error that this makes (to first
    order), together with `_ERROR`.
    """
    drift = float(np.std(np.log(speeds)))
    found = []
    for cell, speed in zip(cells, speeds, strict=True):
        slow, fast = (rehearsed(cell, engine.slower(speed * by)) for by in (_NUDGE, 1 / _NUDGE))
        grows = [_growth(getattr(slow, name), getattr(fast, name)) for name in _WEIGHTS]
        found.append(1 / np.hypot(1, np.array(grows) * drift / _ERROR))
    return found


def _growth(slow: float, fast: float) -> float:
    """Return by which power of the speed a figure grows; 0 where there was nothing to compare."""
    return math.log(slow / fast) / (2 * math.log(_NUDGE)) if slow > 0 and fast > 0 else 0.0


def _with_overheads(
    cells: Sequence[Observed],
    truths: list[Figures],
    speeds: Sequence[float],
    trust: Sequence[Floats],
    start: Engine,
) -> Engine:
    """Guess the overheads: what TTFT lacks without them, as a line over requests under way."""
    lacks, under_way = [], []
    for cell, truth, speed in zip(cells, truths, speeds, strict=True):
        guess = rehearsed(cell, start.slower(speed))
        lacks.append((truth.ttft_p50_ms - guess.ttft_p50_ms) / 1000)
        took = (cell.last_s - cell.sent_s)[cell.measured].sum()
        under_way.append(float(took) / cell.window_s)
    weight = np.array([known[0] for known in trust]) / [truth.ttft_p50_ms for truth in truths]
    rows = np.column_stack([np.ones(len(cells)), under_way]) * weight[:, None]
    (first, each), _ = nnls(rows, np.array(lacks) * weight)
    return msgspec.structs.replace(
        start, overhead_s=max(float(first), _LEAST_S), overhead_each_s=max(float(each), _LEAST_S)
    )
