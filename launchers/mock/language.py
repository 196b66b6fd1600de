"""A language model whose every probability is known: a pure function of the seed and a few ids.

p(t | context) = s · w(t; context) + (1 − s) · q(t). The context is the first two ids, so that BOS
and a prompt's beginning matter, and the last three. w is spread over a few tokens that a hash of
seed and context names, one of which may be a token of the context (models repeat themselves); q is
Zipf's law over the whole vocabulary in an order of the seed's own. Where the model knows what
follows (`knowledge.py`), p is (1 − c) · p + c · [t is what follows]. All of them sum to 1.
"""

from __future__ import annotations

import functools
import math
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from launchers.mock.tokens import Tokens

_FIRST, _LAST = 2, 3
"""Ids that the next token depends on."""
_LIKELY = 6
_SHARE = 0.8
_RATIOS = (0.35, 0.6, 0.8, 0.93)
_MASK = (1 << 64) - 1
_REPEATS = 3
"""Of 8 contexts, so many repeat one of their own tokens rather than say another."""


def context_of(ids: Sequence[int], end: int) -> tuple[int, ...]:
    """Return the ids that the token at place `end` depends on."""
    return (*ids[: min(_FIRST, end)], *ids[max(0, end - _LAST) : end])


class Language:
    """One model.

    Args:
        tokens: its vocabulary.
        seed: another one is another model.
        damage: 0…1, the share of w that q takes: what quantizing does, with a known size.
    """

    def __init__(self, tokens: Tokens, seed: int, damage: float = 0.0) -> None:
        self._pool = tokens.plain
        self._plain = frozenset(tokens.plain)
        self._seed = (seed * 0x9E3779B97F4A7C15 + 0x1234567) & _MASK
        self._share = _SHARE * (1 - damage)
        order = list(tokens.plain)
        random.Random(seed).shuffle(order)  # noqa: S311 - no secret
        order += [n for n in range(tokens.size) if n not in self._plain]
        weights = [1 / (rank + 8) for rank in range(len(order))]
        total = sum(weights) / (1 - self._share)
        self.order = order
        self.rest = [0.0] * len(order)
        """(1 − s) · q."""
        for number, weight in zip(order, weights, strict=True):
            self.rest[number] = weight / total
        self._likely = functools.lru_cache(1 << 16)(self._find_likely)

    def next(self, context: tuple[int, ...], known: tuple[int, float] | None = None) -> Next:
        """Return one next token's distribution.

        Args:
            context: `context_of` what precedes it.
            known: the token that is known to follow, and how sure of it the model is.
        """
        likely = self._likely(context)
        if known is None:
            return Next(self, likely, 1.0)
        number, sure = known
        scale = 1 - sure
        drawn = {n: p * scale for n, p in likely.items()}
        drawn[number] = drawn.get(number, self.rest[number] * scale) + sure
        return Next(self, drawn, scale)

    def _find_likely(self, context: tuple[int, ...]) -> dict[int, float]:
        """Return the tokens that w names, and p of each."""
        state = self._seed
        for number in context:
            state = (state ^ number + 1) * 0xD6E8FEB86659FD93 & _MASK
            state ^= state >> 32
        ratio = _RATIOS[state >> 8 & 3]
        weight = self._share * (1 - ratio) / (1 - ratio**_LIKELY)
        repeats = None
        varied = len(context) >= _LAST and len(set(context[-_LAST:])) == _LAST
        if varied and state & 7 < _REPEATS:
            repeats = context[-2 - (state >> 4 & 1)]
        found: dict[int, float] = {}
        for place in range(_LIKELY):
            state = state * 0x5851F42D4C957F2D + 0x14057B7EF767814F & _MASK
            number = self._pool[(state >> 33) % len(self._pool)]
            if not place and repeats in self._plain:
                number = repeats
            found[number] = found.get(number, self.rest[number]) + weight
            weight *= ratio
        return found


class Next:
    """The distribution of one next token."""

    __slots__ = ("_language", "_likely", "_scale")

    def __init__(self, language: Language, likely: dict[int, float], scale: float) -> None:
        self._language = language
        self._likely = likely
        self._scale = scale

    def logprob(self, number: int) -> float:
        """Return ln p of a token."""
        p = self._likely.get(number)
        return math.log(self._language.rest[number] * self._scale if p is None else p)

    def top(self, count: int) -> list[tuple[int, float]]:
        """Return the likeliest tokens and their ln p, the best first."""
        likely, rest, scale = self._likely, self._language.rest, self._scale
        found = [(-p, n) for n, p in likely.items()]
        others = self._language.order[: count + len(likely)]
        found += [(-rest[n] * scale, n) for n in others if n not in likely]
        return [(n, math.log(-p)) for p, n in sorted(found)[:count]]

    def rank(self, number: int) -> int:
        """Return a token's place among all, 1 for the likeliest."""
        likely, rest, scale = self._likely, self._language.rest, self._scale
        mine = likely.get(number) or rest[number] * scale
        above = sum(p > mine for p in likely.values())
        for other in self._language.order:
            if rest[other] * scale <= mine:
                break
            above += other not in likely
        return above + 1

    def draw(self, chance: float) -> int:
        """Return the token that a number from 0 to 1 falls on."""
        for number, p in self._likely.items():
            chance -= p
            if chance < 0:
                return number
        for number in self._language.order:
            if number not in self._likely:
                chance -= self._language.rest[number] * self._scale
                if chance < 0:
                    return number
        return self._language.order[-1]
