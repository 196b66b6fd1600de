"""What the child wrote beside the answers: by which conventions they are, and what was noted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from evals.errors import GARBAGE, DamagedError
from evals.lmeval.plan import RESULTS_FILE

if TYPE_CHECKING:
    from pathlib import Path


class TaskResult(msgspec.Struct, kw_only=True):
    """One task as lm-eval itself sees it."""

    entry: str
    """The suite's name for it or its group."""
    few_shot: int
    metrics: dict[str, float]
    """Metric and filter → lm-eval's value, over the items without an error."""
    version: float | str | None = None
    items: int = 0
    errors: int = 0


class Results(msgspec.Struct, kw_only=True):
    """`lmeval.json`."""

    lm_eval: str
    bos: str
    window: int
    tasks: dict[str, TaskResult] = {}
    notes: list[str] = []

    @property
    def convention(self) -> str:
        """How the numbers came about, in one line."""
        shots: dict[str, set[int]] = {}
        for task in self.tasks.values():
            shots.setdefault(task.entry, set()).add(task.few_shot)
        listed = ", ".join(
            f"{entry} {'/'.join(map(str, sorted(counts)))}" for entry, counts in shots.items()
        )
        return f"lm-eval {self.lm_eval}, BOS {self.bos}, few-shot examples: {listed}"


def read_results(folder: Path) -> Results | None:
    """Return a folder's results; None before the first task is done.

    Raises:
        DamagedError: the file is not as it was written.
    """
    path = folder / RESULTS_FILE
    if not path.is_file():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=Results)
    except GARBAGE as error:
        raise DamagedError(f"{path} is not as it was written: {error}") from error
