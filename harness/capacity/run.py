"""One search end to end: servers up, probes driven, each decided by those before it."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from harness.capacity.attainment import check_limits
from harness.capacity.cells import read_probe
from harness.capacity.request import closed_of, drained
from harness.capacity.search import Ask, Scout, Tried
from harness.capacity.watch import Watch
from harness.capacity.weigh import Asked, search_of, write_capacity
from harness.errors import ExitCode, ServerError
from harness.load.checks import check
from harness.load.job import LoadJob
from harness.load.matrix import Cell
from harness.load.order import Visit
from harness.load.run import sources_of
from harness.reports.sizing import markdown_of
from harness.rundir import CELLS, MANIFEST_FILE, RunFolder, write_atomically
from harness.sizing.asked import write_asked
from loadprofiles.errors import ProfileError
from loadprofiles.traffic.crowd import check_descriptors
from loadprofiles.traffic.timetable import check_schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness.capacity.request import SearchRequest
    from harness.live import Live
    from harness.load.cell import UnderWay
    from harness.load.request import LoadRequest
    from harness.measuring.measurement import CellMeasurement
    from harness.serving import Served, Source

SIZING_FILE: Final = "sizing.md"
CODES: Final = {
    "found": ExitCode.OK,
    "imprecise": ExitCode.OK,
    "not_met_at_any_load": ExitCode.FAIL,
    "not_reached_by_client": ExitCode.INCONCLUSIVE,
    "unfinished": ExitCode.INCONCLUSIVE,
    "nothing_answered": ExitCode.INVALID,
    None: ExitCode.INVALID,
}
"""What a search's outcome is to the shell."""


def run_search(
    request: SearchRequest, parent: Path, live: Live, resumed: RunFolder | None = None
) -> tuple[RunFolder, ExitCode]:
    """Search at all servers, one after the other; return the run's folder and the exit code.

    A server that does not come up, or dies, costs its own search only. After Ctrl-C the folder
    holds what was found until then, and a search `resumed` from there goes on with the next probe.

    Raises:
        BadInputError, BuildError, LoadProfilesError: what was asked is impossible; nothing was
            started, and there is no folder.
        ConnectError: nothing usable answers at the URL; there is no folder.
    """
    load = replace(
        request.load,
        max_fail_ratio=1.0,  # a probe may break all that it likes
        profile=drained(request.load.profile),
    )
    request = replace(request, load=load)
    check_limits(request.slo, stream=load.stream)
    closed_of(load.profile)
    check(load)
    sources = sources_of(load)
    names = [source.name for source in sources]
    folder = resumed or RunFolder.create(parent, f"capacity-{'-'.join(names)}")
    with folder.claimed():
        job = LoadJob(load, folder, live, names, cells=_cells_of(folder))
        job.record.save()
        if request.sizing is not None:
            write_asked(folder, request.sizing)
        try:
            for source in sources:
                _Search(request, job, source, live).run()
        except KeyboardInterrupt:
            job.interrupted()
            live.problem(f"the same command with --resume {folder.path} goes on")
        finally:
            job.record.save()
            live.status("what the probes come to, and the simulator fitted to them")
            found = write_capacity(folder)
            if found.sizing is not None:
                text = markdown_of(found.sizing)
                write_atomically(folder.path / SIZING_FILE, text.encode())
            code = job.finish()
    if code in {ExitCode.SERVER, ExitCode.INTERRUPTED}:
        return folder, code
    worst = [CODES[one.outcome] for one in found.builds] or [CODES[None]]
    return folder, max(worst)


