"""Every metric of every build at every level, over its repeats."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import numpy as np

from harness.comparing.failures import error_difference, error_rate
from harness.comparing.noise import (
    Spread,
    interval,
    log_variance,
    own_spread,
    paired_spread,
    side_of,
)
from harness.comparing.rows import Difference, LevelRow, Value
from harness.comparing.tails import least_answers, missed
from harness.evidence.figures import figures
from harness.evidence.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from evals.compare.records import Interval
    from harness.evidence.evidence import Evidence
    from harness.measuring.measurement import CellMeasurement

CLOSED: Final = (
    "ttft_p50_ms", "ttft_p95_ms", "itl_p50_ms", "itl_p95_ms", "tpot_p50_ms", "e2e_p50_ms",
    "e2e_p95_ms", "sequence_p50_tps", "aggregate_tps", "request_rate", "goodput", "error_rate",
    "memory_peak_gib", "prefill_fixed_ms", "prefill_per_1000_ms",
)  # fmt: skip
"""What is told of every level; of an open loop also the latencies from due."""
OPEN: Final = ("ttft_due_p50_ms", "ttft_due_p95_ms")
ERRORS: Final = "error_rate"
BESIDE: Final = "beside grading"
"""Route of load cells that ran while answers were graded: they are no part of a comparison."""

LevelKey = tuple[str, float]
RepeatKey = tuple[int, int]


class Reading(NamedTuple):
    """One metric of one cell."""

    value: float
    within: float
    """Variance of its logarithm that the cell's requests account for; 0: unknown."""
    missed: float = 0.0
    """How far below the truth its logarithm lies on average, as a percentile of few answers."""


@dataclass(frozen=True)
class Cells:
    """The cells of one build at one level, by repeat."""

    metrics: dict[str, dict[RepeatKey, Reading]] = field(default_factory=lambda: defaultdict(dict))
    counts: dict[RepeatKey, tuple[int, int]] = field(default_factory=dict)
    """Requests that failed or were dropped, and all."""
    valid: dict[RepeatKey, bool] = field(default_factory=dict)
    stable: dict[RepeatKey, bool] = field(default_factory=dict)

    def add(self, key: RepeatKey, cell: CellMeasurement) -> None:
        """Count a cell in as one of the repeats; `read` then takes its metrics."""
        self.counts[key] = (cell.requests.lost, cell.requests.due)
        self.valid[key] = cell.client.valid
        self.stable[key] = cell.stable

    def read(self, key: RepeatKey, metric: str, value: float, ci95: Interval | None) -> None:
        """Take one metric of a repeat that was added, with the interval of its requests."""
        within = log_variance(value, ci95)
        below = missed(metric, self.answers(key), within)
        self.metrics[metric][key] = Reading(value, within, below)

    def answers(self, key: RepeatKey) -> int:
        """Return how many requests of a repeat were answered."""
        failed, asked = self.counts[key]
        return asked - failed

    def least(self) -> int:
        """Return the fewest answers of a repeat."""
        return min(map(self.answers, self.counts))

    def few(self, metric: str) -> bool:
        """Whether a metric is a percentile of too few answers in some repeat."""
        return self.least() < least_answers(metric)


@dataclass(frozen=True)
class Grid:
    """All cells of one profile."""

    profile: str
    builds: list[str]
    """Those with cells, in the order given."""
    levels: list[LevelKey]
    """Ascending."""
    cells: dict[tuple[str, LevelKey], Cells]

    def readings(self, build: str, level: LevelKey, metric: str) -> dict[RepeatKey, Reading]:
        """Return a metric by repeat, those without a number left out."""
        there = self.cells.get((build, level))
        return there.metrics.get(metric, {}) if there else {}

    def value(self, build: str, level: LevelKey, metric: str, noise: Noise) -> Value:
        """Return a metric over the repeats of a cell, which must be there."""
        cells = self.cells[build, level]
        own = _value(self.readings(build, level, metric), sorted(cells.valid), noise, level)
        return _undecided(own) if cells.few(metric) else own

    def repeats(self) -> int:
        """Return the least number of repeats that a cell has."""
        return min(len(cells.valid) for cells in self.cells.values())


def grids(evidence: Evidence, builds: Sequence[str], more: Iterable[str] = ()) -> list[Grid]:
    """Sort the load cells by profile.

    Repeats are the same where they have the same run and number; where builds are of different
    runs, the first of one goes with the first of the other.

    Args:
        evidence: what there is.
        builds: whose cells, in this order.
        more: further metrics that are asked for.
    """
    wanted = {*CLOSED, *OPEN, *more}
    runs = {run.measurements.run.id: place for place, run in enumerate(evidence.load)}
    found: dict[str, dict[tuple[str, LevelKey], Cells]] = defaultdict(lambda: defaultdict(Cells))
    for run, cell in evidence.cells:
        if cell.build in builds:
            level = _level_key(cell.level)
            at = found[cell.profile][cell.build, level]
            at.add((runs[run.measurements.run.id], cell.repeat), cell)
    for one in figures(evidence, metrics=wanted):
        if one.level is None or one.profile is None or one.suite or one.route == BESIDE:
            continue
        cells = found.get(one.profile, {}).get((one.build, _level_key(one.level)))
        if cells is not None and one.value is not None and one.repeat is not None:
            cells.read((runs[one.run], one.repeat), one.metric, one.value, one.ci95)
    return [
        Grid(
            profile=profile,
            builds=[build for build in builds if any(build == b for b, _ in cells)],
            levels=sorted({level for _, level in cells}),
            cells=_aligned(cells),
        )
        for profile, cells in found.items()
    ]


