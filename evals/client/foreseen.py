"""The next route: one token is written after each prompt, and ids' ln p in its place are told.

vLLM's `logprob_token_ids` at `/v1/completions`. All choices of an item that are one token long are
scored by one prompt, which reads the prefix cache; echo takes a prompt for each, which does not.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from evals.client.bodies import next_body
from evals.client.echo import MARK, ROUNDING, Broken, checked, decode
from evals.records import Failure, Foreseen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evals.client.connection import Reply
    from evals.client.echo import Choice, Usage
    from evals.endpoint import Endpoint

MOST_TOKENS: Final = 128
"""Ids that vLLM takes in one request (`MAX_LOGPROB_TOKEN_IDS`, vllm/sampling_params.py)."""
_SUM: Final = 1.01
"""Largest sum of probabilities that rounding explains."""


class Next:
    """The page, for one set of ids.

    Args:
        endpoint: whose.
        tokens: ids whose ln p is asked for, each once.
    """

    batches = True

    def __init__(self, endpoint: Endpoint, tokens: Sequence[int]) -> None:
        self.url = f"{endpoint.base_url.removesuffix('/')}/completions"
        self._model, self._engine = endpoint.model, endpoint.engine
        self._tokens = tokens

    def body(self, prompts: Sequence[Sequence[int]], top: int | None) -> bytes:  # noqa: ARG002
        """Return the request."""
        return next_body(self._model, self._engine, prompts, self._tokens)

    def read(
        self,
        reply: Reply,
        prompts: Sequence[Sequence[int]],
        top: int | None,  # noqa: ARG002
    ) -> list[Foreseen | Failure]:
        """Return what came back, a result for each prompt."""
        try:
            choices, usage = decode(reply, self._model, len(prompts))
            _check_usage(usage, prompts)
        except Broken as broken:
            return [broken.failure(reply)] * len(prompts)
        found: list[Foreseen | Failure] = []
        for prompt, choice in zip(prompts, choices, strict=True):
            try:
                found.append(self._foreseen(reply, prompt, choice))
            except Broken as broken:
                found.append(broken.failure(reply))
        return found

    def _foreseen(self, reply: Reply, prompt: Sequence[int], choice: Choice) -> Foreseen:
        if choice.prompt_token_ids is not None and choice.prompt_token_ids != list(prompt):
            raise Broken("wrong_ids", "the server read other tokens than were sent")
        told = choice.logprobs
        if told is None or not told.token_logprobs or not told.top_logprobs or not told.tokens:
            raise Broken("no_logprobs", "the answer has no log-probabilities")
        lengths = {len(told.token_logprobs), len(told.top_logprobs), len(told.tokens)}
        if lengths != {1}:
            raise Broken("wrong_length", "log-probabilities of more than the one token written")
        table = told.top_logprobs[0] or {}
        names = [f"{MARK}{token}" for token in self._tokens]
        if missing := [name for name in names if name not in table]:
            raise Broken("no_logprobs", f"no log-probability of {', '.join(missing[:5])}")
        own, *values = checked([None, told.token_logprobs[0], *(table[name] for name in names)])[1:]
        written = told.tokens[0]
        if abs((table.get(written) or own) - own) > ROUNDING:
            raise Broken("contradiction", f"ln p = {own} of what was written, and {table[written]}")
        if max(values) > own + ROUNDING:
            raise Broken(
                "contradiction",
                f"ln p = {max(values)} of another token than the one written, which has {own}",
            )
        total = sum(map(math.exp, values)) + (0 if written in names else math.exp(own))
        if total > _SUM:
            raise Broken("contradiction", f"probabilities of single tokens add up to {total:.3f}")
        return Foreseen(
            logprobs=dict(zip(self._tokens, values, strict=True)),
            likeliest=own,
            latency_ms=reply.latency_ms,
            sent_ns=reply.sent_ns,
            attempts=reply.attempts,
        )


def _check_usage(usage: Usage, prompts: Sequence[Sequence[int]]) -> None:
    sent = sum(map(len, prompts))
    if usage.prompt_tokens not in {None, sent}:
        raise Broken(
            "wrong_length", f"the server counts {usage.prompt_tokens} prompt tokens, {sent} sent"
        )
    if usage.completion_tokens not in {None, len(prompts)}:
        raise Broken(
            "wrong_length",
            f"{usage.completion_tokens} tokens written after {len(prompts)} prompts, one asked for",
        )
