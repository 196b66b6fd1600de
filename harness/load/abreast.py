"""Several servers that take turns: by starts, or request by request, all up at once."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from harness.load.matrix import expand
from harness.load.order import visits
from harness.serving import names_in, urls_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.live import Live
    from harness.load.job import LoadJob
    from harness.load.request import LoadRequest
    from harness.serving import Served, Source


def announced(request: LoadRequest) -> Iterator[str]:
    """Say in which order several servers come up, and how often."""
    if request.sweep is not None:
        return
    names, running = names_in(request.servers), names_in(urls_in(request.servers))
    if request.interleave:
        yield (
            f"{', '.join(names)} are up at once and asked by turns, request by request; "
            f"repeats: {request.repeats}"
        )
    elif request.order == "mirrored" and len(names) > 1:
        cells = expand(names, request.profile.name, [1], request.repeats, closed=True)
        order = [visit.build for visit in visits(cells, "mirrored", 0)]
        starts = sum(name not in running for name in order)
        yield (
            f"{starts} server starts, in mirrored turns: {' '.join(order)} "
            "(--repeats N and --order each change that)"
        )
    if running and len(names) > 1:
        yield f"{', '.join(running)}: runs already and is not started"


@contextmanager
def all_up(sources: Mapping[str, Source], job: LoadJob, live: Live) -> Iterator[dict[str, Served]]:
    """Bring all servers up; yields them by name, none where one of them does not come up.

    That is a problem of the job's then.
    """
    up: dict[str, Served] = {}
    with ExitStack() as stack:
        for name, source in sources.items():
            with job.guarded(name):
                up[name] = stack.enter_context(source.serve(job.folder, live))
            if name not in up:
                live.problem(
                    f"--interleave needs all builds up at once, and {name} did not come up "
                    f"beside {' and '.join(up) or 'nothing'}: if memory is short, limit each "
                    "build's (its cache, its share of the GPU), or leave --interleave out"
                )
                up = {}
                break
        yield up
