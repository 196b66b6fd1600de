"""The figures promised of comparisons between builds, each computed or simulated: PASS or FAIL.

    python benchmarks/eval_statistics.py [--quick] [--only difference,clusters] [--json]

A build exactly at its margin must be called PASS in 4 to 6 of 100 comparisons from 300 items on,
never in more than 6 of 100 with 100 items; 95 % intervals must hold the truth in 93 to 97 of 100.
Independent right-or-wrong items are not simulated but summed up over all outcomes, which is exact.
Rows without a goal are there to be known: how bad it gets with few or very unlike clusters.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from drawn_pairs import answers_of, pairs_of
from scipy import stats

from evals.compare import compare, pair, quality_score, retained
from evals.compare.clusters import clustered_mean, sums_of
from evals.compare.matched import Bounded
from evals.compare.scores import mean_interval
from evals.power import items_needed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt
    from drawn_pairs import Draw, Ints

    Floats = npt.NDArray[np.float64]

SEED = 20261125
RUNS, QUICK_RUNS = 10_000, 1_000
NEGLIGIBLE = 1e-10
TYPE_ONE, COVERAGE = (0.04, 0.06), (0.93, 0.97)
AT_MOST = (0.0, 0.06)


@dataclass(frozen=True)
class Row:
    """One figure."""

    what: str
    measured: float
    goal: tuple[float, float] | None
    """Least and most; None: nothing is promised."""
    runs: int | None
    """Simulated comparisons; None: all outcomes were summed up."""

    def passed(self, *, doubt: float = 0.0) -> bool | None:
        """Whether the goal is reached.

        Args:
            doubt: with it a simulated share passes that is compatible with one within the goal:
                the chance to call such a one a miss.
        """
        if self.goal is None:
            return None
        low, high = self.goal
        if self.runs is None or not doubt:
            return low <= self.measured <= high
        hits = round(self.measured * self.runs)
        above = stats.binom.sf(hits - 1, self.runs, high)
        return bool(above > doubt and stats.binom.cdf(hits, self.runs, low) > doubt)


def difference_rates(draw: Draw, margin: float, runs: int, seed: int) -> dict[str, float]:
    """Simulate: how often a build at the margin is called PASS, FAIL, and lies in the interval."""
    rng = np.random.default_rng([SEED, seed])
    counts = np.zeros(3)
    for _ in range(runs):
        ours, baseline, cluster = draw(rng)
        values = Bounded.of(ours - baseline, cluster)
        z = values.z(-margin)
        sure, surer = stats.t.isf([0.05, 0.025], values.df)
        # What `p_above` and `p_below` say, the latter asked only where it may be small.
        counts += [z > sure, z < -sure and values.p_below(-margin) < 0.05, abs(z) <= surer]
    return dict(zip(("passed", "failed", "covered"), (counts / runs).tolist(), strict=True))


def exact_rates(n: int, flips: float, margin: float) -> dict[str, float]:
    """Sum up the same over all outcomes of n independent pairs."""
    lost, gained = (flips + margin) / 2, (flips - margin) / 2
    most = min(n, int(n * flips + 8 * math.sqrt(n * flips) + 10))
    i, j = (part.ravel() for part in np.meshgrid(np.arange(most + 1), np.arange(most + 1)))
    fits = i + j <= n
    i, j = i[fits], j[fits]
    chance = stats.multinomial.pmf(np.column_stack([i, j, n - i - j]), n, [lost, gained, 1 - flips])
    found = dict.fromkeys(("passed", "failed", "covered"), 0.0)
    for a, b, weight in zip(i, j, chance, strict=True):
        if weight < NEGLIGIBLE:
            continue
        values = Bounded.of(np.repeat([-1.0, 1.0, 0.0], [a, b, n - a - b]), np.arange(n))
        found["passed"] += weight * (values.p_above(-margin) < 0.05)
        found["failed"] += weight * (values.p_below(-margin) < 0.05)
        found["covered"] += weight * (abs(values.z(-margin)) <= stats.norm.isf(0.025))
    return {name: float(value) for name, value in found.items()}


def rows(what: str, rates: dict[str, float], n: int, runs: int | None) -> Iterator[Row]:
    """Return the three figures of a comparison."""
    yield Row(
        f"{what}: PASS at the margin", rates["passed"], TYPE_ONE if n >= 300 else AT_MOST, runs
    )
    yield Row(f"{what}: FAIL at the margin", rates["failed"], AT_MOST, runs)
    # With few items of many grades the interval is too wide rather than too narrow.
    most = 1.0 if n < 300 else COVERAGE[1]
    yield Row(f"{what}: interval", rates["covered"], (COVERAGE[0], most), runs)


def difference(*, quick: bool) -> Iterator[Row]:
    """Independent items, all outcomes summed up."""
    cells = [(100, 0.02, 0.04), (300, 0.02, 0.05), (300, 0.03, 0.10)]
    if not quick:
        cells = [
            (n, m, f)
            for n in (100, 200, 300, 500, 1000)
            for m in (0.01, 0.02, 0.03, 0.05)
            for f in (0.02, 0.04, 0.07, 0.10, 0.20)
            if f > m
        ]
    for n, margin, flips in cells:
        what = f"{n} items, margin {margin:.0%}, {flips:.0%} flips"
        yield from rows(what, exact_rates(n, flips, margin), n, None)
    if not quick:
        for n, margin in ((300, 0.02), (500, 0.02), (1000, 0.02)):
            rates = exact_rates(n, margin, margin)
            what = f"{n} items, margin {margin:.0%}, every flip a loss"
            yield Row(f"{what}: PASS at the margin", rates["passed"], None, None)


def clusters(*, quick: bool) -> Iterator[Row]:
    """Items in clusters, evenly and unevenly filled."""
    runs = QUICK_RUNS if quick else RUNS
    cells = [(300, 30, 0.05, True), (300, 60, 0.1, False)]
    if not quick:
        cells = [
            (n, count, icc, even)
            for n, count in ((100, 25), (300, 30), (300, 60), (1000, 50), (1000, 100))
            for icc in (0.0, 0.05, 0.1)
            for even in (True, False)
        ]
    for number, (n, count, icc, even) in enumerate(cells):
        others = not quick and even and icc == 0.05
        for margin, flips in ((0.03, 0.10), (0.02, 0.06), (0.05, 0.20))[: 3 if others else 1]:
            draw = pairs_of(n, flips, -margin, clusters=count, icc=icc, even=even)
            rates = difference_rates(draw, margin, runs, number)
            what = (
                f"{n} items in {count} {'even' if even else 'uneven'} clusters, ICC {icc:g}, "
                f"margin {margin:.0%}, {flips:.0%} flips"
            )
            yield from rows(what, rates, n, runs)


def few_clusters(*, quick: bool) -> Iterator[Row]:
    """Nothing is promised here: this is how bad it gets."""
    runs = QUICK_RUNS if quick else RUNS
    cells = [(300, 6, 0.05, True)]
    if not quick:
        cells += [(300, 6, 0.05, False), (300, 14, 0.05, True), (300, 14, 0.05, False)]
        cells += [(300, 14, 0.2, True), (300, 14, 0.2, False), (300, 30, 0.2, False)]
    for number, (n, count, icc, even) in enumerate(cells):
        draw = pairs_of(n, 0.06, -0.02, clusters=count, icc=icc, even=even)
        rates = difference_rates(draw, 0.02, runs, 100 + number)
        what = f"{n} items in {count} {'even' if even else 'uneven'} clusters, ICC {icc:g}"
        yield Row(f"{what}: PASS at a margin of 2 %", rates["passed"], None, runs)
        yield Row(f"{what}: interval", rates["covered"], None, runs)


def graded(*, quick: bool) -> Iterator[Row]:
    """Scores between right and wrong, such as shares of fields."""
    runs = QUICK_RUNS if quick else RUNS
    levels = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    step = np.array([-0.5, -0.25, 0.0, 0.25])
    chance = np.array([0.04, 0.08, 0.76, 0.12])
    margin = -float(step @ chance)
    for n in (100, 300, 1000):

        def draw(rng: np.random.Generator, n: int = n) -> tuple[Floats, Floats, Ints]:
            baseline = rng.choice(levels[2:4], size=n)
            return baseline + rng.choice(step, size=n, p=chance), baseline, np.arange(n)

        yield from rows(
            f"{n} graded scores", difference_rates(draw, margin, runs, 200 + n), n, runs
        )


def single(*, quick: bool) -> Iterator[Row]:
    """One build's score."""
    runs = QUICK_RUNS if quick else RUNS // 2
    cells = [(300, 0, 0.9), (300, 30, 0.8)] if quick else [
        (300, 0, 0.7), (300, 0, 0.95), (300, 30, 0.8), (300, 60, 0.95), (1000, 50, 0.7)
    ]  # fmt: skip
    for number, (n, count, accuracy) in enumerate(cells):
        draw = pairs_of(n, 0.02, 0.0, accuracy=accuracy, clusters=count, icc=0.1 if count else 0)
        rng = np.random.default_rng([SEED, 300 + number])
        hits = 0
        for _ in range(runs):
            _, scores, cluster = draw(rng)
            found, _ = mean_interval(scores, cluster)
            hits += found is not None and found[0] <= accuracy <= found[1]
        what = f"score of {accuracy:.0%}, {n} items" + (f" in {count} clusters" if count else "")
        yield Row(f"{what}: interval", hits / runs, COVERAGE, runs)