def _level_key(level: dict[str, float]) -> LevelKey:
    [(kind, value)] = level.items()
    return kind, value


def _aligned(cells: dict[tuple[str, LevelKey], Cells]) -> dict[tuple[str, LevelKey], Cells]:
    """Number repeats from 1 where builds are not all of the same runs."""
    runs: dict[str, set[int]] = defaultdict(set)
    for (build, _), at in cells.items():
        runs[build] |= {run for run, _ in at.valid}
    if len({frozenset(those) for those in runs.values()}) == 1:
        return dict(cells)
    keys: dict[str, list[RepeatKey]] = defaultdict(list)
    for (build, _), at in cells.items():
        keys[build] = sorted({*keys[build], *at.valid})
    new = {
        build: {key: (0, place) for place, key in enumerate(those, 1)}
        for build, those in keys.items()
    }
    return {
        (build, level): Cells(
            metrics={
                name: {new[build][key]: one for key, one in readings.items()}
                for name, readings in at.metrics.items()
            },
            counts={new[build][key]: one for key, one in at.counts.items()},
            valid={new[build][key]: one for key, one in at.valid.items()},
            stable={new[build][key]: one for key, one in at.stable.items()},
        )
        for (build, level), at in cells.items()
    }


@dataclass(frozen=True)
class Noise:
    """What one metric of one profile varies by, from run to run."""

    levels: list[LevelKey]
    own: Spread
    paired: Spread

    @classmethod
    def of(cls, grid: Grid, metric: str) -> Noise:
        """Pool over builds, levels and repeats that are there in full and above 0."""
        there = {
            (build, level): {
                key: one
                for key, one in grid.readings(build, level, metric).items()
                if one.value > 0
            }
            for build in grid.builds
            for level in grid.levels
        }
        builds, levels, keys = _block(there, grid.builds, grid.levels)
        if not levels:
            return cls([], Spread((), 0.0), Spread((), 0.0))
        shape = (len(builds), len(levels), len(keys))
        rows = [there[b, le][key] for b in builds for le in levels for key in keys]
        logs = np.array([math.log(one.value) for one in rows]).reshape(shape)
        within = np.array([one.within for one in rows]).reshape(shape).mean(axis=(0, 2))
        return cls(levels, own_spread(logs, within), paired_spread(logs, within))

    def at(self, level: LevelKey, spread: Spread) -> tuple[float, float] | None:
        """Return variance and degrees of freedom at a level; None where nothing is known."""
        if spread.df <= 0:
            return None
        place = self.levels.index(level) if level in self.levels else None
        return (spread.levels[place] if place is not None else max(spread.levels)), spread.df


def _block(
    there: dict[tuple[str, LevelKey], dict[RepeatKey, Reading]],
    builds: Sequence[str],
    levels: Sequence[LevelKey],
) -> tuple[list[str], list[LevelKey], list[RepeatKey]]:
    """Return the builds, levels and repeats of which nothing is missing that tell most.

    Builds are left out, the one with the fewest cells first, only where no two repeats are whole.
    """
    left = list(builds)
    while left:
        best: tuple[int, list[LevelKey], list[RepeatKey]] = (0, [], [])
        for keys in {frozenset(there[at]) for at in there if at[0] in left}:
            whole = [le for le in levels if all(keys <= there[b, le].keys() for b in left)]
            told = len(whole) * (len(keys) - 1)
            if told > best[0]:
                best = (told, whole, sorted(keys))
        if best[0]:
            return left, best[1], best[2]
        left.remove(min(left, key=lambda b: sum(len(there[b, le]) for le in levels)))
    return [], [], []


