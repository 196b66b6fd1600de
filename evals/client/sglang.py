"""SGLang's own `/generate`, which scores prompts given as ids.

Shapes: `python/sglang/srt/managers/tokenizer_manager.py`, `meta_info` of SGLang 0.5: a list of
[ln p, id, text] for each token of the prompt, null for the first one's value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from evals.client.bodies import encode
from evals.client.echo import Broken, checked
from evals.errors import GARBAGE
from evals.records import Failure, Scored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evals.client.connection import Reply
    from evals.endpoint import Endpoint

_Entry = tuple[float | None, int, str | None]
_ROUNDING = 1e-4


class _Meta(msgspec.Struct):
    prompt_tokens: int | None = None
    input_token_logprobs: list[_Entry] | None = None
    input_top_logprobs: list[list[_Entry] | None] | None = None


class _Generated(msgspec.Struct):
    meta_info: _Meta | None = None


_decode = msgspec.json.Decoder(list[_Generated]).decode


class Sglang:
    """The scorer."""

    batches = True
    takes_ids = True
    names_likeliest = True

    def __init__(self, endpoint: Endpoint) -> None:
        self.url = f"{endpoint.root}/generate"

    def body(self, prompts: Sequence[Sequence[int]], top: int | None) -> bytes:
        """Return the request."""
        return encode(
            {
                "input_ids": prompts,
                "sampling_params": {"max_new_tokens": 1, "temperature": 0},
                "return_logprob": True,
                "logprob_start_len": 0,
                "top_logprobs_num": max(top or 0, 1),
            }
        )

    def read(
        self, reply: Reply, prompts: Sequence[Sequence[int]], top: int | None
    ) -> list[Scored | Failure]:
        """Return what came back; answers have no index, but the ids of their prompt."""
        try:
            answers = _decode(reply.body)
        except GARBAGE as error:
            failure = Failure(
                code="malformed", text=f"no list of answers: {error}", attempts=reply.attempts
            )
            return [failure] * len(prompts)
        if len(answers) != len(prompts):
            text = f"{len(answers)} answers to {len(prompts)} prompts"
            failure = Failure(code="missing_choice", text=text, attempts=reply.attempts)
            return [failure] * len(prompts)
        found: list[Scored | Failure] = []
        for prompt, answer in zip(prompts, answers, strict=True):
            try:
                found.append(_scored(reply, list(prompt), answer.meta_info, top))
            except Broken as broken:
                found.append(broken.failure(reply))
        return found


def _scored(reply: Reply, prompt: list[int], told: _Meta | None, top: int | None) -> Scored:
    if told is None or not told.input_token_logprobs:
        raise Broken("no_logprobs", "the answer has no input_token_logprobs")
    entries, count = told.input_token_logprobs, len(prompt)
    if len(entries) != count or told.prompt_tokens not in {None, count}:
        raise Broken(
            "wrong_length",
            f"{len(entries)} log-probabilities, {told.prompt_tokens} counted, {count} tokens sent",
        )
    if [token for _, token, _ in entries] != prompt:
        raise Broken("wrong_ids", "the server scored other tokens than were sent")
    logprobs = checked([value for value, _, _ in entries])
    tops = told.input_top_logprobs
    if tops is None or len(tops) != count:
        raise Broken("no_logprobs", "the answer has no input_top_logprobs")
    scored = Scored(
        token_ids=prompt,
        logprobs=logprobs,
        greedy=[False] * count,
        latency_ms=reply.latency_ms,
        sent_ns=reply.sent_ns,
        attempts=reply.attempts,
    )
    for place in range(1, count):
        table = {token: value for value, token, _ in tops[place] or () if value is not None}
        if not table:
            raise Broken("no_logprobs", f"no likeliest token at place {place}")
        own, best = logprobs[place], max(table.values())
        twice = table.get(prompt[place], own)
        if own > best + _ROUNDING or abs(twice - own) > _ROUNDING:
            raise Broken("contradiction", f"place {place}: ln p = {own}, and {twice}")
        scored.greedy[place] = own >= best
        if top:
            pairs = sorted(table.items(), key=_best_first)[:top]
            scored.top_ids.append([token for token, _ in pairs])
            scored.top_logprobs.append([value for _, value in pairs])
    if top:
        scored.top_ids.insert(0, [])
        scored.top_logprobs.insert(0, [])
    return scored


def _best_first(pair: tuple[int, float]) -> tuple[float, int]:
    return -pair[1], pair[0]
