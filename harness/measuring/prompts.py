"""What a reader must mind about the prompts of a cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from harness.measuring.measurement import Caveat
from harness.measuring.sessions import prompt_count, sessions_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.measuring.caveats import Case, Rule

PROMPTS_OFF: Final = 0.01


def _prompts_reused(case: Case) -> Iterator[Caveat]:
    dataset = case.plan.dataset
    if dataset is not None and dataset.again:
        yield Caveat(
            "prompts_reused",
            f"The dataset has {dataset.used - dataset.again} conversations that fit and "
            f"{dataset.used} were planned, so {dataset.again} came again and a prefix cache may "
            "have made them faster. Use a larger file, a lower rate or a shorter window.",
        )
    bodies = case.measured.column("body")[case.measured.has("sent_ns")]
    again = bodies.size - np.unique(bodies).size
    if again:
        yield Caveat(
            "prompts_reused",
            f"{again} of {bodies.size} requests sent a prompt that had been sent before, so a "
            "prefix cache may have made them faster. Plan more requests or a shorter window.",
        )


def _dataset_changed(case: Case) -> Iterator[Caveat]:
    dataset = case.plan.dataset
    if dataset is not None and dataset.longer:
        yield Caveat(
            "dataset_changed",
            f"{dataset.longer} of {dataset.longer + dataset.used} conversations of the dataset "
            "were left out since they are too long for the model or for --skip-above, so the "
            "prompts are shorter than the file's. A model with a longer context takes all of them.",
        )


def _prompts_counted(case: Case) -> Iterator[Caveat]:
    found = prompt_count(case.plan, case.answered)
    if found is None or not case.plan.prompts_exact:
        return
    off = found.counted - found.planned
    if abs(off) > PROMPTS_OFF * found.planned:
        yield Caveat(
            "prompt_tokens_differ",
            f"The server counted {found.counted} prompt tokens of {found.requests} requests where "
            f"the tokenizer counted {found.planned} ({off / found.planned:+.1%}). A chat template "
            "or special tokens that the server adds explain more; else it has another tokenizer: "
            "pass its own with --tokenizer. Results count with the server.",
        )


def _sessions_broken(case: Case) -> Iterator[Caveat]:
    found = sessions_of(case.plan, case.measured, stable=True)
    if found is not None and found.broken:
        yield Caveat(
            "sessions_broken",
            f"{found.broken} of {found.planned} sessions ended with a turn that failed; their "
            "later turns were not sent, so the server had less load than planned, and shorter "
            "prompts. Mend the failures first.",
        )


PROMPT_RULES: Final[tuple[Rule, ...]] = (
    _prompts_reused, _dataset_changed, _prompts_counted, _sessions_broken,
)  # fmt: skip
