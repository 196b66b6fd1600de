"""How often the intervals of a comparison hold the truth, by simulation.

Usage: python benchmarks/compare_statistics.py [--plans] [--trials 400] [--seed 1]

Cells of B builds at four levels over R repeats. The logarithm of a cell's latency is its truth
plus what the repeat does to all (5 %), to all levels of a build's visit, to a level of all builds
(the prompts drawn; 2 %) and to the cell alone; its requests are drawn from a heavy-tailed
distribution around that (lognormal, one in twenty three times as long), half of each request's
noise being its prompt's, which all builds share. Printed is the share of 95 % intervals that hold
the truth, of a value and of a ratio to the baseline, and their median half-width. With `--plans`:
repeats against window length in about the same time altogether, and how often a true difference of
10 and of 20 % is shown by the ratio's interval.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import math
import sys
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from harness.comparing.noise import interval, log_variance, own_spread, paired_spread
from harness.comparing.plan import BESIDE_S, START_S
from harness.comparing.tails import least_answers, missed
from harness.measuring import stats

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

REQUESTS = (20, 80, 200, 400)
"""At the four levels, in a window of 12 s: a tenth to a third of what the demo model answers."""
WINDOW_S = 12
PLANS = (
    (2, 2, 50), (2, 4, 20), (2, 6, 10), (2, 8, 5), (3, 2, 28), (3, 4, 10), (3, 6, 3),
    (4, 2, 10), (4, 2, 16), (4, 3, 8), (4, 4, 4),
)  # fmt: skip
"""Builds, repeats, window in s: about as long altogether."""
SHOWN = (1.1, 1.2)
"""Ratios."""
LEVELS = np.log([100.0, 120.0, 250.0, 500.0])
SHARED, PROMPTS = 0.05, 0.02
SPREAD, SLOW, OUTLIERS = 0.5, math.log(3), 0.05
STATISTICS = ("p50", "p95")


@functools.cache
def truth(name: str) -> float:
    """Return the logarithm of the requests' percentile, by a large draw."""
    rng = np.random.default_rng(0)
    return float(np.quantile(_requests(rng, 2_000_000), stats.PERCENTILES[name]))


def _requests(rng: np.random.Generator, count: int) -> Floats:
    common = rng.normal(0, SPREAD * math.sqrt(0.5), count)
    own = rng.normal(0, SPREAD * math.sqrt(0.5), count)
    return common + own + SLOW * (rng.random(count) < OUTLIERS)


class Held(NamedTuple):
    """What the intervals of one kind are worth."""

    levels: list[float]
    """Share that hold the truth, at each level; NaN: of too few answers, so without intervals."""
    width: float
    """Median half-width, of the logarithm."""
    shown: dict[float, float]
    """True ratio → share of intervals that leave out 1."""


class Setting(NamedTuple):
    """What is simulated."""

    builds: int
    repeats: int
    visit: float
    """Standard deviations of logarithms: of a visit, of a cell."""
    cell: float
    requests: Sequence[int] = REQUESTS


def cells(rng: np.random.Generator, setting: Setting) -> Iterator[tuple[int, int, int, Floats]]:
    """Yield the latencies of every cell."""
    builds, repeats = setting.builds, setting.repeats
    run = rng.normal(0, SHARED, repeats)
    visits = rng.normal(0, setting.visit, (builds, repeats))
    for level, repeat in itertools.product(range(len(REQUESTS)), range(repeats)):
        count = setting.requests[level]
        prompts = rng.normal(0, PROMPTS)
        common = rng.normal(0, SPREAD * math.sqrt(0.5), count)
        for build in range(builds):
            own = rng.normal(0, SPREAD * math.sqrt(0.5), count)
            slow = SLOW * (rng.random(count) < OUTLIERS)
            mean = LEVELS[level] + run[repeat] + visits[build, repeat] + prompts
            mean += rng.normal(0, setting.cell)
            yield build, level, repeat, np.exp(mean + common + own + slow)


def trial(rng: np.random.Generator, setting: Setting) -> dict[str, tuple[Floats, Floats]]:
    """Return, by statistic, the logarithms (B, L, R) and what requests account for."""
    shape = (setting.builds, len(REQUESTS), setting.repeats)
    found: dict[str, tuple[Floats, Floats]] = {
        name: (np.full(shape, np.nan), np.zeros(shape)) for name in STATISTICS
    }
    for build, level, repeat, values in cells(rng, setting):
        stat = stats.describe(values, rng=stats.rng_for("e2e_ms"))
        for name in STATISTICS:
            value = getattr(stat, name)
            if value is not None:
                found[name][0][build, level, repeat] = math.log(value)
                found[name][1][build, level, repeat] = log_variance(value, stat.ci95.get(name))
    return found


