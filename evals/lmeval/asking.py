"""Sends what lm-eval wants to know: packed, cached, every failure kept by its item."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from evals.client.http import Client
from evals.client.many import for_each
from evals.lmeval.cache import Said
from evals.lmeval.packing import by_owner, packs, route_of
from evals.records import Failure, Foreseen, Scored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from evals.endpoint import Endpoint
    from evals.lmeval.cache import Cache
    from evals.lmeval.packing import Owner, Pack, Prompt
    from evals.records import Completion, Route


class Record(msgspec.Struct, kw_only=True):
    """What came of one prompt."""

    prompt: Prompt
    key: str
    route: Route
    answer: Said | Failure


class Asker:
    """Asks prompts of one endpoint, each once.

    Args:
        endpoint: whom.
        route: the best that was proved.
        cache: keeps the answers.
        pack: prompts in one request at most.
        heard: is called with the number of items done since the last call.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        route: Route,
        cache: Cache,
        pack: int,
        heard: Callable[[int], None],
    ) -> None:
        self._endpoint = endpoint
        self._route: Route = route
        self._cache = cache
        self._pack = pack
        self._heard = heard
        self._open: Counter[Owner] = Counter()
        self.records: dict[Owner, list[Record]] = {}
        """Of each document, by place."""

    def ask(self, blocks: Iterable[list[Prompt]], count: Counter[Owner]) -> dict[int, Record]:
        """Ask all prompts and return what came of each, by its place.

        Args:
            blocks: prompts in order, made while the ones before are asked.
            count: prompts of each document.

        Raises:
            ReachError: the endpoint is gone.
        """
        self._open = count
        found: dict[int, Record] = {}
        asyncio.run(self._ask(blocks, found))
        for place in sorted(found):
            record = found[place]
            self.records.setdefault(record.prompt.owner, []).append(record)
        return found

    async def _ask(self, blocks: Iterable[list[Prompt]], found: dict[int, Record]) -> None:
        at_once = self._endpoint.concurrency
        async with Client(self._endpoint, self._route) as client:
            waiting: asyncio.Queue[Pack | None] = asyncio.Queue(at_once)
            source = iter(blocks)

            async def make() -> None:
                """Encode the next block in a thread while the ones before are asked."""
                while (block := await asyncio.to_thread(next, source, None)) is not None:
                    for pack in packs(self._unknown(block, found), self._pack):
                        await waiting.put(pack)
                for _ in range(at_once):
                    await waiting.put(None)

            async def work(_: int) -> None:
                while (pack := await waiting.get()) is not None:
                    answers = await self._send(client, pack)
                    self._keep(pack, answers, found)

            async with asyncio.TaskGroup() as group:
                maker = group.create_task(make())
                await for_each(range(at_once), work, at_once=at_once)
                await maker

    async def _send(
        self, client: Client, pack: Pack
    ) -> Sequence[Scored | Foreseen | Completion | Failure]:
        """Return an answer for each prompt of a request."""
        sent = [list(ids) for ids in pack.sent]
        found: Sequence[Scored | Foreseen | Completion | Failure]
        if pack.route == "next":
            found = await client.foresee(sent, list(pack.tokens))
        elif pack.route == "generative":
            (prompt,) = pack.prompts
            answer = await client.complete(
                prompt.ids,
                max_tokens=prompt.max_tokens,
                stop=prompt.stop or (),
                temperature=prompt.temperature,
                seed=prompt.seed,
            )
            found = [answer]
        else:
            found = await client.score(sent, top=0 if pack.greedy else None)
        return [found[pack.place(prompt)] for prompt in pack.prompts]

    def _unknown(
        self, block: Iterable[Prompt], found: dict[int, Record]
    ) -> Iterator[tuple[Route, list[Prompt]]]:
        """Yield each item's route and those of its prompts whose answer is not known yet."""
        for item in by_owner(block):
            route = route_of(item, self._route)
            if unknown := [prompt for prompt in item if not self._known(prompt, route, found)]:
                yield route, unknown

    def _known(self, prompt: Prompt, route: Route, found: dict[int, Record]) -> bool:
        key = self._key(prompt, route)
        said = self._cache.get(key)
        if said is None and len(prompt.ids) > prompt.scored_from:
            return False
        if said is None and prompt.stop is not None:
            return False
        nothing = Failure(code="empty", text="the continuation has no token of its own", attempts=0)
        found[prompt.place] = Record(prompt=prompt, key=key, route=route, answer=said or nothing)
        self._settle(prompt.owner)
        return True

    def _key(self, prompt: Prompt, route: Route) -> str:
        how = ["next"] if route == "next" else ["bare"] if not prompt.greedy else []
        return self._cache.key(*prompt.decides, *how)

    def _keep(
        self,
        pack: Pack,
        answers: Sequence[Scored | Foreseen | Completion | Failure],
        found: dict[int, Record],
    ) -> None:
        said = []
        for prompt, answer in zip(pack.prompts, answers, strict=True):
            key = self._key(prompt, pack.route)
            kept = answer if isinstance(answer, Failure) else _said(key, prompt, answer)
            if isinstance(kept, Said):
                said.append(kept)
            found[prompt.place] = Record(prompt=prompt, key=key, route=pack.route, answer=kept)
        self._cache.add(said)
        for prompt in pack.prompts:
            self._settle(prompt.owner)

    def _settle(self, owner: Owner) -> None:
        self._open[owner] -= 1
        if self._open[owner] == 0:
            self._heard(1)


def _said(key: str, prompt: Prompt, answer: Scored | Foreseen | Completion) -> Said:
    said = Said(
        key=key,
        prompt_tokens=len(prompt.ids),
        sent_ns=answer.sent_ns,
        latency_ms=answer.latency_ms,
        attempts=answer.attempts,
    )
    if isinstance(answer, Foreseen):
        said.loglikelihood = answer.logprobs[prompt.ids[-1]]
        said.greedy = said.loglikelihood >= answer.likeliest
    elif isinstance(answer, Scored):
        # In this order, as lm-eval adds them: a float sum depends on it.
        said.loglikelihood = sum(answer.logprobs[prompt.scored_from :])
        said.greedy = all(answer.greedy[prompt.scored_from :])
    else:
        said.text = answer.text
        said.finish_reason = answer.finish_reason
        said.output_tokens = answer.output_tokens
    return said
