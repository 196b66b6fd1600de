"""From a finished stream's bytes and stamps to what the answer says and when.

Pure: bytes and integers in, a value out. Runs after the stream has ended, off the hot path.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from itertools import accumulate, repeat
from operator import add, floordiv, mul, sub
from typing import TYPE_CHECKING, Literal

import msgspec

from loadprofiles.dialects import Event
from loadprofiles.wire.audit import audit
from loadprofiles.wire.faults import (
    SSE_FIELDS,
    malformed,
    no_document,
    shorten,
    what_is_missing,
    what_is_wrong,
)
from loadprofiles.wire.sse import batches

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from loadprofiles.dialects import Dialect, Told

NS = 1_000_000_000
KERNEL_STAMP_SLACK_NS = 50_000
"""A kernel stamp later than the read that delivered it by more than this is no kernel stamp."""
BRIEF_BYTES = 4096
"""A stream of this size has no more than some 15 events."""
_READS_PER_STEP = 512
"""Some 0.1 to 0.2 ms of work."""
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

    def kernel_ns(self, start: int = 0, stop: int | None = None) -> array[int]:
        """The kernel's stamps of some reads on the clock of `user_ns`; 0 where there is none."""
        end = None if stop is None else 2 * stop
        seconds, rest = self.kernel[2 * start : end : 2], self.kernel[2 * start + 1 : end : 2]
        offset = self.wall_minus_monotonic_ns
        if not seconds or (least := min(seconds)) == 0:
            pairs = zip(seconds, rest, strict=True)
            return array("q", [s and s * NS + ns - offset for s, ns in pairs])
        if least == max(seconds):  # all within one second, as most are
            return array("q", map(add, rest, repeat(least * NS - offset)))
        whole = map(mul, seconds, repeat(NS))
        return array("q", map(sub, map(add, whole, rest), repeat(offset)))


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
    output_hash: str
    compression: float | None
    text: str
    """Text of the answer, without reasoning; "" unless asked for."""
    error: str | None
    detail: str | None
    clock: Literal["kernel", "user"]


def is_brief(body: bytes | bytearray, *, streamed: bool = True) -> bool:
    """Whether reading the body costs next to nothing: it is short, or not the stream asked for."""
    return len(body) <= BRIEF_BYTES or (streamed and not body.startswith(SSE_FIELDS))


class _Reading:
    """What the events of an answer have said so far."""

    def __init__(self, body_end: Sequence[int]) -> None:
        self.body_end = body_end
        self.chunk_reads: list[int] = []
        """Which read brought each chunk."""
        self.first_answer_read: int | None = None
        self.texts: list[str] = []
        self.thoughts: list[str] = []
        self.silent = self.choice_end = self.read = 0
        self.finish: str | None = None
        self.prompt_tokens: int | None = None
        self.output_tokens: int | None = None
        self.ended = False
        self.problem: str | None = None

    def take(self, ends: Iterable[int], told: Iterable[Told]) -> None:
        """Take some events in, up to the first that tells of a problem."""
        body_end, read = self.body_end, self.read
        note, keep = self.chunk_reads.append, self.texts.append
        for end, event in zip(ends, told, strict=False):  # of garbage nothing is told
            if not isinstance(event, str):
                self.read = read
                self._take_rare(end, event)
                read = self.read
                if self.problem is not None:
                    return
                continue
            while body_end[read] < end:
                read += 1
            note(read)
            keep(event)
            self.choice_end = end
            if self.first_answer_read is None:
                self.first_answer_read = read
        self.read = read

    def _take_rare(self, end: int, event: Event) -> None:
        """Take in an event that holds more, or less, than text of the answer."""
        text, reasoning, reason, prompt, output, choice, problem, is_end = event
        if text or reasoning:
            self.choice_end = end
            self.read = bisect_left(self.body_end, end, self.read)
            self.chunk_reads.append(self.read)
            self.texts.append(text)
            self.thoughts.append(reasoning)
            if text and self.first_answer_read is None:
                self.first_answer_read = self.read
        elif choice:
            self.choice_end = end
            self.silent += bool(self.chunk_reads)
        self.finish = reason or self.finish
        self.prompt_tokens = self.prompt_tokens if prompt is None else prompt
        self.output_tokens = self.output_tokens if output is None else output
        self.ended = self.ended or is_end
        self.problem = problem


def read_answer(
    body: bytes | bytearray,
    reads: Reads,
    dialect: Dialect,
    *,
    kernel_clock: bool,
    keep_text: bool = False,
) -> Generator[None, None, Answer]:
    """Read a streamed response body, in steps of a fraction of a millisecond each.

    An event's stamp is that of the read that brought the last byte of its data. `error` is
    "malformed" (bytes that the dialect does not send), "error_event" (or a finish reason that
    says so), "truncated" (neither a finish reason nor an end mark) or "empty" (a finished answer
    without generated text, or nothing at all). Never raises: whatever a server sends is data
    about that server.
    """
    stamps, clock = yield from _stamps(reads, kernel_clock=kernel_clock)
    reading = _Reading(reads.body_end)
    chunk_at: list[int] = []
    lags: list[int] = []
    error = detail = None
    seen = False
    for ends, data, lines in batches(body):
        yield
        seen = True
        told, garbage = _told(dialect, data, lines, len(ends))
        reading.take(ends, told)
        new = reading.chunk_reads[len(chunk_at) :]
        stamped = _picked(stamps, new)
        chunk_at += stamped
        if clock == "kernel":
            lags += map(floordiv, map(sub, _picked(reads.user_ns, new), stamped), repeat(1000))
        if reading.problem is not None:
            error, detail = "error_event", shorten(reading.problem)
            break
        if garbage is not None:
            at = len(told)
            one = data[at] if lines is None else lines.split(b"\n")[at]
            error, detail = malformed(garbage, one, cut=ends[at] == len(body))
            break
    yield
    text, thoughts = "".join(reading.texts), "".join(reading.thoughts)
    if error is None:
        error, detail = what_is_missing(
            body, seen=seen, ended=reading.ended, finish=reading.finish, text=bool(text or thoughts)
        )
    output_hash, compression = yield from audit(thoughts + text)
    choice_end = reading.choice_end
    first_answer = reading.first_answer_read
    return Answer(
        chunk_at_ns=chunk_at,
        reads_lag_us=lags,
        first_answer_ns=None if first_answer is None else stamps[first_answer],
        end_ns=stamps[bisect_left(reads.body_end, choice_end)] if choice_end else None,
        silent_chunks=reading.silent,
        finish_reason=reading.finish,
        prompt_tokens=reading.prompt_tokens,
        output_tokens=reading.output_tokens,
        output_chars=len(text) + len(thoughts),
        output_hash=output_hash,
        compression=compression,
        text=text if keep_text else "",
        error=error,
        detail=detail,
        clock=clock,
    )


