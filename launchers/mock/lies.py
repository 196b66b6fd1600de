"""Ways in which servers give wrong scores without a word: each one was met in the field.

A lie changes the question before the model answers it, or what the model told before it is written
down, or has another model answer in the first one's place; whatever the dialect.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from launchers.mock.asking import Place, Prompt, Question, Told
    from launchers.mock.tokens import Tokens

    Ask = Callable[[Question, Tokens, float], Question]
    Tell = Callable[[Told], None]

_CLAMPED_BELOW = -4.0
_CLAMP = -9999.0
"""What vLLM writes in place of −inf, which JSON has not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When and among what a prompt is answered."""

    requests: int
    """That came before."""
    in_flight: int
    """Other requests under way."""
    index: int
    """Of the prompt in its batch."""
    size: int
    """Prompts in its batch."""
    seen: bool
    """Whether the prompt was answered before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lie:
    """One way to lie."""

    text: str
    number: float = 0.0
    """What `NAME:NUMBER` sets."""
    ask: Ask | None = None
    tell: Tell | None = None
    swap: Callable[[Moment, float], bool] | None = None
    """Whether another model answers this prompt."""
    writes: bool = True
    """Whether that model also writes, or scores alone."""
    every: int = 1
    """It scores every so many-th token of the prompt."""


def _no_echo(question: Question, tokens: Tokens, number: float) -> Question:  # noqa: ARG001
    return replace(question, echo=False)


def _no_logprobs(question: Question, tokens: Tokens, number: float) -> Question:  # noqa: ARG001
    return replace(question, logprobs=None)


def _with_bos(question: Question, tokens: Tokens, which: Callable[[Prompt], bool]) -> Question:
    if tokens.bos is None:
        return question
    bos = (tokens.bos,)
    prompts = [replace(p, ids=bos + p.ids) if which(p) else p for p in question.prompts]
    return replace(question, prompts=tuple(prompts))


def _add_bos(question: Question, tokens: Tokens, number: float) -> Question:  # noqa: ARG001
    return _with_bos(question, tokens, lambda p: p.text is None and p.ids[0] != tokens.bos)


def _double_bos(question: Question, tokens: Tokens, number: float) -> Question:  # noqa: ARG001
    return _with_bos(question, tokens, lambda p: p.ids[:1] == (tokens.bos,))


def _text_bos(question: Question, tokens: Tokens, number: float) -> Question:  # noqa: ARG001
    return _with_bos(question, tokens, lambda p: p.text is not None)


def _no_text_bos(question: Question, tokens: Tokens, number: float) -> Question:  # noqa: ARG001
    prompts = [
        replace(p, ids=p.ids[1:]) if p.text and p.ids[0] == tokens.bos else p
        for p in question.prompts
    ]
    return replace(question, prompts=tuple(prompts))


def _truncate_left(question: Question, tokens: Tokens, number: float) -> Question:  # noqa: ARG001
    prompts = [replace(p, ids=p.ids[-int(number) :]) for p in question.prompts]
    return replace(question, prompts=tuple(prompts))


def _truncate_answers(question: Question, tokens: Tokens, number: float) -> Question:  # noqa: ARG001
    most = max(1, int(question.max_tokens * number)) if question.max_tokens else 0
    return replace(question, max_tokens=most)


def _ignore_stop(question: Question, tokens: Tokens, number: float) -> Question:  # noqa: ARG001
    return replace(question, stop=())


def _penalty(question: Question, tokens: Tokens, number: float) -> Question:  # noqa: ARG001
    if question.repetition_penalty is not None:
        return question
    return replace(question, repetition_penalty=number)


def _penalty_always(question: Question, tokens: Tokens, number: float) -> Question:  # noqa: ARG001
    return replace(question, repetition_penalty=number)


