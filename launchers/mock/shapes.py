"""What answers look like on the wire, one shape per dialect."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from launchers.mock.answer import Answer

_CHARS_PER_TOKEN = 4
_CREATED = 1790000000


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request's body asks for."""

    tokens: int = 16
    stream: bool = False
    prompt_tokens: int = 1
    pinned: bool = False
    """Whether the answer must have this length (`ignore_eos`)."""


class Shape(Protocol):
    """One dialect. Events are whole, blank line included; texts need no escaping in JSON."""

    @property
    def paths(self) -> tuple[bytes, ...]:
        """How the request's path ends."""

    def asked(self, body: dict[str, Any]) -> Asked:
        """Read a request."""

    def head(self, answer: Answer) -> bytes:
        """Return the events before the first token."""

    def token(self, answer: Answer, text: str) -> bytes:
        """Return the event of a token that is not the last."""

    def last(self, answer: Answer, text: str) -> bytes:
        """Return the event of the last token."""

    def tail(self, answer: Answer) -> bytes:
        """Return the events after the last token."""

    def document(self, answer: Answer, text: str) -> dict[str, Any]:
        """Return the whole answer of a request that did not ask for a stream."""


def count_tokens(prompt: object) -> int:
    """Count a prompt: the length of a list of token ids, else a token for every four characters."""
    if isinstance(prompt, list) and all(isinstance(item, int) for item in prompt):
        return max(1, len(prompt))
    text = prompt if isinstance(prompt, str) else "".join(map(str, prompt or ()))  # type: ignore[call-overload]
    return max(1, -(-len(text) // _CHARS_PER_TOKEN))


def _event(content: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(content, separators=(",", ":")).encode() + b"\n\n"


def _usage(answer: Answer) -> dict[str, int]:
    prompt, output = answer.asked.prompt_tokens, answer.total
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
    }


class OpenAI:
    """`/v1/completions` and `/v1/chat/completions`."""

    def __init__(self, *, chat: bool) -> None:
        self._chat = chat
        self.paths = (b"/chat/completions",) if chat else (b"/completions",)

    def asked(self, body: dict[str, Any]) -> Asked:
        """Read a request."""
        if self._chat:
            messages = body.get("messages") or ()
            prompt: object = "\n".join(str(message.get("content")) for message in messages)
        else:
            prompt = body.get("prompt")
        tokens = body.get("max_completion_tokens") or body.get("max_tokens")
        return Asked(
            tokens=16 if tokens is None else tokens,
            stream=body.get("stream") is True,
            prompt_tokens=count_tokens(prompt),
            pinned=body.get("ignore_eos") is True,
        )

    def head(self, answer: Answer) -> bytes:
        """Return the chunk that holds a role alone."""
        if not self._chat:
            return b""
        delta = {"role": "assistant", "content": ""}
        return _event(self._content(answer, {"delta": delta}, None))

    def token(self, answer: Answer, text: str) -> bytes:
        """Return a token's chunk."""
        return _event(self._content(answer, self._text(text), None))

    def last(self, answer: Answer, text: str) -> bytes:
        """Return the last token's chunk, which has the finish reason."""
        return _event(self._content(answer, self._text(text), answer.finish))

    def tail(self, answer: Answer) -> bytes:
        """Return the usage chunk and the end mark."""
        usage = {"id": f"cmpl-{answer.request_id}", "choices": [], "usage": _usage(answer)}
        return (b"" if answer.fault == "no_usage" else _event(usage)) + b"data: [DONE]\n\n"

    def document(self, answer: Answer, text: str) -> dict[str, Any]:
        """Return the whole answer."""
        whole = (
            {"message": {"role": "assistant", "content": text}} if self._chat else {"text": text}
        )
        content = self._content(answer, whole, answer.finish)
        content["object"] = "chat.completion" if self._chat else "text_completion"
        return content | {"usage": _usage(answer)}

    def _text(self, text: str) -> dict[str, Any]:
        return {"delta": {"content": text}} if self._chat else {"text": text}

    def _content(
        self, answer: Answer, choice: dict[str, Any], finish: str | None
    ) -> dict[str, Any]:
        return {
            "id": f"cmpl-{answer.request_id}",
            "object": "chat.completion.chunk" if self._chat else "text_completion",
            "created": _CREATED,
            "model": "mock",
            "choices": [
                {"index": 0, **choice, "logprobs": None, "finish_reason": finish}
                | {"stop_reason": None}
            ],
            "usage": None,
        }


SHAPES: Final[tuple[Shape, ...]] = (OpenAI(chat=True), OpenAI(chat=False))
"""The first whose path fits answers."""


def find_shape(path: bytes) -> Shape | None:
    """Return the shape of the answers at a path; None where there are none."""
    bare = path.partition(b"?")[0]
    return next((shape for shape in SHAPES if bare.endswith(shape.paths)), None)
