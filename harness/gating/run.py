"""One gate end to end: both sides' suites, then their loads in turns, until a rule is broken."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from evals.errors import ReachError
from harness.errors import BadInputError, ExitCode, ServerError
from harness.gating.copied import copy_side
from harness.gating.judge import judge
from harness.gating.plan import plan_gate
from harness.gating.record import GateManifest, Side, StageRecord, TurnRecord, write_gate
from harness.gating.request import Finished, name_of
from harness.gating.rules import CONTRACT
from harness.gating.turns import ROLES, plan_turns
from harness.gating.visit import Visiting, how_far
from harness.measuring.measurement import Caveat
from harness.provenance import provenance
from harness.quality.baseline import check_run
from harness.quality.request import EarlierRun
from harness.reports.gate import write_reports
from harness.rundir import RunFolder
from launchers.errors import LauncherError

if TYPE_CHECKING:
    from harness.gating.plan import Plan, Planned
    from harness.gating.request import GateRequest, Named
    from harness.gating.result import GateResult
    from harness.gating.turns import Role, Turn
    from harness.live import Live

_AFTER_FAIL = "not gone through: a rule before it is broken"
_INTERRUPTED = "interrupted"


def run_gate(request: GateRequest, parent: Path, live: Live) -> tuple[RunFolder, ExitCode]:
    """Hold a candidate to the rules; return the gate's folder and the exit code.

    Raises:
        BadInputError, BuildError, LoadProfilesError: what was asked is impossible, or a rule cannot
            be kept with so few items; nothing was started, and there is no folder.
    """
    plan = plan_gate(request)
    slug = f"gate-{name_of(request.candidate)}-{name_of(request.baseline)}"
    folder = RunFolder.create(parent, slug)
    return folder, _Gate(request, plan, folder, live).run()


def exit_code(result: GateResult, so_far: ExitCode) -> ExitCode:
    """Return what the process answers: what went wrong on the way, else the verdict.

    A rule that is broken is broken, whatever else must not be believed.
    """
    if so_far is not ExitCode.OK:
        return so_far
    if result.verdict == "FAIL":
        return ExitCode.FAIL
    if not result.valid:
        return ExitCode.INVALID
    return ExitCode.OK if result.verdict == "PASS" else ExitCode.INCONCLUSIVE


class _Gate:
    """A gate under way."""

    def __init__(self, request: GateRequest, plan: Plan, folder: RunFolder, live: Live) -> None:
        self._request = request
        self._plan = plan
        self._folder = folder
        self._live = live
        self._sides: dict[Role, Visiting] = {}
        self._turns: list[Turn] = []
        self._began_s = time.monotonic()
        self._broken = False
        self._stopped = ""
        """Why it came to no end of its own."""
        self._code = ExitCode.OK
        self._manifest = _manifest(request, plan, folder)
        self._records = {record.name: record for record in self._manifest.stages}

    def run(self) -> ExitCode:
        """Go through the stages, write the verdict, and say how it went."""
        for note in (*self._plan.notes, *self._plan.running):
            self._live.note(f"Underpowered: {note}")
        try:
            self._save()
            self._begin()
            for turn in self._turns:
                if self._code is ExitCode.OK and self._is_due(turn):
                    self._take(turn)
        except KeyboardInterrupt:
            self._problem("interrupted", "interrupted: what was measured until then is kept")
            self._code = ExitCode.INTERRUPTED
            self._stopped = _INTERRUPTED
            for visiting in self._sides.values():
                visiting.interrupted()
        finally:
            for visiting in self._sides.values():
                if visiting.finish() is not ExitCode.OK and self._code is ExitCode.OK:
                    self._code = ExitCode.SERVER
            result = self._write()
        return exit_code(result, self._code)

    def _begin(self) -> None:
        """Take the numbers of sides that are finished runs; the others get their turns."""
        request, stages = self._request, self._plan.stages
        for role, who in zip(ROLES, (request.baseline, request.candidate), strict=True):
            if isinstance(who, Finished):
                self._know(role, copy_side(who, self._folder, role))
            else:
                self._sides[role] = Visiting(request, who, self._folder, role, stages, self._live)
        for record in self._manifest.stages:
            if record.ended == "not_begun" and not self._sides:
                record.ended = "done"
        loads = [one.stage.repeats for one in stages if one.suite is None and not one.skipped]
        asks = any(one.suite is not None and not one.skipped for one in stages)
        self._turns = plan_turns(self._sides, asks=asks, repeats=max(loads, default=0))
        if self._turns and loads:
            shown = " ".join(getattr(self._manifest, turn.role).name for turn in self._turns)
            self._live.note(f"server starts, {len(self._turns)} at most: {shown}")

    def _is_due(self, turn: Turn) -> bool:
        """Whether a turn has anything to do by now, and time to do it."""
        if self._broken:
            return False
        if turn.asks and turn.role == "candidate":
            return True
        due = any(record.ended == "not_begun" for record in self._manifest.stages)
        if due and time.monotonic() > self._end_s:
            self._out_of_time("not finished")
            return False
        return due

    def _write(self) -> GateResult:
        for one in self._plan.stages:
            self._close(one, self._records[one.stage.name])
        self._save()
        result = judge(self._folder)
        write_gate(self._folder, result)
        for problem in write_reports(self._folder):
            self._live.problem(problem)
        return result

    def _close(self, one: Planned, record: StageRecord) -> None:
        """Say of a stage that is not whole why, how far it came, and where that lies."""
        if record.ended in {"done", "skipped"}:
            return
        far = how_far(one, self._sides)
        if record.ended == "not_begun" and self._broken:
            record.text = _AFTER_FAIL
        elif record.ended == "not_begun" and self._stopped:
            record.ended, record.text = "failed", self._stopped
            if not far:
                record.text = f"not begun: {self._stopped}"
        if far and record.text == _INTERRUPTED:
            record.text = f"{_INTERRUPTED} {far}"
        elif far:
            record.text = f"stopped {far}: {record.text}"

    def _take(self, turn: Turn) -> None:
        """Bring one side up, and ask and drive it; what it lacks then is told by the rules."""
        role, visiting = turn.role, self._sides[turn.role]
        told = TurnRecord(role=role, asks=turn.asks, repeat=turn.repeat, began_s=self._elapsed_s)
        self._manifest.turns.append(told)
        try:
            with visiting.serve(self._earlier() if role == "candidate" else None, self._end_s):
                told.start_s = self._elapsed_s - told.began_s
                self._know(role, visiting.parts)
                if turn.asks:
                    self._contract(visiting, role)
                    self._go_through(turn, visiting)
                    if visiting.graded() is not ExitCode.OK:
                        self._lose()
                        return
                if turn.repeat is not None:
                    self._go_through(turn, visiting, loads=True)
        except (LauncherError, ServerError, ReachError) as error:
            if isinstance(error, LauncherError) and time.monotonic() >= self._end_s:
                self._out_of_time(f"{role}: it did not come up before")
                return
            self._stopped = " ".join(f"{role}: {error}".split())
            self._live.problem(self._stopped)
            self._lose()
        finally:
            self._know(role, visiting.parts)
            if visiting.lost and self._code is ExitCode.OK:
                self._lose()

    def _lose(self) -> None:
        """Go on no further: a server is lost, as a person has been told."""
        self._code = ExitCode.SERVER
        self._manifest.problems.append(Caveat("server_failed", self._stopped, invalidates=True))

    def _go_through(self, turn: Turn, visiting: Visiting, *, loads: bool = False) -> None:
        """Go through the suites of a turn, or its loads."""
        for one in self._plan.stages:
            if (one.suite is None) == loads and not visiting.lost:
                self._stage(visiting, one, turn)
                self._know(turn.role, visiting.parts)

    def _contract(self, visiting: Visiting, role: str) -> None:
        """See whether a server can do what the stages need; the candidate must."""
        record = self._records.get(CONTRACT)
        began_s = time.monotonic()
        problem = visiting.contract()
        if record is None:  # the candidate is a finished run, and can do what it has done
            record = StageRecord(name=CONTRACT)
        record.elapsed_s += time.monotonic() - began_s
        if problem and role == "baseline":
            self._problem("baseline_contract", f"the baseline keeps no contract: {problem}")
        elif role == "candidate":
            record.ended = "failed" if problem else "done"
            record.text = problem
            self._look()

    def _stage(self, visiting: Visiting, one: Planned, turn: Turn) -> None:
        """Go through one stage of one side, unless it is settled that it does not matter."""
        record = self._records[one.stage.name]
        if record.ended != "not_begun" or self._broken:
            return
        if one.suite is None and (turn.repeat or 0) > one.stage.repeats:
            return
        now_s = time.monotonic()
        if now_s > self._end_s:
            self._out_of_time("not finished")
            return
        if turn.repeat is not None and one.suite is None:
            went = visiting.drive(one, turn.repeat, self._end_s)
        else:
            went = visiting.ask(one, self._end_s)
        record.elapsed_s += time.monotonic() - now_s
        if went.ended != "done":
            record.ended, record.needs_s = went.ended, went.needs_s
            record.text = f"{turn.role}: {went.text}"
            if went.ended == "failed":
                record.text = self._stopped = " ".join(record.text.split())
        elif self._is_last(one, turn):
            record.ended = "done"
        self._look()

    def _is_last(self, one: Planned, turn: Turn) -> bool:
        """Whether no later turn goes on with a stage."""
        later = self._turns[self._turns.index(turn) + 1 :]
        if one.suite is not None:
            return not any(other.asks for other in later)
        return all((other.repeat or math.inf) > one.stage.repeats for other in later)

    @property
    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began_s

    @property
    def _end_s(self) -> float:
        """When all of its time is used up, on the monotonic clock."""
        return self._began_s + self._request.rules.budget_s

    def _out_of_time(self, text: str) -> None:
        """Give up all stages that have not begun."""
        for record in self._manifest.stages:
            if record.ended == "not_begun":
                record.ended = "out_of_time"
                record.text = f"{text}: all {self._request.rules.budget_s:g} s were used up"

    def _look(self) -> None:
        """See whether a rule is broken by now."""
        self._save()
        if self._request.fail_fast:
            self._broken = judge(self._folder).verdict == "FAIL"

    def _earlier(self) -> EarlierRun | None:
        """Return the baseline's answers as an evaluation compares with them, if it has them all."""
        asked = [one.asks for one in self._plan.stages if one.suite is not None and not one.skipped]
        for name in self._manifest.baseline.parts:
            run = RunFolder(self._folder.path / name)
            earlier = EarlierRun(run=run, build=self._manifest.baseline.name)
            try:
                check_run(earlier, asked)
            except BadInputError:
                continue
            return earlier if asked else None
        return None

    def _know(self, role: str, parts: list[str]) -> None:
        manifest = self._manifest
        side = msgspec.structs.replace(getattr(manifest, role), parts=list(parts))
        setattr(manifest, role, side)
        manifest.parts = [*manifest.baseline.parts, *manifest.candidate.parts]

    def _problem(self, code: str, text: str) -> None:
        self._manifest.problems.append(Caveat(code, text, invalidates=True))
        self._live.problem(text)

    def _save(self) -> None:
        self._manifest.elapsed_s = self._elapsed_s
        self._folder.write_manifest(msgspec.to_builtins(self._manifest, enc_hook=str))