def _retokenize(question: Question, tokens: Tokens, number: float) -> Question:  # noqa: ARG001
    def anew(prompt: Prompt) -> Prompt:
        begins = prompt.ids[:1] == (tokens.bos,)
        ids = tokens.encode(tokens.decode(prompt.ids), special=begins)
        return replace(prompt, ids=tuple(ids)) if prompt.text is None and ids else prompt

    return replace(question, prompts=tuple(map(anew, question.prompts)))


def _each_scored(told: Told, change: Callable[[list[Place]], list[Place]]) -> None:
    for choice in told.choices:
        if choice.scored is not None:
            choice.scored = change(choice.scored)


def _shift(told: Told) -> None:
    """Give each token what belongs to the next one; the null stays where it is."""

    def moved(places: list[Place]) -> list[Place]:
        ends = [*places[2:], places[-1]] if len(places) > 1 else []
        pairs = zip(places[1:], ends, strict=True)
        return places[:1] + [own._replace(logprob=b.logprob, top=b.top) for own, b in pairs]

    _each_scored(told, moved)


def _clamped(place: Place) -> Place:
    low = place.logprob is not None and place.logprob < _CLAMPED_BELOW
    return place._replace(logprob=_CLAMP) if low else place


def _clamp(told: Told) -> None:
    _each_scored(told, lambda places: [_clamped(place) for place in places])


def _at_middle(told: Told, value: float | None) -> None:
    def changed(places: list[Place]) -> list[Place]:
        middle = len(places) // 2
        return [
            place._replace(logprob=value) if n == middle and n else place
            for n, place in enumerate(places)
        ]

    _each_scored(told, changed)
    for choice in told.choices:
        choice.written = [place._replace(logprob=value) for place in choice.written]


def _nan(told: Told) -> None:
    _at_middle(told, math.nan)


def _null_twice(told: Told) -> None:
    _at_middle(told, None)


def _positive(told: Told) -> None:
    _each_scored(
        told,
        lambda places: [
            place._replace(logprob=None if place.logprob is None else -place.logprob)
            for place in places
        ],
    )


def _each_named(told: Told, change: Callable[[list[float]], list[float]]) -> None:
    """Change what is told of ids that were named."""
    for choice in told.choices if told.question.named else ():
        for number, place in enumerate(choice.written):
            named, values = zip(*place.top, strict=True)
            told_of = dict(zip(named, change(list(values)), strict=True))
            own = told_of.get(place.number, place.logprob)
            choice.written[number] = place._replace(logprob=own, top=list(told_of.items()))


def _renormalise_named(told: Told) -> None:
    def changed(values: list[float]) -> list[float]:
        total = math.log(math.fsum(map(math.exp, values)))
        return [value - total for value in values]

    _each_named(told, changed)


def _move_named(told: Told) -> None:
    _each_named(told, lambda values: values[1:] + values[:1])


def _reorder(told: Told) -> None:
    """Answer each prompt with the next one's answer; the indices are in order."""
    answers = [(c.prompt, c.scored, c.written, c.text, c.finish) for c in told.choices]
    for choice, other in zip(told.choices, answers[1:] + answers[:1], strict=True):
        choice.prompt, choice.scored, choice.written, choice.text, choice.finish = other


def _duplicate_index(told: Told) -> None:
    told.choices[-1].index = 0


def _drop_choice(told: Told) -> None:
    if len(told.choices) > 1:
        told.choices.pop()


def _other_name(told: Told) -> None:
    told.model = "another-model"


def _wrong_usage(told: Told) -> None:
    told.prompt_tokens = told.prompt_tokens // 2 + 7


def _no_usage(told: Told) -> None:
    told.hides_usage = True


def _empty_text(told: Told) -> None:
    for choice in told.choices:
        choice.text = ""


def _none_content(told: Told) -> None:
    for choice in told.choices:
        choice.text = None


def _no_ids(told: Told) -> None:
    told.hides_ids = True


