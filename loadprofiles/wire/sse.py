"""Server-sent events of a whole response body: where each one ends, and its data.

Read after the stream has ended, so the position of an event in the body is all that is needed
to find the stamp of the read that brought it. Lines end in LF, CRLF or CR, and in nothing else:
U+2028 or U+0085 inside JSON are text (`str.splitlines` and several clients break there).
Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import re
from itertools import accumulate, chain, islice
from operator import add
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LINE = re.compile(rb"([^\r\n]*)(\r\n|\n|\r|\Z)")
_BOM = b"\xef\xbb\xbf"
_PIECE_BYTES = 32_768
"""Split at a time: whoever reads a long body event by event can stop between any two."""
_BATCH_BYTES, _BATCH_EVENTS = 16_384, 32


class Batch(NamedTuple):
    """Some events in a row."""

    ends: list[int]
    """Of each, as in `events`."""
    data: list[bytes]
    """Of each; empty where `lines` has it."""
    lines: bytes | None
    """The data of all, one a line, where each seems to be one JSON object, so that all can be
    decoded at once: if that gives as many objects as there are lines, each line is one."""


def batches(body: bytes | bytearray) -> Iterator[Batch]:
    """Yield the events of `body` in batches of at most about 16 KiB, 0.1 to 0.2 ms of work each.

    Most servers send `data: {…}` and a blank line and nothing else. Such events are taken apart in
    a few passes over a piece of the body, faster than from line to line; any
    piece that is not so goes through `events`.
    """
    start = len(_BOM) if body.startswith(_BOM) else 0
    if b"\r" in body or not body.startswith(b"data:", start):
        yield from _in_batches(events(body))
        return
    mark = b"\n\ndata: " if body.startswith(b"data: ", start) else b"\n\ndata:"
    while start < len(body):
        cut = body.find(b"\n\n", start + _BATCH_BYTES)
        stop = len(body) if cut < 0 else cut + 2
        piece = bytes(memoryview(body)[start:stop])
        rest = len(piece)
        if cut < 0:
            last = piece.rfind(mark)
            last = 0 if last < 0 else last + 2
            if not piece.startswith(mark[2:] + b"{", last):
                rest = last  # an end mark
        batch = _alike(piece[:rest], start, mark)
        if batch is None:
            rest = 0
        else:
            yield batch
        yield from _in_batches((start + end, data) for end, data in _events(piece, rest))
        start = stop


def _alike(piece: bytes, offset: int, mark: bytes) -> Batch | None:
    """Take a piece apart whose events are all alike; None if they are not."""
    between = b"}" + mark + b"{"
    inside = piece[len(mark) - 2 : -2].split(between)
    count = len(inside)
    if (
        not piece.endswith(b"}\n\n")
        or not piece.startswith(between[3:])
        or piece.count(b"\n") != 2 * count
    ):
        return None
    step = len(between)  # and the braces of the first and the last are still there
    marks = range(offset + len(mark) - 1, offset + len(mark) - 1 + count * step, step)
    ends = list(map(add, accumulate(map(len, inside)), marks))
    ends[-1] -= 1
    return Batch(ends, [], b"}\n{".join(inside))


def _in_batches(told: Iterable[tuple[int, bytes]]) -> Iterator[Batch]:
    told = iter(told)
    while some := list(islice(told, _BATCH_EVENTS)):
        yield Batch([end for end, _ in some], [data for _, data in some], None)


def events(body: bytes | bytearray) -> Iterator[tuple[int, bytes]]:
    """Yield `(end, data)` of each event of `body`.

    `end` is the offset just behind the last byte of the event's data: once the bytes up to there
    have arrived, the event is known, whatever comes of its blank line. Comments, `event:`, `id:`
    and `retry:` fields are passed over; several `data:` lines are joined by LF; data without its
    blank line at the very end counts (servers that close early leave it so). Events without
    data, which some servers send to keep a connection open, are passed over too.

    `error: {…}`, which llama.cpp sent until the middle of 2025, is read as `data: {"error": {…}}`.
    """
    return _events(body, len(_BOM) if body.startswith(_BOM) else 0)


def _events(body: bytes | bytearray, start: int) -> Iterator[tuple[int, bytes]]:
    """The same from `start` on; `end` counts from the start of `body`."""
    data: bytes | None = None
    end = 0
    for line_end, line in _lines(body, start):
        if not line:
            if data:
                yield end, data
            data = None
            continue
        if line.startswith(b"data:"):
            value = line[6:] if line[5:6] == b" " else line[5:]
        elif line.startswith(b"error:"):
            value = b'{"error":%b}' % line[6:]
        else:
            continue
        data = value if data is None else data + b"\n" + value
        end = line_end
    if data:
        yield end, data


def _lines(body: bytes | bytearray, start: int) -> Iterable[tuple[int, bytes]]:
    """Each line from `start` on with the offset of its end."""
    if b"\r" in body:
        return ((match.end(1), match[1]) for match in _LINE.finditer(bytes(body), start))
    return chain.from_iterable(_pieces(body, start))  # what servers send: three times as fast


def _pieces(body: bytes | bytearray, start: int) -> Iterator[Iterable[tuple[int, bytes]]]:
    """The lines of a body whose lines end in LF, some at a time."""
    while start <= len(body):
        cut = body.find(b"\n", start + _PIECE_BYTES)
        stop = len(body) if cut < 0 else cut
        lines = bytes(body[start:stop]).split(b"\n")
        ends = accumulate(map(len, lines), _next_end, initial=start - 1)
        next(ends)  # where the line before ended
        yield zip(ends, lines, strict=True)
        start = stop + 1


def _next_end(end: int, length: int) -> int:
    return end + 1 + length
