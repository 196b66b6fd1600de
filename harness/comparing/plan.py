"""What a comparison will do and about how long that takes, before anything is started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from harness.comparing.checks import unlike_of
from harness.load.matrix import expand
from harness.load.order import visits
from harness.serving import names_in, urls_in

if TYPE_CHECKING:
    from collections.abc import Mapping

    from evals.kinds import Size
    from harness.comparing.request import CompareRequest
    from harness.load.matrix import Cell
    from harness.load.order import Visit

START_S: Final = 40.0
"""Taken for a server's start: vLLM with the demo model needs 20 to 60 s on two cores."""
BESIDE_S: Final = 5.0
"""Taken for a cell's warm-up, last answers and numbers."""
REQUESTS_PER_S: Final = 20.0
"""Taken for the requests of suites: the demo model answers 15 to 40 a second on two cores."""
REQUEST_S: Final = 1.0
"""Taken for a request, where a cell is so many requests and not so many seconds long."""


def default_repeats(builds: int) -> int:
    """Return how often builds are measured where nothing is said.

    About a dozen server starts, since two builds tell less of what starts differ by than four; an
    even number, so that a steady drift cancels (`benchmarks/compare_statistics.py --plans`).
    """
    return {2: 6, 3: 4}.get(builds, 2)


class VisitPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One time that a build is up."""

    build: str
    visit: int
    suites: list[str]
    levels: list[dict[str, float]]
    """In the order in which they are measured."""
    about_s: float


class ComparePlan(msgspec.Struct, frozen=True, kw_only=True):
    """`harness compare --dry-run --json`."""

    visits: list[VisitPlan]
    repeats: int = 0
    cells: int
    interleaved: bool = False
    """All builds are up at the same time, and asked by turns."""
    items: dict[str, int]
    """Suite → items that each build is asked."""
    about_s: float
    """Of all; docs/compare.md says what is taken for what."""
    unlike: list[str] = []
    """In what beside the weights the builds' TOML files differ, with --allow-different."""
    running: list[str] = []
    """Servers of these that run already, and are not started."""


def plan_comparison(request: CompareRequest, sizes: Mapping[str, Size]) -> ComparePlan:
    """Return the plan.

    Args:
        request: all that was asked.
        sizes: suite → how much it asks, of the builds that ask the most.
    """
    load = request.load
    cells = expand(
        names_in(request.builds),
        load.profile.name,
        load.levels,
        load.repeats,
        closed=load.profile.is_closed,
        lengths=load.lengths,
    )
    grading_s = sum(size.requests for size in sizes.values()) / REQUESTS_PER_S
    planned = [
        _visit(request, visit, list(sizes), grading_s)
        for visit in visits(cells, load.order, load.seed)
    ]
    return ComparePlan(
        visits=planned,
        repeats=load.repeats,
        cells=len(cells),
        interleaved=load.interleave,
        items={name: size.items for name, size in sizes.items()},
        about_s=sum(visit.about_s for visit in planned),
        unlike=unlike_of(request),
        running=names_in(urls_in(request.builds)),
    )


def words(plan: ComparePlan) -> list[str]:
    """Say it in lines for a person."""
    order = " ".join(visit.build for visit in plan.visits)
    asked = ", ".join(f"{name} ({items} items)" for name, items in plan.items.items())
    builds = len({visit.build for visit in plan.visits})
    usual = default_repeats(builds)
    same = "as usual" if plan.repeats == usual else f"{usual} are usual"
    said = f"{same} for {builds} builds; more with --repeats narrow the intervals"
    starts = sum(visit.build not in plan.running for visit in plan.visits)
    lines = [
        f"{starts} server starts: {order}" if starts else f"no server is started: {order}",
        f"{plan.cells} load cells, {plan.repeats} repeats ({said})",
    ]
    if plan.running:
        lines.append(
            f"{', '.join(plan.running)}: runs already and is not started; what starts of it differ "
            "by is in no interval"
        )
    if plan.interleaved:
        lines.append("all are up at once, and asked by turns, request by request")
    if asked:
        lines.append(f"each build is asked once: {asked}")
    lines += [f"they differ in more than their weights: {one}" for one in plan.unlike]
    return [*lines, f"about {minutes(plan.about_s)} in all"]


def minutes(seconds: float) -> str:
    """Say a time roughly."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"  # noqa: PLR2004


def _visit(request: CompareRequest, visit: Visit, suites: list[str], grading_s: float) -> VisitPlan:
    first = visit.number == 1
    start_s = 0.0 if request.load.url(visit.build) is not None else START_S
    cells_s = sum(_cell_s(request, cell) for cell in visit.cells)
    levels: list[Any] = [cell.level_value for cell in visit.cells]
    return VisitPlan(
        build=visit.build,
        visit=visit.number,
        suites=suites if first else [],
        levels=levels,
        about_s=start_s + cells_s + (grading_s if first else 0.0),
    )


def _cell_s(request: CompareRequest, cell: Cell) -> float:
    profile = request.load.profile
    if profile.duration_s is not None:
        return profile.duration_s + BESIDE_S
    at_once = cell.level if cell.closed else cell.level * REQUEST_S
    return (profile.requests or 0) * REQUEST_S / max(at_once, 1.0) + BESIDE_S
