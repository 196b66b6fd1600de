"""Multiple choice by log-probabilities: of each choice's tokens, or of the first token written."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from evals.errors import SuiteError
from evals.records import Failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evals.records import Scored
    from evals.vocabulary import Vocabulary

LABEL_TOPS: tuple[int, ...] = (20, 5)
"""Likeliest first tokens to ask for: as many as vLLM names, or where a server refuses that, as
many as OpenAI's completions had and the probe proved."""


class Chosen(NamedTuple):
    """What a server finds likeliest."""

    place: int | None
    """Of the likeliest choice, from 0; the first of equal ones; None where none is told."""
    loglikelihoods: list[float]
    """Of each choice, in nats."""
    normed: int | None = None
    """Place of the likeliest per byte of its text."""


def continuations(
    vocabulary: Vocabulary, prompt: str, choices: Sequence[str], where: str
) -> list[tuple[list[int], int]]:
    """Return the ids of prompt and choice, for each, and how many of them are the prompt's.

    As lm-eval splits them (`lm_eval/api/model.py`, `_encode_pair`): blanks at the prompt's end go
    to the choice, prompt and choice are tokenized as one text, and the prompt has as many tokens
    as it has alone. BOS stands in front where the tokenizer itself puts it there.

    Raises:
        SuiteError: a choice has no token of its own.
    """
    begin = [vocabulary.bos] if vocabulary.adds_bos and vocabulary.bos is not None else []
    context = prompt.rstrip()
    blanks = prompt[len(context) :]
    encode = vocabulary.tokenizer.encode
    held = len(encode(context, add_special_tokens=False).ids)
    found = []
    for choice in choices:
        ids = encode(context + blanks + choice, add_special_tokens=False).ids
        if len(ids) <= held or not begin + ids[:held]:
            raise SuiteError(f"{where}: the choice {choice!r} has no token of its own")
        found.append(([*begin, *ids], len(begin) + held))
    return found


def likeliest(
    replies: Sequence[Scored | Failure], contexts: Sequence[int], names: Sequence[str]
) -> Chosen | Failure:
    """Return the choice whose tokens have the highest Σ ln p, given all choices' scores."""
    sums = []
    for reply, context in zip(replies, contexts, strict=True):
        if isinstance(reply, Failure):
            return reply
        values = reply.logprobs[context:]
        if not values or not all(map(math.isfinite, values)):
            text = "a choice's token has no finite log-probability"
            return Failure(code="no_logprobs", text=text, attempts=reply.attempts)
        sums.append(math.fsum(values))
    per_byte = [
        value / max(len(name.encode(errors="replace")), 1)
        for value, name in zip(sums, names, strict=True)
    ]
    return Chosen(_first_highest(sums), sums, _first_highest(per_byte))


def labelled(top: Sequence[dict[str, float]], names: Sequence[str]) -> Chosen | Failure:
    """Return the choice whose first token is the likeliest to be written first.

    A token stands for a choice if, blanks aside, it is the choice's text or the beginning of it
    and of no other's. A choice that is not among the tokens told is at most as likely as the last
    of them, whose value stands in for it.
    """
    if not top or not top[0]:
        return Failure(code="no_logprobs", text="no likeliest tokens were told")
    found: dict[int, list[float]] = {}
    for token, logprob in top[0].items():
        place = _place(token.strip(), names)
        if place is not None:
            found.setdefault(place, []).append(logprob)
    bound = min(top[0].values())
    values = [_summed(found[k]) if k in found else bound for k in range(len(names))]
    best = max(found, key=lambda place: (values[place], -place)) if found else None
    return Chosen(best, values)


def _place(token: str, names: Sequence[str]) -> int | None:
    stripped = [name.strip() for name in names]
    if token in stripped:
        return stripped.index(token)
    folded = [name.casefold() for name in stripped]  # "Yes" is yes, where no other choice is
    alike = [place for place, name in enumerate(folded) if name == token.casefold()]
    if len(alike) == 1:
        return alike[0]
    begun = [place for place, name in enumerate(stripped) if token and name.startswith(token)]
    return begun[0] if len(begun) == 1 else None


def _summed(logprobs: Sequence[float]) -> float:
    """Return ln Σ p."""
    most = max(logprobs)
    return most + math.log(math.fsum(math.exp(value - most) for value in logprobs))


def _first_highest(values: Sequence[float]) -> int:
    return max(range(len(values)), key=lambda place: (values[place], -place))
