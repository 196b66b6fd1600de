"""The echo route: what a server says of a prompt's tokens, believed only where nothing contradicts.

Legacy `/v1/completions` answers: `token_logprobs` of the prompt and of one more token, null at
place 0. What each check is for: docs/evals.md, "An answer that is not believed".
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec

from evals.errors import GARBAGE
from evals.records import Failure, Scored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evals.client.connection import Reply

CLAMPED: Final = -999.0
"""Not above this: a stand-in for −∞ (vLLM writes −9999), not a log-probability."""
ROUNDING: Final = 1e-4
"""Nats. A value that is told twice in one answer may be rounded differently; 0 may come as 1e-7."""
MARK: Final = "token_id:"

TopK = dict[str, float | None]


class Alternative(msgspec.Struct):
    """A token and its ln p, as llama.cpp tells them."""

    token: str
    logprob: float | None = None
    top_logprobs: list[Alternative] = []


class Logprobs(msgspec.Struct):
    """Of one choice; all lists are of one length."""

    content: list[Alternative] | None = None
    """In place of all others: chat's shape, which llama.cpp has at `/v1/completions` too."""

    token_logprobs: list[float | None] | None = None
    tokens: list[str] | None = None
    top_logprobs: list[TopK | None] | None = None


class Choice(msgspec.Struct):
    """What belongs to one prompt."""

    index: int | None = None
    text: str | None = None
    logprobs: Logprobs | None = None
    finish_reason: str | None = None
    prompt_token_ids: list[int] | None = None
    token_ids: list[int] | None = None


class Usage(msgspec.Struct):
    """Tokens of all prompts of the request together."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Completions(msgspec.Struct):
    """The whole answer."""

    choices: list[Choice] | None = None
    model: str | None = None
    usage: Usage | None = None


_decode = msgspec.json.Decoder(Completions).decode


class Broken(Exception):  # noqa: N818 - never leaves the client: it becomes a Failure
    """An answer contradicts itself or the request."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text

    def failure(self, reply: Reply) -> Failure:
        """What its reader is told of the prompt."""
        return Failure(code=self.code, text=self.text, attempts=reply.attempts)


def decode(reply: Reply, model: str, count: int) -> tuple[list[Choice], Usage]:
    """Return one choice a prompt, in the prompts' order.

    Raises:
        Broken: no such answer, of another model, or not one choice for each prompt.
    """
    try:
        answer = _decode(reply.body)
    except GARBAGE as error:
        raise Broken("malformed", f"no completion: {error}") from error
    if answer.choices is None:
        raise Broken("malformed", "no choices in the answer")
    if answer.model != model:
        raise Broken("wrong_model", f"{answer.model!r} answered, asked for {model!r}")
    indexes = [choice.index for choice in answer.choices]
    given = sorted(index for index in indexes if index is not None)
    if given != list(range(count)):
        code = "missing_choice" if len(set(given)) < count else "order"
        raise Broken(code, f"choices {indexes} where 0…{count - 1} was asked, each once")
    return sorted(answer.choices, key=_index), answer.usage or Usage()


def read_scores(
    reply: Reply, model: str, prompts: Sequence[Sequence[int]], top: int | None
) -> list[Scored | Failure]:
    """Return what was said of each prompt."""
    try:
        choices, usage = decode(reply, model, len(prompts))
        _check_usage(choices, usage, prompts)
    except Broken as broken:
        return [broken.failure(reply)] * len(prompts)
    found: list[Scored | Failure] = []
    for prompt, choice in zip(prompts, choices, strict=True):
        try:
            found.append(_scored(reply, prompt, choice, top))
        except Broken as broken:
            found.append(broken.failure(reply))
    return found


def checked(logprobs: Sequence[float | None]) -> list[float]:
    """Return a prompt's values, NaN in place of the null at place 0.

    Raises:
        Broken: the null is elsewhere, or a value is no log-probability.
    """
    if not logprobs or logprobs[0] is not None:
        raise Broken("null_position", "place 0 has a value, though nothing precedes it")
    values = [math.nan if value is None else value for value in logprobs]
    # One pass for the good case; NaN compares false.
    if all(CLAMPED < value <= 0.0 for value in values[1:]):
        return values
    for place, value in enumerate(values[1:], 1):
        if logprobs[place] is None:
            raise Broken("null_position", f"null at place {place}")
        if not math.isfinite(value):
            raise Broken("non_finite", f"{value} at place {place}")
        if value <= CLAMPED:
            raise Broken("clamped", f"{value} at place {place} stands for what was cut off")
        if value > ROUNDING:
            raise Broken("positive", f"ln p = {value} at place {place}: a probability above 1")
    return [min(value, 0.0) for value in values]


