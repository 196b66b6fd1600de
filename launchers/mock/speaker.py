"""Everything that the mock answers by its language model, whatever the dialect."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from launchers.mock.asking import QuestionError, Told
from launchers.mock.engines import ENGINES
from launchers.mock.knowledge import Knowledge, load_facts
from launchers.mock.language import Language
from launchers.mock.legacy import read_chat, read_completion, write_chat, write_completion
from launchers.mock.lies import LIES, Moment
from launchers.mock.mind import Model, answer_prompt
from launchers.mock.native_documents import (
    read_llamacpp,
    read_sglang,
    read_tgi,
    write_llamacpp,
    write_sglang,
    write_tgi,
)
from launchers.mock.shapes import MODEL
from launchers.mock.tokens import load_tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from launchers.mock.asking import Choice, Question
    from launchers.mock.options import Options
    from launchers.mock.tokens import Tokens

    Read = Callable[[dict[str, Any], Tokens], Question]
    Write = Callable[[Told, Tokens, str], Any]


class Dialect(NamedTuple):
    """How questions are read and answers written."""

    read: Read
    write: Write


_COMPLETIONS = Dialect(read_completion, write_completion)
_CHAT = Dialect(read_chat, write_chat)
_SGLANG = Dialect(read_sglang, write_sglang)
_TGI = Dialect(read_tgi, write_tgi)
_TGI_ROOT = Dialect(read_tgi, lambda told, tokens, _: [write_tgi(told, tokens, _)])
_DIALECTS: Final[dict[bytes, Dialect]] = {
    b"/v1/chat/completions": _CHAT,
    b"/v1/completions": _COMPLETIONS,
    b"/completion": Dialect(read_llamacpp, write_llamacpp),
}

_APART = 7919
"""Between the seeds of the model and of the one that takes its place."""
TOKEN_PAGES = frozenset({b"/tokenize", b"/detokenize"})


@dataclass(frozen=True, slots=True)
class Spoken:
    """A whole answer, ready to send."""

    document: Any
    """JSON."""
    prompt_tokens: int
    tokens: int
    """Written for the prompt that got most of them: what it takes in time."""
    pieces: list[str]
    """The first answer's text, a token each: a stream."""
    finish: str


def find_dialect(path: bytes, body: dict[str, Any], engine: str) -> Dialect | None:
    """Return what answers whole documents at a path; TGI and SGLang have one path in common."""
    if engine == "tgi" and path in {b"/", b"/generate_stream"}:
        return _TGI_ROOT
    if path == b"/generate":
        return _TGI if engine == "tgi" or (engine == "any" and "inputs" in body) else _SGLANG
    return _DIALECTS.get(path)


def _pieces(choice: Choice, tokens: Tokens) -> list[str]:
    """Cut what was written into its tokens; all in the first where they do not fit together."""
    left, pieces = choice.text or "", []
    for place in choice.written:
        piece = tokens.token(place.number)
        piece = piece if left.startswith(piece) else left[: len(piece)]
        pieces.append(piece)
        left = left[len(piece) :]
    if "".join(pieces) != choice.text and pieces:
        pieces = [choice.text or "", *[""] * (len(pieces) - 1)]
    return pieces


def _mixed(model: Model, other: Model, every: int, place: int) -> Model:
    return model if place % every else other


