"""One evaluation end to end: servers up, suites asked, numbers written after each of them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from evals.errors import EvalError, ReachError, ResumeError, RouteError
from harness.errors import (
    BadInputError,
    ExitCode,
    HarnessError,
    InvalidRunError,
    OutOfTimeError,
    ServerError,
)
from harness.gap import gap_of
from harness.quality.asking import ask_pass
from harness.quality.baseline import COPY, copy_baseline
from harness.quality.beside import load_beside
from harness.quality.checks import check, job_of
from harness.quality.contaminated import contaminated
from harness.quality.evaluate import exit_code
from harness.quality.kinds import kind_of
from harness.quality.passes import (
    EVALS,
    check_folders,
    passes,
    read_pass,
    write_pass,
)
from harness.quality.probing import Probed, probe_server
from harness.quality.record import (
    BaselineFacts,
    EvalRecord,
    ServerFacts,
    new_manifest,
    read_evaluation,
    read_manifest,
)
from harness.quality.request import EarlierRun
from harness.quality.servers import builds_of, endpoint_for
from harness.quality.suites import demand_same, tokenizer_sha256
from harness.reports.evaluation import write_evaluation
from harness.rundir import MANIFEST_FILE, RunFolder
from harness.serving import name_of
from launchers.errors import LauncherError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from evals.endpoint import Endpoint
    from harness.live import Live
    from harness.quality.passes import Pass
    from harness.quality.record import EvalManifest
    from harness.quality.request import EvalRequest
    from harness.serving import Served, Source


def run_eval(request: EvalRequest, parent: Path, live: Live) -> tuple[RunFolder, ExitCode]:
    """Evaluate everything that was asked; return the run's folder and the exit code.

    A server that dies, or a suite that cannot be asked, costs its own part only.

    Raises:
        BadInputError, BuildError, LoadProfilesError: what was asked is impossible; nothing was
            started, and there is no folder. Also where a run cannot go on because its server is
            another one by now.
        ConnectError: nothing usable answers at the URL; there is no folder.
    """
    sources, _ = check(request)
    folder = request.resume
    if folder is None:
        check_folders(planned_passes(request))
        slug = "-".join(suite.name for suite, _ in request.suites)
        builds = "-".join(builds_of(request))
        folder = RunFolder.create(parent, f"eval-{slug}-{builds}")
    with folder.claimed():
        job = EvalJob(request, folder, live)
        try:
            job.begin()
            for source in sources:
                job.visit(source)
        except KeyboardInterrupt:
            job.interrupted()
        finally:
            code = job.finish()
    return folder, code


def planned_passes(request: EvalRequest) -> list[Pass]:
    """Return all that is to be asked, the baseline's passes first."""
    names = [suite.name for suite, _ in request.suites]
    baseline, builds = _baseline_name(request), builds_of(request)
    asked = list(dict.fromkeys([*([baseline] if baseline else []), *builds]))
    return [
        one
        for build in asked
        for one in passes(
            names,
            build,
            baseline=build == baseline,
            candidate=build in builds,
            under_load=request.under_load is not None,
        )
    ]


def _baseline_name(request: EvalRequest) -> str | None:
    baseline = request.baseline
    if isinstance(baseline, EarlierRun):
        return COPY.format(baseline.build)
    return None if baseline is None else name_of(baseline)


def _manifest(request: EvalRequest, folder: RunFolder) -> EvalManifest:
    name, earlier = _baseline_name(request), request.baseline
    of = str(earlier.run.path) if isinstance(earlier, EarlierRun) else None
    facts = None if name is None else BaselineFacts(build=name, run=of)
    builds, planned = builds_of(request), planned_passes(request)
    return new_manifest(folder, request, builds, facts, planned)


