"""One load run end to end: servers up, cells driven, numbers written after each of them."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from harness.errors import ExitCode, InvalidRunError, ServerError
from harness.load.cell import UnderWay, facts_of, plan_cell
from harness.load.checks import check
from harness.load.child import Driver
from harness.load.matrix import Cell, Lengths, expand
from harness.load.record import RunRecord
from harness.measuring.measure import MAX_FAIL_RATIO
from harness.measuring.remeasure import measure_folder, write_facts
from harness.rundir import CELLS, RunFolder
from harness.serving import Connected, Launched, Served, Source, Url
from launchers.errors import LauncherError
from launchers.memory import sample_memory
from launchers.replicas import connect_all
from loadprofiles.records import read_drive_report

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.live import Live
    from harness.measuring.slo import Slo
    from launchers.build import Build
    from loadprofiles.profile import Profile
    from loadprofiles.records import Fleet


@dataclass(frozen=True, kw_only=True)
class LoadRequest:
    """Everything that was asked."""

    servers: list[tuple[Build, Path]] | Url
    """Builds with the folders that their relative paths count from, or a URL."""
    profile: Profile
    """With the command line's overrides."""
    levels: list[float]
    repeats: int = 1
    lengths: tuple[Lengths, ...] = ("forced",)
    seed: int = 0
    slo: Slo | None = None
    dialect: str = "openai-completions"
    stream: bool = True
    """Whether answers are asked for as a stream of events; else as one document."""
    tokenizer: Path | None = None
    headers: dict[str, str] = field(default_factory=dict)
    api_key_env: str | None = None
    force_ignore_eos: bool = False
    max_fail_ratio: float = MAX_FAIL_RATIO
    fleet: Fleet | None = None
    """The workers that drive together; None: one process drives."""
    asked: Mapping[str, object] = field(default_factory=dict)
    """The manifest's `request`, secrets masked."""
    command: list[str]
    """The command line, secrets masked."""


def run_load(request: LoadRequest, parent: Path, live: Live) -> tuple[RunFolder, ExitCode]:
    """Measure everything that was asked; return the run's folder and the exit code.

    A server that does not come up, or dies, costs its own cells only: the others are measured and
    the exit code is 3. After Ctrl-C, too, the run's folder holds reports of what was measured.

    Raises:
        BadInputError, BuildError, LoadProfilesError: what was asked is impossible; nothing was
            started, and there is no folder.
        ConnectError: nothing usable answers at the URL; there is no folder.
    """
    check(request)
    given = request.servers
    if isinstance(given, Url):
        server = connect_all(
            given.urls,
            given.model,
            dialect=request.dialect,
            headers=request.headers,
            api_key_env=request.api_key_env,
            trust=given.trust,
        )
        servers: list[Source] = [Connected(server)]
    else:
        servers = [Launched(build, base_dir) for build, base_dir in given]
    names = [source.name for source in servers]
    folder = RunFolder.create(parent, f"{request.profile.name}-{'-'.join(names)}")
    job = _Job(request, folder, live, names)
    code = job.measure(servers)
    if code is ExitCode.OK and not job.record.measurements().valid:
        code = ExitCode.INVALID
    return folder, code


class _WorkerLostError(InvalidRunError):
    """Not all workers are there any more, so that no further cell can be driven."""


