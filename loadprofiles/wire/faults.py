"""What is wrong with a response, in a word for the sample's `error` and a line for its `detail`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadprofiles.dialects import error_message

if TYPE_CHECKING:
    from loadprofiles.dialects import Event

SSE_FIELDS = (b":", b"data", b"event", b"id", b"retry")
_DETAIL_LIMIT = 300
_SAYS_NOTHING = (b"{}", b"[]", b"null", b'""')
_GIVEN_UP = ("abort", "error")
"""Finish reasons of vLLM and SGLang for a request that they did not answer."""


def malformed(garbage: Exception, data: bytes, *, cut: bool) -> tuple[str | None, str | None]:
    """Return error and detail of an event that cannot be decoded; none if it was cut off."""
    return (None, None) if cut else ("malformed", shorten(f"{garbage}: {data[:120]!r}"))


def what_is_missing(
    body: bytes | bytearray, *, seen: bool, ended: bool, finish: str | None, text: bool
) -> tuple[str | None, str | None]:
    """Return error and detail of an answer whose events, if any, are good."""
    if not seen:
        return _no_stream(bytes(body).removeprefix(b"\xef\xbb\xbf").strip())
    if finish in _GIVEN_UP:
        return "error_event", f"the server gave the request up: finish_reason {finish}"
    if not ended and not finish:
        return "truncated", "the stream ended without a finish reason or an end mark"
    if not text:
        return "empty", "the answer holds no generated text"
    return None, None


def what_is_wrong(event: Event, body: bytes | bytearray) -> tuple[str | None, str | None]:
    """Return error and detail of an answer in one document."""
    if event.error is not None:
        return "error_event", shorten(f"an error with status 200: {event.error}")
    if event.finish_reason in _GIVEN_UP:
        reason = event.finish_reason
        return "error_event", f"the server gave the request up: finish_reason {reason}"
    if not event.choice and not event.end:
        return "malformed", shorten(f"not an answer: {bytes(body[:120])!r}")
    if not event.text and not event.reasoning:
        return "empty", "the answer holds no generated text"
    return None, None


def no_document(garbage: Exception, body: bytes | bytearray) -> tuple[str, str]:
    """Return error and detail of a 200 response that is no JSON document of the dialect."""
    if not body.strip():
        return "empty", "the response has no body"
    if body.startswith(SSE_FIELDS):
        return "malformed", "a stream of events, though one document was asked for"
    return "malformed", shorten(f"{garbage}: {bytes(body[:120])!r}")


def _no_stream(body: bytes) -> tuple[str, str]:
    """Return error and detail of a 200 response without a single event."""
    if not body:
        return "empty", "the response has no body"
    if body.startswith(SSE_FIELDS):
        return "truncated", "the stream ended before its first event"
    said = error_message(body) if body.startswith(b"{") else None
    if said is not None:
        return "error_event", shorten(f"an error with status 200: {said}")
    what = "one JSON document; the server seems to ignore stream: true"
    if not body.startswith((b"{", b"[")):
        what = "something else"
    return "malformed", shorten(f"not an event stream but {what}: {body[:120]!r}")


def error_text(body: bytes | bytearray) -> str:
    """Return the message of an error response, shortened: OpenAI's `error.message` or raw text."""
    if body.strip() in _SAYS_NOTHING:
        return ""
    said = error_message(body)
    return shorten(body[: 4 * _DETAIL_LIMIT].decode(errors="replace") if said is None else said)


def shorten(text: str) -> str:
    """Return the text on one line of bounded length."""
    line = " ".join(text[: 4 * _DETAIL_LIMIT].split())
    return line if len(line) <= _DETAIL_LIMIT else line[: _DETAIL_LIMIT - 1] + "…"
