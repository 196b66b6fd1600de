"""The Pareto front of the builds, and which places on it the intervals do not settle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from harness.comparing import words
from harness.comparing.comparison import Front
from harness.comparing.quality import is_perplexity
from harness.sizing.costs import usd_per_million

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from evals.compare.records import Interval
    from harness.comparing.comparison import QualityRow
    from harness.comparing.rows import LevelRow, ServerFigures

Best = Literal["least", "most"]
COST: Final = "usd_per_million_tokens"


@dataclass(frozen=True)
class Objective:
    """What builds are ranked by."""

    name: str
    best: Best
    values: dict[str, float | None]
    ci95: dict[str, Interval | None]


def objectives(
    builds: Sequence[str],
    load: Sequence[LevelRow],
    quality: Sequence[QualityRow],
    servers: Sequence[ServerFigures],
    costs: Mapping[str, tuple[float, Interval | None]],
) -> tuple[list[Objective], list[str]]:
    """Return the objectives that are known of all builds, and the names of those known of some.

    Quality is each suite's score, or perplexity; latency the median end-to-end time at the lowest
    level that all have; throughput the tokens a second at the highest.
    """
    found = [_suite(name, quality) for name in dict.fromkeys(row.suite for row in quality)]
    found += _speeds(builds, load)
    memory = {one.build: one.memory_peak_gib for one in servers if one.memory_peak_gib}
    found.append(
        Objective(
            "memory_peak_gib",
            "least",
            {build: value.value for build, value in memory.items()},
            {build: value.ci95 for build, value in memory.items()},
        )
    )
    found.append(
        Objective(
            COST,
            "least",
            {build: value for build, (value, _) in costs.items()},
            {build: ci95 for build, (_, ci95) in costs.items()},
        )
    )
    whole = [one for one in found if all(one.values.get(build) is not None for build in builds)]
    some = [one for one in found if any(value is not None for value in one.values.values())]
    return whole, [one.name for one in some if one not in whole]


def _suite(name: str, quality: Sequence[QualityRow]) -> Objective:
    rows = [row for row in quality if row.suite == name]
    best: Best = "least" if is_perplexity(rows[0]) else "most"
    # Scores themselves vary by the items drawn, which are the same for all: what differs between
    # builds is known from the pairs.
    base = next((row.score for row in rows if row.difference is None), None)
    ci95: dict[str, Interval | None] = {}
    for row in rows:
        if row.difference is None or base is None:
            ci95[row.build] = None
        elif row.difference_ci95 is not None:
            shift = (row.score or 0.0) - row.difference
            ci95[row.build] = (shift + row.difference_ci95[0], shift + row.difference_ci95[1])
    return Objective(name, best, {row.build: row.score for row in rows}, ci95)


def _speeds(builds: Sequence[str], load: Sequence[LevelRow]) -> list[Objective]:
    found = []
    for profile in dict.fromkeys(row.profile for row in load):
        rows = [row for row in load if row.profile == profile]
        levels = [
            level
            for level in dict.fromkeys(words.level(row.level) for row in rows)
            if {row.build for row in rows if words.level(row.level) == level} >= set(builds)
        ]
        if not levels:
            continue
        ends: tuple[tuple[str, str, Best], ...] = (
            (levels[0], "e2e_p50_ms", "least"),
            (levels[-1], "aggregate_tps", "most"),
        )
        several = len({row.profile for row in load}) > 1
        for level, metric, best in ends:
            there = [row for row in rows if words.level(row.level) == level]
            values = {row.build: row.metrics[metric] for row in there if metric in row.metrics}
            found.append(
                Objective(
                    f"{metric}@{level}" + (f" of {profile}" if several else ""),
                    best,
                    {build: value.value for build, value in values.items()},
                    {build: value.ci95 for build, value in values.items()},
                )
            )
    return found


def front(
    builds: Sequence[str], known: Sequence[Objective], missing: Sequence[str]
) -> Front | None:
    """Return the front; None with fewer than two objectives or builds.

    One build dominates another that is nowhere better and somewhere worse. Where the place of a
    build rests on differences that the intervals do not show, it is doubtful.
    """
    if len(known) < 2 or len(builds) < 2:  # noqa: PLR2004
        return None
    dominated = {
        build: by
        for build in builds
        if (by := next((o for o in builds if o != build and _dominates(o, build, known)), None))
    }
    members = [build for build in builds if build not in dominated]
    doubtful = []
    for build in builds:
        others = [other for other in builds if other != build]
        if build in dominated:
            settled = any(
                _shown(other, build, known) and not _shown(build, other, known) for other in others
            )
        else:
            settled = all(_shown(build, other, known) for other in others)
        if not settled:
            doubtful.append(build)
    return Front(
        objectives={one.name: one.best for one in known},
        values={build: {one.name: one.values[build] for one in known} for build in builds},
        members=members,
        dominated=dominated,
        left_out=dict.fromkeys(missing, "not known of every build"),
        doubtful=doubtful,
    )


def _ahead(one: Objective, a: str, b: str) -> float:
    """How far a is ahead of b; negative: behind."""
    mine, theirs = one.values[a] or 0.0, one.values[b] or 0.0
    return theirs - mine if one.best == "least" else mine - theirs


def _dominates(a: str, b: str, known: Sequence[Objective]) -> bool:
    ahead = [_ahead(one, a, b) for one in known]
    return min(ahead) >= 0 and max(ahead) > 0


def _shown(a: str, b: str, known: Sequence[Objective]) -> bool:
    """Whether a is better than b in an objective by more than noise: their intervals are apart."""
    return any(_ahead(one, a, b) > 0 and _apart(one, a, b) for one in known)


def _apart(one: Objective, a: str, b: str) -> bool:
    spans = []
    for build in (a, b):
        value = one.values[build] or 0.0
        spans.append(one.ci95.get(build) or (value, value))
    (low, high), (other_low, other_high) = spans
    return high < other_low or other_high < low


def costs(
    load: Sequence[LevelRow], prices: Mapping[str, float], failed: Mapping[str, set[str]]
) -> tuple[dict[str, tuple[float, Interval | None]], dict[str, str]]:
    """Return USD per million output tokens of each build with a price, and at which level.

    USD = price per hour ÷ (tokens/s · 3600) · 10⁶, at the level of most tokens a second among
    those at which no limit is broken, or of all where each breaks one.

    Args:
        load: rows.
        prices: build → USD an hour of what it runs on; "" for all.
        failed: build → levels (`c8`) at which a limit is broken.
    """
    found: dict[str, tuple[float, Interval | None]] = {}
    where: dict[str, str] = {}
    for build in dict.fromkeys(row.build for row in load):
        price = prices.get(build, prices.get(""))
        rows = [row for row in load if row.build == build and _tps(row)]
        if price is None or not rows:
            continue
        broken = failed.get(build, set())
        good = [row for row in rows if words.level(row.level) not in broken]
        best = max(good or rows, key=_tps)
        rate, ci95 = best.metrics["aggregate_tps"].value or 0.0, best.metrics["aggregate_tps"].ci95
        ends: Interval | None = None
        if ci95 is not None:
            ends = usd_per_million(price, ci95[1]), usd_per_million(price, ci95[0])
        found[build] = usd_per_million(price, rate), ends
        where[build] = words.level(best.level) + ("" if good else " (a limit is broken)")
    return found, where


def _tps(row: LevelRow) -> float:
    value = row.metrics.get("aggregate_tps")
    return (value.value or 0.0) if value else 0.0
