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
texts.py       what is asked, as texts, for `evals.asked_texts`
link.py        task files for a user's own copies of the data sets

Only the child imports lm-eval.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from evals.endpoint import Endpoint
from evals.errors import EvalError, SuiteError
from evals.kinds import Kind, Size
from evals.lmeval.plan import Asked, Plan, Sized, Texts, Unread
from evals.lmeval.process import follow, follow_async

if TYPE_CHECKING:
    from pathlib import Path

    from evals.client import Asks
    from evals.kinds import Job, Progress
    from evals.lmeval.plan import Event
    from evals.records import Route
    from evals.suite import LmEvalSettings, Suite

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


def read_texts(
    suite: Suite, base_dir: Path, python: Path | None, *, fetch: bool
) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return what a suite's tasks ask, item → its text and parts, and task → why it was not read.

    Args:
        suite: with an `[lmeval]` table.
        base_dir: what its include path counts from.
        python: one that has lm-eval; None: this one.
        fetch: whether data sets that are not on this machine may be fetched.

    Raises:
        NeedError: lm-eval is not there.
        SuiteError: the suite is wrong.
    """
    settings, folder = _settings(suite, base_dir)
    items: dict[str, list[str]] = {}
    unread: dict[str, str] = {}

    def heard(event: Event) -> None:
        if isinstance(event, Texts):
            items.update({f"{event.task}/{n}": forms for n, forms in enumerate(event.items)})
        elif isinstance(event, Unread):
            unread[event.task] = event.text

    plan = Plan(
        do="read",
        tasks=dict.fromkeys(settings.tasks),
        endpoint=Endpoint(base_url="", model=""),  # nobody is asked
        folder=str(base_dir),
        include_path=None if folder is None else str(folder),
    )
    follow(plan, python, heard, offline=not fetch)
    return items, unread


def _settings(suite: Suite, base_dir: Path) -> tuple[LmEvalSettings, Path | None]:
    """Return a suite's table, and its include path as it is found from here."""
    settings = suite.lmeval
    if settings is None:
        raise SuiteError(f"{suite.name} has no [lmeval] table")
    if not settings.tasks:
        raise SuiteError("lmeval.tasks is empty: name a task, e.g. arc_easy = 0")
    if odd := sorted(set(settings.metrics) - set(settings.tasks)):
        raise SuiteError(f"lmeval.metrics: {', '.join(odd)} is not among lmeval.tasks")
    include = settings.include_path
    folder = None if include is None else (base_dir / include).absolute()
    if folder is not None and not folder.is_dir():
        raise SuiteError(f"lmeval.include_path: {folder} is no folder")
    return settings, folder


def _plan(do: Any, job: Job, endpoint: Endpoint) -> Plan:  # noqa: ANN401 - a literal
    settings, folder = _settings(job.suite, job.base_dir)
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
