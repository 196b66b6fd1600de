"""OpenAI `/v1/chat/completions`: role-only first chunk, reasoning content, tool calls, usage."""

from __future__ import annotations

from typing import Any

import msgspec

from loadprofiles.dialects import Count, Dialect, Event, Prompt, as_messages, error_message
from loadprofiles.dialects.openai_completions import PINS, request_body

_DONE = b"[DONE]"


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct, gc=False):
    function: _Function | None = None


class _Delta(msgspec.Struct, gc=False):
    role: str | None = None
    content: str | None = None
    reasoning_content: str | None = None  # DeepSeek's name, taken over by vLLM and SGLang
    reasoning: str | None = None  # newer vLLM
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None
    object: str | None = None


_NO_USAGE, _NO_CHOICE, _NO_DELTA = _Usage(), _Choice(), _Delta()
_decode = msgspec.json.Decoder(_Chunk).decode
_encode = msgspec.json.Encoder().encode


class OpenAIChat:
    """See the module's text."""

    path = whole_path = "/chat/completions"
    at_root = False
    pins = PINS
    template_tokens = 64

    def encode(
        self, model: str, prompt: Prompt, max_tokens: int, pin: tuple[str, ...], *, stream: bool
    ) -> bytes:
        """Return the request's JSON body: a text is one user message."""
        messages = as_messages(prompt)
        return _encode(request_body(model, max_tokens, pin, stream=stream, messages=messages))

    def decode_whole(self, data: bytes) -> Event:
        """Read a whole answer: an event whose `delta` is called `message`."""
        return self.decode(data)

    def decode(self, data: bytes) -> Event:
        """Read one event's data. Tool-call text counts as generated text."""
        if data == _DONE:
            return Event(end=True)
        chunk = _decode(data)
        if chunk.error is not None or chunk.object == "error":
            return Event(error=error_message(data) or "an error event without a message")
        usage = chunk.usage or _NO_USAGE
        choice = chunk.choices[0] if chunk.choices else _NO_CHOICE
        delta = choice.delta or choice.message or _NO_DELTA
        answer = delta.content or ""
        for call in delta.tool_calls or ():
            if call.function is not None:
                answer += (call.function.name or "") + (call.function.arguments or "")
        thought = delta.reasoning_content or delta.reasoning or ""
        text = answer or thought
        only_role = delta.role is not None and not text and choice.finish_reason is None
        return Event(
            text,
            not answer and bool(thought),
            choice.finish_reason,
            usage.prompt_tokens,
            usage.completion_tokens,
            choice is not _NO_CHOICE and not only_role,
        )


DIALECT: Dialect = OpenAIChat()
