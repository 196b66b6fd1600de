"""What the model knows: prompts and their answers, of which it gets a known share right.

A file of JSON lines: `{"prompt": …, "answer": …}`, and where wanted `"category"`, `"wrong"` (what
it says when it is wrong) or `"choices"` (of which it then says another). Whether it is right is a
hash of (seed, prompt): two servers of one seed with accuracies of 0.95 and 0.9 differ exactly on
the prompts whose hash lies between the two.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, NamedTuple

from launchers.mock.options import OptionsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from launchers.mock.tokens import Tokens

_TAIL = 12
"""Ids at the end of a prompt by which it is looked up, before it is compared whole."""
_LEAST_SURE = 0.55
_MOST_SURE = 0.98


class Fact(NamedTuple):
    """A prompt that is known, as ids."""

    prompt: str
    ids: tuple[int, ...]
    category: str
    answer: tuple[int, ...]
    wrong: tuple[int, ...]


def chance(*what: object) -> float:
    """Return a number from 0 to 1 that depends on nothing but what is given."""
    digest = hashlib.sha256(repr(what).encode()).digest()
    return int.from_bytes(digest[:7]) / (1 << 56)


class Knowledge:
    """Known prompts.

    Args:
        facts: all of them.
        seed: of which are answered right.
        accuracy: their share.
        wrong_in: category → share answered wrong, in place of what `accuracy` says.
    """

    def __init__(
        self, facts: Sequence[Fact], seed: int, accuracy: float, wrong_in: Mapping[str, float]
    ) -> None:
        self._seed, self._accuracy, self._wrong_in = seed, accuracy, wrong_in
        self._tail = min([_TAIL, *(len(fact.ids) for fact in facts)])
        self._by_tail: dict[tuple[int, ...], list[Fact]] = {}
        for fact in facts:
            self._by_tail.setdefault(fact.ids[-self._tail :], []).append(fact)

    def find(self, ids: Sequence[int], end: int) -> Fact | None:
        """Return the longest known prompt that ends before place `end`."""
        found = self._by_tail.get(tuple(ids[max(0, end - self._tail) : end]), ())
        fits = [f for f in found if tuple(ids[max(0, end - len(f.ids)) : end]) == f.ids]
        return max(fits, key=lambda fact: len(fact.ids), default=None)

    def answer(self, fact: Fact, wronged: float = 0.0) -> tuple[int, ...]:
        """Return what the model says: the answer, or the wrong one.

        Args:
            fact: the prompt.
            wronged: share of the right answers that something turns into wrong ones.
        """
        accuracy = self._accuracy
        if fact.category in self._wrong_in:
            accuracy = 1 - self._wrong_in[fact.category]
        right = chance(self._seed, fact.prompt) < accuracy * (1 - wronged)
        return fact.answer if right else fact.wrong


class Recall:
    """Follows one sequence of ids, and says what is known to come next."""

    def __init__(self, knowledge: Knowledge, wronged: float = 0.0) -> None:
        self._knowledge = knowledge
        self._wronged = wronged
        self._answer: tuple[int, ...] = ()
        self._sure = 0.0
        self._at = 0

    def step(self, ids: Sequence[int], end: int) -> tuple[int, float] | None:
        """Return the token that follows ids[:end] and how sure that is; call it for each place."""
        if self._answer and end and ids[end - 1] == self._answer[self._at]:
            self._at += 1
        else:
            self._answer = ()
        if (fact := self._knowledge.find(ids, end)) is not None:
            self._answer, self._at = self._knowledge.answer(fact, self._wronged), 0
            spread = _MOST_SURE - _LEAST_SURE
            self._sure = _LEAST_SURE + spread * chance("sure", fact.prompt)
        if self._at >= len(self._answer):
            self._answer = ()
            return None
        return self._answer[self._at], self._sure


def load_facts(path: Path, tokens: Tokens) -> list[Fact]:
    """Read a file of known prompts.

    Raises:
        OptionsError: it cannot be read; names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines if line.strip()]
        texts = [(str(row["prompt"]), str(row["answer"]), row) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OptionsError(f"knows: {path}: {type(error).__name__}: {error}") from error
    if not texts:
        raise OptionsError(f"knows: {path}: no line in it")
    pools: dict[str, list[str]] = {}
    for _, answer, row in texts:
        pool = pools.setdefault(str(row.get("category", "")), [])
        if answer not in pool:
            pool.append(answer)
    facts = []
    for prompt, answer, row in texts:
        category = str(row.get("category", ""))
        others = [c for c in map(str, row.get("choices") or pools[category]) if c != answer]
        pick = int(chance("wrong", prompt) * len(others))
        wrong = row.get("wrong") or (others[pick] if others else answer + "?")
        ends = () if tokens.eos is None else (tokens.eos,)
        said, missaid = (
            (*tokens.encode(text, special=False), *ends) for text in (answer, str(wrong))
        )
        ids = tuple(tokens.encode(prompt, special=False))
        if not ids:
            raise OptionsError(f"knows: {path}: an empty prompt")
        facts.append(Fact(prompt, ids, category, said, missaid))
    return facts
