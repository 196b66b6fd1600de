"""All load cells weighed: every build at every level, crossings, and what to mind about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.comparing import words
from harness.comparing.crossover import METRICS_CROSSED, crossovers
from harness.comparing.noise import half_width
from harness.comparing.tails import least_answers
from harness.comparing.values import CLOSED, OPEN, rows
from harness.evidence.limits import metrics_of
from harness.measuring.measurement import Caveat

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.comparing.rows import Crossover, LevelRow
    from harness.comparing.values import Grid, Noise
    from harness.evidence.limits import Limit

_TYPICAL: Final = "e2e_p50_ms"
_FEW_FREE: Final = 4
"""Degrees of freedom below which Student's t is far wider than the normal distribution."""
_TAIL: Final = "e2e_p95_ms"


@dataclass(frozen=True, kw_only=True)
class Weighed:
    """What the cells of all profiles amount to."""

    rows: list[LevelRow]
    crossovers: list[Crossover]
    caveats: list[Caveat]


def weigh_load(
    sorted_cells: Sequence[Grid],
    baseline: str,
    limits: Sequence[Limit] = (),
    crossed: Sequence[str] = METRICS_CROSSED,
) -> Weighed:
    """Weigh load cells against a baseline's.

    Args:
        sorted_cells: of each profile.
        baseline: the build that the others are held against.
        limits: whose metrics are told of, too.
        crossed: metrics whose crossings are looked for.
    """
    load: list[LevelRow] = []
    crossings: list[Crossover] = []
    uncertain: list[Caveat] = []
    for grid in sorted_cells:
        found, noise = rows(grid, baseline, _metrics(grid, limits))
        load += found
        crossings += crossovers(found, baseline, noise, crossed)
        uncertain += _few_repeats(grid, noise[_TYPICAL])
    return Weighed(rows=load, crossovers=crossings, caveats=[*_of_load(sorted_cells), *uncertain])


def _metrics(grid: Grid, limits: Sequence[Limit]) -> list[str]:
    opened = OPEN if any(kind == "rate" for kind, _ in grid.levels) else ()
    return list(dict.fromkeys([*opened, *CLOSED, *metrics_of(limits)]))


def _of_load(grids: Sequence[Grid]) -> list[Caveat]:
    found = []
    for grid in grids:
        if grid.repeats() == 1:
            found.append(
                Caveat(
                    "one_run",
                    f"{grid.profile}: some cells were measured once. One run hides what runs "
                    "differ by, so their intervals are too narrow; repeat each twice or more.",
                )
            )
        if few := list(_few(grid)):
            found.append(
                Caveat(
                    "few_requests",
                    f"{grid.profile}: fewer than {least_answers(_TAIL)} answers in a cell at "
                    f"{', '.join(few)}. A p95 of so few (†) lies below the truth: it has no "
                    "interval there and decides nothing (docs/method.md); measure longer "
                    "(--duration), or so many requests (--requests), at these levels.",
                )
            )
        missing = [
            f"{build} at {kind[0]}{value:g}"
            for build in grid.builds
            for kind, value in grid.levels
            if (build, (kind, value)) not in grid.cells
        ]
        if missing:
            found.append(
                Caveat("missing_cells", f"{grid.profile}: not measured: {', '.join(missing)}.")
            )
    return found


def _few_repeats(grid: Grid, noise: Noise) -> list[Caveat]:
    """Return a caveat where one repeat more would narrow intervals a good deal."""
    repeats, free = grid.repeats(), noise.paired.df
    if repeats < 2 or not 0 < free < _FEW_FREE:  # noqa: PLR2004
        return []
    now = half_width(1.0, free, repeats)
    times = now / half_width(1.0, free * repeats / (repeats - 1), repeats + 1)
    return [
        Caveat(
            "few_repeats",
            f"{grid.profile}: {repeats} repeats of {len(grid.builds)} builds tell little of what "
            f"runs differ by (about {free:.1f} degrees of freedom for {words.label(_TYPICAL)}), so "
            f"intervals of ratios are wide; one repeat more would make them about {times:.1f} "
            "times as narrow.",
        )
    ]


def _few(grid: Grid) -> Iterator[str]:
    """Yield the levels at which a cell has too few answers for its p95."""
    for level in grid.levels:
        cells = [grid.cells.get((build, level)) for build in grid.builds]
        if any(one is not None and one.few(_TAIL) for one in cells):
            yield f"{level[0][0]}{level[1]:g}"
