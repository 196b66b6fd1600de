"""From a finished stream's bytes and stamps to what the answer says and when.

Pure: bytes and integers in, a value out. Runs after the stream has ended, off the hot path.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from itertools import accumulate
from operator import sub
from typing import TYPE_CHECKING, Literal

import msgspec

from loadprofiles.dialects import error_message
from loadprofiles.sse import events

if TYPE_CHECKING:
    from collections.abc import Generator

    from loadprofiles.dialects import Dialect, Event

KERNEL_STAMP_SLACK_NS = 50_000
"""A kernel stamp later than the read that delivered it by more than this is no kernel stamp."""
BRIEF_BYTES = 4096
"""A stream of this size has no more than some 15 events."""
_DETAIL_LIMIT = 300
_SSE_FIELDS = (b":", b"data", b"event", b"id", b"retry")
_EVENTS_PER_STEP, _READS_PER_STEP = 32, 1024
"""Some 0.2 ms of work each."""
_GIVEN_UP = ("abort", "error")
"""Finish reasons of vLLM and SGLang for a request that they did not answer."""
_GARBAGE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(?P<lone>u[dD][89a-fA-F]..)|.)", re.DOTALL
)


class Reads(msgspec.Struct, gc=False):
    """What the engine saw of one response: for each read its stamps and the body's length then."""

    user_ns: array[int]
    """When the driver had the bytes."""
    kernel: array[int]
    """When the kernel had them, as it says it: CLOCK_REALTIME s and ns in turn, two numbers a
    read, zeros where it gave no stamp. Taken apart later: the hot path only copies."""
    body_end: array[int]
    """Length of the decoded body after the read."""
    wall_minus_monotonic_ns: int = 0

    @property
    def kernel_ns(self) -> array[int]:
        """The kernel's stamps on the clock of `user_ns`; 0 where there is none."""
        pairs, offset = self.kernel, self.wall_minus_monotonic_ns
        return array(
            "q",
            [s and s * 1_000_000_000 + ns - offset for s, ns in zip(pairs[::2], pairs[1::2])],  # noqa: B905
        )


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The generated part of a response. Chunks are events with generated text."""

    chunk_at_ns: list[int]
    reads_lag_us: list[int]
    """Per chunk: user − kernel stamp of its read; empty with the user clock."""
    first_answer_ns: int | None
    end_ns: int | None
    """The last event that carried a choice."""
    silent_chunks: int
    """Events after the first chunk that carried a choice without text."""
    finish_reason: str | None
    prompt_tokens: int | None
    output_tokens: int | None
    output_chars: int
    error: str | None
    detail: str | None
    clock: Literal["kernel", "user"]


def is_brief(body: bytes | bytearray) -> bool:
    """Whether reading the body costs next to nothing: it is short, or no stream of events."""
    return len(body) <= BRIEF_BYTES or not body.startswith(_SSE_FIELDS)


def read_answer(
    body: bytes | bytearray, reads: Reads, dialect: Dialect, *, kernel_clock: bool
) -> Generator[None, None, Answer]:
    """Read a streamed response body, in steps of a fraction of a millisecond each.

    An event's stamp is that of the read that brought the last byte of its data. `error` is
    "malformed" (bytes that the dialect does not send), "error_event" (or a finish reason that
    says so), "truncated" (neither a finish reason nor an end mark) or "empty" (a finished answer
    without generated text, or nothing at all). Never raises: whatever a server sends is data
    about that server.
    """
    stamps = (yield from _kernel_stamps(reads)) if kernel_clock else None
    clock: Literal["kernel", "user"] = "user" if stamps is None else "kernel"
    stamps = reads.user_ns if stamps is None else stamps
    decode, user_ns, body_end = dialect.decode, reads.user_ns, reads.body_end
    chunk_at: list[int] = []
    lags: list[int] = []
    first_answer = finish = prompt_tokens = output_tokens = error = detail = None
    ended = False
    chars = read = count = silent = choice_end = 0
    for count, (end, data) in enumerate(events(body), 1):
        if not count % _EVENTS_PER_STEP:
            yield
        try:
            event = decode(data)
        except _GARBAGE as garbage:
            mended = _mended(data, dialect)
            if mended is None:
                error, detail = _malformed(garbage, data, cut=end == len(body))
                break
            event = mended
        text, reasoning, reason, prompt, output, choice, problem, is_end = event
        if text:
            choice_end = end
            read = bisect_left(body_end, end, read)
            stamp = stamps[read]
            chunk_at.append(stamp)
            lags.append((user_ns[read] - stamp) // 1000)
            chars += len(text)
            if first_answer is None and not reasoning:
                first_answer = stamp
        elif choice:
            choice_end = end
            silent += chars > 0
        finish = reason or finish
        prompt_tokens = prompt_tokens if prompt is None else prompt
        output_tokens = output_tokens if output is None else output
        ended = ended or is_end
        if problem is not None:
            error, detail = "error_event", shorten(problem)
            break
    if error is None:
        error, detail = _what_is_missing(
            body, seen=bool(count), ended=ended, finish=finish, chars=chars
        )
    return Answer(
        chunk_at_ns=chunk_at,
        reads_lag_us=[] if clock == "user" else lags,
        first_answer_ns=first_answer,
        end_ns=stamps[bisect_left(reads.body_end, choice_end)] if choice_end else None,
        silent_chunks=silent,
        finish_reason=finish,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        output_chars=chars,
        error=error,
        detail=detail,
        clock=clock,
    )


def _kernel_stamps(reads: Reads) -> Generator[None, None, array[int] | None]:
    """Return the kernel's stamps in order, none later than its read or earlier than the last one.

    The first can differ by the error of the clocks' offset, the second where packets overtake.
    None unless every read has one that precedes the driver's own (the clock was not set).
    """
    stamps, last = array("q"), 0
    all_kernel = reads.kernel_ns
    for start in range(0, len(all_kernel), _READS_PER_STEP):
        kernel = all_kernel[start : start + _READS_PER_STEP]
        user = reads.user_ns[start : start + _READS_PER_STEP]
        if min(kernel) <= 0 or min(map(sub, user, kernel)) <= -KERNEL_STAMP_SLACK_NS:
            return None
        kernel[0] = max(kernel[0], last)
        stamps.extend(accumulate(map(min, kernel, user), max))
        last = stamps[-1]
        yield
    return stamps or None


def _mended(data: bytes, dialect: Dialect) -> Event | None:
    r"""Decode an event in which a character is cut in half: no JSON by the letter, yet a token.

    Servers that count in UTF-16 send the halves of an emoji as two chunks, `\ud83d` and `\ude00`.
    """
    whole = _ESCAPE.sub(lambda found: rb"\ufffd" if found["lone"] else found[0], data)
    try:
        return None if whole == data else dialect.decode(whole)
    except _GARBAGE:
        return None


def _malformed(garbage: Exception, data: bytes, *, cut: bool) -> tuple[str | None, str | None]:
    """Return error and detail of an event that cannot be decoded; none if it was cut off."""
    return (None, None) if cut else ("malformed", shorten(f"{garbage}: {data[:120]!r}"))


def _what_is_missing(
    body: bytes | bytearray, *, seen: bool, ended: bool, finish: str | None, chars: int
) -> tuple[str | None, str | None]:
    """Return error and detail of an answer whose events, if any, are good."""
    if not seen:
        return _no_stream(bytes(body).removeprefix(b"\xef\xbb\xbf").strip())
    if finish in _GIVEN_UP:
        return "error_event", f"the server gave the request up: finish_reason {finish}"
    if not ended and not finish:
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


def error_text(body: bytes | bytearray) -> str:
    """Return the message of an error response, shortened: OpenAI's `error.message` or raw text."""
    said = error_message(body)
    return shorten(body[: 4 * _DETAIL_LIMIT].decode(errors="replace") if said is None else said)


def shorten(text: str) -> str:
    """Return the text on one line of bounded length."""
    line = " ".join(text[: 4 * _DETAIL_LIMIT].split())
    return line if len(line) <= _DETAIL_LIMIT else line[: _DETAIL_LIMIT - 1] + "…"
