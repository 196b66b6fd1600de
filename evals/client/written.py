"""Answers that were written, at `/v1/completions` and `/v1/chat/completions`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from evals.client.echo import Broken, Logprobs, Usage, decode
from evals.errors import GARBAGE
from evals.records import Completion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evals.client.connection import Reply


class _Message(msgspec.Struct):
    content: str | None = None


class _ChatChoice(msgspec.Struct):
    index: int | None = None
    message: _Message | None = None
    finish_reason: str | None = None


class _Chat(msgspec.Struct):
    choices: list[_ChatChoice] | None = None
    model: str | None = None
    usage: Usage | None = None


_decode_chat = msgspec.json.Decoder(_Chat).decode
_OF_TGI: Final = {"eos_token": "stop", "stop_sequence": "stop"}
"""TGI's finish reasons in OpenAI's words."""


class Limits(msgspec.Struct, frozen=True):
    """What an answer has to keep to."""

    max_tokens: int
    stop: tuple[str, ...] = ()
    top: int = 0
    prompt_tokens: int | None = None
    """Sent, where ids were sent."""
    cuts: bool = False
    """Whether the answer is cut here at its first stop string, since the engine does not."""


def read_written(reply: Reply, model: str, limits: Limits) -> Completion:
    """Return a completion.

    Raises:
        Broken: there is none, or it breaks the limits.
    """
    (choice,), usage = decode(reply, model, 1)
    if choice.text is None:
        raise Broken("malformed", "the answer's choice has no text")
    top = _tables(choice.logprobs) if limits.top else []
    completion = _completion(reply, choice.text, choice.finish_reason, usage, limits)
    completion.top = top
    _check(completion, limits)
    return completion


def _tables(told: Logprobs | None) -> list[dict[str, float]]:
    """Return the likeliest tokens at each place that was written, in either shape."""
    if told is not None and told.content:
        rows = [[(top.token, top.logprob) for top in one.top_logprobs] for one in told.content]
    elif told is not None and told.top_logprobs:
        rows = [list((table or {}).items()) for table in told.top_logprobs]
    else:
        raise Broken("no_logprobs", "the answer does not name the likeliest tokens")
    tables = [{name: value for name, value in row if value is not None} for row in rows]
    if [*map(len, tables)] != [*map(len, map(dict, rows))] or not all(tables):
        raise Broken("null_position", "a written token or one of the likeliest has no value")
    return tables


def read_chat(reply: Reply, model: str, limits: Limits) -> Completion:
    """Return a message; one without content is empty.

    Raises:
        Broken: there is none, or it breaks the limits.
    """
    try:
        answer = _decode_chat(reply.body)
    except GARBAGE as error:
        raise Broken("malformed", f"no message: {error}") from error
    if answer.model != model:
        raise Broken("wrong_model", f"{answer.model!r} answered, asked for {model!r}")
    choices: Sequence[_ChatChoice] = answer.choices or ()
    if len(choices) != 1 or choices[0].message is None:
        raise Broken("missing_choice", f"{len(choices)} messages where one was asked for")
    content = choices[0].message.content or ""
    usage = answer.usage or Usage()
    completion = _completion(reply, content, choices[0].finish_reason, usage, limits)
    _check(completion, limits)
    return completion


def _cut(text: str, limits: Limits) -> str:
    """An answer without its stop string, which TGI leaves at the end, where others cut it off."""
    found = [text.find(stop) for stop in limits.stop if stop and stop in text]
    if limits.cuts and found:
        return text[: min(found)]
    return min((text.removesuffix(stop) for stop in limits.stop), key=len, default=text)


def _completion(
    reply: Reply, text: str, reason: str | None, usage: Usage, limits: Limits
) -> Completion:
    return Completion(
        text=_cut(text, limits),
        finish_reason=reason if reason is None else _OF_TGI.get(reason, reason),
        prompt_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        latency_ms=reply.latency_ms,
        sent_ns=reply.sent_ns,
        attempts=reply.attempts,
    )


def _check(completion: Completion, limits: Limits) -> None:
    tokens, sent = completion.prompt_tokens, limits.prompt_tokens
    if sent is not None and tokens not in {None, sent}:
        raise Broken("wrong_length", f"the server counts {tokens} prompt tokens, {sent} sent")
    if (completion.output_tokens or 0) > limits.max_tokens:
        raise Broken(
            "wrong_length",
            f"{completion.output_tokens} tokens written, {limits.max_tokens} asked for at most",
        )
    if completion.finish_reason == "length" and (
        completion.output_tokens is not None and completion.output_tokens < limits.max_tokens
    ):
        raise Broken(
            "answers_cut",
            f'ends as "length" after {completion.output_tokens} tokens, {limits.max_tokens} '
            "were allowed",
        )
    for stop in limits.stop:
        if stop and stop in completion.text[: -len(stop)]:
            raise Broken("stop_ignored", f"the answer goes on after the stop string {stop!r}")