def retained_share(*, quick: bool) -> Iterator[Row]:
    """Retained share, plain and above chance."""
    runs = QUICK_RUNS if quick else RUNS // 5
    cells = [(300, 0, 0.0), (300, 30, 0.25)] if quick else [
        (n, count, chance) for n, count in ((300, 0), (1000, 0), (300, 30), (1000, 50))
        for chance in (0.0, 0.25, 0.5)
    ]  # fmt: skip
    for number, (n, count, chance) in enumerate(cells):
        truth = (0.77 - chance) / (0.8 - chance)
        draw = pairs_of(n, 0.08, -0.03, clusters=count, icc=0.05 if count else 0)
        rng = np.random.default_rng([SEED, 400 + number])
        hits = 0
        for _ in range(runs):
            found = retained(*draw(rng), chance).ci95
            hits += found is not None and found[0] <= truth <= found[1]
        what = f"retained {truth:.3f} of what is above {chance:g}, {n} items"
        what += f" in {count} clusters" if count else ""
        yield Row(f"{what}: interval", hits / runs, COVERAGE, runs)


def quality(*, quick: bool) -> Iterator[Row]:
    """Mean of retained shares over three tasks."""
    runs = 150 if quick else 2000
    draws = [
        pairs_of(300, 0.08, -0.03, accuracy=0.8),
        pairs_of(500, 0.10, 0.0, accuracy=0.6),
        pairs_of(400, 0.06, -0.01, accuracy=0.7, clusters=40, icc=0.05),
    ]
    truth = (0.77 / 0.8 + 1 + 0.69 / 0.7) / 3
    rng = np.random.default_rng([SEED, 500])
    hits = 0
    for run in range(runs):
        suites = {str(i): pair(*answers_of(*draw(rng))) for i, draw in enumerate(draws)}
        found = quality_score(suites, seed=run).ci95
        hits += found is not None and found[0] <= truth <= found[1]
    yield Row("quality score of three tasks: interval", hits / runs, COVERAGE, runs)