class _Search:
    """The search at one server."""

    def __init__(self, request: SearchRequest, job: LoadJob, source: Source, live: Live) -> None:
        self._request, self._job, self._source, self._live = request, job, source, live
        self._asked = Asked(
            slo=request.slo,
            profile=request.load.profile,
            probes=request.probes,
            precision=request.precision,
        )
        self._read: list[Scout | Tried] = [
            self._probe_of(cell)
            for cell in job.record.measurements().cells
            if cell.build == source.name
        ]

    def run(self) -> None:
        """Bring the server up and probe it until there is an answer."""
        step = search_of(self._asked, self._read).next()
        if not isinstance(step, Ask):
            return
        with self._job.guarded(self._source.name), self._served() as served:
            while isinstance(step, Ask):
                try:
                    cell, load = self._plan(step)
                except ProfileError as error:  # so slow that it happens to be no request at all
                    self._live.problem(f"{self._source.name}: no probe at {step.rate:g}/s: {error}")
                    return
                shutil.rmtree(self._job.folder.cell(cell.id))  # one that showed nothing
                self._job.drive_one(cell, served, load, self._watch(step))
                self._read.append(one := self._probe_of(self._job.record.cell(cell.id)))
                if isinstance(one, Tried) and one.empty:
                    raise ServerError(
                        f"none of the requests of {cell.id} was answered",
                        hint="The search ends here; --resume goes on once the server answers.",
                    )
                step = search_of(self._asked, self._read).next()
            self._live.note(f"{self._source.name}: {step.text}")

    @property
    def _alone(self) -> Scout | None:
        """What one stream showed; None before."""
        return next((one for one in self._read if isinstance(one, Scout)), None)

    @contextmanager
    def _served(self) -> Iterator[Served]:
        visit = Visit(build=self._source.name, number=1, cells=())
        with self._source.serve(self._job.folder, self._live) as served:
            self._job.begin(visit, served)
            yield served

    def _plan(self, step: Ask) -> tuple[Cell, LoadRequest]:
        """Return the cell that a step asks for, and what is to be driven there.

        Raises:
            ProfileError: the profile cannot be driven at this rate.
        """
        request, load = self._request, self._request.load
        alone = self._alone
        latency_s = alone.latency_s if alone else None
        if step.streams is not None:
            level, profile = float(step.streams), request.scout(step.streams, latency_s)
        else:
            assert step.rate is not None  # noqa: S101 - one of both is given
            conversation_s = alone.conversation_s if alone else 0.0
            level, profile = step.rate, request.probe(step.rate, latency_s, conversation_s)
            check_schedule(profile, level, step.repeat, load.seed)
        profile.check_level(level)
        check_descriptors(profile, level, step.repeat, load.seed, load.processes)
        cell = Cell(
            build=self._source.name,
            profile=profile.name,
            level=level,
            repeat=step.repeat,
            closed=profile.is_closed,
        )
        return cell, replace(load, profile=profile, levels=[level])

    def _watch(self, step: Ask) -> Callable[[UnderWay], Callable[[], bool]] | None:
        """Return what ends a probe early; scouts are not ended."""
        if step.rate is None:
            return None
        may_hold = not search_of(self._asked, self._read).broke
        answer_s = (self._alone and self._alone.latency_s) or 0.0

        def watch(under_way: UnderWay) -> Callable[[], bool]:
            folder = self._job.folder.cell(under_way.cell.id)
            asked = self._asked
            return Watch(
                folder,
                under_way.plan,
                asked.slo,
                asked.allowed,
                may_hold=may_hold,
                answer_s=answer_s,
            ).goes_on

        return watch

    def _probe_of(self, cell: CellMeasurement) -> Scout | Tried:
        return read_probe(self._job.folder.path / CELLS / cell.id, cell, self._request.slo)


def _cells_of(folder: RunFolder) -> list[Cell]:
    """Return the cells that a search has begun in a folder, in their order."""
    if not (folder.path / MANIFEST_FILE).is_file():
        return []
    described: Any = folder.read_manifest().get("cells") or []
    return [
        Cell(
            build=one["build"],
            profile=one["profile"],
            level=float(next(iter(one["level"].values()))),
            repeat=one["repeat"],
            closed="concurrency" in one["level"],
        )
        for one in described
    ]
