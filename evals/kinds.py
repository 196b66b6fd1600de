"""What a kind of suite can do: `evals/domain`, `evals/perplexity` and `evals/lmeval` have one each.

A kind asks its items through a client and appends an `Answer` for each to the job's folder
(`evals.store`); items that the folder holds already are not asked again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from evals.client import Asks
    from evals.endpoint import Endpoint
    from evals.records import Route
    from evals.suite import Suite

Progress = Callable[[int, int], None]
"""Hears of items done and items in all."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One suite, to be asked of one server by one route."""

    suite: Suite
    base_dir: Path
    """What the suite's relative paths count from."""
    folder: Path
    """Holds `plan.json`, `answers.jsonl` and what else the kind keeps."""
    route: Route
    limit: int | None = None
    """Items at most; None: the suite's own limit."""
    seed: int = 0
    """Of the random subset."""
    judge: Endpoint | None = None
    """Model that judges answers, where the suite's grader asks for one."""
    python: Path | None = None
    """Python that has lm-eval (the managed environment `lm-eval`); None: the one that runs this."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much a suite asks."""

    items: int
    requests: int
    """HTTP requests by the route at hand."""
    prompt_tokens: int | None = None
    categories: dict[str, int] | None = None
    """Items of each; of an lm-eval suite those of each entry."""
    clusters: int | None = None
    """Groups of items that are not independent; None: each item stands alone."""


class Kind(Protocol):
    """One kind of suite; its package's `__init__` ends in `KIND: Kind = …`."""

    def routes(self, suite: Suite) -> tuple[Route, ...]:
        """Routes by which the suite can be asked, the best first."""

    def check(self, job: Job, endpoint: Endpoint) -> Size:
        """Find all that is wrong before a server is asked, and say how much will be asked.

        Raises:
            SuiteError, NeedError: naming the field or file and the fix.
        """

    async def ask(self, job: Job, client: Asks, progress: Progress) -> None:
        """Ask all items that the job's folder does not hold yet.

        Raises:
            ReachError: the endpoint is gone; what was answered is in the folder.
            ResumeError: the folder holds answers to something else.
        """
