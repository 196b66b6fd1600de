"""The client: see `evals.client.Asks`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from evals.client.bodies import WRITES_STOP, chat_body, write_body
from evals.client.connection import Connection, Refusal
from evals.client.echo import Broken
from evals.client.foreseen import Next
from evals.client.scorers import Found, scorer_of
from evals.client.written import Limits, read_chat, read_written
from evals.records import Failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evals.client.scorers import Page
    from evals.endpoint import Endpoint
    from evals.records import Completion, Foreseen, Route, Scored

_SPLIT = frozenset({400, 413, 422})
"""Refusals that may be due to one prompt of several."""


class Client:
    """Asks one endpoint. An async context manager.

    Args:
        endpoint: whom.
        route: how prompts are scored, as the probe proved it.

    Raises:
        ReachError: a header's variable is not set, or the CA file is of no use.
        RouteError: the engine has no page of its own that scores.
        NeedError: that page needs a tokenizer.
    """

    def __init__(self, endpoint: Endpoint, route: Route = "echo") -> None:
        self.endpoint = endpoint
        self.scorer = scorer_of(endpoint, route)
        self.connection = Connection(endpoint)
        base = endpoint.base_url.removesuffix("/")
        self._completions, self._chats = f"{base}/completions", f"{base}/chat/completions"

    async def __aenter__(self) -> Self:
        await self.connection.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.connection.__aexit__(*error)

    async def score(
        self, prompts: Sequence[Sequence[int]], *, top: int | None = 0
    ) -> list[Scored | Failure]:
        """Score every token of prompts, all in one request.

        Prompts that are empty or exceed the context are not sent. Where the server refuses the
        request (4xx) and it has several prompts, each half is asked for by itself, so that one
        bad prompt costs the others nothing.
        """
        found: list[Scored | Failure | None] = [self._unfit(len(ids), 1) for ids in prompts]
        places = [place for place, failure in enumerate(found) if failure is None]
        answers = await self._ask(self.scorer, [prompts[place] for place in places], top)
        for place, answer in zip(places, answers, strict=True):
            found[place] = answer
        return [answer for answer in found if answer is not None]

    async def foresee(
        self, prompts: Sequence[Sequence[int]], tokens: Sequence[int]
    ) -> list[Foreseen | Failure]:
        """Say how likely each of some tokens is next after prompts, all in one request.

        Prompts that do not fit are not sent, and a refused request is split, as in `score`.
        """
        found: list[Foreseen | Failure | None] = [self._unfit(len(ids), 1) for ids in prompts]
        places = [place for place, failure in enumerate(found) if failure is None]
        page = Next(self.endpoint, tokens)
        answers = await self._ask(page, [prompts[place] for place in places], None)
        for place, answer in zip(places, answers, strict=True):
            found[place] = answer
        return [answer for answer in found if answer is not None]

    async def complete(
        self,
        prompt: str | Sequence[int],
        *,
        max_tokens: int,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        top_logprobs: int = 0,
        seed: int | None = None,
    ) -> Completion | Failure:
        """Let the server write on."""
        sent = None if isinstance(prompt, str) else len(prompt)
        if sent is not None and (unfit := self._unfit(sent, max_tokens)) is not None:
            return unfit
        fields = _writing_fields(max_tokens, stop, temperature, seed)
        if top_logprobs:
            fields["logprobs"] = top_logprobs
        body = write_body(self.endpoint.model, self.endpoint.engine, prompt, fields)
        reply = await self.connection.post(self._completions, body)
        if isinstance(reply, Failure):
            return reply
        if isinstance(reply, Refusal):
            return reply.failure()
        try:
            cuts = self.endpoint.engine in WRITES_STOP
            limits = Limits(max_tokens, tuple(stop), top_logprobs, sent, cuts)
            return read_written(reply, self.endpoint.model, limits)
        except Broken as broken:
            return broken.failure(reply)

    async def chat(
        self,
        messages: Sequence[dict[str, str]],
        *,
        max_tokens: int,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> Completion | Failure:
        """Let the server answer."""
        fields = _writing_fields(max_tokens, stop, temperature, seed)
        body = chat_body(self.endpoint.model, self.endpoint.engine, messages, fields)
        reply = await self.connection.post(self._chats, body)
        if isinstance(reply, Failure):
            return reply
        if isinstance(reply, Refusal):
            return reply.failure()
        try:
            cuts = self.endpoint.engine in WRITES_STOP
            limits = Limits(max_tokens, tuple(stop), cuts=cuts)
            return read_chat(reply, self.endpoint.model, limits)
        except Broken as broken:
            return broken.failure(reply)

    async def _ask(
        self, page: Page[Found], prompts: Sequence[Sequence[int]], top: int | None
    ) -> list[Found | Failure]:
        if not prompts:
            return []
        if len(prompts) > 1 and not page.batches:
            return [one for ids in prompts for one in await self._ask(page, [ids], top)]
        reply = await self.connection.post(page.url, page.body(prompts, top))
        if isinstance(reply, Failure):
            return [reply] * len(prompts)
        if not isinstance(reply, Refusal):
            return page.read(reply, prompts, top)
        if len(prompts) == 1 or reply.status not in _SPLIT:
            return [reply.failure()] * len(prompts)
        half = len(prompts) // 2
        first = await self._ask(page, prompts[:half], top)
        return [*first, *await self._ask(page, prompts[half:], top)]

    def _unfit(self, count: int, more: int) -> Failure | None:
        """Say why a prompt is not sent: nothing is ever cut to fit."""
        if count == 0:
            return Failure(code="empty", text="a prompt of no tokens", attempts=0)
        most = self.endpoint.max_model_len
        if most is None or count + more <= most:
            return None
        text = f"{count} tokens and {more} to write; the context holds {most}"
        return Failure(code="too_long", text=text, attempts=0)


def _writing_fields(
    max_tokens: int, stop: Sequence[str], temperature: float, seed: int | None
) -> dict[str, object]:
    fields: dict[str, object] = {"max_tokens": max_tokens, "temperature": float(temperature)}
    if stop:
        fields["stop"] = list(stop)
    if seed is not None:
        fields["seed"] = seed
    return fields
