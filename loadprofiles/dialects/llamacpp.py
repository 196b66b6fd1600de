"""llama.cpp server's own `/completion`.

The shapes are those of llama.cpp's `tools/server/server-task.cpp` (`to_json_non_oaicompat`), and
of `examples/server/server.cpp` before it. The last event has `stop: true` and the counts.
"""

from __future__ import annotations

from typing import Any

import msgspec

from loadprofiles.dialects import Count, Dialect, Event, Prompt, Told, as_text, error_words

_REASONS = {"eos": "stop", "word": "stop", "limit": "length"}


class _Chunk(msgspec.Struct, gc=False):
    content: str | None = None
    stop: bool = False
    tokens_predicted: Count | None = None
    tokens_evaluated: Count | None = None  # the prompt's, cached ones among them
    stop_type: str | None = None
    stopped_eos: bool = False  # until the end of 2024
    stopped_word: bool = False
    stopped_limit: bool = False
    error: Any = None


_decoder = msgspec.json.Decoder(_Chunk)
_encode = msgspec.json.Encoder().encode


class LlamaCpp:
    """See the module's text."""

    path = whole_path = "/completion"
    at_root = True
    pins: tuple[str, ...] = ("ignore_eos",)
    template_tokens = 0

    def encode(
        self, model: str, prompt: Prompt, max_tokens: int, pin: tuple[str, ...], *, stream: bool
    ) -> bytes:
        """Return the request's JSON body."""
        return _encode({
            "model": model,  # a router of several models looks at it
            "prompt": as_text(prompt),
            "n_predict": max_tokens,
            "temperature": 0.0,
            "stream": stream,
            **dict.fromkeys(pin, True),
        })  # fmt: skip

    def decode(self, data: bytes) -> Event:
        """Read one event's data."""
        return _event(_decoder.decode(data))

    def decode_lines(self, lines: bytes) -> list[Told]:
        """Read many events' data."""
        return [
            chunk.content
            if chunk.content and not chunk.stop and chunk.error is None
            else _event(chunk)
            for chunk in _decoder.decode_lines(lines)
        ]

    def decode_whole(self, data: bytes) -> Event:
        """Read a whole answer, which looks like the last event with all of the text."""
        return self.decode(data)


def _event(chunk: _Chunk) -> Event:
    if chunk.error is not None:
        return Event(error=error_words(chunk.error))
    text = chunk.content or ""
    if not chunk.stop:  # counts so far: those of the last event are the answer's
        return Event(text, choice=chunk.content is not None)
    if chunk.stop_type is not None:
        reason: str | None = _REASONS.get(chunk.stop_type)
    else:
        stopped = chunk.stopped_eos or chunk.stopped_word
        reason = "stop" if stopped else "length" if chunk.stopped_limit else None
    return Event(
        text, "", reason, chunk.tokens_evaluated, chunk.tokens_predicted, bool(text), None, True
    )


DIALECT: Dialect = LlamaCpp()
