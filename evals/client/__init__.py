"""Asking a server over HTTP, strictly: what comes back is what was asked for, or a `Failure`.

    async with Client(endpoint) as client:
        scored = await client.score([[1, 5, 9], [1, 7]])     # a request; a result for each prompt
        written = await client.complete("2 + 2 =", max_tokens=4)

Many items: `evals.client.many`, `for_each` (so many tasks at once) and `batches` (prompts put
together into requests). Results come in the order of what was asked. Nothing raises for one bad
answer; `ReachError` only where the endpoint itself cannot be used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evals.endpoint import Endpoint
    from evals.records import Completion, Failure, Scored


class Asks(Protocol):
    """What suites need of a client (`evals.client.http.Client` is the one there is)."""

    endpoint: Endpoint

    async def score(
        self, prompts: Sequence[Sequence[int]], *, top: int | None = 0
    ) -> list[Scored | Failure]:
        """Score every token of prompts given as ids, all in one request, by the proved route.

        Args:
            prompts: token ids, nothing is added to them.
            top: how many of the likeliest tokens at each place to bring along; None: not even which
                was the likeliest (`greedy`), which makes vLLM faster by half.
        """

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
        """Let the server write on, at `/v1/completions`; sampling fields are always sent."""

    async def chat(
        self,
        messages: Sequence[dict[str, str]],
        *,
        max_tokens: int,
        stop: Sequence[str] = (),
        temperature: float = 0.0,
        seed: int | None = None,
    ) -> Completion | Failure:
        """Let the server answer at `/v1/chat/completions`."""