def rows(
    grid: Grid, baseline: str, metrics: Sequence[str]
) -> tuple[list[LevelRow], dict[str, Noise]]:
    """Return every build at every level, and what each metric varies by."""
    noise = {metric: Noise.of(grid, metric) for metric in metrics if metric != ERRORS}
    found = []
    for build in grid.builds:
        for level in grid.levels:
            cells = grid.cells.get((build, level))
            if cells is None:
                continue
            keys = sorted(cells.valid)
            values = {}
            against = {}
            other = grid.cells.get((baseline, level))
            valid = all(cells.valid.values())
            both = valid and other is not None and all(other.valid.values())
            for metric in metrics:
                if metric == ERRORS:
                    values[metric] = error_rate(cells, keys)
                    if build != baseline and other is not None:
                        against[metric] = error_difference(cells, other)
                    continue
                readings = grid.readings(build, level, metric)
                if not readings and metric not in METRICS_ALWAYS:
                    continue
                values[metric] = grid.value(build, level, metric, noise[metric])
                theirs = grid.readings(baseline, level, metric)
                if build != baseline and readings and theirs:
                    change = difference(metric, readings, theirs, noise[metric], level)
                    few = cells.few(metric) or (other is not None and other.few(metric))
                    against[metric] = _open(change) if few else change
            if not both:  # nothing is shown by what must not be believed
                against = {
                    metric: msgspec.structs.replace(one, side="unlike")
                    for metric, one in against.items()
                }
            found.append(
                LevelRow(
                    build=build,
                    profile=grid.profile,
                    level={level[0]: level[1]},
                    repeats=len(keys),
                    answers=cells.least(),
                    valid=valid,
                    stable=all(cells.stable.values()),
                    metrics=values,
                    against=against,
                )
            )
    return found, noise


METRICS_ALWAYS: Final = frozenset(("ttft_p50_ms", "ttft_p95_ms", "e2e_p50_ms", "e2e_p95_ms"))
"""Told of even where there is no number: the queue grew throughout, or requests were too few."""


def _undecided(own: Value) -> Value:
    """Return a value of too few answers: without an interval, since none would hold the truth."""
    return msgspec.structs.replace(own, ci95=None, few=own.value is not None)


def _open(change: Difference) -> Difference:
    return msgspec.structs.replace(
        change, ci95=None, ratio_ci95=None, side="unlike", few=change.ratio is not None
    )


def _value(
    readings: dict[RepeatKey, Reading], keys: Sequence[RepeatKey], noise: Noise, level: LevelKey
) -> Value:
    """Return a metric over its repeats: the geometric mean, and its interval."""
    listed = [readings[key].value if key in readings else None for key in keys]
    known = [one.value for one in readings.values()]
    if len(known) < len(keys) or not known:
        return Value(value=None, repeats=listed)
    if min(known) <= 0:
        return Value(value=float(np.mean(known)), repeats=listed)
    mean = float(np.log(known).mean())
    spread = noise.at(level, noise.own)
    ci95 = None
    if spread is not None:
        ci95 = interval(mean, *spread, len(known))
    elif within := float(np.mean([one.within for one in readings.values()])):
        ci95 = interval(mean, within, math.inf, len(known))
    ci95 = _wider(ci95, float(np.mean([one.missed for one in readings.values()])))
    middle = known[0] if len(known) == 1 else math.exp(mean)
    return Value(value=middle, ci95=_exp(ci95), repeats=listed)


def difference(
    metric: str,
    ours: dict[RepeatKey, Reading],
    theirs: dict[RepeatKey, Reading],
    noise: Noise,
    level: LevelKey,
) -> Difference:
    """Return a metric against the baseline's, over the repeats that both have.

    The interval is that of the mean logarithm of the ratio; that of the difference is the
    baseline's value times it.
    """
    keys = sorted(ours.keys() & theirs.keys())
    if not keys:
        return Difference(difference=None)
    pairs = [(ours[key], theirs[key]) for key in keys]
    if min(min(a.value, b.value) for a, b in pairs) <= 0:
        return Difference(difference=float(np.mean([a.value - b.value for a, b in pairs])))
    mean = float(np.mean([math.log(a.value / b.value) for a, b in pairs]))
    base = math.exp(float(np.mean([math.log(b.value) for _, b in pairs])))
    spread = noise.at(level, noise.paired)
    ci95 = None
    within = [a.within + b.within for a, b in pairs]
    if spread is not None:
        ci95 = interval(mean, 2 * spread[0], spread[1], len(keys))
    elif all(a.within and b.within for a, b in pairs):
        ci95 = interval(mean, float(np.mean(within)), math.inf, len(keys))
    ci95 = _exp(_wider(ci95, float(np.mean([a.missed - b.missed for a, b in pairs]))))
    ratio = math.exp(mean)
    return Difference(
        difference=base * (ratio - 1),
        ci95=None if ci95 is None else (base * (ci95[0] - 1), base * (ci95[1] - 1)),
        ratio=ratio,
        ratio_ci95=ci95,
        side=side_of(METRICS[metric].better, ci95, 1.0),
    )


def _wider(ci95: Interval | None, missed: float) -> Interval | None:
    """Make room for a bias: to the side on which the truth lies."""
    return None if ci95 is None else (ci95[0] + min(missed, 0.0), ci95[1] + max(missed, 0.0))


def _exp(ci95: Interval | None) -> Interval | None:
    return None if ci95 is None else (math.exp(ci95[0]), math.exp(ci95[1]))
