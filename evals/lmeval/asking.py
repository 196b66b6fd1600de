"""Sends what lm-eval wants to know: packed, cached, every failure kept by its item."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from evals.client.http import Client
from evals.client.many import for_each
from evals.lmeval.cache import Said
from evals.records import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from evals.endpoint import Endpoint
    from evals.lmeval.cache import Cache
    from evals.records import Completion, Route, Scored

PACK_TOKENS = 16_384
"""In one request at most, unless one item alone has more."""

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


class Record(msgspec.Struct, kw_only=True):
    """What came of one prompt."""

    prompt: Prompt
    key: str
    answer: Said | Failure


class Asker:
    """Asks prompts of one endpoint, each once.

    Args:
        endpoint: whom.
        route: how prompts are scored.
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
        self.route: Route = "native" if route == "native" else "echo"
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
        async with Client(self._endpoint, self.route) as client:
            waiting: asyncio.Queue[list[Prompt] | None] = asyncio.Queue(at_once)
            source = iter(blocks)

            async def make() -> None:
                """Encode the next block in a thread while the ones before are asked."""
                while (block := await asyncio.to_thread(next, source, None)) is not None:
                    for pack in self._packs(block, found):
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
        self, client: Client, pack: Sequence[Prompt]
    ) -> Sequence[Scored | Completion | Failure]:
        first = pack[0]
        if first.stop is None:
            return await client.score([prompt.ids for prompt in pack])
        answer = await client.complete(
            first.ids,
            max_tokens=first.max_tokens,
            stop=first.stop,
            temperature=first.temperature,
            seed=first.seed,
        )
        return [answer]

    def _packs(self, block: Iterable[Prompt], found: dict[int, Record]) -> Iterator[list[Prompt]]:
        """Put what is not known yet into requests; an item's choices stay together."""
        pack: list[Prompt] = []
        held = 0
        for item in _by_owner(block):
            unknown = [prompt for prompt in item if not self._known(prompt, found)]
            if not unknown:
                continue
            if unknown[0].stop is not None:
                yield from ([prompt] for prompt in unknown)
                continue
            more = sum(len(prompt.ids) for prompt in unknown)
            full = len(pack) + len(unknown) > self._pack or held + more > PACK_TOKENS
            if pack and full:
                yield pack
                pack, held = [], 0
            pack += unknown
            held += more
        if pack:
            yield pack

    def _known(self, prompt: Prompt, found: dict[int, Record]) -> bool:
        key = self._cache.key(*prompt.decides)
        said = self._cache.get(key)
        if said is None and len(prompt.ids) > prompt.scored_from:
            return False
        if said is None and prompt.stop is not None:
            return False
        nothing = Failure(code="empty", text="the continuation has no token of its own", attempts=0)
        found[prompt.place] = Record(prompt=prompt, key=key, answer=said or nothing)
        self._settle(prompt.owner)
        return True

    def _keep(
        self,
        pack: Sequence[Prompt],
        answers: Sequence[Scored | Completion | Failure],
        found: dict[int, Record],
    ) -> None:
        said = []
        for prompt, answer in zip(pack, answers, strict=True):
            key = self._cache.key(*prompt.decides)
            kept = answer if isinstance(answer, Failure) else _said(key, prompt, answer)
            if isinstance(kept, Said):
                said.append(kept)
            found[prompt.place] = Record(prompt=prompt, key=key, answer=kept)
        self._cache.add(said)
        for prompt in pack:
            self._settle(prompt.owner)

    def _settle(self, owner: Owner) -> None:
        self._open[owner] -= 1
        if self._open[owner] == 0:
            self._heard(1)


def _said(key: str, prompt: Prompt, answer: Scored | Completion) -> Said:
    common = {
        "sent_ns": answer.sent_ns,
        "latency_ms": answer.latency_ms,
        "attempts": answer.attempts,
    }
    said = Said(key=key, prompt_tokens=len(prompt.ids), **common)  # type: ignore[arg-type]
    if prompt.stop is None:
        # In this order, as lm-eval adds them: a float sum depends on it.
        said.loglikelihood = sum(answer.logprobs[prompt.scored_from :])  # type: ignore[union-attr]
        said.greedy = all(answer.greedy[prompt.scored_from :])  # type: ignore[union-attr]
        return said
    said.text = answer.text  # type: ignore[union-attr]
    said.finish_reason = answer.finish_reason  # type: ignore[union-attr]
    said.output_tokens = answer.output_tokens  # type: ignore[union-attr]
    return said


def _by_owner(prompts: Iterable[Prompt]) -> Iterator[list[Prompt]]:
    item: list[Prompt] = []
    for prompt in prompts:
        if item and prompt.owner != item[0].owner:
            yield item
            item = []
        item.append(prompt)
    if item:
        yield item
