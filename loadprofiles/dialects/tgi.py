"""Hugging Face TGI's own `/generate_stream` and `/generate`.

The shapes are those of text-generation-inference's `router/src/lib.rs` (StreamResponse,
GenerateResponse, ErrorResponse): one event a token, special tokens among them, and no end mark.
"""

from __future__ import annotations

from typing import Any

import msgspec

from loadprofiles.dialects import Count, Dialect, Event, Prompt, Told, as_text, error_words

_REASONS = {"eos_token": "stop", "stop_sequence": "stop"}


class _Token(msgspec.Struct, gc=False):
    text: str = ""
    special: bool = False


class _Details(msgspec.Struct, gc=False):
    finish_reason: str | None = None
    generated_tokens: Count | None = None
    input_length: Count | None = None  # of streams, from TGI 2.3 on


class _Chunk(msgspec.Struct, gc=False):
    token: _Token | None = None
    generated_text: str | None = None
    details: _Details | None = None
    error: Any = None


_NO_DETAILS = _Details()
_decoder = msgspec.json.Decoder(_Chunk)
_encode = msgspec.json.Encoder().encode


class Tgi:
    """See the module's text.

    The length of an answer cannot be pinned: `ignore_eos_token` is not a request's to set.
    """

    path = "/generate_stream"
    whole_path = "/generate"
    at_root = True
    pins: tuple[str, ...] = ()
    template_tokens = 0

    def encode(
        self,
        model: str,  # noqa: ARG002 - a TGI serves one
        prompt: Prompt,
        max_tokens: int,
        pin: tuple[str, ...],  # noqa: ARG002 - there is none
        *,
        stream: bool,  # noqa: ARG002 - the path says it
    ) -> bytes:
        """Return the request's JSON body. Greedy, as temperature 0 is elsewhere."""
        parameters = {"max_new_tokens": max_tokens, "do_sample": False, "details": True}
        return _encode({"inputs": as_text(prompt), "parameters": parameters})

    def decode(self, data: bytes) -> Event:
        """Read one event's data."""
        return _event(_decoder.decode(data))

    def decode_lines(self, lines: bytes) -> list[Told]:
        """Read many events' data."""
        return [
            chunk.token.text
            if chunk.generated_text is None
            and chunk.details is None
            and chunk.token is not None
            and chunk.token.text
            and not chunk.token.special
            and chunk.error is None
            else _event(chunk)
            for chunk in _decoder.decode_lines(lines)
        ]

    def decode_whole(self, data: bytes) -> Event:
        """Read a whole answer. It tells the prompt's tokens in the header `x-prompt-tokens`."""
        answer = _decoder.decode(data)
        return _event(answer)._replace(text=answer.generated_text or "")


def _event(chunk: _Chunk) -> Event:
    if chunk.error is not None:
        return Event(error=error_words(chunk.error))
    details = chunk.details or _NO_DETAILS
    token = chunk.token
    return Event(
        "" if token is None or token.special else token.text,
        "",
        _REASONS.get(details.finish_reason or "", details.finish_reason),
        details.input_length,
        details.generated_tokens,
        token is not None,
        None,
        chunk.generated_text is not None,
    )


DIALECT: Dialect = Tgi()
