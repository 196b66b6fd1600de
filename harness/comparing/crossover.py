"""From which level on the other build is the better one: the break-even concurrency.

Between two levels measured the logarithm of the ratio is taken to be linear in the logarithm of
the level. A crossing is told only where the intervals leave no doubt of the sides before and after
it, and all that is sure is that it lies between those two levels: that is its interval. The
interpolated level comes with the levels at which the interpolated ratio is not shown to differ from
1: the test of each level inverted (as E. C. Fieller did for ratios, J. R. Statist. Soc. B 16 (1954)
175-185); that holds only as far as the line between the levels does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from harness.comparing import words
from harness.comparing.rows import Crossover
from harness.evidence.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.comparing.rows import Difference, LevelRow, Side
    from harness.comparing.values import Noise

METRICS_CROSSED: Final = ("e2e_p50_ms", "ttft_p50_ms", "tpot_p50_ms", "aggregate_tps")
_STEPS: Final = 200
"""Points at which the interpolated ratio is tested, between two levels."""


@dataclass(frozen=True)
class Point:
    """One level at which both builds were measured."""

    level: float
    log_ratio: float
    """Above 0: ours is the better one."""
    reach: float
    """Half the 95 % interval."""
    side: Side


def crossovers(
    rows: Sequence[LevelRow],
    baseline: str,
    noise: dict[str, Noise],
    metrics: Sequence[str] = METRICS_CROSSED,
) -> list[Crossover]:
    """Return what is known of the crossings of each build and metric.

    Args:
        rows: of one profile.
        baseline: the build that the others are held against.
        noise: by metric.
        metrics: which.
    """
    found = []
    builds = dict.fromkeys(row.build for row in rows if row.build != baseline)
    for build in builds:
        for unit in ("concurrency", "rate"):
            for metric in metrics:
                own = [row for row in rows if row.build == build and unit in row.level]
                points = [
                    point
                    for row in own
                    if (point := _point(metric, row.level[unit], row.against.get(metric)))
                ]
                if len(points) > 1:
                    alike = noise[metric].paired.df > 0 if metric in noise else False
                    found.append(
                        _crossover(metric, own[0].profile, build, baseline, points, unit, alike)
                    )
    return found


def _point(metric: str, level: float, against: Difference | None) -> Point | None:
    if against is None or against.ratio is None or against.ratio_ci95 is None:
        return None
    sign = 1.0 if METRICS[metric].better == "more" else -1.0
    low, high = against.ratio_ci95
    return Point(
        level=level,
        log_ratio=sign * math.log(against.ratio),
        reach=math.log(high / low) / 2,
        side=against.side,
    )


def _crossover(
    metric: str,
    profile: str,
    build: str,
    baseline: str,
    points: list[Point],
    unit: Literal["concurrency", "rate"],
    repeated: bool,  # noqa: FBT001
) -> Crossover:
    points = sorted(points, key=lambda point: point.level)
    told = [point for point in points if point.side != "unlike"]
    changes = [(a, b) for a, b in pairwise(told) if a.side != b.side]
    name = words.label(metric)
    best = {"better": build, "worse": baseline}
    span = f"{points[0].level:g}–{points[-1].level:g} {_unit(unit)}"
    below = above = level = ci95 = line = None
    if len(changes) == 1:
        [(before, after)] = changes
        below, above = best[before.side], best[after.side]
        level, line = _crossing(points, before, after)
        ci95 = (before.level, after.level)
        text = (
            f"{name}: {below} is {_good(metric)} up to {before.level:g} "
            f"{_unit(unit, before.level)}, {above} from {after.level:g} on; on a straight line "
            f"between them they cross at {level:.3g}{words.between(line)}."
        )
    elif changes:
        sides = ", ".join(f"{best[p.side]} at {p.level:g}" for p in told)
        text = f"{name}: the better build changes more than once within {span}: {sides}."
    elif told and len(told) == len(points):
        below = above = best[told[0].side]
        text = f"{name}: no crossing within {span}: {below} is {_good(metric)} at every level."
    elif told:
        below = best[told[0].side] if told[0] is points[0] else None
        above = best[told[-1].side] if told[-1] is points[-1] else None
        where = ", ".join(f"{point.level:g}" for point in told)
        rest = ", ".join(f"{point.level:g}" for point in points if point.side == "unlike")
        text = (
            f"{name}: {best[told[0].side]} is {_good(metric)} at {where} {_unit(unit)}; at {rest} "
            "no difference is shown, so whether they cross cannot be told."
        )
    else:
        text = (
            f"{name}: no difference between {build} and {baseline} is shown within {span}; "
            "which is better at which level cannot be told."
        )
    if not repeated:
        text += " One repeat: what runs differ by is not in it."
    return Crossover(
        metric=metric,
        profile=profile,
        build=build,
        baseline=baseline,
        below=below,
        above=above,
        level=level,
        ci95=ci95,
        line_ci95=line,
        unit=unit,
        text=text,
    )


def _crossing(
    points: Sequence[Point], before: Point, after: Point
) -> tuple[float, tuple[float, float]]:
    """Return where the ratio is 1 between two levels of known sides, and its interval."""
    within = [point for point in points if before.level <= point.level <= after.level]
    at = np.log([point.level for point in within])
    ratio = np.array([point.log_ratio for point in within])
    reach = np.array([point.reach for point in within])
    grid = np.unique(
        np.concatenate([np.linspace(a, b, _STEPS + 1) for a, b in pairwise(at.tolist())])
    )
    # Noise that levels share does not average out between them.
    place = np.clip(np.searchsorted(at, grid, side="right") - 1, 0, len(at) - 2)
    share = (grid - at[place]) / (at[place + 1] - at[place])
    middle = (1 - share) * ratio[place] + share * ratio[place + 1]
    width = (1 - share) * reach[place] + share * reach[place + 1]
    open_ = grid[np.abs(middle) <= width]
    changed = np.flatnonzero(np.sign(middle[1:]) != np.sign(middle[:-1]))
    roots = []
    for i in changed.tolist():
        step = middle[i + 1] - middle[i]
        roots.append(grid[i] - middle[i] * (grid[i + 1] - grid[i]) / step if step else grid[i])
    root = float(np.mean(roots))
    low, high = (open_.min(), open_.max()) if len(open_) else (root, root)
    return math.exp(root), (math.exp(min(low, root)), math.exp(max(high, root)))


def _unit(unit: str, level: float | None = None) -> str:
    if unit != "concurrency":
        return "requests/s"
    return "stream" if level == 1 else "streams"


def _good(metric: str) -> str:
    return words.sided(metric, "better")