def read_whole(
    body: bytes | bytearray,
    reads: Reads,
    dialect: Dialect,
    *,
    kernel_clock: bool,
    keep_text: bool = False,
) -> Generator[None, None, Answer]:
    """Read an answer that was not asked for as a stream: no chunks, and `end_ns` is its last byte.

    `error` is as in `read_answer`, but that a document cannot be truncated.
    """
    stamps, clock = yield from _stamps(reads, kernel_clock=kernel_clock)
    wrong: tuple[str | None, str | None]
    try:
        event = dialect.decode_whole(bytes(body))
    except _GARBAGE as garbage:
        mended = _mended(bytes(body), dialect.decode_whole)
        event = Event() if mended is None else mended
        wrong = no_document(garbage, body) if mended is None else what_is_wrong(mended, body)
    else:
        wrong = what_is_wrong(event, body)
    error, detail = wrong
    yield
    output_hash, compression = yield from audit(event.reasoning + event.text)
    return Answer(
        chunk_at_ns=[],
        reads_lag_us=[],
        first_answer_ns=None,
        end_ns=stamps[bisect_left(reads.body_end, len(body))] if error is None else None,
        silent_chunks=0,
        finish_reason=event.finish_reason,
        prompt_tokens=event.prompt_tokens,
        output_tokens=event.output_tokens,
        output_chars=len(event.reasoning) + len(event.text),
        output_hash=output_hash,
        compression=compression,
        text=event.text if keep_text else "",
        error=error,
        detail=detail,
        clock=clock,
    )


def _picked(values: array[int], at: list[int]) -> Sequence[int]:
    """The values at some places: a slice where they follow each other, one read for each chunk."""
    if at and at == list(range(at[0], at[0] + len(at))):
        return values[at[0] : at[0] + len(at)]
    return [values[place] for place in at]


def _told(
    dialect: Dialect, data: list[bytes], lines: bytes | None, count: int
) -> tuple[list[Told], Exception | None]:
    """Decode events: all at once where that goes, else up to the first that is garbage."""
    if lines is not None:
        try:
            told = dialect.decode_lines(lines)
        except _GARBAGE:
            pass  # which one was it?
        else:
            if len(told) == count:
                return told, None
        data = lines.split(b"\n")
    told = []
    for one in data:
        try:
            told.append(dialect.decode(one))
        except _GARBAGE as garbage:
            mended = _mended(one, dialect.decode)
            if mended is None:
                return told, garbage
            told.append(mended)
    return told, None


def _stamps(
    reads: Reads, *, kernel_clock: bool
) -> Generator[None, None, tuple[array[int], Literal["kernel", "user"]]]:
    """Return the stamp of each read and the clock that they are of."""
    stamps = (yield from _kernel_stamps(reads)) if kernel_clock else None
    return (reads.user_ns, "user") if stamps is None else (stamps, "kernel")


def _kernel_stamps(reads: Reads) -> Generator[None, None, array[int] | None]:
    """Return the kernel's stamps in order, none later than its read or earlier than the last one.

    The first can differ by the error of the clocks' offset, the second where packets overtake.
    None unless every read has one that precedes the driver's own (the clock was not set).
    """
    stamps, last = array("q"), 0
    for start in range(0, len(reads.user_ns), _READS_PER_STEP):
        kernel = reads.kernel_ns(start, start + _READS_PER_STEP)
        user = reads.user_ns[start : start + _READS_PER_STEP]
        if len(kernel) < len(user) or min(kernel) <= 0:
            return None
        ahead = min(map(sub, user, kernel))
        if ahead <= -KERNEL_STAMP_SLACK_NS:
            return None
        in_order = kernel.tolist()
        if ahead < 0 or kernel[0] < last or sorted(in_order) != in_order:
            kernel[0] = max(kernel[0], last)
            in_order = list(accumulate(map(min, kernel, user), max))
        stamps.extend(in_order)
        last = stamps[-1]
        yield
    return stamps or None


def _mended(data: bytes, decode: Callable[[bytes], Event]) -> Event | None:
    r"""Decode an event in which a character is cut in half: no JSON by the letter, yet a token.

    Servers that count in UTF-16 send the halves of an emoji as two chunks, `\ud83d` and `\ude00`.
    """
    whole = _ESCAPE.sub(lambda found: rb"\ufffd" if found["lone"] else found[0], data)
    try:
        return None if whole == data else decode(whole)
    except _GARBAGE:
        return None
