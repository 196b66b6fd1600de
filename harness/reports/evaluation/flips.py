"""Answers that changed against the baseline, for the reader to look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from evals.store import read_answers
from harness.quality.evaluation import each
from harness.quality.passes import EVALS
from harness.reports.figures import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from evals.records import Answer
    from harness.quality.evaluation import Result
    from harness.rundir import RunFolder

MOST: Final = 400
"""Flips shown of one comparison."""
_RIGHT: Final = 0.5
"""A score from here on is a right answer."""
_MOST_TEXT: Final = 1500


@dataclass(frozen=True, kw_only=True)
class Flip:
    """One item that was right by one build and wrong by the other."""

    item: str
    category: str
    lost: bool
    prompt: str
    expected: str
    ours: str
    theirs: str
    outcome: str


@dataclass(frozen=True, kw_only=True)
class FlipList:
    """All flips of one build's suite, or the first of them."""

    suite: str
    build: str
    baseline: str
    flips: list[Flip]
    found: int
    categories: list[str]


def flip_lists(run: RunFolder, result: Result) -> Iterator[FlipList]:
    """Yield the flips of every comparison that there is."""
    for one in each(result):
        for suite in one.suites:
            against = suite.baseline
            if against is None or against.flips is None:
                continue
            folder = run.path / EVALS / suite.suite
            before = {(a.task, a.item): a for a in read_answers(folder / against.build)}
            flips = [
                flip
                for answer in read_answers(folder / one.server.build)
                if (flip := _flip(answer, before.get((answer.task, answer.item)))) is not None
            ]
            flips.sort(key=lambda flip: (not flip.lost, flip.category, flip.item))
            yield FlipList(
                suite=plain(suite.suite),
                build=plain(one.server.build),
                baseline=plain(against.build),
                flips=flips[:MOST],
                found=len(flips),
                categories=sorted({flip.category for flip in flips}),
            )


def _flip(ours: Answer, theirs: Answer | None) -> Flip | None:
    if theirs is None or "error" in {ours.outcome, theirs.outcome}:
        return None
    right, was_right = ours.score >= _RIGHT, theirs.score >= _RIGHT
    if right == was_right:
        return None
    return Flip(
        item=plain(f"{ours.task} {ours.item}".strip()),
        category=plain(ours.category or ours.task or "–"),
        lost=was_right,
        prompt=_text(ours.prompt),
        expected=_text(ours.expected),
        ours=_answer(ours),
        theirs=_answer(theirs),
        outcome=ours.outcome,
    )


def _answer(answer: Answer) -> str:
    if answer.text is not None:
        return _text(answer.text) or "(nothing)"
    return "–" if answer.choice is None else f"choice {answer.choice}"


def _text(text: str) -> str:
    """Text as it was, line breaks included, that can neither steer nor hide, and not too long."""
    shown = "\n".join(map(plain, text.splitlines()))
    return shown if len(shown) <= _MOST_TEXT else f"{shown[:_MOST_TEXT]} …"
