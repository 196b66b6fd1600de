"""One side of a gate that is brought up, in one turn or several (`harness.gating.turns`)."""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from evals.errors import RouteError
from evals.store import read_answers
from harness.errors import ExitCode, OutOfTimeError
from harness.gating.plan import eval_request, load_request
from harness.load.job import LoadJob
from harness.load.order import Visit
from harness.quality.kinds import kind_of
from harness.quality.passes import EVALS, Pass, read_pass
from harness.quality.probing import probe_server
from harness.quality.run import EvalJob
from harness.quality.servers import endpoint_for
from harness.serving import Connected, Launched, Url, name_of, source_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.gating.plan import Planned
    from harness.gating.record import Ended
    from harness.gating.request import GateRequest
    from harness.gating.turns import Role
    from harness.live import Live
    from harness.quality.request import EarlierRun
    from harness.rundir import RunFolder
    from harness.serving import Served, Source, Who

_CELL_S = 5.0
"""Added to a cell's window: its warm-up, its last answers, its driver's start."""


@dataclass(frozen=True, kw_only=True)
class Went:
    """How one stage of one side went."""

    ended: Ended = "done"
    text: str = ""
    needs_s: float | None = None


class Done(NamedTuple):
    """How much of one stage of one side there is; a cell that was cut short does not count."""

    number: int
    planned: int
    of: str
    folder: str
    """The part's, within the gate's."""

    def __str__(self) -> str:
        return f"{self.number} of {self.planned} {self.of}"


def how_far(one: Planned, sides: Mapping[Role, Visiting]) -> str:
    """Say how far a stage came, e.g. "after 4 of 8 cells of each build"; empty: not begun."""
    found = {role: done for role in sides if (done := sides[role].done(one)) is not None}
    if not found:
        return ""
    told = {str(done) for done in found.values()}
    if len(found) > 1 and len(told) == 1:
        whose = f"{told.pop()} of each build"
    else:
        whose = " and ".join(f"{done} of the {role}" for role, done in found.items())
    return f"after {whose}, which are in {' and '.join(done.folder for done in found.values())}"