def whole(*, quick: bool) -> Iterator[Row]:
    """2,000 whole comparisons, from lists of answers to verdicts."""
    runs = 200 if quick else 2000
    for number, (count, icc) in enumerate(((0, 0.0), (30, 0.05))):
        draw = pairs_of(300, 0.08, -0.03, clusters=count, icc=icc)
        rng = np.random.default_rng([SEED, 600 + number])
        hits = covered = 0
        for _ in range(runs):
            found = compare(*answers_of(*draw(rng)), margin=0.03)
            tested, interval = found.noninferiority, found.difference_ci95
            hits += tested is not None and tested.verdict == "PASS"
            covered += interval is not None and interval[0] <= -0.03 <= interval[1]
        what = "compare(), 300 items" + (f" in {count} clusters" if count else "")
        yield Row(f"{what}: PASS at the margin", hits / runs, TYPE_ONE, runs)
        yield Row(f"{what}: interval", covered / runs, COVERAGE, runs)


def regressions(*, quick: bool) -> Iterator[Row]:
    """An equal build of seven categories: any category wrongly listed as regressed."""
    runs = 100 if quick else 1000
    for number, count in enumerate((0, 70)):
        draw = pairs_of(350, 0.08, 0.0, clusters=count, icc=0.05 if count else 0)
        rng = np.random.default_rng([SEED, 700 + number])
        hits = 0
        for _ in range(runs):
            mine, theirs = answers_of(*draw(rng))
            for answers in (mine, theirs):
                for i, answer in enumerate(answers):
                    answer.category = f"k{i // 50}"
            hits += bool(compare(mine, theirs).regressed)
        what = "7 categories of 50 items" + (" in 10 clusters each" if count else "")
        yield Row(f"{what}: any listed as regressed", hits / runs, AT_MOST, runs)


