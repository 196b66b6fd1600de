"""One answer under way."""

from __future__ import annotations

import json
import random
import time
from array import array
from typing import TYPE_CHECKING

from launchers.mock.faults import BIG_TEXT, BREAK_AFTER, MID_STREAM, UNENDING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launchers.mock.connection import Connection
    from launchers.mock.options import Options
    from launchers.mock.shapes import Asked, Shape
    from launchers.mock.speaker import Spoken

_TEXT = " token"
_LOOP = (" and", " so", " on")
_WORDS = tuple(
    f" {first}{last}"
    for first in ("ba", "co", "di", "fu", "ge", "lo", "ma", "ni", "po", "ru", "sa", "ti", "ve")
    for last in ("", "ld", "mber", "n", "nter", "r", "ston", "t", "ving", "x", "lity")
)
_SPECIAL = frozenset({"malformed", "cut_json", "big_event"})
"""Faults in a token's event."""
_MANY = 1 << 40
UNSURE_NS = 100_000
"""A send that took longer was interrupted: the token left at some moment of it."""
_MARK = "\x1a"
_MARK_IN_JSON = b"\\u001a"
_LORIS = b"HTTP/1.1 200 OK\r\nx-wait: "
_now = time.perf_counter_ns


def http_chunk(data: bytes) -> bytes:
    """Frame data as one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Answer:
    """One answer: what it looks like, how far it has come, and when each token left.

    Attributes:
        at_ns: when its next token is due (pacing).
        begun_ns: when it was let run the first time; 0 before.
        left: tokens still to come.
        unsure: tokens, by number, whose time of sending is not known well.
        prefill: tokens to be taken in before the next token comes (steps).
    """

    __slots__ = (
        "_after", "_before", "_middle", "_spoken", "_texts", "asked", "at_ns", "begun_ns",
        "connection", "fault", "finish", "left", "prefill", "received_ns", "request_id", "sent_ns",
        "shape", "stamped", "stream", "total", "unsure", "write",
    )  # fmt: skip

    def __init__(
        self,
        connection: Connection,
        shape: Shape,
        asked: Asked,
        fault: str | None,
        options: Options,
        number: int,
        spoken: Spoken | None = None,
    ) -> None:
        self.connection = connection
        self.write = connection.write
        self.shape = shape
        self._spoken = spoken
        self.asked = asked
        self.fault = fault
        self.request_id = connection.request_id
        self.received_ns = connection.received_ns
        self.sent_ns = array("q")
        self.unsure: list[int] = []
        self.stream = asked.stream and fault != "no_stream"
        self.stamped = options.stamps
        self.finish = "length"
        self.total = self._length(options, number)
        self.left = self.total
        self.prefill = asked.prompt_tokens
        self.at_ns = self.begun_ns = 0
        self._texts: Iterator[str] | None = None
        if fault == "repeats" or options.words:
            self._texts = _texts(number ^ options.seed << 20, loop=fault == "repeats")
        elif spoken is not None:
            self._texts = iter(spoken.pieces)
            self.finish = spoken.finish
        self._middle = b""
        self._before = self._after = b""
        if self.stream and (self._texts is not None or self.stamped):
            self._before, _, self._after = shape.token(self, _MARK).partition(_MARK_IN_JSON)
        elif self.stream and fault not in _SPECIAL:
            self._middle = http_chunk(shape.token(self, _TEXT))

    def _length(self, options: Options, number: int) -> int:
        tokens = self.asked.tokens
        natural = tokens
        if options.natural_tokens and not self.asked.pinned:
            draw = random.Random(number ^ options.seed << 20)  # noqa: S311 - no secret
            natural = max(1, round(draw.expovariate(1 / options.natural_tokens)))
        if self.fault == "empty":
            natural = 0
        elif self.fault == "early_stop":
            natural = min(natural, max(1, tokens // 3))
        elif self.fault in UNENDING:
            return _MANY
        if natural < tokens:
            self.finish = "stop"
            return natural
        return tokens

    @property
    def text(self) -> str:
        """All of the text, where that is known before it is written."""
        if self._spoken is not None and self._texts is not None:
            return "".join(self._spoken.pieces)
        return "" if self._texts is not None or self.stamped else _TEXT * self.total

    def begin(self) -> None:
        """Send what comes before the first token."""
        if self.stream and self.fault != "slow_loris":
            head = self.shape.head(self)
            more = http_chunk(head) if head else b""
            if self.fault == "wrong_type":
                self.connection.begin_stream(more, b"application/json")
            else:
                self.connection.begin_stream(more)

    def emit(self) -> None:
        """Send the next token in a segment of its own, and stamp it just before."""
        self.left = left = self.left - 1
        if self.fault == "slow_loris":
            self.write(_LORIS[_MANY - left - 1 :][:1] or b"x")
        elif left and self._middle:
            now = _now()
            self.write(self._middle)
            self.sent_ns.append(now)
            if _now() - now > UNSURE_NS:
                self.unsure.append(len(self.sent_ns) - 1)
        elif self.stream:
            data = self._special()
            now = _now()
            self.write(data)
            self.sent_ns.append(now)
            if _now() - now > UNSURE_NS:
                self.unsure.append(len(self.sent_ns) - 1)
        elif not left:
            self._send_document()

    def emit_together(self, count: int) -> None:
        """Send the next tokens, or those that are left, in one write."""
        if count == 1 or not self.stream or self.fault == "slow_loris":
            for _ in range(min(count, self.left)):
                self.emit()
            return
        events = []
        for _ in range(min(count, self.left)):
            self.left -= 1
            events.append(self._middle if self.left and self._middle else self._special())
        now = _now()
        self.write(b"".join(events))
        self.sent_ns.extend([now] * len(events))

    def _send_document(self) -> None:
        if self._spoken is None:
            whole = self.shape.document(self, self._whole())
        else:
            whole = self._spoken.document
        self.sent_ns.append(_now())
        head = self.shape.document_head(self)
        self.connection.reply(200, None if self.fault == "malformed" else whole, head)

    def _special(self) -> bytes:
        if self.fault == "malformed" and self.left < self.total - 2:
            return http_chunk(b"data: {oops\n\n")
        if self.fault == "big_event" and self.left == self.total - 1:
            return http_chunk(self.shape.token(self, BIG_TEXT))
        if self.fault == "cut_json" and self.left == self.total - BREAK_AFTER:
            whole = self.shape.token(self, _TEXT)
            return http_chunk(whole[: len(whole) // 2] + b"\n\n")
        if self.stamped:
            text = f" {_now()}"
        else:
            text = next(self._texts) if self._texts is not None else _TEXT
        if not self.left:
            return http_chunk(self.shape.last(self, text))
        if self._before:
            inside = text if self._spoken is None else json.dumps(text)[1:-1]
            return http_chunk(self._before + inside.encode() + self._after)
        return http_chunk(self.shape.token(self, text))

    def _whole(self) -> str:
        if self._texts is None:
            return _TEXT * self.total
        return "".join(next(self._texts) for _ in range(self.total))

    def breaks(self) -> bool:
        """Commit the answer's fault in mid-stream if it is time for it; say whether it was."""
        if self.fault not in MID_STREAM or self.total - self.left < BREAK_AFTER:
            return False
        if self.fault == "error_event" and not self.stream:
            self.connection.reply(500, {"error": {"message": "engine died"}})
        elif self.fault == "error_event":
            self.connection.write(http_chunk(self.shape.error()) + b"0\r\n\r\n")
            self.connection.end_answer()
        elif self.fault == "reset":
            self.connection.reset()
        elif self.fault == "truncated":
            self.connection.close()
        elif self.fault == "half_closed":
            self.connection.half_close()
        return True

    def end(self) -> None:
        """Send what comes after the last token."""
        if self.stream:
            tail = self.shape.tail(self)
            self.connection.write((http_chunk(tail) if tail else b"") + b"0\r\n\r\n")
            self.connection.end_answer()
        elif not self.sent_ns:  # no token at all
            self._send_document()


def _texts(seed: int, *, loop: bool) -> Iterator[str]:
    if loop:
        while True:
            yield from _LOOP
    draw = random.Random(seed)  # noqa: S311 - no secret
    while True:
        yield _WORDS[int(draw.random() * len(_WORDS))]
