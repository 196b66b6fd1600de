"""Everything that the mock answers by its language model, whatever the dialect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from launchers.mock.asking import QuestionError, Told
from launchers.mock.knowledge import Knowledge, load_facts
from launchers.mock.language import Language
from launchers.mock.legacy import read_chat, read_completion, write_chat, write_completion
from launchers.mock.mind import Model, answer_prompt
from launchers.mock.shapes import MODEL
from launchers.mock.tokens import load_tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from launchers.mock.asking import Question
    from launchers.mock.options import Options
    from launchers.mock.tokens import Tokens

    Read = Callable[[dict[str, Any], Tokens], Question]
    Write = Callable[[Told, Tokens, str], dict[str, Any]]

_PAGES: Final[dict[bytes, tuple[Read, Write]]] = {
    b"/v1/chat/completions": (read_chat, write_chat),
    b"/v1/completions": (read_completion, write_completion),
}

TOKEN_PAGES = frozenset({b"/tokenize", b"/detokenize"})


@dataclass(frozen=True, slots=True)
class Spoken:
    """A whole answer, ready to send."""

    document: dict[str, Any]
    prompt_tokens: int
    tokens: int
    """Written for the prompt that got most of them: what it takes in time."""


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

    def _make(self, seed: int, wronged: float = 0.0) -> Model:
        options, knowledge = self._options, None
        if self._facts is not None:
            wrong_in = dict(options.wrong_in)
            knowledge = Knowledge(self._facts, seed, options.accuracy, wrong_in)
        return Model(Language(self.tokens, seed, options.damage), knowledge, wronged)

    def speaks_at(self, path: bytes) -> bool:
        """Whether the model answers whole documents at a path."""
        return path in _PAGES

    def answer(self, path: bytes, body: dict[str, Any], request_id: str) -> Spoken:
        """Answer a request that did not ask for a stream.

        Raises:
            QuestionError: a server would refuse it.
        """
        read, write = _PAGES[path]
        question = read(body, self.tokens)
        self._check(question)
        choices = [
            answer_prompt(
                question, index, self.tokens, writer=self._model, scorer=lambda _: self._model
            )
            for index in range(len(question.prompts))
        ]
        written = [len(choice.written) for choice in choices]
        told = Told(
            model=MODEL,
            choices=choices,
            prompt_tokens=sum(len(prompt.ids) for prompt in question.prompts),
            output_tokens=sum(written) or len(written),  # as vLLM counts max_tokens 0
            question=question,
            body=body,
        )
        document = write(told, self.tokens, request_id)
        return Spoken(document, told.prompt_tokens, max(written))

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