LIES: Final[dict[str, Lie]] = {
    "no_echo": Lie(text="echo is ignored: logprobs of the written tokens only", ask=_no_echo),
    "echo_no_logprobs": Lie(text="logprobs are ignored: null", ask=_no_logprobs),
    "add_bos": Lie(text="BOS is put in front of token ids", ask=_add_bos),
    "double_bos": Lie(text="BOS is put in front of what begins with it", ask=_double_bos),
    "text_bos": Lie(text="texts get one BOS more than their tokenizer says", ask=_text_bos),
    "no_text_bos": Lie(text="texts do not get their tokenizer's BOS", ask=_no_text_bos),
    "retokenize": Lie(text="token ids are decoded, and encoded anew", ask=_retokenize),
    "truncate_left": Lie(
        text="of a prompt only the last 128 (or :NUMBER) tokens are read",
        number=128, ask=_truncate_left,
    ),
    "truncate_answers": Lie(
        text="answers end at a third (or :SHARE) of max_tokens", number=0.34, ask=_truncate_answers,
    ),
    "ignore_stop": Lie(text="stop strings are ignored", ask=_ignore_stop),
    "penalty": Lie(
        text="a repetition penalty of 1.5 (or :NUMBER) unless the request has one",
        number=1.5, ask=_penalty,
    ),
    "penalty_always": Lie(
        text="a repetition penalty of 1.5 (or :NUMBER) whatever the request says",
        number=1.5, ask=_penalty_always,
    ),
    "shift": Lie(text="each token has the log-probability of the next one", tell=_shift),
    "clamp": Lie(text="log-probabilities below -4 are told as -9999", tell=_clamp),
    "positive": Lie(text="log-probabilities have the wrong sign", tell=_positive),
    "nan": Lie(text="one log-probability of each prompt is NaN", tell=_nan),
    "null_twice": Lie(text="one more log-probability is null", tell=_null_twice),
    "named_renormalised": Lie(
        text="probabilities of ids that the request names add up to 1", tell=_renormalise_named
    ),
    "named_moved": Lie(
        text="each id that the request names has another one's log-probability", tell=_move_named
    ),
    "reorder": Lie(text="a batch's answers are given to the wrong prompts", tell=_reorder),
    "duplicate_index": Lie(text="a batch's last answer has the first one's index",
                           tell=_duplicate_index),
    "drop_choice": Lie(text="a batch's last answer is missing", tell=_drop_choice),
    "wrong_usage": Lie(text="usage counts other prompt tokens", tell=_wrong_usage),
    "no_usage": Lie(text="tells no usage", tell=_no_usage),
    "no_ids": Lie(text="tells no token ids, though asked to", tell=_no_ids),
    "empty_text": Lie(text="what was written is told as an empty text", tell=_empty_text),
    "none_content": Lie(text="what was written is told as null", tell=_none_content),
    "other_model": Lie(
        text="another model answers, and says so", tell=_other_name, swap=lambda *_: True
    ),
    "other_model_silent": Lie(
        text="another model scores than writes", swap=lambda *_: True, writes=False
    ),
    "drift": Lie(
        text="after 40 (or :NUMBER) requests another model answers",
        number=40, swap=lambda moment, number: moment.requests >= number,
    ),
    "cache_dependent": Lie(
        text="a prompt that was seen before gets other scores",
        swap=lambda moment, _: moment.seen, every=4,
    ),
    "order_dependent": Lie(
        text="all but the first of a batch get other scores",
        swap=lambda moment, _: moment.index > 0, every=4,
    ),
    "batch_dependent": Lie(
        text="a batch gets other scores than its prompts alone",
        swap=lambda moment, _: moment.size > 1, every=4,
    ),
    "concurrency_dependent": Lie(
        text="other scores while more than 1 (or :NUMBER) other request is under way",
        number=1, swap=lambda moment, number: moment.in_flight >= number, every=4,
    ),
}  # fmt: skip
"""Name → lie. What is wrong with HTTP (500, time-outs, silence) lies with the faults."""


def text_of_lies() -> str:
    """Return the table for people."""
    width = max(map(len, LIES))
    return "\n".join(f"{name:<{width}}  {lie.text}" for name, lie in LIES.items())
