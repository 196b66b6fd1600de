"""What a request asks of the model, and what the model tells: the same for every dialect.

A dialect's page reads a body into a `Question` and writes a document from what was `Told`; lies
change one or the other between the two.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from launchers.mock.tokens import Tokens


class QuestionError(ValueError):
    """A request that a server refuses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One prompt: ids, and the text if text was sent."""

    ids: tuple[int, ...]
    text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a request asks for."""

    prompts: tuple[Prompt, ...]
    max_tokens: int = 16
    echo: bool = False
    """Tell the prompt as well, and its log-probabilities where `logprobs` are asked for."""
    logprobs: int | None = None
    """Likeliest tokens to tell at each place; None: no log-probabilities."""
    named: tuple[int, ...] = ()
    """Ids to tell of at each written place, in place of the likeliest ones."""
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    temperature: float = 1.0
    seed: int = 0
    repetition_penalty: float | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    bias: tuple[tuple[int, float], ...] = ()
    """Added to the logits of ids."""


class Place(NamedTuple):
    """A token where it stands, and what was likeliest there."""

    number: int
    logprob: float | None
    top: list[tuple[int, float]]
    rank: int


@dataclass(slots=True, kw_only=True)
class Choice:
    """The answer to one prompt. Mutable, so that it can be lied about."""

    index: int
    prompt: Prompt
    scored: list[Place] | None = None
    """The prompt's tokens; None where they were not asked for."""
    written: list[Place] = field(default_factory=list)
    text: str | None = ""
    """What was written; without the stop string."""
    finish: str = "length"
    stop_reason: str | None = None
    wants_logprobs: bool = False


@dataclass(slots=True, kw_only=True)
class Told:
    """The whole answer."""

    model: str
    choices: list[Choice]
    prompt_tokens: int = 0
    output_tokens: int = 0
    question: Question
    body: dict[str, Any]
    hides_ids: bool = False
    """Tells no ids though asked to."""
    hides_usage: bool = False


def read_prompts(value: object, tokens: Tokens, *, special: bool) -> tuple[Prompt, ...]:
    """Read a prompt or a list of them, texts or ids.

    Raises:
        QuestionError: it is neither.
    """
    if isinstance(value, str) or (isinstance(value, list) and value and _is_ids(value)):
        value = [value]
    if not isinstance(value, list) or not value:
        raise QuestionError("prompt: neither text nor token ids, nor a list of either")
    return tuple(_prompt(item, tokens, special=special) for item in value)


def _prompt(item: object, tokens: Tokens, *, special: bool) -> Prompt:
    if isinstance(item, str):
        return Prompt(ids=tuple(tokens.encode(item, special=special)), text=item)
    if not isinstance(item, list) or not _is_ids(item):
        raise QuestionError("prompt: neither text nor token ids")
    if not item:
        raise QuestionError("prompt: no tokens")
    for number in item:
        if not 0 <= number < tokens.size:
            raise QuestionError(f"Token id {number} is out of vocabulary")
    return Prompt(ids=tuple(item))


def _is_ids(value: Sequence[object]) -> bool:
    return all(type(item) is int for item in value)


def read_stop(value: object) -> tuple[str, ...]:
    """Read a stop string, or a list of them."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(map(str, value))  # type: ignore[call-overload]
