"""Whether the next route can be believed: the echo's scores, once proved, are its known answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from evals.client.many import for_each
from evals.probe.agreement import agree, difference
from evals.probe.scoring import Doubt
from evals.records import Failure, Scored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evals.client.http import Client
    from evals.probe.card import Caveat
    from evals.probe.material import Material

KNOW_NEXT: Final = frozenset({"vllm", "mock", "unknown"})
"""Engines that are asked; "unknown" is most often a vLLM behind a gateway."""
_UNLIKELY: Final = 6
_AT_ONCE: Final = 8


async def prove_next(client: Client, material: Material, wrote: Sequence[int]) -> Caveat | None:
    """Return why the route is not proved; None where it is.

    Args:
        client: by the echo route, which was proved.
        material: prompts.
        wrote: a token for each of some texts that the server wrote after it.
    """
    likely = list(dict.fromkeys(wrote))
    others = [n for ids in material.texts for n in ids[1:] if n not in likely]
    unlikely = list(dict.fromkeys(others))[:_UNLIKELY]
    try:
        await _Proof(client, material, likely, unlikely).run()
    except Doubt as doubt:
        return doubt.caveat
    return None


class _Proof:
    def __init__(
        self, client: Client, material: Material, likely: list[int], unlikely: list[int]
    ) -> None:
        self._client = client
        self._texts = material.texts
        self._long = material.long
        self._unlikely = unlikely
        self._tokens = [*likely, *unlikely]
        self._true: list[dict[int, float]] = []
        """Of each text: token → ln p, by echo."""

    async def run(self) -> None:
        """Make all checks; ends at the first one that is not passed."""
        (first,) = await self._foresee(self._texts[:1], self._tokens)
        for text in self._texts:
            found = await self._client.score([[*text, token] for token in self._tokens])
            values = [one.logprobs[-1] for one in found if isinstance(one, Scored)]
            if len(values) != len(self._tokens):
                raise Doubt("no_known_answer", "echo does not score what is to be foreseen")
            self._true.append(dict(zip(self._tokens, values, strict=True)))
        self._same(0, first, "known_answer", "asked alone")
        for place, text in enumerate(self._texts):
            (one,) = await self._foresee([text], self._tokens)
            self._same(place, one, "known_answer", "asked alone")
            # Values that were made to add up to 1 show where no likely token is among them.
            (one,) = await self._foresee([text], self._unlikely)
            self._same(place, one, "not_normalised", "asked about unlikely tokens alone")
        await self._in_batches()
        await self._at_once()
        await self._foresee([self._long], self._tokens)

    async def _foresee(
        self, prompts: Sequence[Sequence[int]], tokens: Sequence[int]
    ) -> list[dict[int, float]]:
        found = []
        for one in await self._client.foresee(prompts, tokens):
            if isinstance(one, Failure):
                raise Doubt(one.code, one.text)
            found.append(one.logprobs)
        return found

    async def _in_batches(self) -> None:
        turned = list(range(len(self._texts)))[::-1]
        for order in (turned[::-1], turned):
            found = await self._foresee([self._texts[place] for place in order], self._tokens)
            for place, one in zip(order, found, strict=True):
                self._same(place, one, "batch_order", "asked with others")

    async def _at_once(self) -> None:
        async def one(item: tuple[int, list[int]]) -> None:
            place, text = item
            (found,) = await self._foresee([text], self._tokens)
            self._same(place, found, "concurrency", "asked among other requests")

        at_once = min(_AT_ONCE, self._client.endpoint.concurrency)
        await for_each([*enumerate(self._texts)] * 2, one, at_once=at_once)

    def _same(self, place: int, found: dict[int, float], code: str, how: str) -> None:
        before, after = [self._true[place][token] for token in found], list(found.values())
        if not agree(before, after):
            raise Doubt(
                code,
                f"{how}, tokens have other scores than by echo, by up to "
                f"{difference(before, after):.2g} nats",
            )
