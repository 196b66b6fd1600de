"""One load run end to end: servers up, cells driven, numbers written after each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.load.abreast import all_up, announced
from harness.load.checks import check
from harness.load.job import LoadJob
from harness.load.sweep import sweep, swept_cells
from harness.rundir import RunFolder
from harness.serving import Source, source_of

if TYPE_CHECKING:
    from pathlib import Path

    from harness.errors import ExitCode
    from harness.live import Live
    from harness.load.request import LoadRequest


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
    by_name = {source.name: source for source in sources_of(request)}
    names = list(by_name)
    for line in announced(request):
        live.note(line)
    folder = request.resume
    if folder is None:
        folder = RunFolder.create(parent, f"{request.profile.name}-{'-'.join(names)}")
    with folder.claimed():
        job = LoadJob(request, folder, live, names, swept_cells(request))
        try:
            if request.sweep is not None:
                for source in by_name.values():
                    sweep(request, job, source, live)
            elif request.interleave:
                _by_turns(job, by_name, live)
            else:
                for visit in job.visits:
                    job.visit(visit, by_name[visit.build])
        except KeyboardInterrupt:
            job.interrupted()
            live.problem(f"harness load --resume {folder.path} goes on")
        finally:
            code = job.finish()
    return folder, code


def _by_turns(job: LoadJob, sources: dict[str, Source], live: Live) -> None:
    if not any(map(job.todo, job.visits)):
        return
    with all_up(sources, job, live) as up:
        if up:
            with job.guarded(" and ".join(up)):
                job.interleave(up)


def sources_of(request: LoadRequest) -> list[Source]:
    """Return where the servers come from.

    Raises:
        ConnectError: nothing usable answers at the URL.
    """
    return [
        source_of(
            who,
            dialect=request.dialect,
            headers=request.headers,
            api_key_env=request.api_key_env,
        )
        for who in request.servers
    ]
