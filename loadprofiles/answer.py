"""From a finished stream's bytes and stamps to what the answer says and when.

Pure: bytes and integers in, a value out. Runs after the stream has ended, off the hot path.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from itertools import accumulate
from operator import sub
from typing import TYPE_CHECKING, Literal

import msgspec

from loadprofiles.dialects import error_message
from loadprofiles.sse import events

if TYPE_CHECKING:
    from loadprofiles.dialects import Dialect

KERNEL_STAMP_SLACK_NS = 50_000
"""A kernel stamp later than the read that delivered it by more than this is no kernel stamp."""
_DETAIL_LIMIT = 300
_SSE_FIELDS = (b":", b"data", b"event", b"id", b"retry")


class Reads(msgspec.Struct, gc=False):
    """What the engine saw of one response: for each read its stamps and the body's length then."""

    user_ns: array[int]
    """When the driver had the bytes."""
    kernel_ns: array[int]
    """When the kernel had them, on the same clock; 0 where it gave no stamp."""
    body_end: array[int]
    """Length of the decoded body after the read."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The generated part of a response. Chunks are events with generated text."""

    chunk_at_ns: list[int]
    reads_lag_us: list[int]
    """Per chunk: user − kernel stamp of its read; empty with the user clock."""
    first_answer_ns: int | None
    finish_reason: str | None
    prompt_tokens: int | None
    output_tokens: int | None
    output_chars: int
    error: str | None
    detail: str | None
    clock: Literal["kernel", "user"]


def trustworthy(reads: Reads) -> bool:
    """Whether every read has a kernel stamp that precedes the driver's own (no clock step)."""
    return (
        bool(reads.kernel_ns)
        and min(reads.kernel_ns) > 0
        and min(map(sub, reads.user_ns, reads.kernel_ns)) > -KERNEL_STAMP_SLACK_NS
    )


def _in_order(reads: Reads) -> array[int]:
    """Return the kernel's stamps, none later than its read and none earlier than its predecessor.

    The first can differ by the error of the clocks' offset, the second where packets overtake.
    """
    return array("q", accumulate(map(min, reads.kernel_ns, reads.user_ns), max))


def read_answer(body: bytes, reads: Reads, dialect: Dialect, *, kernel_clock: bool) -> Answer:
    """Read a streamed response body.

    An event's stamp is that of the read that brought the last byte of its data. `error` is
    "malformed" (bytes that the dialect does not send), "error_event", "truncated" (neither a
    finish reason nor an end mark) or "empty" (a finished answer without generated text, or
    nothing at all). Never raises: whatever a server sends is data about that server.
    """
    clock: Literal["kernel", "user"] = "kernel" if kernel_clock and trustworthy(reads) else "user"
    stamps = _in_order(reads) if clock == "kernel" else reads.user_ns
    chunk_reads: list[int] = []
    first_answer = finish = prompt_tokens = output_tokens = error = detail = None
    ended = seen = False
    chars = read = 0
    for end, data in events(body):
        seen = True
        try:
            text, reasoning, reason, prompt, output, problem, is_end = dialect.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as garbage:
            if end < len(body):  # else it was cut off in the middle
                error, detail = "malformed", shorten(f"{garbage}: {data[:120]!r}")
            break
        if text:
            read = bisect_left(reads.body_end, end, read)
            chunk_reads.append(read)
            chars += len(text)
            if first_answer is None and not reasoning:
                first_answer = stamps[read]
        finish = reason or finish
        if prompt is not None:
            prompt_tokens = prompt
        if output is not None:
            output_tokens = output
        ended = ended or is_end
        if problem is not None:
            error, detail = "error_event", shorten(problem)
            break
    if error is None:
        error, detail = _what_is_missing(body, seen=seen, ended=ended or bool(finish), chars=chars)
    return Answer(
        chunk_at_ns=[stamps[read] for read in chunk_reads],
        reads_lag_us=[] if clock == "user" else _lags_us(reads, stamps, chunk_reads),
        first_answer_ns=first_answer,
        finish_reason=finish,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        output_chars=chars,
        error=error,
        detail=detail,
        clock=clock,
    )


def _lags_us(reads: Reads, stamps: array[int], chunk_reads: list[int]) -> list[int]:
    return [(reads.user_ns[read] - stamps[read]) // 1000 for read in chunk_reads]


def _what_is_missing(
    body: bytes, *, seen: bool, ended: bool, chars: int
) -> tuple[str | None, str | None]:
    """Return error and detail of an answer whose events, if any, are good."""
    if not seen:
        return _no_stream(body.removeprefix(b"\xef\xbb\xbf").strip())
    if not ended:
        return "truncated", "the stream ended without a finish reason or an end mark"
    if not chars:
        return "empty", "the answer holds no generated text"
    return None, None


def _no_stream(body: bytes) -> tuple[str, str]:
    """Return error and detail of a 200 response without a single event."""
    if not body:
        return "empty", "the response has no body"
    if body.startswith(_SSE_FIELDS):
        return "truncated", "the stream ended before its first event"
    said = error_message(body) if body.startswith(b"{") else None
    if said is not None:
        return "error_event", shorten(f"an error with status 200: {said}")
    what = "one JSON document; the server seems to ignore stream: true"
    if not body.startswith((b"{", b"[")):
        what = "something else"
    return "malformed", shorten(f"not an event stream but {what}: {body[:120]!r}")


def error_text(body: bytes) -> str:
    """Return the message of an error response, shortened: OpenAI's `error.message` or raw text."""
    said = error_message(body)
    return shorten(body[: 4 * _DETAIL_LIMIT].decode(errors="replace") if said is None else said)


def shorten(text: str) -> str:
    """Return the text on one line of bounded length."""
    line = " ".join(text[: 4 * _DETAIL_LIMIT].split())
    return line if len(line) <= _DETAIL_LIMIT else line[: _DETAIL_LIMIT - 1] + "…"
