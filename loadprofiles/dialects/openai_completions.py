"""OpenAI `/v1/completions`, as vLLM, SGLang, llama.cpp, TGI and `transformers serve` answer it.

TGI's chunks have the finish reason "" until the last, which may be one of its own.
"""

from __future__ import annotations

from typing import Any

import msgspec

from loadprofiles.dialects import Count, Dialect, Event, Prompt, Told, as_text, error_words

MIN_NEW = "generation_config.min_new_tokens"
NO_END = "generation_config.eos_token_id"
"""Fields of the JSON that `transformers serve` takes as a text; either will do."""
PINS: tuple[str, ...] = ("ignore_eos", "min_tokens", MIN_NEW, NO_END)
_DONE = b"[DONE]"
_OF_TGI = {"": None, "eos_token": "stop", "stop_sequence": "stop"}


class Usage(msgspec.Struct, gc=False):
    """The server's own count."""

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None


class _Choice(msgspec.Struct, gc=False):
    text: str | None = ""
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: Usage | None = None
    error: Any = None
    object: str | None = None
    message: Any = None


NO_USAGE, _NO_CHOICE = Usage(), _Choice()
_decoder = msgspec.json.Decoder(_Chunk)
_encode = msgspec.json.Encoder().encode


def request_body(
    model: str, max_tokens: int, pin: tuple[str, ...], *, stream: bool, **asked: object
) -> dict[str, object]:
    """What every request of OpenAI's APIs has here.

    `pin` names the fields, of those the engine knows, that make the answer `max_tokens` long.
    """
    values: dict[str, object] = {
        "ignore_eos": True,
        "min_tokens": max_tokens,
        # What it leaves out is taken from the model's own generation_config.json.
        MIN_NEW: f'{{"min_new_tokens":{max_tokens},"repetition_penalty":1.0}}',
        NO_END: '{"eos_token_id":-1,"repetition_penalty":1.0}',
    }
    return {
        "model": model,
        **asked,
        "max_tokens": max_tokens,
        "temperature": 0.0,
        "stream": stream,
        **({"stream_options": {"include_usage": True}} if stream else {}),
        **{name.partition(".")[0]: values[name] for name in pin},
    }


def openai_reason(told: str | None) -> str | None:
    """Return a finish reason in OpenAI's words, where it is said in TGI's."""
    return told if told is None else _OF_TGI.get(told, told)


class OpenAICompletions:
    """See the module's text."""

    path = whole_path = "/completions"
    at_root = False
    pins = PINS
    template_tokens = 0

    def encode(
        self, model: str, prompt: Prompt, max_tokens: int, pin: tuple[str, ...], *, stream: bool
    ) -> bytes:
        """Return the request's JSON body."""
        return _encode(request_body(model, max_tokens, pin, stream=stream, prompt=as_text(prompt)))

    def decode_whole(self, data: bytes) -> Event:
        """Read a whole answer, which looks like an event."""
        return self.decode(data)

    def decode(self, data: bytes) -> Event:
        """Read one event's data."""
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
    return None if choice.finish_reason else choice.text


def _event(chunk: _Chunk) -> Event:
    if chunk.error is not None or chunk.object == "error":
        return Event(error=error_words(chunk.error, chunk.message))
    usage = chunk.usage or NO_USAGE
    choice = chunk.choices[0] if chunk.choices else _NO_CHOICE
    return Event(
        choice.text or "",
        "",
        openai_reason(choice.finish_reason),
        usage.prompt_tokens,
        usage.completion_tokens,
        choice is not _NO_CHOICE,
    )


DIALECT: Dialect = OpenAICompletions()
