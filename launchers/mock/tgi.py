"""Text Generation Inference 3 at OpenAI's API, and what it refuses.

Shapes and rules: its `router/src/lib.rs`, `server.rs` and `validation.rs`. A stream's usage comes
with its last token; the finish reason of the chunks before is "". A stop string stays at the text's
end. It is a TGI that was started with `--enable-prefill-logprobs`: without, documents count no
prompt tokens.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from launchers.mock.asking import QuestionError
from launchers.mock.native import TGI_INFO
from launchers.mock.openai import OpenAI
from launchers.mock.shapes import Asked, event

if TYPE_CHECKING:
    from launchers.mock.answer import Answer
    from launchers.mock.asking import Question

_FINGERPRINT: Final = "3-mock-native"
_REASONS: Final = {"stop": "eos_token"}
_BASE_OF_PENALTY: Final = 2.0
"""What chat adds to `presence_penalty`, which becomes the repetition penalty."""
MOST_STOPS: Final[int] = TGI_INFO["max_stop_sequences"]


class TgiOpenAI(OpenAI):
    """`/v1/completions` and `/v1/chat/completions`."""

    def asked(self, body: dict[str, Any]) -> Asked:
        """Read a request, which nothing can pin."""
        return replace(super().asked(body), pinned=False)

    def head(self, answer: Answer) -> bytes:  # noqa: ARG002 - a Shape
        """Return nothing: each chunk of a chat has the role."""
        return b""

    def last(self, answer: Answer, text: str) -> bytes:
        """Return the last token's chunk, which has finish reason and usage."""
        finish = answer.finish if self._chat else _REASONS.get(answer.finish, answer.finish)
        content = self._content(answer, self._text(text), finish)
        if answer.fault != "no_usage":
            prompt, output = answer.asked.prompt_tokens, answer.total
            total = {"prompt_tokens": prompt, "completion_tokens": output}
            content["usage"] = total | {"total_tokens": prompt + output}
        return event(content)

    def tail(self, answer: Answer) -> bytes:  # noqa: ARG002 - a Shape
        """Return the end mark."""
        return b"data: [DONE]\n\n"

    def error(self) -> bytes:
        """Return an error event and the end mark."""
        return event({"error": "engine died", "error_type": "generation"}) + b"data: [DONE]\n\n"

    def _text(self, text: str) -> dict[str, Any]:
        return {"delta": {"role": "assistant", "content": text}} if self._chat else {"text": text}

    def _content(
        self, answer: Answer, choice: dict[str, Any], finish: str | None
    ) -> dict[str, Any]:
        content = super()._content(answer, choice, finish)
        content |= {"id": "", "system_fingerprint": _FINGERPRINT}
        (only,) = content["choices"]
        del only["stop_reason"]
        if not self._chat:
            del content["usage"]
            only["finish_reason"] = finish or ""
        return content


def ask_completion(question: Question, body: dict[str, Any]) -> Question:
    """Read a question at `/v1/completions`: texts only, and neither echo nor log-probabilities.

    Raises:
        QuestionError: it refuses the question.
    """
    prompt = body.get("prompt", "")
    several = prompt if isinstance(prompt, list) and prompt else [prompt]
    if not all(isinstance(one, str) for one in several):
        raise QuestionError(
            "prompt: data did not match any variant of untagged enum PromptDeserializer"
        )
    check(body)
    unread: dict[str, Any] = {"echo": False, "logprobs": None, "named": (), "ignore_eos": False}
    return replace(question, **unread, presence_penalty=0.0)


def ask_chat(question: Question, body: dict[str, Any]) -> Question:
    """Read a question at `/v1/chat/completions`.

    Raises:
        QuestionError: it refuses the question.
    """
    check(body)
    penalty = body.get("presence_penalty")
    repetition = None if penalty is None else penalty + _BASE_OF_PENALTY
    return replace(question, presence_penalty=0.0, repetition_penalty=repetition, ignore_eos=False)


def check(settings: dict[str, Any]) -> None:
    """Look at what a request sets, as `validation.rs` does.

    Raises:
        QuestionError: it is out of bounds.
    """
    top_p, stops = settings.get("top_p"), settings.get("stop")
    if top_p is not None and not 0 < top_p < 1:
        raise QuestionError("`top_p` must be > 0.0 and < 1.0")
    if isinstance(stops, str):
        raise QuestionError("stop: invalid type: string, expected a sequence")
    if len(stops or ()) > MOST_STOPS:
        raise QuestionError(f"`stop` supports up to {MOST_STOPS} stop sequences")


def adapt(document: dict[str, Any]) -> None:
    """Turn a document of vLLM's, of either kind, into TGI's."""
    chat = document["object"] == "chat.completion"
    for name in document.keys() - {"created", "model", "choices", "usage", "object"}:
        del document[name]
    document |= {"id": "", "system_fingerprint": _FINGERPRINT}
    if document["usage"] is not None:
        for name in ("prompt_tokens_details", "completion_tokens_details"):
            del document["usage"][name]
    for choice in document["choices"]:
        stop = choice.pop("stop_reason")
        if choice["finish_reason"] == "stop" and isinstance(stop, str):
            choice["finish_reason"] = "stop_sequence"
            whole = choice["message"] if chat else choice
            text = "content" if chat else "text"
            whole[text] = (whole[text] or "") + stop
        for name in choice.keys() - {"index", "text", "message", "logprobs", "finish_reason"}:
            del choice[name]
        if chat:
            message = choice["message"]
            choice["message"] = {"role": "assistant", "content": message["content"] or ""}
            for place in (choice["logprobs"] or {}).get("content", ()):
                for one in (place, *place["top_logprobs"]):
                    del one["bytes"]


def refuse(problem: str) -> tuple[int, dict[str, Any]]:
    """Return status and body for a question that is refused."""
    return 422, {"error": f"Input validation error: {problem}", "error_type": "validation"}
