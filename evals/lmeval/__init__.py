"""lm-eval's tasks, filters, metrics and few-shot conventions, asked through the strict client.

process.py     the child that has lm-eval, seen from here
plan.py        what passes between the two
__main__.py    the child: `python -m evals.lmeval`
running.py     its work: load, ask, grade, write
loading.py     tasks by name, few-shot examples
subset.py      which items
model.py       what lm-eval asks of a model
packing.py     prompts, put into requests
asking.py      requests, sent and kept
cache.py       what was answered already
tokens.py      text to ids
results.py     its conventions and notes, read back
grading.py     lm-eval's samples → answers
link.py        task files for a user's own copies of the data sets

Only the child imports lm-eval.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from evals.errors import EvalError, SuiteError
from evals.kinds import Kind, Size
from evals.lmeval.plan import Asked, Plan, Sized
from evals.lmeval.process import follow, follow_async

if TYPE_CHECKING:
    from evals.client import Asks
    from evals.endpoint import Endpoint
    from evals.kinds import Job, Progress
    from evals.lmeval.plan import Event
    from evals.records import Route
    from evals.suite import Suite

OWN = -1
"""Few-shot examples: as many as the task itself says."""


class LmEval:
    """Suites with a `[lmeval]` table."""

    def routes(self, suite: Suite) -> tuple[Route, ...]:  # noqa: ARG002 - tasks are not loaded yet
        """Prompts are scored, or, where all tasks are graded by what is written, that is."""
        return ("next", "echo", "native", "generative")

    def check(self, job: Job, endpoint: Endpoint) -> Size:
        """Load all tasks and their data sets."""
        found: list[Sized] = []

        def heard(event: Event) -> None:
            if isinstance(event, Sized):
                found.append(event)

        follow(_plan("size", job, endpoint), job.python, heard)
        if not found:
            raise EvalError("lm-eval ended without saying how much there is to ask")
        return Size(**msgspec.structs.asdict(found[0]))

    async def ask(self, job: Job, client: Asks, progress: Progress) -> None:
        """Ask, in the child."""

        def heard(event: Event) -> None:
            if isinstance(event, Asked):
                progress(event.done, event.total)

        await follow_async(_plan("ask", job, client.endpoint), job.python, heard)


def _plan(do: Any, job: Job, endpoint: Endpoint) -> Plan:  # noqa: ANN401 - a literal
    settings = job.suite.lmeval
    if settings is None:
        raise SuiteError(f"{job.suite.name} has no [lmeval] table")
    if not settings.tasks:
        raise SuiteError("lmeval.tasks is empty: name a task, e.g. arc_easy = 0")
    if odd := sorted(set(settings.metrics) - set(settings.tasks)):
        raise SuiteError(f"lmeval.metrics: {', '.join(odd)} is not among lmeval.tasks")
    include = settings.include_path
    folder = None if include is None else (job.base_dir / include).absolute()
    if folder is not None and not folder.is_dir():
        raise SuiteError(f"lmeval.include_path: {folder} is no folder")
    return Plan(
        do=do,
        tasks={name: None if shots == OWN else shots for name, shots in settings.tasks.items()},
        endpoint=endpoint,
        folder=str(job.folder.absolute()),
        metrics=settings.metrics,
        include_path=None if folder is None else str(folder),
        limit=job.limit or job.suite.limit,
        seed=job.seed,
        route=job.route,
        bos=settings.bos,
        window=settings.window,
        pack=settings.pack,
    )


KIND: Kind = LmEval()
