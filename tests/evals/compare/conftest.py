from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from evals.records import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Answers = Callable[..., list[Answer]]


def _answers(scores: Sequence[float], /, **fields: object) -> list[Answer]:
    """Return an answer for each score; a field that is a list has one value an item."""
    found = []
    for number, score in enumerate(scores):
        own = {k: v[number] if isinstance(v, list) else v for k, v in fields.items()}
        base = {"item": f"item-{number}", "prompt_hash": f"{number:016x}", "score": float(score)}
        found.append(Answer(**(base | own)))  # type: ignore[arg-type]
    return found


@pytest.fixture
def answers() -> Answers:
    return _answers