def perplexity(*, quick: bool) -> Iterator[Row]:
    """Perplexity of one build and ratio of two; windows of unlike length and difficulty."""
    runs = QUICK_RUNS if quick else RUNS
    for count in (40,) if quick else (15, 20, 40, 100):
        for long_first in (False, True):
            rng = np.random.default_rng([SEED, 800 + count + long_first])
            hits, passed, alone = 0, 0, 0
            rise, level = math.log(1.05), 2.5
            for _ in range(runs):
                tokens = rng.integers(300, 513, count).astype(np.float64)
                if long_first:
                    tokens[0], tokens[-1] = 1024, 40
                nats = tokens * (level + rng.gamma(4, 0.15, count) - 0.6)
                more = tokens * (rise + 0.02 * (rng.gamma(2, 1, count) - 2))
                each = np.arange(count)
                found = clustered_mean(sums_of(more, each), tokens)
                covers = found.interval() or (0, 0)
                hits += covers[0] <= rise <= covers[1]
                passed += 1 - (found.p_above(rise) or 0) < 0.05
                covers = clustered_mean(sums_of(nats, each), tokens).interval() or (0, 0)
                alone += covers[0] <= level <= covers[1]
            what = f"{count} windows{', the first 1,024 tokens, the last 40' if long_first else ''}"
            yield Row(f"perplexity, {what}: interval", alone / runs, COVERAGE, runs)
            yield Row(f"perplexity ratio, {what}: interval", hits / runs, COVERAGE, runs)
            goal = TYPE_ONE if count >= 100 else None
            yield Row(f"perplexity ratio, {what}: PASS at + 5 %", passed / runs, goal, runs)


def power(*, quick: bool) -> Iterator[Row]:
    """Items that `harness eval plan` asks for: how often an equal build passes with them."""
    runs = QUICK_RUNS if quick else RUNS // 2
    for margin, flips in ((0.03, 0.10),) if quick else ((0.02, 0.05), (0.03, 0.10), (0.05, 0.15)):
        n = items_needed(margin, flips) or 0
        draw = pairs_of(n, flips, 0.0)
        rng = np.random.default_rng([SEED, 900])
        hits = 0
        for _ in range(runs):
            ours, baseline, cluster = draw(rng)
            hits += Bounded.of(ours - baseline, cluster).p_above(-margin) < 0.05
        what = f"{n} items, planned for {margin:.0%} at {flips:.0%} flips"
        yield Row(f"{what}: an equal build passes", hits / runs, (0.77, 0.83), runs)


PARTS: dict[str, Callable[..., Iterator[Row]]] = {
    part.__name__: part
    for part in (
        difference, clusters, few_clusters, graded, single, retained_share, quality, whole,
        regressions, perplexity, power,
    )
}  # fmt: skip


def main(arguments: list[str]) -> int:
    """Print all figures; 1 if one of them is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer cells and runs")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between them")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(arguments)
    missed, found = 0, []
    for name in chosen.only.split(","):
        began = time.monotonic()
        for row in PARTS[name](quick=chosen.quick):
            verdict = row.passed(doubt=1e-3 if chosen.quick else 0.0)
            missed += verdict is False
            found.append(asdict(row) | {"part": name, "passed": verdict})
            if not chosen.json:
                print(line(row, verdict=verdict), flush=True)
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    if chosen.json:
        print(json.dumps(found, indent=2))
    else:
        judged = sum(row["passed"] is not None for row in found)
        print(f"{judged - missed} of {judged} figures reached")
    return 1 if missed else 0


def line(row: Row, *, verdict: bool | None) -> str:
    """Return a row as one line."""
    word = {True: "PASS", False: "MISS", None: "    "}[verdict]
    goal = "" if row.goal is None else f"(goal {row.goal[0]:.0%} to {row.goal[1]:.0%})"
    runs = "exact" if row.runs is None else f"{row.runs:,} runs"
    return f"{word}  {row.measured:7.2%}  {row.what}  {goal}  {runs}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
