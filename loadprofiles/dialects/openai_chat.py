"""OpenAI `/v1/chat/completions`: role-only first chunk, reasoning content, tool calls, usage."""

from __future__ import annotations

from typing import Any

import msgspec

from loadprofiles.dialects import Dialect, Event, Prompt, Told, as_messages, error_words
from loadprofiles.dialects.openai_completions import (
    NO_USAGE,
    PINS,
    Usage,
    openai_reason,
    request_body,
)

_DONE = b"[DONE]"


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None  # SGLang may send an object


class _ToolCall(msgspec.Struct, gc=False):
    function: _Function | None = None


class _Delta(msgspec.Struct, gc=False):
    role: str | None = None
    content: str | None = None
    reasoning_content: str | None = None  # DeepSeek's name, taken over by vLLM and SGLang
    reasoning: str | None = None  # newer vLLM
    refusal: str | None = None
    tool_calls: list[_ToolCall] | _ToolCall | None = None  # TGI sends one by itself
    function_call: _Function | None = None  # what tool calls were before


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: Usage | None = None
    error: Any = None
    object: str | None = None
    message: Any = None


_NO_CHOICE, _NO_DELTA = _Choice(), _Delta()
_decoder = msgspec.json.Decoder(_Chunk)
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
        return _event(_decoder.decode(data))

    def decode_lines(self, lines: bytes) -> list[Told]:
        """Read many events' data."""
        return [_plain_text(chunk) or _event(chunk) for chunk in _decoder.decode_lines(lines)]


def _plain_text(chunk: _Chunk) -> str | None:
    """The text of a chunk that holds nothing else."""
    if (
        not chunk.choices
        or chunk.usage is not None
        or chunk.error is not None
        or chunk.object == "error"
    ):
        return None
    choice = chunk.choices[0]
    delta = choice.delta
    if (
        delta is None
        or choice.finish_reason is not None
        or delta.reasoning is not None
        or delta.reasoning_content is not None
        or delta.tool_calls is not None
        or delta.function_call is not None
        or delta.refusal is not None
    ):
        return None
    return delta.content


def _event(chunk: _Chunk) -> Event:
    if chunk.error is not None or chunk.object == "error":
        return Event(error=error_words(chunk.error, chunk.message))
    usage = chunk.usage or NO_USAGE
    choice = chunk.choices[0] if chunk.choices else _NO_CHOICE
    delta = choice.delta or choice.message or _NO_DELTA
    text = (delta.content or "") + (delta.refusal or "") + _calls(delta)
    reasoning = delta.reasoning_content or delta.reasoning or ""
    told = bool(text or reasoning or choice.finish_reason)
    return Event(
        text,
        reasoning,
        openai_reason(choice.finish_reason),
        usage.prompt_tokens,
        usage.completion_tokens,
        choice is not _NO_CHOICE and (told or delta.role is None),  # a role alone is no token
    )


def _calls(delta: _Delta) -> str:
    """The text of tool calls."""
    calls = delta.tool_calls or []
    calls = calls if isinstance(calls, list) else [calls]
    functions = [*(call.function for call in calls), delta.function_call]
    return "".join((call.name or "") + _text(call.arguments) for call in functions if call)


def _text(arguments: str | dict[str, Any] | None) -> str:
    return _encode(arguments).decode() if isinstance(arguments, dict) else arguments or ""


DIALECT: Dialect = OpenAIChat()
