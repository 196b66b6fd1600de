"""A sweep under way: levels of one server after the other, each chosen by those before it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from harness.load.matrix import Cell
from harness.load.order import Visit
from harness.rundir import MANIFEST_FILE
from loadprofiles.errors import ProfileError
from loadprofiles.traffic.crowd import check_descriptors
from loadprofiles.traffic.timetable import check_schedule

if TYPE_CHECKING:
    from typing import Any

    from harness.live import Live
    from harness.load.job import LoadJob
    from harness.load.request import LoadRequest
    from harness.serving import Served, Source

TIME: Final = "time"
IMPOSSIBLE: Final = "range"


def swept_cells(request: LoadRequest) -> list[Cell] | None:
    """Return the cells that a sweep begins with: those of the run that it goes on with.

    None: it is no sweep.

    Raises:
        BadInputError: the run's manifest is broken.
    """
    if request.sweep is None:
        return None
    folder = request.resume
    if folder is None or not (folder.path / MANIFEST_FILE).is_file():
        return []
    described: Any = folder.read_manifest().get("cells") or []
    return [Cell.described(entry) for entry in described]


def sweep(request: LoadRequest, job: LoadJob, source: Source, live: Live) -> None:
    """Sweep one server's levels until they say enough, or its time is over."""
    from harness.capacity.climb import Stop
    from harness.capacity.swept import next_of

    plan = request.sweep
    assert plan is not None  # noqa: S101 - who calls has looked
    name, closed = source.name, request.profile.is_closed
    then = next_of(plan, job.record.cells_of(name), closed=closed)
    if isinstance(then, Stop) and not _missing(request, job, name):
        return
    with job.guarded(name), source.serve(job.folder, live) as served:
        job.begin(Visit(build=name, number=1, cells=()), served)
        began_s, took_s = time.monotonic(), 0.0
        for cell in _missing(request, job, name):
            job.drive_one(cell, served)
        then = next_of(plan, job.record.cells_of(name), closed=closed)
        while not isinstance(then, Stop):
            if time.monotonic() - began_s + took_s > plan.limit_s:
                job.record.end_sweep(name, TIME)
                break
            if problem := _problem(request, then.level, served):
                live.note(f"{name}: {problem}")
                job.record.end_sweep(name, IMPOSSIBLE)
                break
            live.note(f"{name}: next {then.level:g} ({then.why})")
            level_s = time.monotonic()
            for repeat in range(1, request.repeats + 1):
                job.drive_one(_cell(request, name, then.level, repeat), served)
            took_s = time.monotonic() - level_s
            then = next_of(plan, job.record.cells_of(name), closed=closed)


def _cell(request: LoadRequest, build: str, level: float, repeat: int) -> Cell:
    return Cell(
        build=build,
        profile=request.profile.name,
        level=level,
        repeat=repeat,
        closed=request.profile.is_closed,
        lengths=request.lengths[0],
    )


def _missing(request: LoadRequest, job: LoadJob, build: str) -> list[Cell]:
    """Return what levels that were begun lack: cells that were cut off, further repeats."""
    begun = {cell.level: cell for cell in job.cells if cell.build == build}
    wanted = [
        _cell(request, build, level, repeat)
        for level in begun
        for repeat in range(1, request.repeats + 1)
    ]
    return [cell for cell in wanted if not job.record.has(cell.id)]


def _problem(request: LoadRequest, level: float, served: Served) -> str:
    """Why a level cannot be driven; empty where it can."""
    request = request.of(served.server.build)
    try:
        request.profile.check_level(level)
        for repeat in range(1, request.repeats + 1):
            check_descriptors(request.profile, level, repeat, request.seed, request.processes)
            check_schedule(
                request.profile,
                level,
                repeat,
                request.seed,
                served.server.max_model_len,
                request.spoken(served.server.build),
            )
    except ProfileError as error:
        return str(error)
    return ""
