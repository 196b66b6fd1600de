"""The probe's own questions: bodies that the strict client would not send, answers as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from evals.client.bodies import encode, sampling
from evals.client.connection import Reply
from evals.client.echo import Completions
from evals.errors import GARBAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evals.client.http import Client

TELL_IDS: Final[dict[str, object]] = {
    "return_token_ids": True,
    "return_tokens_as_token_ids": True,
}
"""vLLM's fields; other servers leave them unread."""
_MARK: Final = "token_id:"
_decode = msgspec.json.Decoder(Completions).decode


class Asker:
    """Asks the client's server for completions."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.endpoint = client.endpoint
        self.base = client.endpoint.base_url.removesuffix("/")

    async def page(self, url: str) -> object:
        """Return a page's JSON; None where there is none."""
        reply = await self._client.connection.get(url)
        return _json(reply.body) if isinstance(reply, Reply) else None

    async def post(self, url: str, body: dict[str, object]) -> object:
        """Return the JSON of an answer; None where there is none."""
        found = await self.post_raw(url, body)
        return None if found is None else _json(found)

    async def post_raw(self, url: str, body: dict[str, object]) -> bytes | None:
        """Return an answer's body; None where there is none."""
        reply = await self._client.connection.post(url, encode(body))
        return reply.body if isinstance(reply, Reply) else None

    async def write(
        self,
        prompt: str | Sequence[int],
        max_tokens: int,
        *,
        bare: bool = False,
        more: dict[str, object] | None = None,
    ) -> Completions | None:
        """Return what is written greedily, unchecked; None where nothing of that kind came.

        Args:
            prompt: text or ids.
            max_tokens: to write.
            bare: leave all sampling fields but the temperature to the server.
            more: fields of the body.
        """
        neutral = sampling(self.endpoint.engine, 0.0, None)
        body = {
            "model": self.endpoint.model,
            "prompt": prompt,
            "max_tokens": max_tokens,
            **({"temperature": 0.0} if bare else neutral),
            **(more or {}),
        }
        if self.endpoint.engine == "openai":
            body = {name: value for name, value in body.items() if name not in TELL_IDS}
        reply = await self._client.connection.post(f"{self.base}/completions", encode(body))
        if not isinstance(reply, Reply):
            return None
        try:
            return _decode(reply.body)
        except GARBAGE:
            return None

    async def write_tgi(self, url: str, text: str, max_tokens: int) -> list[tuple[int, str]]:
        """Return ids and texts of the tokens that TGI's own page writes; empty without any."""
        body: dict[str, object] = {
            "inputs": text,
            "parameters": {"max_new_tokens": max_tokens, "details": True, "do_sample": False},
        }
        page = await self.post(url, body)
        details = page.get("details") if isinstance(page, dict) else None
        tokens = details.get("tokens") if isinstance(details, dict) else None
        pairs = [(one.get("id"), one.get("text")) for one in tokens or () if isinstance(one, dict)]
        return [(n, t) for n, t in pairs if isinstance(n, int) and isinstance(t, str)]

    async def stream(self, prompt: str, max_tokens: int) -> tuple[str, bool] | None:
        """Return a streamed answer's text and whether it ended with a count of tokens."""
        body = {
            "model": self.endpoint.model,
            "prompt": prompt,
            "max_tokens": max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            **sampling(self.endpoint.engine, 0.0, None),
        }
        lines = await self._client.connection.lines(f"{self.base}/completions", encode(body))
        if not isinstance(lines, list):
            return None
        text, counted, events = "", False, 0
        for line in lines:
            if not line.startswith(b"data:") or (data := line[5:].strip()) == b"[DONE]":
                continue
            try:
                event = _decode(data)
            except GARBAGE:
                return None
            events += 1
            text += "".join(choice.text or "" for choice in event.choices or ())
            counted = counted or event.usage is not None
        return (text, counted) if events else None


def text_of(answer: Completions | None) -> str | None:
    """Return the text of the only choice."""
    if answer is None or not answer.choices or len(answer.choices) != 1:
        return None
    return answer.choices[0].text


def prompt_tokens(answer: Completions | None) -> int | None:
    """Return how many tokens the server counts in the prompt."""
    return None if answer is None or answer.usage is None else answer.usage.prompt_tokens


def told_ids(answer: Completions | None) -> list[int] | None:
    """Return the ids that were written, where the answer tells them."""
    if answer is None or not answer.choices:
        return None
    choice = answer.choices[0]
    if choice.token_ids is not None:
        return choice.token_ids
    names = None if choice.logprobs is None else choice.logprobs.tokens
    if not names or not all(name.startswith(_MARK) for name in names):
        return None
    return [int(name.removeprefix(_MARK)) for name in names]


def _json(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except GARBAGE:
        return None
