"""Answers → perplexities: one quotient of two sums, in float64, over every token alike.

perplexity = exp(Σ −ln p / n) with n tokens, words or bytes; bits per byte = Σ −ln p / (n ln 2).
Windows are never averaged: the last of a text may hold a few tokens only.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

from evals.errors import GARBAGE, EvalError
from evals.perplexity.convention import Convention
from evals.store import PLAN_FILE, read_answers

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from evals.records import Answer


class Perplexity(msgspec.Struct, frozen=True, kw_only=True):
    """What one build's answers say. None: nothing to divide by, or more than a float64 holds."""

    token: float | None
    word: float | None
    byte: float | None
    bits_per_byte: float | None
    nats: float
    """Σ −ln p."""
    tokens: int
    words: int
    bytes: int
    windows: int
    failed: int
    """Windows that were asked and have no answer: where there are any, the number is over another
    text, and only comparable on the windows that both sides have."""


def perplexity(answers: Iterable[Answer]) -> Perplexity:
    """Add up the windows."""
    every = list(answers)
    scored = [answer for answer in every if answer.outcome != "error"]
    nats = math.fsum(answer.score for answer in scored)
    tokens, words, count = (
        round(math.fsum(values))
        for values in (
            (answer.weight for answer in scored),
            (answer.scores.get("words", 0.0) for answer in scored),
            (answer.scores.get("bytes", 0.0) for answer in scored),
        )
    )
    return Perplexity(
        token=_exp(nats, tokens),
        word=_exp(nats, words),
        byte=_exp(nats, count),
        bits_per_byte=nats / (math.log(2) * count) if count else None,
        nats=nats,
        tokens=tokens,
        words=words,
        bytes=count,
        windows=len(scored),
        failed=len(every) - len(scored),
    )


def read_perplexity(folder: Path) -> tuple[Perplexity, Convention, list[str]]:
    """Return a suite's folder as perplexities, their convention, and why they are not its number.

    Raises:
        EvalError: the folder holds no perplexity.
    """
    try:
        plan = msgspec.json.decode((folder / PLAN_FILE).read_bytes())
        convention = msgspec.convert(plan["convention"], Convention)
    except (OSError, KeyError, TypeError, *GARBAGE) as error:
        raise EvalError(f"{folder} holds no perplexity: {error}") from error
    found = perplexity(read_answers(folder))
    flaws = []
    if found.failed:
        flaws.append(f"{found.failed} of {convention.windows} windows failed")
    if missing := convention.windows - found.windows - found.failed:
        flaws.append(f"{missing} of {convention.windows} windows were not asked")
    if flaws:
        flaws.append(
            f"the number is over {found.tokens:,} of {convention.tokens:,} tokens: no number by "
            "this convention; pairs are over the windows that both builds have"
        )
    return found, convention, flaws


def _exp(nats: float, count: int) -> float | None:
    try:
        return math.exp(nats / count) if count else None
    except OverflowError:
        return None
