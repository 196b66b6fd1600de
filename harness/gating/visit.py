"""One side of a gate that is brought up: once, for all that is asked of it."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evals.errors import RouteError
from evals.store import read_answers
from harness.errors import ExitCode, OutOfTimeError
from harness.gating.plan import eval_request, load_request
from harness.load.job import LoadJob
from harness.quality.kinds import kind_of
from harness.quality.passes import EVALS, Pass, read_pass
from harness.quality.probing import probe_server
from harness.quality.run import EvalJob
from harness.quality.servers import endpoint_for
from harness.serving import Connected, Launched

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from harness.gating.plan import Planned
    from harness.gating.record import Ended
    from harness.gating.request import GateRequest
    from harness.live import Live
    from harness.quality.request import EarlierRun
    from harness.rundir import RunFolder
    from harness.serving import Served
    from launchers.build import Build

_CELL_S = 5.0
"""Added to a cell's window: its warm-up, its last answers, its driver's start."""


@dataclass(frozen=True, kw_only=True)
class Went:
    """How one stage of one side went."""

    ended: Ended = "done"
    text: str = ""
    needs_s: float | None = None


class Visiting:
    """A build that is up, and the runs that are made of it."""

    def __init__(
        self,
        request: GateRequest,
        who: tuple[Build, Path],
        folder: RunFolder,
        role: str,
        stages: Sequence[Planned],
        live: Live,
    ) -> None:
        self._request = request
        self._who = who
        self._folder = folder
        self._role = role
        self._live = live
        self._asked = [one for one in stages if one.suite is not None and not one.skipped]
        self._quality: EvalJob | None = None
        self._loads: list[LoadJob] = []
        self._served: Served | None = None
        self.parts: list[str] = []

    @contextmanager
    def serve(self, earlier: EarlierRun | None, until_s: float) -> Iterator[None]:
        """Bring the build up by then at the latest.

        Args:
            earlier: has the baseline's answers, where it has been asked.
            until_s: on the monotonic clock.

        Raises:
            LauncherError: it did not come up.
        """
        build, base_dir = self._who
        left_s = max(1.0, min(build.ready_timeout_s, until_s - time.monotonic()))
        hurried = build.model_copy(update={"ready_timeout_s": left_s})
        request = eval_request(self._request, self._who, self._asked, earlier)
        with Launched(hurried, base_dir).serve(self._folder, self._live) as served:
            self._served = served
            if self._asked:
                part = self._part("quality")
                self._quality = EvalJob(request, part, [self._source], self._live)
                self._quality.begin()
            yield

    @property
    def _source(self) -> Connected:
        assert self._served is not None  # noqa: S101 - only while it is up
        return Connected(self._served.server, self._served.running)

    def _part(self, what: str) -> RunFolder:
        name = f"{what}-{self._role}"
        self.parts.append(name)
        return self._folder.part(name)

    def contract(self) -> str:
        """Probe the server; say which suites no proved route leads to, or nothing.

        Raises:
            ReachError, ServerError: nothing usable answers.
        """
        if not self._asked or self._served is None:
            return ""
        request = eval_request(self._request, self._who, self._asked)
        part = self._folder.part(f"quality-{self._role}")
        probed = probe_server(part, endpoint_for(request, self._served), self._served, self._live)
        problems = []
        for one in self._asked:
            assert one.suite is not None  # noqa: S101 - these have one
            try:
                probed.route_for(kind_of(one.suite[0]).routes(one.suite[0]), None)
            except RouteError as error:
                problems.append(f"{one.asks}: {error}")
        return "; ".join(problems)

    def go_through(self, one: Planned, until_s: float) -> Went:
        """Ask or drive one stage."""
        return self._drive(one, until_s) if one.suite is None else self._ask(one, until_s)

    def _ask(self, one: Planned, until_s: float) -> Went:
        assert self._quality is not None  # noqa: S101 - there is a stage that asks
        self._quality.visit(self._source, suites=[one.asks], until_s=until_s)
        name = Pass(suite=one.asks, build=self._who[0].name)
        folder = self._folder.path / f"quality-{self._role}" / EVALS / one.asks / name.folder
        record = read_pass(folder)
        if record.ended == "done":
            return Went()
        text = record.problem or "it was not asked"
        if record.ended != "out_of_time":
            return Went(ended="failed", text=text)
        done = len(read_answers(folder))
        left_s = (record.items - done) * record.wall_s / done if done else None
        return Went(ended="out_of_time", text=text, needs_s=left_s)

    def _drive(self, one: Planned, until_s: float) -> Went:
        assert self._served is not None  # noqa: S101 - only while it is up
        request = load_request(self._request, self._who, one)
        what = "load" if not self._loads else f"load-{one.stage.name}"
        job = LoadJob(request, self._part(what), self._live, [self._who[0].name])
        self._loads.append(job)
        [visit] = job.visits
        began_s = time.monotonic()
        try:
            with job.guarded(self._who[0].name):
                job.drive(visit, self._served, until_s)
        except OutOfTimeError as error:
            left = job.todo(visit)
            done = len(visit.cells) - len(left)
            window_s = request.profile.duration_s or 0.0
            each_s = (time.monotonic() - began_s) / done if done else window_s + _CELL_S
            return Went(ended="out_of_time", text=error.text, needs_s=each_s * len(left))
        if job.todo(visit):
            return Went(ended="failed", text="not all cells were driven")
        return Went()

    def interrupted(self) -> None:
        """Keep what the cell under way has."""
        for job in (self._quality, *self._loads[-1:]):
            if job is not None:
                job.interrupted()

    def finish(self) -> ExitCode:
        """Write the runs' numbers and reports; SERVER where a server was lost."""
        codes = [job.finish() for job in (self._quality, *self._loads) if job is not None]
        return ExitCode.SERVER if ExitCode.SERVER in codes else ExitCode.OK
