"""How often the intervals of a comparison hold the truth, by simulation.

Usage: python benchmarks/compare_statistics.py [--trials 400] [--seed 1]

Cells of B builds at four levels over R repeats. The logarithm of a cell's latency is its truth
plus what the repeat does to all (5 %), to all levels of a build's visit, to a level of all builds
(the prompts drawn; 2 %) and to the cell alone; its requests are drawn from a heavy-tailed
distribution around that (lognormal, one in twenty three times as long), half of each request's
noise being its prompt's, which all builds share. Printed is the share of 95 % intervals that hold
the truth, of a value and of a ratio to the baseline, and their median half-width.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from typing import TYPE_CHECKING

import numpy as np

from harness.comparing.noise import interval, log_variance, own_spread, paired_spread
from harness.measuring import stats

if TYPE_CHECKING:
    from collections.abc import Iterator

    Floats = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

REQUESTS = (20, 80, 200, 400)
"""At the four levels."""
LEVELS = np.log([100.0, 120.0, 250.0, 500.0])
SHARED, PROMPTS = 0.05, 0.02
SPREAD, SLOW, OUTLIERS = 0.5, math.log(3), 0.05
STATISTICS = ("p50", "p95")


def truth(name: str) -> float:
    """Return the logarithm of the requests' percentile, by a large draw."""
    rng = np.random.default_rng(0)
    return float(np.quantile(_requests(rng, 2_000_000), stats.PERCENTILES[name]))


def _requests(rng: np.random.Generator, count: int) -> Floats:
    common = rng.normal(0, SPREAD * math.sqrt(0.5), count)
    own = rng.normal(0, SPREAD * math.sqrt(0.5), count)
    return common + own + SLOW * (rng.random(count) < OUTLIERS)


def cells(
    rng: np.random.Generator, builds: int, repeats: int, visit: float, cell: float
) -> Iterator[tuple[int, int, int, Floats]]:
    """Yield the latencies of every cell."""
    run = rng.normal(0, SHARED, repeats)
    visits = rng.normal(0, visit, (builds, repeats))
    for level, repeat in itertools.product(range(len(REQUESTS)), range(repeats)):
        count = REQUESTS[level]
        prompts = rng.normal(0, PROMPTS)
        common = rng.normal(0, SPREAD * math.sqrt(0.5), count)
        for build in range(builds):
            own = rng.normal(0, SPREAD * math.sqrt(0.5), count)
            slow = SLOW * (rng.random(count) < OUTLIERS)
            mean = LEVELS[level] + run[repeat] + visits[build, repeat] + prompts
            mean += rng.normal(0, cell)
            yield build, level, repeat, np.exp(mean + common + own + slow)


def trial(
    rng: np.random.Generator, builds: int, repeats: int, visit: float, cell: float
) -> dict[str, tuple[Floats, Floats]]:
    """Return, by statistic, the logarithms (B, L, R) and what requests account for."""
    shape = (builds, len(REQUESTS), repeats)
    found = {name: (np.zeros(shape), np.zeros(shape)) for name in STATISTICS}
    for build, level, repeat, values in cells(rng, builds, repeats, visit, cell):
        stat = stats.describe(values, rng=stats.rng_for("e2e_ms"))
        for name in STATISTICS:
            value = getattr(stat, name)
            found[name][0][build, level, repeat] = math.log(value)
            found[name][1][build, level, repeat] = log_variance(value, stat.ci95[name])
    return found


def coverage(
    builds: int, repeats: int, visit: float, cell: float, trials: int, seed: int
) -> dict[str, dict[str, tuple[list[float], float]]]:
    """Return, by statistic and kind of interval, coverage at each level and median half-width."""
    rng = np.random.default_rng([seed, builds, repeats, round(1000 * visit), round(1000 * cell)])
    held: dict[tuple[str, str], list[list[bool]]] = {}
    widths: dict[tuple[str, str], list[float]] = {}
    offsets = {name: truth(name) for name in STATISTICS}
    for _ in range(trials):
        for name, (logs, within) in trial(rng, builds, repeats, visit, cell).items():
            noise = within.mean(axis=(0, 2))
            own, paired = own_spread(logs, noise), paired_spread(logs, noise)
            for level in range(len(REQUESTS)):
                mine = float(logs[1, level].mean())
                value = interval(mine, own.levels[level], own.df, repeats)
                apart = mine - float(logs[0, level].mean())
                ratio = interval(apart, 2 * paired.levels[level], paired.df, repeats)
                at = LEVELS[level] + offsets[name]
                for kind, got, true in (("value", value, at), ("ratio", ratio, 0.0)):
                    if got is None:
                        continue
                    rows = held.setdefault((name, kind), [[] for _ in REQUESTS])
                    rows[level].append(got[0] <= true <= got[1])
                    widths.setdefault((name, kind), []).append((got[1] - got[0]) / 2)
    found: dict[str, dict[str, tuple[list[float], float]]] = {}
    for (name, kind), rows in held.items():
        shares = [float(np.mean(row)) for row in rows]
        found.setdefault(name, {})[kind] = (shares, float(np.median(widths[name, kind])))
    return found


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    print(f"{given.trials} trials each; requests at the levels: {REQUESTS}")
    print(f"{'B':>2} {'R':>2} {'visit':>6} {'cell':>5}  of         held %  by level              ±")
    for (visit, cell), builds, repeats in itertools.product(
        ((0.0, 0.0), (0.0, 0.03), (0.03, 0.01), (0.1, 0.01)), (2, 4), (2, 3, 5)
    ):
        found = coverage(builds, repeats, visit, cell, given.trials, given.seed)
        for name, kinds in found.items():
            for kind, (shares, width) in kinds.items():
                levels = " ".join(f"{100 * share:5.1f}" for share in shares)
                print(
                    f"{builds:>2} {repeats:>2} {visit:>6.0%} {cell:>5.0%}  {name} {kind}"
                    f"  {100 * float(np.mean(shares)):6.1f}  {levels}  {math.expm1(width):6.1%}"
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