def _manifest(request: GateRequest, plan: Plan, folder: RunFolder) -> GateManifest:
    stages = [StageRecord(name=CONTRACT)] if _serves(request) else []
    stages += [
        StageRecord(
            name=one.stage.name,
            asks=one.asks,
            levels=list(one.levels),
            rules=list(one.stage.rules),
            budget_s=one.stage.budget_s,
            tests=one.tests,
            ended="skipped" if one.skipped else "not_begun",
            text=one.skipped,
        )
        for one in plan.stages
    ]
    manifest = GateManifest(
        run=folder.begun(request.command, request.seed),
        request=msgspec.to_builtins(dict(request.asked), enc_hook=str),
        candidate=_side(request.candidate),
        baseline=_side(request.baseline),
        rules_file=request.rules_file,
        rules=request.rules.model_dump(mode="json", exclude_none=True),
        budget_s=request.rules.budget_s,
        stages=stages,
        problems=[
            *(Caveat("underpowered", note) for note in plan.notes),
            *(Caveat("not_started", note) for note in plan.running),
        ],
    )
    for name, value in provenance(Path.cwd()).items():
        setattr(manifest, name, value)
    return manifest


def _serves(request: GateRequest) -> bool:
    return not isinstance(request.candidate, Finished)


def _side(who: Named) -> Side:
    name = name_of(who)
    run = str(who.run.path) if isinstance(who, Finished) else None
    return Side(build=name, name=name, run=run)
