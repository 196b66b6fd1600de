"""A load run under way: servers are visited, cells driven, numbers written after each of them.

`harness load` visits its servers one after the other. A comparison or a gate brings a server up
itself, asks it other things, too, and lets the job drive its cells there.
"""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import msgspec

from harness.errors import ExitCode, InvalidRunError, OutOfTimeError, ServerError
from harness.load.again import put_back, set_aside, was_late
from harness.load.cell import UnderWay, facts_of, plan_cell, watched
from harness.load.child import Driver
from harness.load.ending import WorkerLostError, check_alive, check_ended, is_whole
from harness.load.matrix import Cell, expand
from harness.load.order import Visit, visits
from harness.load.record import RunRecord
from harness.load.request import USUAL
from harness.load.together import place_of, put_together, take_apart
from harness.measuring.remeasure import measure_folder, write_facts
from harness.rundir import CELLS, MANIFEST_FILE
from launchers.errors import LauncherError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from harness.live import Live
    from harness.load.request import LoadRequest
    from harness.rundir import RunFolder
    from harness.serving import Served, Source


class LoadJob:
    """A run under way; one whose folder holds a part of it goes on with what is missing.

    Args:
        request: all that was asked.
        folder: the run's.
        live: what a person sees.
        names: the servers', in their order; the first is the one that outputs are compared with.
        cells: those to begin with, where they are not the request's levels; `drive_one` adds more.
    """

    def __init__(
        self,
        request: LoadRequest,
        folder: RunFolder,
        live: Live,
        names: Sequence[str],
        cells: Sequence[Cell] | None = None,
    ) -> None:
        profile = request.profile
        self._request = request
        self.folder = folder
        self._live = live
        if cells is None:
            cells = expand(
                names,
                profile.name,
                request.levels,
                request.repeats,
                closed=profile.is_closed,
                lengths=request.lengths,
            )
        self.visits: list[Visit] = visits(cells, request.order, request.seed)
        self._cells = [cell for visit in self.visits for cell in visit.cells]
        self._groups = self._interleaved() if request.interleave else [(c,) for c in self._cells]
        self._under_way: list[UnderWay] = []
        self.code = ExitCode.OK
        self.record = RunRecord(
            folder,
            command=request.command,
            seed=request.seed,
            cells=self._cells,
            request={"dialect": request.dialect or USUAL, "no_stream": not request.stream}
            | ({"dialects": request.dialects} if request.dialects else {})
            | dict(request.asked),  # in which they are named only if there are flags for them
            profile=profile.model_dump(mode="json"),
            sweep=request.sweep,
            baseline=names[0] if request.side_by_side and len(names) > 1 else None,
        )
        if (folder.path / MANIFEST_FILE).is_file():
            self._go_on()

    @property
    def cells(self) -> list[Cell]:
        """All cells, in the order in which they are measured."""
        return list(self._cells)

    def todo(self, visit: Visit) -> list[Cell]:
        """The cells of a visit that have no numbers yet."""
        return [cell for cell in visit.cells if not self.record.has(cell.id)]

    def visit(self, visit: Visit, source: Source) -> None:
        """Bring one server up and drive what is to be driven there."""
        cells = self.todo(visit)
        if not cells:
            return
        with self.guarded(source.name), ExitStack() as stack:
            # Started ahead of the server: it imports Locust while there is nothing to measure.
            driver = stack.enter_context(self._driver(cells[0]))
            self.record.save()
            served = stack.enter_context(source.serve(self.folder, self._live))
            self._drive_all(visit, cells, served, driver)

    def drive(self, visit: Visit, served: Served, until_s: float | None = None) -> None:
        """Drive what is to be driven of a visit at a server that is up.

        Raises:
            OutOfTimeError: the monotonic clock passed `until_s` before the last cell began.
            LauncherError, ServerError, InvalidRunError, KeyboardInterrupt: for `guarded`, and
                whoever finishes the run.
        """
        cells = self.todo(visit)
        if cells:
            with self._driver(cells[0]) as driver:
                self._drive_all(visit, cells, served, driver, until_s)

    def begin(self, visit: Visit, served: Served) -> None:
        """Note that a server is up, whose cells `drive_one` is told one by one."""
        self.record.add_server(visit, served.server.provenance)
        self.record.save()

    def drive_one(
        self,
        cell: Cell,
        served: Served,
        request: LoadRequest | None = None,
        watch: Callable[[UnderWay], Callable[[], bool]] | None = None,
    ) -> None:
        """Drive one more cell at a server that is up; it becomes one of the run's.

        Args:
            cell: what to drive.
            served: the server.
            request: the run's, with this cell's own profile; None: as it is.
            watch: given the cell under way, returns what says several times a second whether it
                is still wanted. One that was not has shown what it was to show: it is whole.

        Raises:
            LauncherError, ServerError, InvalidRunError, KeyboardInterrupt: as for `drive`.
        """
        check_alive(f"before {cell.id}", served, self.folder.path)
        if cell not in self._cells:
            self._cells.append(cell)
        with self._driver(cell) as driver:
            self._drive((cell,), [served], driver, request, watch)
        decided = self._under_way[0].decided
        self._keep()
        check_alive(f"during {cell.id}", served, self.folder.path)
        if not decided:
            check_ended(self.folder.cell(cell.id))

    def interleave(self, served: Mapping[str, Served]) -> None:
        """Drive all cells that have no numbers yet at builds that are all up, by turns.

        Raises:
            LauncherError, ServerError, InvalidRunError, KeyboardInterrupt: as for `drive`.
        """
        todo = [group for group in self._groups if not all(self.record.has(c.id) for c in group)]
        if not todo:
            return
        for visit in self.visits:
            self.record.add_server(visit, served[visit.build].server.provenance)
        self.record.save()
        for group in todo:
            folder = place_of(self.folder, group)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            with Driver(folder, self._request.headers) as driver:
                self._drive(group, [served[cell.build] for cell in group], driver)
                self._keep()
            for cell in group:
                check_alive(f"during {cell.id}", served[cell.build], self.folder.path)
            check_ended(self.folder.cell(group[0].id))

    @contextmanager
    def guarded(self, name: str) -> Iterator[None]:
        """Turn what goes wrong with one server into a problem of this run, which goes on."""
        try:
            yield
        except (LauncherError, ServerError) as error:
            self._problem("server_failed", f"{name}: {error}")
            self.code = ExitCode.SERVER
        except WorkerLostError as error:  # its cell's caveat says so
            self._live.problem(f"{name}: {error}")
        except InvalidRunError as error:
            self._problem("driver_failed", f"{name}: {error}")

    def interrupted(self) -> None:
        """Keep also what the cell under way has."""
        try:
            self._keep()
        except InvalidRunError as error:  # interrupted a second time: its samples stay unread
            self._live.problem(str(error))
        part = ", the last one perhaps of a part of its window" if self.record.measured else ""
        self._problem(
            "interrupted",
            f"interrupted: {self.record.measured} of {len(self._cells)} cells have numbers{part}",
        )
        self.code = ExitCode.INTERRUPTED

    def finish(self) -> ExitCode:
        """Write all there is to write, and say how it went."""
        self.record.save()
        self.record.hold_side_by_side()
        for problem in self.record.write_reports():
            self._live.problem(problem)
        if self.code is ExitCode.OK and not self.record.measurements().valid:
            return ExitCode.INVALID
        return self.code

    def _go_on(self) -> None:
        """Keep the cells that were driven to their end; the others are driven again.

        A second time that did not come to its end, or of which the record does not say that it is
        one, leaves the first one's numbers.
        """
        said = self.record.said_driven_again()
        unsaid = []
        for cell in self._cells:
            ended = self.is_whole(cell)
            if not (ended and cell.id in said) and put_back(self.folder, cell.id) and ended:
                unsaid.append(cell)
        groups = [group for group in self._groups if all(map(self.is_whole, group))]
        whole = {cell.id for group in groups for cell in group}
        self.record.go_on(whole)
        for cell in unsaid:
            if self.record.has(cell.id):
                self._measure(cell)
        for cell in self._cells:
            if not self.record.has(cell.id):
                shutil.rmtree(self.folder.path / CELLS / cell.id, ignore_errors=True)

    def is_whole(self, cell: Cell) -> bool:
        """Whether a cell was driven to its end."""
        return is_whole(self.folder.path / CELLS / cell.id)

    def _drive_all(
        self,
        visit: Visit,
        cells: Sequence[Cell],
        served: Served,
        driver: Driver,
        until_s: float | None = None,
    ) -> None:
        check_alive(f"before {cells[0].id}", served, self.folder.path)
        self.record.add_server(visit, served.server.provenance)
        self.record.save()
        began_s = time.monotonic()
        self._drive_each(cells, served, driver, until_s)
        each_s = (time.monotonic() - began_s) / len(cells)
        for cell in cells:
            fits = until_s is None or time.monotonic() + each_s <= until_s
            if self._request.again and fits and was_late(self.record.cell(cell.id)):
                self._drive_again(cell, served)

    def _drive_each(
        self, cells: Sequence[Cell], served: Served, driver: Driver, until_s: float | None
    ) -> None:
        with ExitStack() as stack:
            for cell, following in zip(cells, [*cells[1:], None], strict=True):
                if until_s is not None and time.monotonic() > until_s:
                    raise OutOfTimeError(f"time ran out before {cell.id}")
                self._drive((cell,), [served], driver)
                if following is not None:
                    driver = stack.enter_context(self._driver(following))
                self._keep()
                check_alive(f"during {cell.id}", served, self.folder.path)
                check_ended(self.folder.cell(cell.id))

    def _drive_again(self, cell: Cell, served: Served) -> None:
        """Drive a cell a second time; a time that does not come to its end leaves the first."""
        before = self.record.cell(cell.id)
        self._live.note(f"{cell.id}: the client was late; it is driven once more")
        kept = set_aside(self.folder, cell.id)
        try:
            with self._driver(cell) as driver:
                self._drive_each([cell], served, driver, None)
        except BaseException:  # Ctrl-C, too
            self._under_way = []
            put_back(self.folder, cell.id)
            self.record.add_cell(before)
            self.record.save()
            raise
        why = before.client.caveats[0].text
        self.record.driven_again(cell.id, str(kept.relative_to(self.folder.path)), why)
        self.record.save()

    def _driver(self, cell: Cell) -> Driver:
        fleet = self._request.fleet
        if fleet is not None:
            fleet = msgspec.structs.replace(fleet, last=cell == self._cells[-1])
        return Driver(self.folder.cell(cell.id), self._request.headers, fleet)

    def _drive(
        self,
        group: Sequence[Cell],
        served: Sequence[Served],
        driver: Driver,
        request: LoadRequest | None = None,
        watch: Callable[[UnderWay], Callable[[], bool]] | None = None,
    ) -> None:
        """Plan one cell, or several that take turns, and drive; `_keep` then makes numbers."""
        cell, request = group[0], request or self._request
        names = " and ".join(one.build for one in group)
        title = f"{names} · {cell.profile} · {cell.level_words} · repeat {cell.repeat}"
        self._live.status(title)
        self._under_way = [
            plan_cell(self.folder.cell(cell.id), request, cell, one.server)
            for cell, one in zip(group, served, strict=True)
        ]
        if len(group) > 1:
            put_together(self.folder, group, request.seed)
        goes_on = _always if watch is None else watch(self._under_way[0])
        with ExitStack() as stack:
            for under_way in self._under_way:
                at = self.folder.cell(under_way.cell.id)
                stack.enter_context(watched(at, self._request, under_way))
            driver.drive(
                lambda progress: self._live.progress(title, progress),
                lambda: all(one.is_up() for one in served) and self._is_wanted(goes_on),
            )

    def _is_wanted(self, goes_on: Callable[[], bool]) -> bool:
        """Note it where what is under way has shown what it was to show."""
        self._under_way[0].decided = not goes_on()
        return not self._under_way[0].decided

    def _keep(self) -> None:
        """Turn the samples of what is under way into numbers and write all numbers so far."""
        if not self._under_way:
            return
        group = [under_way.cell for under_way in self._under_way]
        for under_way in self._under_way:  # by now the memory's peak is known
            folder = self.folder.cell(under_way.cell.id)
            write_facts(folder, facts_of(self._request, under_way))
        try:
            if len(group) > 1:
                take_apart(self.folder, group)
            for cell in group:
                self._measure(cell)
            for other in self._cells:  # those that were measured before their baseline
                if other.baseline == group[0].id and self.record.has(other.id):
                    self._measure(other)
        except OSError as error:
            raise InvalidRunError(
                f"{group[0].id}: the driver did not get to write {error.filename}"
            ) from error
        self._under_way = []
        self.record.save()

    def _interleaved(self) -> list[tuple[Cell, ...]]:
        """The cells that are driven together: one of each build."""
        return list(zip(*(visit.cells for visit in self.visits), strict=True))

    def _measure(self, cell: Cell) -> None:
        baseline = None if cell.baseline is None else self.folder.path / CELLS / cell.baseline
        folder = self.folder.cell(cell.id)
        self.record.add_cell(measure_folder(folder, self._request.slo, baseline))

    def _problem(self, code: str, text: str) -> None:
        self.record.add_problem(code, text)
        self._live.problem(text)


def _always() -> bool:
    return True
