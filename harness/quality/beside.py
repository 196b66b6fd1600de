"""Load beside the grading: a cell driven at the server that is being asked, for as long."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final

import msgspec

from harness.errors import InvalidRunError
from harness.load.cell import facts_of, plan_cell, watched
from harness.load.child import STOP_S, Driver
from harness.load.matrix import Cell
from harness.load.request import LoadRequest
from harness.measuring.remeasure import write_facts
from harness.quality.asking import check_alive
from harness.quality.passes import EVALS, read_pass, write_pass
from harness.rundir import CELLS
from loadprofiles.profile import Overrides
from loadprofiles.records import read_drive_report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.live import Live
    from harness.quality.passes import Pass
    from harness.quality.request import EvalRequest, UnderLoad
    from harness.rundir import RunFolder
    from harness.serving import Served
    from loadprofiles.records import Progress

_LEAST_S: Final = 20.0
_SLOWER: Final = 3.0
"""Under load grading is given so many times as long as it took idle; then the load starts over."""
_LOOK_S: Final = 0.2


@contextmanager
def load_beside(
    request: EvalRequest, folder: RunFolder, one: Pass, served: Served, live: Live
) -> Iterator[None]:
    """Keep the load up while the context is open, where the pass is one under load.

    Each cell that is driven is named in the pass's record before it begins.

    Raises:
        InvalidRunError: the load driver failed.
        ServerError: the server died before load began.
    """
    under_load = request.under_load
    if one.what != "load" or under_load is None:
        yield
        return
    idle_s = read_pass(folder.path / EVALS / one.suite / one.build).wall_s
    load = _Load(request, under_load, folder, one, served, idle_s)
    live.status(f"{one.title}: {under_load.profile.name} at {under_load.level:g} begins")
    load.begin()
    try:
        yield
    finally:
        load.end()
    load.check()


class _Load:
    """The load driver's process, followed from a thread while this one grades."""

    def __init__(
        self,
        request: EvalRequest,
        under_load: UnderLoad,
        folder: RunFolder,
        one: Pass,
        served: Served,
        idle_s: float,
    ) -> None:
        least_s = max(under_load.profile.duration_s or 0.0, _LEAST_S)
        profile = under_load.profile.with_overrides(
            Overrides(duration_s=max(least_s, _SLOWER * idle_s))
        )
        self._request = LoadRequest(
            servers=request.brought_up,
            profile=profile,
            levels=[under_load.level],
            seed=request.seed,
            tokenizer=request.tokenizer,
            headers=request.headers,
            api_key_env=request.api_key_env,
            max_fail_ratio=request.max_fail_ratio,
            command=request.command,
        )
        self._level = under_load.level
        self._folder, self._one, self._served = folder, one, served
        self._over = threading.Event()
        self._measuring = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._keep_up, name="load", daemon=True)

    def begin(self) -> None:
        """Start, and wait until the load is what was asked for."""
        self._thread.start()
        try:
            while not self._measuring.wait(_LOOK_S):
                check_alive(self._served, self._one.title)
        except BaseException:
            self.end()
            raise
        self.check()

    def end(self) -> None:
        """Tell the driver that grading is over, and wait until it has written what it has."""
        self._over.set()
        self._thread.join(2 * STOP_S)

    def check(self) -> None:
        """Raise what went wrong with the load."""
        if self._error is not None:
            raise self._error
        if self._over.is_set() and self._thread.is_alive():
            raise InvalidRunError("the load driver did not stop when the grading had ended")

    def _keep_up(self) -> None:
        try:
            while not self._over.is_set():
                self._drive(self._next_cell())
        except Exception as error:  # noqa: BLE001 - told in the thread that grades
            self._error = error
        finally:
            self._measuring.set()

    def _next_cell(self) -> Cell:
        """Return the first cell that has no folder yet: a resumed pass drives another one."""
        profile, repeat = self._request.profile, 1
        while True:
            cell = Cell(
                build=self._one.build,
                profile=profile.name,
                level=self._level,
                repeat=repeat,
                closed=profile.is_closed,
            )
            if not (self._folder.path / CELLS / cell.id).exists():
                return cell
            repeat += 1

    def _drive(self, cell: Cell) -> None:
        folder, server = self._folder.cell(cell.id), self._served.server
        with ExitStack() as stack:
            driver = stack.enter_context(Driver(folder, self._request.headers))
            under_way = plan_cell(folder, self._request, cell, server)
            stack.enter_context(watched(folder, self._request, under_way))
            self._note(cell)
            driver.drive(self._follow, self._is_wanted)
        facts = facts_of(self._request, under_way, ended_with_grading=self._over.is_set())
        write_facts(folder, facts)
        report = read_drive_report(folder)
        if report.ended == "failed":  # one cell after the other would, and none be measured
            raise InvalidRunError(f"there was no load to grade under: {report.problem}")

    def _note(self, cell: Cell) -> None:
        place = self._folder.path / EVALS / self._one.suite / self._one.folder
        record = read_pass(place)
        write_pass(place, msgspec.structs.replace(record, cells=[*record.cells, cell.id]))

    def _is_wanted(self) -> bool:
        return not self._over.is_set() and self._served.is_up()

    def _follow(self, progress: Progress) -> None:
        if progress.phase == "measured":
            self._measuring.set()