class Visiting:
    """A build that is up in its turns, and the runs that are made of it."""

    def __init__(
        self,
        request: GateRequest,
        who: Who,
        folder: RunFolder,
        role: str,
        stages: Sequence[Planned],
        live: Live,
    ) -> None:
        self._request = request
        self._who = who
        self._name = name_of(who)
        self._folder = folder
        self._role = role
        self._live = live
        self._asked = [one for one in stages if one.suite is not None and not one.skipped]
        self._quality: EvalJob | None = None
        self._loads: dict[str, LoadJob] = {}
        self._spent_s: dict[str, float] = {}
        self._graded = False
        self._turn = 0
        self._served: Served | None = None
        self.parts: list[str] = []

    @contextmanager
    def serve(self, earlier: EarlierRun | None, until_s: float) -> Iterator[None]:
        """Bring the build up by then at the latest; its suites can be asked in its first turn.

        Args:
            earlier: has the baseline's answers, where it has been asked.
            until_s: on the monotonic clock.

        Raises:
            LauncherError: it did not come up.
        """
        request = eval_request(self._request, self._who, self._asked, earlier)
        with self._found(until_s).serve(self._folder, self._live) as served:
            self._served = served
            self._turn += 1
            if self._asked and self._quality is None:
                part = self._part("quality")
                self._quality = EvalJob(request, part, self._live)
                self._quality.begin()
            yield

    def _found(self, until_s: float) -> Source:
        """Return where the server comes from; one that is brought up must be so by then."""
        if isinstance(self._who, Url):
            return source_of(self._who)
        build, base_dir = self._who
        left_s = max(1.0, min(build.ready_timeout_s, until_s - time.monotonic()))
        return Launched(build.model_copy(update={"ready_timeout_s": left_s}), base_dir)

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

    def ask(self, one: Planned, until_s: float) -> Went:
        """Ask one stage's suite."""
        return self._ask(one, min(until_s, time.monotonic() + (one.stage.budget_s or math.inf)))

    def _ask(self, one: Planned, until_s: float) -> Went:
        assert self._quality is not None  # noqa: S101 - there is a stage that asks
        self._quality.visit(self._source, suites=[one.asks], until_s=until_s)
        name = Pass(suite=one.asks, build=self._name)
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

    def drive(self, one: Planned, repeat: int, until_s: float) -> Went:
        """Drive one repeat of one stage, within what is left of its budget for this build."""
        assert self._served is not None  # noqa: S101 - only while it is up
        job = self._load(one)
        cells = next(visit.cells for visit in job.visits if visit.cells[0].repeat == repeat)
        began_s, spent_s = time.monotonic(), self._spent_s.get(one.stage.name, 0.0)
        until_s = min(until_s, began_s + (one.stage.budget_s or math.inf) - spent_s)
        visit = Visit(build=self._name, number=self._turn, cells=cells)
        try:
            with job.guarded(self._name):
                job.drive(visit, self._served, until_s)
        except OutOfTimeError as error:
            self._spend(one, began_s)
            return Went(ended="out_of_time", text=error.text, needs_s=self._left_s(one, job))
        self._spend(one, began_s)
        if job.todo(visit) or job.code is not ExitCode.OK:  # the last cell may be cut short
            told = [one for one in job.record.measurements().caveats if one.invalidates]
            text = told[0].text if told else "not all cells were driven"
            return Went(ended="failed", text=text)
        return Went()

    def _load(self, one: Planned) -> LoadJob:
        """Return the load run of a stage, begun where it is not."""
        name = one.stage.name
        if name not in self._loads:
            request = load_request(self._request, self._who, one)
            part = self._part(f"load-{name}" if self._loads else "load")
            self._loads[name] = LoadJob(request, part, self._live, [self._name])
        return self._loads[name]

    def _spend(self, one: Planned, began_s: float) -> None:
        name = one.stage.name
        self._spent_s[name] = self._spent_s.get(name, 0.0) + time.monotonic() - began_s

    def done(self, one: Planned) -> Done | None:
        """Return how much of a stage there is, and where; None: it was not begun."""
        if one.suite is None:
            job = self._loads.get(one.stage.name)
            if job is None:
                return None
            planned = sum(len(visit.cells) for visit in job.visits)
            whole = sum(map(job.is_whole, job.cells))
            return Done(whole, planned, "cells", job.folder.path.name)
        name = f"quality-{self._role}"
        folder = self._folder.path / name / EVALS / one.asks / self._name
        planned = read_pass(folder).items
        return Done(len(read_answers(folder)), planned, "items", name) if planned else None

    def _left_s(self, one: Planned, job: LoadJob) -> float:
        """Return what the cells take that this build was not driven by yet, at the pace so far."""
        planned = sum(len(visit.cells) for visit in job.visits)
        left = sum(len(job.todo(visit)) for visit in job.visits)
        window_s = 0.0 if one.profile is None else one.profile.duration_s or 0.0
        done = planned - left
        return left * (self._spent_s[one.stage.name] / done if done else window_s + _CELL_S)

    def interrupted(self) -> None:
        """Keep what the cell under way has, and say so in each run that is not whole."""
        if self._quality is not None and not self._graded:
            self._quality.interrupted()
        for job in self._loads.values():
            if any(job.todo(visit) for visit in job.visits):
                job.interrupted()

    def graded(self) -> ExitCode:
        """Write the evaluation's numbers and report, once; SERVER where the server was lost."""
        if self._quality is None or self._graded:
            return ExitCode.OK
        self._graded = True
        return _lost([self._quality.finish()])

    def finish(self) -> ExitCode:
        """Write all runs' numbers and reports; SERVER where a server was lost."""
        return _lost([self.graded(), *(job.finish() for job in self._loads.values())])

    @property
    def lost(self) -> bool:
        """Whether a server was lost while it was driven."""
        return any(job.code is ExitCode.SERVER for job in self._loads.values())


def _lost(codes: Sequence[ExitCode]) -> ExitCode:
    return ExitCode.SERVER if ExitCode.SERVER in codes else ExitCode.OK