class _Job:
    """A run under way."""

    def __init__(
        self, request: LoadRequest, folder: RunFolder, live: Live, names: list[str]
    ) -> None:
        profile = request.profile
        self._request = request
        self._folder = folder
        self._live = live
        self._cells = expand(
            names,
            profile.name,
            request.levels,
            request.repeats,
            closed=profile.is_closed,
            lengths=request.lengths,
        )
        self._under_way: UnderWay | None = None
        self.record = RunRecord(
            folder,
            command=request.command,
            seed=request.seed,
            cells=self._cells,
            request=request.asked,
            profile=profile.model_dump(mode="json"),
        )

    def measure(self, servers: list[Source]) -> ExitCode:
        """Measure all cells, write all there is to write, and say how it went."""
        code = ExitCode.OK
        try:
            for source in servers:
                try:
                    self._measure_server(source)
                except (LauncherError, ServerError) as error:
                    self._problem("server_failed", f"{source.name}: {error}")
                    code = ExitCode.SERVER
                except _WorkerLostError as error:  # its cell's caveat says so
                    self._live.problem(f"{source.name}: {error}")
                except InvalidRunError as error:
                    self._problem("driver_failed", f"{source.name}: {error}")
        except KeyboardInterrupt:
            self._interrupted()
            code = ExitCode.INTERRUPTED
        finally:
            self.record.save()
            for problem in self.record.write_reports():
                self._live.problem(problem)
        return code

    def _measure_server(self, source: Source) -> None:
        """Bring one server up and measure its cells."""
        cells = [cell for cell in self._cells if cell.build == source.name]
        with ExitStack() as stack:
            # Started ahead of the server: it imports Locust while there is nothing to measure.
            driver = stack.enter_context(self._driver(cells[0]))
            self.record.save()
            served = stack.enter_context(source.serve(self._folder, self._live))
            self.record.add_server(source.name, served.server.provenance)
            self.record.save()
            for cell, following in zip(cells, [*cells[1:], None], strict=True):
                self._drive(cell, served, driver)
                if following is not None:
                    driver = stack.enter_context(self._driver(following))
                self._keep()
                self._check_alive(cell, served)
                self._check_ended(cell)

    def _driver(self, cell: Cell) -> Driver:
        fleet = self._request.fleet
        if fleet is not None:
            fleet = msgspec.structs.replace(fleet, last=cell == self._cells[-1])
        return Driver(self._folder.cell(cell.id), self._request.headers, fleet)

    def _drive(self, cell: Cell, served: Served, driver: Driver) -> None:
        """Plan one cell and drive it; `_keep` then makes numbers of it."""
        request, server = self._request, served.server
        title = f"{cell.build} · {cell.profile} · {cell.level_words} · repeat {cell.repeat}"
        self._live.status(title)
        self._under_way = under_way = plan_cell(self._folder.cell(cell.id), request, cell, server)
        with ExitStack() as stack:
            if server.pid is not None:
                under_way.memory = stack.enter_context(sample_memory(server.pid))
            driver.drive(lambda progress: self._live.progress(title, progress), served.is_up)

    def _keep(self) -> None:
        """Turn the samples of the cell under way into numbers and write all numbers so far."""
        if self._under_way is None:
            return
        under_way, request = self._under_way, self._request
        folder = self._folder.cell(under_way.cell.id)
        write_facts(folder, facts_of(request, under_way))  # by now the memory's peak is known
        try:
            before = under_way.cell.baseline
            baseline = None if before is None else self._folder.path / CELLS / before
            self.record.add_cell(measure_folder(folder, request.slo, baseline))
        except OSError as error:
            raise InvalidRunError(
                f"{under_way.cell.id}: the driver did not get to write {error.filename}"
            ) from error
        self._under_way = None
        self.record.save()

    def _check_alive(self, cell: Cell, served: Served) -> None:
        if served.running is None or (ended := served.running.poll()) is None:
            return
        lines = "".join(f"\n  {line}" for line in served.running.tail())
        raise ServerError(
            f"the server died during {cell.id} ({ended}); the last lines of "
            f"{served.server.log}:{lines}",
            hint=f"What was measured until then is in {self._folder.path}",
        )

    def _check_ended(self, cell: Cell) -> None:
        """Go on with all workers only, and not after somebody has told the driver to stop."""
        report = read_drive_report(self._folder.cell(cell.id))
        if report.ended == "worker_lost":
            raise _WorkerLostError(f"{cell.id}: {report.problem}")
        if report.ended == "interrupted":  # on Locust's page, or by a signal
            raise KeyboardInterrupt

    def _interrupted(self) -> None:
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

    def _problem(self, code: str, text: str) -> None:
        self.record.add_problem(code, text)
        self._live.problem(text)