class EvalJob:
    """An evaluation under way; one whose folder holds a part of it goes on with what is missing.

    Args:
        request: all that was asked, and found right by `check`.
        folder: the run's.
        live: what a person sees.

    Raises:
        BadInputError: the folder was begun with other suites.
    """

    def __init__(self, request: EvalRequest, folder: RunFolder, live: Live) -> None:
        self._request = request
        self._folder = folder
        seen = list(contaminated(request))
        if (folder.path / MANIFEST_FILE).is_file():
            self._record = EvalRecord(folder, read_manifest(folder))
            demand_same(self._record.manifest.suites, request.suites, folder.path)
            self._record.manifest.problems.clear()
            self._went_on()
        else:
            self._record = EvalRecord(folder, _manifest(request, folder))
        self._record.manifest.problems += seen
        self._live = live
        self._suites = {suite.name: (suite, base_dir) for suite, base_dir in request.suites}
        self._code = ExitCode.OK

    def begin(self) -> None:
        """Write what is known, and copy the answers of an earlier run where that is the baseline.

        Raises:
            BadInputError: the folder cannot be written, or the earlier run cannot be read.
        """
        self._record.save()
        self._take_baseline()

    def _went_on(self) -> None:
        """Note the gap, if there is anything left to ask."""
        planned = self._record.manifest.passes
        done = sum(map(self._is_done, planned))
        if done < len(planned):
            gap = gap_of(self._folder.path, kept=done, planned=len(planned))
            self._record.manifest.resumed.append(gap)

    def todo(self, build: str) -> list[Pass]:
        """What one build is still to be asked."""
        planned = [one for one in self._record.manifest.passes if one.build == build]
        return [one for one in planned if not self._is_done(one)]

    def visit(
        self,
        source: Source,
        *,
        suites: Collection[str] | None = None,
        until_s: float | None = None,
    ) -> None:
        """Bring one server up and ask it; what goes wrong with it is its own loss.

        Args:
            source: the server.
            suites: ask these only; None: all.
            until_s: on the monotonic clock; what is not asked by then is `out_of_time`.

        Raises:
            BadInputError: it is another server than the one that the run was begun with.
            KeyboardInterrupt: what was answered is kept.
        """
        todo = [one for one in self.todo(source.name) if suites is None or one.suite in suites]
        if not todo:
            return
        try:
            with source.serve(self._folder, self._live) as served:
                self._server(source, served, todo, until_s)
        except ResumeError as error:
            raise BadInputError(str(error)) from error
        except (LauncherError, ServerError, ReachError) as error:
            self._problem("server_failed", f"{source.name}: {error}")
            self._code = ExitCode.SERVER

    def interrupted(self) -> None:
        """Keep that the run was cut off."""
        self._problem("interrupted", f"interrupted: {self._how_far()}")
        self._code = ExitCode.INTERRUPTED

    def finish(self) -> ExitCode:
        """Write all there is to write, and say how it went."""
        self._record.save()
        for problem in write_evaluation(self._folder):
            self._live.problem(problem)
        return exit_code(read_evaluation(self._folder), self._code, gated=self._request.gated)

    def _take_baseline(self) -> None:
        earlier = self._request.baseline
        if not isinstance(earlier, EarlierRun):
            return
        if COPY.format(earlier.build) in self._record.manifest.servers:
            return  # a run that goes on has its copy, and needs the other folder no more
        name, facts = copy_baseline(earlier, self._record.manifest.passes, self._folder)
        self._record.manifest.servers[name] = facts
        self._record.save()

    def _is_done(self, one: Pass) -> bool:
        return read_pass(self._pass_folder(one)).ended == "done"

    def _pass_folder(self, one: Pass) -> Path:
        return self._folder.path / EVALS / one.suite / one.folder

    def _server(
        self, source: Source, served: Served, todo: list[Pass], until_s: float | None
    ) -> None:
        endpoint = endpoint_for(self._request, served)
        self._know(source.name, endpoint, served)
        probed = probe_server(self._folder, endpoint, served, self._live)
        for one in todo:
            self._pass(one, served, probed, until_s)
        probed.sing(served, self._live)

    def _know(self, build: str, endpoint: Endpoint, served: Served) -> None:
        """Keep what a server is.

        Raises:
            ResumeError: it was another one when this run began.
        """
        facts = ServerFacts(
            engine=endpoint.engine,
            engine_version=endpoint.engine_version,
            model=endpoint.model,
            identity=endpoint.identity,
            provenance=msgspec.to_builtins(served.server.provenance, enc_hook=str),
            tokenizer_sha256=tokenizer_sha256(served.server.tokenizer or endpoint.tokenizer),
        )
        before = self._record.manifest.servers.get(build)
        if before is not None and before.identity != facts.identity:
            raise ResumeError(
                f"{build} is another server than the one that {self._folder.path} was begun "
                f"with: {_differences(before, facts)}. Start a run of its own"
            )
        self._record.manifest.servers[build] = facts
        self._record.save()

    def _pass(self, one: Pass, served: Served, probed: Probed, until_s: float | None) -> None:
        """Ask one suite; what goes wrong with it is its own loss, unless the server is gone."""
        suite, base_dir = self._suites[one.suite]
        kind, folder = kind_of(suite), self._pass_folder(one)
        folder.mkdir(parents=True, exist_ok=True)
        record = read_pass(folder)
        began = time.monotonic()
        keep: dict[str, object] = {"ended": "failed"}
        try:
            route = probed.route_for(kind.routes(suite), self._request.route)
            job = job_of(self._request, suite, base_dir, folder, route)
            size = kind.check(job, probed.endpoint)
            record = msgspec.structs.replace(
                record, ended="under_way", route=route, items=size.items, problem=None
            )
            write_pass(folder, record)
            with load_beside(self._request, self._folder, one, served, self._live):
                ask_pass(kind, job, probed.endpoint, served, self._live, one.title, until_s)
            keep = {"ended": "done"}
        except RouteError as error:
            keep = {"ended": "refused", "problem": str(error)}
            self._problem("route_refused", f"{one.title}: {error}")
        except OutOfTimeError as error:
            keep = {"ended": "out_of_time", "problem": error.text}
            self._problem("out_of_time", error.text)
        except (ResumeError, ServerError, ReachError) as error:
            keep["problem"] = str(error)
            raise
        except (EvalError, HarnessError) as error:
            keep["problem"] = str(error)
            self._problem("suite_failed", f"{one.title}: {error}")
            if not isinstance(error, InvalidRunError):  # which is no fault of the server's
                self._code = ExitCode.SERVER
        except KeyboardInterrupt:
            keep = {"ended": "under_way"}
            raise
        finally:
            record = read_pass(folder)
            wall_s = record.wall_s + time.monotonic() - began
            write_pass(folder, msgspec.structs.replace(record, wall_s=wall_s, **keep))

    def _how_far(self) -> str:
        planned = self._record.manifest.passes
        told = f"{sum(map(self._is_done, planned))} of {len(planned)} parts are done"
        if self._folder.id != self._folder.path.name:  # a part of a run, which says it itself
            return told
        return f"{told}; harness eval --resume {self._folder.path} goes on"

    def _problem(self, code: str, text: str) -> None:
        self._record.add_problem(code, text)
        self._live.problem(text)


def _differences(before: ServerFacts, now: ServerFacts) -> str:
    """Say in which facts two servers differ."""
    found = [
        f"{name} was {getattr(before, name)!r} and is {getattr(now, name)!r}"
        for name in ("engine", "engine_version", "model")
        if getattr(before, name) != getattr(now, name)
    ]
    found += [
        name
        for name in sorted({*before.provenance, *now.provenance})
        if name not in {"ready_s", "first_token_s", "cpus"}
        and before.provenance.get(name) != now.provenance.get(name)
    ]
    return "; ".join(found) or "its identity"