def _index(choice: Choice) -> int:
    return choice.index or 0


def _check_usage(choices: Sequence[Choice], usage: Usage, prompts: Sequence[Sequence[int]]) -> None:
    sent = sum(map(len, prompts))
    if usage.prompt_tokens is not None and usage.prompt_tokens != sent:
        raise Broken(
            "wrong_length", f"the server counts {usage.prompt_tokens} prompt tokens, {sent} sent"
        )
    if usage.completion_tokens is None or any(c.logprobs is None for c in choices):
        return
    told = sum(len(c.logprobs.token_logprobs or ()) for c in choices if c.logprobs is not None)
    if told != sent + usage.completion_tokens and len(choices) > 1:
        raise Broken(
            "wrong_length",
            f"{told} log-probabilities for {sent} tokens sent and {usage.completion_tokens} more",
        )


def _scored(reply: Reply, prompt: Sequence[int], choice: Choice, top: int | None) -> Scored:
    told = choice.logprobs
    if told is None or told.token_logprobs is None:
        raise Broken("no_logprobs", "the answer has no log-probabilities")
    count = len(prompt)
    length = len(told.token_logprobs)
    written = length - count if choice.token_ids is None else len(choice.token_ids)
    if written not in {0, 1} or length != count + written:
        raise Broken(
            "wrong_length", f"{length} log-probabilities for {count} tokens and one written"
        )
    if choice.prompt_token_ids is not None and choice.prompt_token_ids != list(prompt):
        raise Broken("wrong_ids", "the server scored other tokens than were sent")
    names = [f"{MARK}{token}" for token in prompt]
    if told.tokens is not None:
        _check_tokens(told.tokens, names, length)
    logprobs = checked(told.token_logprobs[:count])
    likeliest = told.top_logprobs
    if top is not None and (likeliest is None or len(likeliest) != length):
        raise Broken("no_logprobs", "the answer does not name the likeliest tokens")
    scored = Scored(
        token_ids=list(prompt),
        logprobs=logprobs,
        greedy=[False] * count,
        latency_ms=reply.latency_ms,
        sent_ns=reply.sent_ns,
        attempts=reply.attempts,
    )
    if top is None or likeliest is None:
        return scored
    _read_top(scored, likeliest, names)
    if top and count > 1 and next(iter(likeliest[1] or ())).startswith(MARK):
        _keep_top(scored, likeliest, top)
    return scored


def _check_tokens(tokens: Sequence[str], names: list[str], length: int) -> None:
    """Compare ids where the server names tokens by them."""
    if len(tokens) != length:
        raise Broken("wrong_length", f"{len(tokens)} tokens for {length} log-probabilities")
    if tokens[0].startswith(MARK) and tokens[: len(names)] != names:
        raise Broken("wrong_ids", "the echo has other tokens than were sent")


def _read_top(scored: Scored, likeliest: Sequence[TopK | None], names: list[str]) -> None:
    """Fill in `greedy`.

    Raises:
        Broken: a token's value is told twice, differently, or exceeds the likeliest one's.
    """
    greedy = scored.greedy
    for place, own in enumerate(scored.logprobs):
        if not place:
            continue
        table = likeliest[place]
        if not table:
            raise Broken("no_logprobs", f"no likeliest token at place {place}")
        values = table.values()
        if None in values:
            raise Broken("null_position", f"null among the likeliest tokens at place {place}")
        best: float = max(values)  # type: ignore[type-var, assignment]  # none is None
        twice: float = table.get(names[place], own)  # type: ignore[assignment]
        if own > best + ROUNDING or abs(twice - own) > ROUNDING:
            raise Broken(
                "contradiction",
                f"place {place}: ln p = {own}, and {twice} where the likeliest has {best}",
            )
        greedy[place] = own >= best


def _keep_top(scored: Scored, likeliest: Sequence[TopK | None], top: int) -> None:
    scored.top_ids, scored.top_logprobs = [[]], [[]]
    for table in likeliest[1 : len(scored.logprobs)]:
        pairs = [(value or 0.0, int(name.removeprefix(MARK))) for name, value in table.items()]  # type: ignore[union-attr]
        pairs.sort(key=_best_first)
        scored.top_ids.append([token for _, token in pairs[:top]])
        scored.top_logprobs.append([value for value, _ in pairs[:top]])


def _best_first(pair: tuple[float, int]) -> tuple[float, int]:
    return -pair[0], pair[1]