def coverage(setting: Setting, trials: int, seed: int) -> dict[str, dict[str, Held]]:
    """Return, by statistic and kind of interval, what intervals are worth."""
    words = [setting.builds, setting.repeats, round(1000 * setting.visit)]
    rng = np.random.default_rng([seed, *words, round(1000 * setting.cell)])
    ends: dict[tuple[str, str, int], list[tuple[float, float]]] = {}
    for _ in range(trials):
        for name, (logs, within) in trial(rng, setting).items():
            for kind, level, got in _intervals(name, logs, within, setting.requests):
                true = LEVELS[level] + truth(name) if kind == "value" else 0.0
                ends.setdefault((name, kind, level), []).append((got[0] - true, got[1] - true))
    found: dict[str, dict[str, Held]] = {}
    for name, kind in dict.fromkeys((name, kind) for name, kind, _ in ends):
        rows = {level: np.array(ends.get((name, kind, level), [])) for level in range(len(LEVELS))}
        whole = np.concatenate([row for row in rows.values() if row.size])
        found.setdefault(name, {})[kind] = Held(
            levels=[
                float(np.mean((row[:, 0] <= 0) & (row[:, 1] >= 0))) if row.size else math.nan
                for row in rows.values()
            ],
            width=float(np.median(whole[:, 1] - whole[:, 0]) / 2),
            shown={ratio: float(np.mean(whole[:, 0] + math.log(ratio) > 0)) for ratio in SHOWN},
        )
    return found


def _intervals(
    name: str, logs: Floats, within: Floats, requests: Sequence[int]
) -> Iterator[tuple[str, int, tuple[float, float]]]:
    """Yield kind, level and interval of the second build, as a comparison has them."""
    metric = f"e2e_{name}_ms"
    there = np.flatnonzero(np.isfinite(logs).all(axis=(0, 2)))
    noise = within[:, there].mean(axis=(0, 2))
    repeats = logs.shape[2]
    own, paired = own_spread(logs[:, there], noise), paired_spread(logs[:, there], noise)
    for place, level in enumerate(there.tolist()):
        if requests[level] < least_answers(metric):
            continue
        mine, theirs = (float(logs[build, level].mean()) for build in (1, 0))
        value = interval(mine, own.levels[place], own.df, repeats)
        if value is not None:
            known = within[1, level].tolist()
            below = [missed(metric, requests[level], variance) for variance in known]
            yield "value", level, (value[0], value[1] + float(np.mean(below)))
        ratio = interval(mine - theirs, 2 * paired.levels[place], paired.df, repeats)
        if ratio is not None:
            yield "ratio", level, ratio


def plans(trials: int, seed: int) -> None:
    """Print repeats against window length."""
    print(f"{trials} trials each; requests at the levels in {WINDOW_S} s: {REQUESTS}")
    print(" B  R  window    time  visit  cell  ratio of   held     ±  shows +10 %  +20 %")
    for (builds, repeats, window_s), (visit, cell) in itertools.product(
        PLANS, ((0.03, 0.02), (0.1, 0.02))
    ):
        requests = tuple(max(2, round(n * window_s / WINDOW_S)) for n in REQUESTS)
        time_s = builds * repeats * (START_S + len(REQUESTS) * (window_s + BESIDE_S))
        found = coverage(Setting(builds, repeats, visit, cell, requests), trials, seed)
        for name, kinds in found.items():
            if "ratio" not in kinds:
                continue
            one = kinds["ratio"]
            print(
                f"{builds:>2} {repeats:>2} {window_s:>5} s {time_s / 60:>5.1f} min"
                f" {visit:>5.0%} {cell:>5.0%}  {name}       {float(np.nanmean(one.levels)):6.1%}"
                f" {math.expm1(one.width):5.0%}       {one.shown[1.1]:6.0%} {one.shown[1.2]:6.0%}",
                flush=True,
            )


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plans", action="store_true")
    given = parser.parse_args()
    if given.plans:
        plans(given.trials, given.seed)
        return 0
    print(f"{given.trials} trials each; requests at the levels: {REQUESTS}")
    print(f"{'B':>2} {'R':>2} {'visit':>6} {'cell':>5}  of         held %  by level              ±")
    for (visit, cell), builds, repeats in itertools.product(
        ((0.0, 0.0), (0.0, 0.03), (0.03, 0.01), (0.1, 0.01)), (2, 4), (2, 3, 5)
    ):
        found = coverage(Setting(builds, repeats, visit, cell), given.trials, given.seed)
        for name, kinds in found.items():
            for kind, one in kinds.items():
                levels = " ".join(
                    "  few" if math.isnan(share) else f"{100 * share:5.1f}" for share in one.levels
                )
                print(
                    f"{builds:>2} {repeats:>2} {visit:>6.0%} {cell:>5.0%}  {name} {kind}"
                    f"  {100 * float(np.nanmean(one.levels)):6.1f}  {levels}"
                    f"  {math.expm1(one.width):6.1%}"
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
