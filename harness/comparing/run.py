"""One comparison end to end: builds up by turns, asked and driven, and weighed at the end."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Final

from harness.comparing.checks import check, check_same, described, unlike_of
from harness.comparing.manifest import (
    new_manifest,
    read_compare_manifest,
    weigh,
    write_manifest,
)
from harness.comparing.plan import minutes, plan_comparison, words
from harness.comparing.record import write_comparison
from harness.comparing.request import Weighing
from harness.errors import ExitCode, HarnessError
from harness.evidence.folders import COMPARISON, LOAD, kind_of
from harness.gap import gap_of
from harness.load.abreast import all_up
from harness.load.job import LoadJob
from harness.quality.run import EvalJob
from harness.reports.comparison import write_reports
from harness.rundir import RunFolder
from harness.serving import Connected, name_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from evals.kinds import Size
    from harness.comparing.plan import ComparePlan
    from harness.comparing.request import CompareRequest
    from harness.live import Live
    from harness.load.order import Visit
    from harness.serving import Source

QUALITY: Final = "quality"
_WORST: Final = (ExitCode.INTERRUPTED, ExitCode.SERVER, ExitCode.INVALID)
_VERDICTS: Final = {
    "PASS": ExitCode.OK,
    "FAIL": ExitCode.FAIL,
    "INCONCLUSIVE": ExitCode.INCONCLUSIVE,
}


def run_compare(request: CompareRequest, parent: Path, live: Live) -> tuple[RunFolder, ExitCode]:
    """Measure all builds by turns; return the run's folder and the exit code.

    A server that does not come up, or dies, costs its own part only. After Ctrl-C, too, the
    folder holds the comparison of what was measured.

    Raises:
        BadInputError, BuildError, LoadProfilesError: what was asked is impossible; nothing was
            started, and there is no folder.
    """
    sources, sizes = check(request, parent)
    folder = request.resume
    if folder is None:
        folder = RunFolder.create(parent, f"compare-{'-'.join(one.name for one in sources)}")
    with folder.claimed():
        return folder, _prepared(request, folder, sources, sizes, live).run()


def _prepared(
    request: CompareRequest,
    folder: RunFolder,
    sources: list[Source],
    sizes: Mapping[str, Size],
    live: Live,
) -> _Comparison:
    if request.resume is None:
        manifest = new_manifest(
            folder,
            request.weighing,
            command=request.command,
            seed=request.load.seed,
            asked=request.asked,
            builds={name_of(who): described(who) for who in request.builds},
            parts=[QUALITY, LOAD],
        )
        manifest.unlike = unlike_of(request)
        write_manifest(folder, manifest)
    else:
        manifest = read_compare_manifest(folder)
        check_same(manifest, request)
    gap = gap_of(folder.path)
    plan = plan_comparison(request, sizes)
    for line in words(plan):
        live.note(line)
    comparison = _Comparison(request, folder, sources, plan, live)
    if request.resume is not None and comparison.unfinished:
        manifest.resumed.append(gap)
        write_manifest(folder, manifest)
    return comparison


def compare_runs(
    runs: Sequence[RunFolder],
    weighing: Weighing,
    parent: Path,
    live: Live,
    *,
    command: Sequence[str],
) -> tuple[RunFolder, ExitCode]:
    """Compare what finished runs hold; nothing is started.

    A single comparison, with nothing said of how to weigh it, is weighed again in place; what is
    said makes another comparison of the same runs, and the rest stays as it was.

    Raises:
        BadInputError: a run is broken, or they are not comparable; then there is no folder.
    """
    [first, *others] = runs
    if not others and kind_of(first) == COMPARISON:
        if weighing == Weighing():
            return first, finish(first, live)
        before = read_compare_manifest(first)
        weighing = Weighing(
            baseline=weighing.baseline or before.baseline,
            limits=weighing.limits or before.limits,
            prices=weighing.prices or before.prices,
            allow_different=weighing.allow_different or before.allow_different,
        )
    folder = RunFolder.create(parent, f"compare-{'-'.join(run.path.name for run in runs)}")
    manifest = new_manifest(
        folder,
        weighing,
        command=command,
        seed=0,
        asked={"runs": [run.path for run in runs]},
        runs=runs,
    )
    write_manifest(folder, manifest)
    try:
        return folder, finish(folder, live)
    except HarnessError:
        shutil.rmtree(folder.path)
        raise


def finish(folder: RunFolder, live: Live, so_far: ExitCode = ExitCode.OK) -> ExitCode:
    """Weigh what there is, write it down, and say how it went; the verdict counts where asked."""
    comparison = weigh(folder)
    write_comparison(folder, comparison)
    for problem in write_reports(folder):
        live.problem(problem)
    if so_far is not ExitCode.OK:
        return so_far
    if not comparison.valid:
        return ExitCode.INVALID
    if read_compare_manifest(folder).limits is None:
        return ExitCode.OK
    return _VERDICTS[comparison.recommendation.verdict]


class _Comparison:
    """A comparison under way."""

    def __init__(
        self,
        request: CompareRequest,
        folder: RunFolder,
        sources: Sequence[Source],
        plan: ComparePlan,
        live: Live,
    ) -> None:
        self._folder = folder
        self._sources = {source.name: source for source in sources}
        self._left_s = [visit.about_s for visit in plan.visits]
        self._spent_s = self._planned_s = 0.0
        self._live = live
        self._asked: set[str] = set()
        self._interleave = request.load.interleave
        self._load = LoadJob(request.load, folder.part(LOAD), live, list(self._sources))
        self._quality = EvalJob(request.quality, folder.part(QUALITY), live)

    @property
    def unfinished(self) -> bool:
        """Whether something is still to be measured or asked."""
        asks = any(map(self._quality.todo, self._sources))
        return asks or any(map(self._load.todo, self._load.visits))

    def run(self) -> ExitCode:
        """Go through all visits, write all there is to write, and say how it went."""
        interrupted = False
        try:
            self._load.record.save()
            self._quality.begin()
            if self._interleave:
                self._all_at_once()
            else:
                for visit in self._load.visits:
                    self._visit(visit)
        except KeyboardInterrupt:
            interrupted = True
            self._load.interrupted()
            if any(map(self._quality.todo, self._sources)):
                self._quality.interrupted()
        finally:
            codes = [self._load.finish(), self._quality.finish()]
        if interrupted:
            self._live.problem(f"harness compare --resume {self._folder.path} goes on")
        worst = next((code for code in _WORST if code in codes), ExitCode.OK)
        try:
            return finish(self._folder, self._live, worst)
        except HarnessError as error:
            if worst is ExitCode.OK:
                raise
            self._live.problem(f"no comparison: {error}")
            return worst

    def _visit(self, visit: Visit) -> None:
        """Bring a build up: suites that it was not asked yet, then the cells of this visit."""
        planned_s = self._left_s.pop(0)
        source = self._sources[visit.build]
        grade = visit.build not in self._asked and bool(self._quality.todo(visit.build))
        if not grade and not self._load.todo(visit):
            return
        began_s = time.monotonic()
        with (
            self._load.guarded(visit.build),
            source.serve(self._load.folder, self._live) as served,
        ):
            if grade:
                self._asked.add(visit.build)
                self._quality.visit(Connected(served.server, served.running))
            self._load.drive(visit, served)
        self._tell(time.monotonic() - began_s, planned_s)

    def _all_at_once(self) -> None:
        """Bring all builds up, ask each the suites, and drive their cells by turns."""
        grade = [name for name in self._sources if self._quality.todo(name)]
        if not grade and not any(map(self._load.todo, self._load.visits)):
            return
        with all_up(self._sources, self._load, self._live) as up:
            if not up:
                return
            with self._load.guarded(" and ".join(up)):
                for name in grade:
                    self._quality.visit(Connected(up[name].server, up[name].running))
                self._load.interleave(up)

    def _tell(self, took_s: float, planned_s: float) -> None:
        """Say how long the rest will take, at the pace so far."""
        self._spent_s += took_s
        self._planned_s += planned_s
        left_s = sum(self._left_s) * self._spent_s / self._planned_s
        if self._left_s:
            self._live.note(f"server starts to go: {len(self._left_s)}, about {minutes(left_s)}")
