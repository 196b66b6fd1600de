"""Server-sent events of a whole response body: where each one ends, and its data.

Read after the stream has ended, so the position of an event in the body is all that is needed
to find the stamp of the read that brought it. Lines end in LF, CRLF or CR, and in nothing else:
U+2028 or U+0085 inside JSON are text (`str.splitlines` and several clients break there).
Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import re
from itertools import accumulate, chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LINE = re.compile(rb"([^\r\n]*)(\r\n|\n|\r|\Z)")
_BOM = b"\xef\xbb\xbf"
_PIECE_BYTES = 32_768
"""Split at a time: whoever reads a long body event by event can stop between any two."""


def events(body: bytes | bytearray) -> Iterator[tuple[int, bytes]]:
    """Yield `(end, data)` of each event of `body`.

    `end` is the offset just behind the last byte of the event's data: once the bytes up to there
    have arrived, the event is known, whatever comes of its blank line. Comments, `event:`, `id:`
    and `retry:` fields are passed over; several `data:` lines are joined by LF; data without its
    blank line at the very end counts (servers that close early leave it so). Events without
    data, which some servers send to keep a connection open, are passed over too.
    """
    start = len(_BOM) if body.startswith(_BOM) else 0
    data: bytes | None = None
    end = 0
    for line_end, line in _lines(body, start):
        if not line:
            if data:
                yield end, data
            data = None
        elif line.startswith(b"data:"):
            value = line[6:] if line[5:6] == b" " else line[5:]
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
