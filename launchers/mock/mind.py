"""Answers a question by the language model: scores the prompt, writes on."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from launchers.mock.asking import Choice, Place
from launchers.mock.knowledge import Recall, chance
from launchers.mock.language import context_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from launchers.mock.asking import Prompt, Question
    from launchers.mock.knowledge import Knowledge
    from launchers.mock.language import Language, Next
    from launchers.mock.tokens import Tokens

_AMONG = 32
"""Likeliest tokens that a penalty chooses from."""


class Model:
    """A language and what it knows."""

    def __init__(
        self, language: Language, knowledge: Knowledge | None = None, wronged: float = 0.0
    ) -> None:
        self._language = language
        self._knowledge = knowledge
        self._wronged = wronged

    def read(self, ids: Sequence[int]) -> Reading:
        """Begin to read a sequence, which may grow meanwhile."""
        recall = None if self._knowledge is None else Recall(self._knowledge, self._wronged)
        return Reading(self._language, recall, ids)


class Reading:
    """One model's way along one sequence."""

    __slots__ = ("_ids", "_language", "_recall")

    def __init__(self, language: Language, recall: Recall | None, ids: Sequence[int]) -> None:
        self._language, self._recall, self._ids = language, recall, ids

    def skip(self, end: int) -> None:
        """Read the places from 1 up to, but not including, `end`."""
        if self._recall is not None:
            for place in range(1, end):
                self._recall.step(self._ids, place)

    def next(self, end: int) -> Next:
        """Return the distribution of the token at place `end`; call it for each place in turn."""
        known = None if self._recall is None else self._recall.step(self._ids, end)
        return self._language.next(context_of(self._ids, end), known)


def answer_prompt(
    question: Question,
    index: int,
    tokens: Tokens,
    *,
    writer: Model,
    scorer: Callable[[int], Model],
) -> Choice:
    """Answer one prompt.

    Args:
        question: what was asked.
        index: which of its prompts.
        tokens: the vocabulary.
        writer: the model that writes.
        scorer: place in the prompt → the model that scores it there.
    """
    prompt = question.prompts[index]
    choice = Choice(index=index, prompt=prompt, wants_logprobs=question.logprobs is not None)
    if question.echo and question.logprobs is not None:
        choice.scored = _score(prompt, question.logprobs, scorer)
    _write(choice, question, tokens, writer)
    return choice


def _score(prompt: Prompt, count: int, scorer: Callable[[int], Model]) -> list[Place]:
    ids = prompt.ids
    readings: dict[Model, Reading] = {}
    places = [_bare(number) for number in ids[:1]]
    for end in range(1, len(ids)):
        model = scorer(end)
        if model not in readings:
            readings[model] = model.read(ids)
            readings[model].skip(end)
        for other, reading in readings.items():
            view = reading.next(end)
            if other is model:
                places.append(_place(view, ids[end], count))
    return places


def _place(view: Next, number: int, count: int) -> Place:
    return Place(number, view.logprob(number), view.top(count), view.rank(number))


def _write(choice: Choice, question: Question, tokens: Tokens, writer: Model) -> None:
    ids = list(choice.prompt.ids)
    start = len(ids)
    reading = writer.read(ids)
    reading.skip(start)
    count = question.logprobs if question.logprobs is not None else 0
    ends: list[str] = []
    while len(ids) - start < question.max_tokens:
        view = reading.next(len(ids))
        number = _choose(view, question, ids, start)
        place = _place(view, number, count) if choice.wants_logprobs else _bare(number)
        if question.named:
            place = place._replace(top=[(n, view.logprob(n)) for n in question.named])
        choice.written.append(place)
        ids.append(number)
        if number == tokens.eos and not question.ignore_eos:
            choice.finish = "stop"
            break
        if question.stop and (stopped := _stopped(ids, start, question.stop, tokens)) is not None:
            choice.finish, ends = "stop", [stopped]
            choice.stop_reason = stopped
            break
    text = tokens.decode(ids[start:])
    choice.text = text[: text.find(ends[0])] if ends else text


def _bare(number: int) -> Place:
    return Place(number, None, [], 0)


def _stopped(ids: list[int], start: int, stop: tuple[str, ...], tokens: Tokens) -> str | None:
    """Return the stop string that the last token completed."""
    window = max(map(len, stop)) * 4 + 8
    text = tokens.decode(ids[max(start, len(ids) - window) :])
    return next((item for item in stop if item in text), None)


def _choose(view: Next, question: Question, ids: list[int], start: int) -> int:
    if question.temperature:
        return view.draw(chance(question.seed, len(ids), context_of(ids, len(ids))))
    repetition = question.repetition_penalty or 1.0
    presence, frequency = question.presence_penalty, question.frequency_penalty
    bias = dict(question.bias)
    if repetition == 1.0 and not presence and not frequency and not bias:
        return view.top(1)[0][0]
    seen, counts = set(ids), Counter(ids[start:])

    def worth(found: tuple[int, float]) -> float:
        number, logprob = found
        penalised = logprob * repetition if number in seen else logprob
        penalised += bias.get(number, 0.0)
        return penalised - presence * (number in counts) - frequency * counts[number]

    among = view.top(_AMONG) + [(number, view.logprob(number)) for number in bias]
    return max(among, key=worth)[0]
