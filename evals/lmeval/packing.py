"""Prompts, and how they are put into requests: an item's choices stay together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from evals.client.foreseen import MOST_TOKENS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from evals.records import Route

PACK_TOKENS = 16_384
"""In one request at most, unless one item alone has more."""
PACK_CHOICES = 32
"""Tokens asked about in one request of the next route at most, unless one item alone has more: all
of them are told of each of its prompts."""

Owner = tuple[str, int]
"""Task and lm-eval's number of the document."""


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to ask."""

    owner: Owner
    place: int
    """Of the answer, among all that are asked for together."""
    ids: list[int]
    scored_from: int = 0
    """First place whose ln p counts; what lies before it is context."""
    greedy: bool = True
    """Whether it must be known if what counts is what would be written greedily."""
    stop: tuple[str, ...] | None = None
    """None: the prompt is scored; else the server writes until one of these."""
    max_tokens: int = 1
    temperature: float = 0.0
    seed: int | None = None

    @property
    def decides(self) -> tuple[object, ...]:
        """All that decides the answer."""
        sent = (self.ids, self.scored_from, self.stop, self.max_tokens)
        return (*sent, self.temperature, self.seed)


def route_of(item: Sequence[Prompt], best: Route) -> Route:
    """Return how an item is asked: by `next` only if every one of its choices is one token.

    Args:
        item: all prompts of it, so that its choices are not scored in two ways.
        best: the route that was proved.
    """
    if item[0].stop is not None:
        return "generative"
    if best != "next":
        return "native" if best == "native" else "echo"
    single = all(0 < prompt.scored_from == len(prompt.ids) - 1 for prompt in item)
    few = len({prompt.ids[-1] for prompt in item if prompt.ids}) <= MOST_TOKENS
    return "next" if single and few else "echo"


class Pack:
    """What travels in one request."""

    def __init__(self, route: Route, *, greedy: bool) -> None:
        self.route = route
        self.greedy = greedy
        """Whether the likeliest token at each place is asked for."""
        self.prompts: list[Prompt] = []
        self.sent: dict[tuple[int, ...], int] = {}
        """Ids as sent → which of the request's prompts."""
        self.tokens: dict[int, None] = {}
        """Next: that are asked about."""
        self._held = 0

    def place(self, prompt: Prompt) -> int:
        """Return which of the request's prompts is this one's."""
        return self.sent[self._ids(prompt)]

    def take(self, item: Sequence[Prompt], most: int) -> bool:
        """Add an item unless it makes the request too large."""
        new = {ids: None for ids in map(self._ids, item) if ids not in self.sent}
        more = sum(map(len, new))
        tokens = {prompt.ids[-1]: None for prompt in item} if self.route == "next" else {}
        full = len(self.sent) + len(new) > most or self._held + more > PACK_TOKENS
        if self.prompts and (full or len(self.tokens | tokens) > PACK_CHOICES):
            return False
        for ids in new:
            self.sent[ids] = len(self.sent)
        self.prompts += item
        self.tokens |= tokens
        self._held += more
        return True

    def _ids(self, prompt: Prompt) -> tuple[int, ...]:
        return tuple(prompt.ids[: prompt.scored_from] if self.route == "next" else prompt.ids)


def packs(items: Iterable[tuple[Route, list[Prompt]]], most: int) -> Iterator[Pack]:
    """Put items into requests.

    Args:
        items: route and prompts of each.
        most: prompts in one request.
    """
    begun: dict[tuple[Route, bool], Pack] = {}
    for route, item in items:
        if route == "generative":
            for prompt in item:
                pack = Pack(route, greedy=False)
                pack.take([prompt], 1)
                yield pack
            continue
        greedy = any(prompt.greedy for prompt in item)
        pack = begun.setdefault((route, greedy), Pack(route, greedy=greedy))
        if not pack.take(item, most):
            yield pack
            pack = begun[route, greedy] = Pack(route, greedy=greedy)
            pack.take(item, most)
    yield from begun.values()


def by_owner(prompts: Iterable[Prompt]) -> Iterator[list[Prompt]]:
    """Cut prompts into items."""
    item: list[Prompt] = []
    for prompt in prompts:
        if item and prompt.owner != item[0].owner:
            yield item
            item = []
        item.append(prompt)
    if item:
        yield item
