"""What answers look like at OpenAI's API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from launchers.mock.shapes import MODEL, Asked, count_tokens, event

if TYPE_CHECKING:
    from launchers.mock.answer import Answer

_CREATED = 1790000000


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
        return event(self._content(answer, {"delta": delta}, None))

    def token(self, answer: Answer, text: str) -> bytes:
        """Return a token's chunk."""
        return event(self._content(answer, self._text(text), None))

    def last(self, answer: Answer, text: str) -> bytes:
        """Return the last token's chunk, which has the finish reason."""
        return event(self._content(answer, self._text(text), answer.finish))

    def tail(self, answer: Answer) -> bytes:
        """Return the usage chunk and the end mark."""
        usage = {"id": f"cmpl-{answer.request_id}", "choices": [], "usage": _usage(answer)}
        end = b"" if answer.fault == "no_done" else b"data: [DONE]\n\n"
        return (b"" if answer.fault == "no_usage" else event(usage)) + end

    def error(self) -> bytes:
        """Return an error event and the end mark."""
        error = {"message": "engine died", "type": "InternalServerError", "code": 500}
        return event({"error": error}) + b"data: [DONE]\n\n"

    def document(self, answer: Answer, text: str) -> dict[str, Any]:
        """Return the whole answer."""
        whole = (
            {"message": {"role": "assistant", "content": text}} if self._chat else {"text": text}
        )
        content = self._content(answer, whole, answer.finish)
        content["object"] = "chat.completion" if self._chat else "text_completion"
        return content | {"usage": _usage(answer)}

    def document_head(self, answer: Answer) -> str:  # noqa: ARG002 - a Shape
        """Return nothing."""
        return ""

    def _text(self, text: str) -> dict[str, Any]:
        return {"delta": {"content": text}} if self._chat else {"text": text}

    def _content(
        self, answer: Answer, choice: dict[str, Any], finish: str | None
    ) -> dict[str, Any]:
        return {
            "id": f"cmpl-{answer.request_id}",
            "object": "chat.completion.chunk" if self._chat else "text_completion",
            "created": _CREATED,
            "model": MODEL,
            "choices": [
                {"index": 0, **choice, "logprobs": None, "finish_reason": finish}
                | {"stop_reason": None}
            ],
            "usage": None,
        }