class Speaker:
    """The model behind the pages.

    Args:
        options: what the mock was told.

    Raises:
        OptionsError: the tokenizer or the known prompts cannot be read.
    """

    def __init__(self, options: Options) -> None:
        self.tokens = load_tokens(options.tokenizer)
        self._options = options
        self._facts = None if options.knows is None else load_facts(options.knows, self.tokens)
        self._model = self._make(options.seed)

        self._other = self._make(options.seed + _APART)
        self._racing = self._make(options.seed, options.race[1])
        self._lies = [(LIES[name], number) for name, number in options.lies]
        self._engine = ENGINES[options.engine]
        self._requests = 0
        self._seen: set[tuple[int, ...]] = set()

    def _make(self, seed: int, wronged: float = 0.0) -> Model:
        options, knowledge = self._options, None
        if self._facts is not None:
            wrong_in = dict(options.wrong_in)
            knowledge = Knowledge(self._facts, seed, options.accuracy, wrong_in)
        return Model(Language(self.tokens, seed, options.damage), knowledge, wronged)

    def answer(
        self, dialect: Dialect, body: dict[str, Any], request_id: str, in_flight: int
    ) -> Spoken:
        """Answer a request that did not ask for a stream.

        Raises:
            QuestionError: a server would refuse it.
        """
        question = dialect.read(body, self.tokens)
        if dialect is _COMPLETIONS:
            question = self._engine.ask(question, body)
        elif dialect is _CHAT:
            question = self._engine.ask_chat(question, body)
        self._check(question)
        for lie, number in self._lies:
            if lie.ask is not None:
                value = lie.number if number is None else number
                question = lie.ask(question, self.tokens, value)
        choices = []
        for index, prompt in enumerate(question.prompts):
            moment = Moment(
                requests=self._requests,
                in_flight=in_flight,
                index=index,
                size=len(question.prompts),
                seen=prompt.ids in self._seen,
            )
            writer, scorer = self._models(moment)
            choices.append(
                answer_prompt(question, index, self.tokens, writer=writer, scorer=scorer)
            )
        self._requests += 1
        self._seen.update(prompt.ids for prompt in question.prompts)
        written = [len(choice.written) for choice in choices]
        told = Told(
            model=MODEL,
            choices=choices,
            prompt_tokens=sum(len(prompt.ids) for prompt in question.prompts),
            output_tokens=sum(written) or len(written),  # as vLLM counts max_tokens 0
            question=question,
            body=body,
        )
        for lie, _ in self._lies:
            if lie.tell is not None:
                lie.tell(told)
        document = dialect.write(told, self.tokens, request_id)
        if dialect is _COMPLETIONS:
            self._engine.adapt(document)
        elif dialect is _CHAT:
            self._engine.adapt_chat(document)
        pieces = _pieces(choices[0], self.tokens)
        return Spoken(document, told.prompt_tokens, max(written), pieces, choices[0].finish)

    def _models(self, moment: Moment) -> tuple[Model, Callable[[int], Model]]:
        """Return who writes, and who scores each place of the prompt."""
        model, other = self._model, self._other
        needed, share = self._options.race
        if share and moment.in_flight >= needed:
            model = self._racing
        for lie, number in self._lies:
            value = lie.number if number is None else number
            if lie.swap is not None and lie.swap(moment, value):
                writer = other if lie.writes else model
                return writer, partial(_mixed, model, other, lie.every)
        return model, lambda _: model

    def _check(self, question: Question) -> None:
        if type(question.max_tokens) is not int or question.max_tokens < 0:
            raise QuestionError(f"max_tokens: {question.max_tokens!r} is no number of tokens")
        most = self._options.max_model_len
        for prompt in question.prompts:
            asked = len(prompt.ids) + question.max_tokens
            if asked > most:
                raise QuestionError(
                    f"This model's maximum context length is {most} tokens. However, your request "
                    f"has {len(prompt.ids)} input tokens and asks for {question.max_tokens}. "
                    "Please reduce the length of the input prompt."
                )

    def page(self, path: bytes, body: dict[str, Any]) -> dict[str, Any]:
        """Answer one of the `TOKEN_PAGES`.

        Raises:
            QuestionError: a server would refuse it.
        """
        if path == b"/tokenize":
            special = body.get("add_special_tokens") is not False
            ids = self.tokens.encode(str(body.get("prompt", "")), special=special)
            names = [self.tokens.token(n) for n in ids] if body.get("return_token_strs") else None
            most = self._options.max_model_len
            return {"count": len(ids), "max_model_len": most, "tokens": ids, "token_strs": names}
        return {"prompt": self.tokens.decode(body.get("tokens") or (), special=True)}
