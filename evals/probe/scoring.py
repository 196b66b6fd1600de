"""Whether a route's scores can be believed: each check is one way in which servers were wrong."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

from evals.client.many import for_each
from evals.probe.agreement import NEAR_TIE_NATS, agree, difference
from evals.probe.asking import TELL_IDS, text_of, told_ids
from evals.probe.card import Caveat
from evals.probe.material import TEXTS, written_ids
from evals.records import Failure, Scored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evals.client.echo import Completions
    from evals.client.http import Client
    from evals.probe.asking import Asker
    from evals.probe.material import Encoder, Material

_WRITTEN: Final = 24
"""Tokens of a known answer: enough that a penalty on repetition shows."""
_NEAR_TIES: Final = 0.03
"""Share of tokens in which rounding may decide."""
_TOP: Final = 5
_AT_ONCE: Final = 8
_SUM: Final = 1.01
"""Largest sum of probabilities that rounding explains."""


class Doubt(Exception):  # noqa: N818 - never leaves the probe: it becomes a caveat
    """A check was not passed."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.caveat = Caveat(code=code, text=text)


class Known(NamedTuple):
    """What was written greedily after a text."""

    text: str
    ids: list[int]
    """Of the text."""
    wrote: list[int]
    said: str


class ScoringProof:
    """The checks of one scoring route, in order; the first that is not passed ends them.

    Args:
        client: by that route.
        asker: of the same server.
        material: prompts.
        encoder: whoever made the ids.
    """

    def __init__(self, client: Client, asker: Asker, material: Material, encoder: Encoder) -> None:
        self._client = client
        self._asker = asker
        self._encoder = encoder
        self._texts = material.texts
        self._takes_ids = client.scorer.takes_ids
        self._prompts = material.prompts if self._takes_ids else material.texts
        self._extent = [material.long] if self._takes_ids else []
        self.answers: list[Known] = []
        self.alone: list[list[float]] = []
        """ln p of each prompt, from place 1 on."""
        self.largest = 0.0
        """Largest difference of a token's ln p between the ways of asking."""
        self.names_top = False
        self.order = False
        self.concurrency = False
        self.names_likeliest = client.scorer.names_likeliest
        """Whether answers say which tokens were the likeliest (TGI's do not)."""

    async def run(self) -> Caveat | None:
        """Return why the route is not proved; None where it is."""
        try:
            await self._score_alone()
            await self._again()
            await self._in_batches()
            await self._at_once()
            await self._know_answers()
            await self._prefer_written()
            await self._long()
        except Doubt as doubt:
            return doubt.caveat
        return None

    async def _score(self, prompts: Sequence[Sequence[int]], top: int | None = 0) -> list[Scored]:
        found = []
        for one in await self._client.score(prompts, top=top):
            if isinstance(one, Failure):
                raise Doubt(one.code, one.text)
            found.append(one)
        return found

    async def _score_alone(self) -> None:
        for prompt in self._prompts:
            (scored,) = await self._score([prompt], _TOP)
            self.alone.append(scored.logprobs[1:])
        # Of the last one; any would do.
        tables = list(zip(scored.top_ids[1:], scored.top_logprobs[1:], strict=True))
        self.names_top = bool(tables) and all(len(ids) == _TOP for ids, _ in tables)
        if any(sum(map(math.exp, values)) > _SUM for _, values in tables):
            raise Doubt("not_normalised", "probabilities of the likeliest tokens add up to above 1")

    async def _know_answers(self) -> None:
        """What is written greedily must be the likeliest where it is scored."""
        for text, ids in zip(TEXTS, self._texts, strict=True):
            known = await (self._write(text, ids) if self._takes_ids else self._spell(text, ids))
            if known is not None:
                self.answers.append(known)
        if not self.answers:
            raise Doubt(
                "no_known_answer",
                "nothing was written whose tokens are known, so that scores have no known answer",
            )
        wrong: list[bool] = []
        ties = 0.0
        for known in self.answers:
            (scored,) = await self._score([[*known.ids, *known.wrote]], 1)
            found = self._unlikely(scored, len(known.ids))
            # Without values by id near ties cannot be told from errors.
            ties += 0 if scored.top_logprobs else _NEAR_TIES * len(found)
            wrong += found
        if sum(wrong) > ties:
            raise Doubt(
                "known_answer",
                f"{sum(wrong)} of {len(wrong)} tokens that the server wrote greedily are not the "
                "likeliest where it scores them: scores are of another place, another model or "
                "another sampling than the writing",
            )

    async def _write(self, text: str, ids: list[int]) -> Known | None:
        answer = await self._asker.write(ids, _WRITTEN, more={**TELL_IDS, "logprobs": 1})
        said, wrote = text_of(answer), told_ids(answer)
        if wrote is None and answer is not None:
            wrote = await self._from_pieces(answer)
        if wrote is None and said:
            wrote = await written_ids(self._encoder, text, ids, said)
        return Known(text, ids, wrote, said or "") if wrote else None

    async def _from_pieces(self, answer: Completions) -> list[int] | None:
        """Return ids of the tokens' texts, up to the first that may be of several tokens."""
        told = answer.choices[0].logprobs if answer.choices else None
        found = []
        for text in (told and told.tokens) or ():
            number = await self._encoder.piece(text)
            if number is None:
                break
            found.append(number)
        return found or None

    async def _spell(self, text: str, ids: list[int]) -> Known | None:
        """Keep of what is written as much as the tokenizer makes the same tokens of."""
        tokens = await self._asker.write_tgi(self._client.scorer.url, text, _WRITTEN)
        for count in range(len(tokens), 0, -1):
            wrote = [number for number, _ in tokens[:count]]
            said = "".join(piece for _, piece in tokens[:count])
            if await written_ids(self._encoder, text, ids, said) == wrote:
                return Known(text, ids, wrote, said)
        return None

    def _unlikely(self, scored: Scored, start: int) -> list[bool]:
        """Return for each written token whether it is not the likeliest, near ties apart."""
        places = range(start, len(scored.token_ids))
        if scored.top_logprobs:
            tops, own = scored.top_logprobs, scored.logprobs
            return [tops[place][0] - own[place] > NEAR_TIE_NATS for place in places]
        if self.names_likeliest:
            return [not scored.greedy[place] for place in places]
        return []

    async def _prefer_written(self) -> None:
        """Another token in a written one's place must score lower, and change nothing before it."""
        tried = 0
        for known in self.answers:
            others = await self._others(known)
            if not others:
                continue
            tried += 1
            start = len(known.ids)
            own, *rest = await self._score([[*known.ids, known.wrote[0]], *others])
            for one in rest:
                if not agree(own.logprobs[1:start], one.logprobs[1:start]):
                    raise Doubt(
                        "shifted",
                        "scores of a prompt depend on the token after it: each is that of "
                        "another place",
                    )
            values = [one.logprobs[start] for one in rest]
            if max(values) > own.logprobs[start] + NEAR_TIE_NATS:
                raise Doubt("known_answer", "another token scores above the one that was written")
            once = {one.token_ids[start]: one.logprobs[start] for one in rest}
            total = sum(map(math.exp, once.values()))
            if math.exp(own.logprobs[start]) + total > _SUM:
                raise Doubt("not_normalised", "probabilities of single tokens add up to above 1")
        if not tried:
            raise Doubt(
                "no_known_answer", "no other token could be scored in a written one's place"
            )

    async def _others(self, known: Known) -> list[list[int]]:
        """Return prompts that go on otherwise than what was written, from the first token on."""
        if self._takes_ids:
            tokens = {n for n in [*known.wrote, *known.ids[1:]] if n != known.wrote[0]}
            return [[*known.ids, other] for other in sorted(tokens)[:_AT_ONCE]]
        found = []
        for other in self.answers:
            ids = await written_ids(self._encoder, known.text, known.ids, other.said)
            if ids and ids[0] != known.wrote[0]:
                found.append([*known.ids, *ids])
        return found

    async def _long(self) -> None:
        """Nothing is cut off, and the end of a long prompt depends on no other thing than it."""
        for prompt in self._extent:
            await self._score([prompt])

    async def _again(self) -> None:
        prompts = self._prompts
        for prompt, before in zip(prompts, self.alone, strict=True):
            (scored,) = await self._score([prompt], None)
            self._same(before, scored, "not_repeatable", "asked a second time")

    async def _in_batches(self) -> None:
        prompts = self._prompts
        turned = list(range(len(prompts)))[::-1]
        for order in (turned[::-1], turned):
            found = await self._score([prompts[place] for place in order])
            for place, scored in zip(order, found, strict=True):
                self._same(self.alone[place], scored, "batch_order", "asked with others")
        self.order = True

    async def _at_once(self) -> None:
        prompts = list(enumerate(self._prompts)) * 3

        async def one(item: tuple[int, list[int]]) -> None:
            place, prompt = item
            (scored,) = await self._score([prompt])
            self._same(self.alone[place], scored, "concurrency", "asked among other requests")

        await for_each(prompts, one, at_once=min(_AT_ONCE, self._client.endpoint.concurrency))
        self.concurrency = True

    def _same(self, before: list[float], scored: Scored, code: str, how: str) -> None:
        after = scored.logprobs[1:]
        largest = difference(before, after)
        self.largest = max(self.largest, largest)
        if not agree(before, after):
            raise Doubt(code, f"{how}, a prompt has other scores, by up to {largest:.2g} nats")


async def knows_arithmetic(
    client: Client, encoder: Encoder, true: str = "2 + 2 = 4", false: str = "2 + 2 = 9"
) -> bool | None:
    """Whether the true sum scores above the false one; None where that cannot be asked."""
    ids = [await encoder.encode(text, special=True) for text in (true, false)]
    found = await client.score([one for one in ids if one])
    if len(found) != len(ids) or any(isinstance(one, Failure) for one in found):
        return None
    sums = [math.fsum(one.logprobs[1:]) for one in found if isinstance(one, Scored)]
    return sums[0] > sums[1]
