"""From any bytes of a server to a sample, without a socket, and what must be so of each.

The engine, the session's mask and the decoding are the driver's own; only the epoll set, the
connection and the clock are made up. `check` is what `make fuzz` calls, and the tests with what
the corpus keeps.
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import time
from bisect import bisect_left
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from loadprofiles.dialects import dialect_names, load_dialect
from loadprofiles.records import Sample
from loadprofiles.wire import engine as engine_module
from loadprofiles.wire.answer import read_answer
from loadprofiles.wire.connections import EPOLLIN, Address
from loadprofiles.wire.engine import Engine
from loadprofiles.wire.sample import Ticket, sample_of
from loadprofiles.wire.sse import batches, events

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from loadprofiles.dialects import Dialect
    from loadprofiles.wire.answer import Answer
    from loadprofiles.wire.stream import Stream

FD = 7
BYTE_NS = 1000
"""A byte's time on this wire: its place in the response is its stamp."""
LAG_NS = 7000
BEGIN_NS = time.perf_counter_ns() + 10**15
WALL_NS = 10**18 - BEGIN_NS
MOST_TOKENS = 1 << 48
DETAIL_CHARS = 300
CHARS_PER_BYTE = 8
"""`1e22` as an argument of a tool call is written out; nothing grows more."""
KINDS = re.compile(
    r"timeout|reset|truncated|malformed|empty|error_event|http_[1-9][0-9]{2}", re.ASCII
)
REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
UNTIL_THE_END = 3
ENDINGS = (None, "reset", "timeout")
"""The connection's end, a reset, silence: what they make of an answer without a length."""
DIALECTS: list[Dialect] = [load_dialect(name) for name in dialect_names()]
TIMES = ("sent_ns", "first_ns", "first_answer_ns", "last_ns", "end_ns", "done_ns", "chunk_ns")

_control = struct.Struct("<BBHH")
_stamp = struct.Struct("qq").pack


class Input(NamedTuple):
    """What the fuzzer's bytes mean: six that say how, and what the server sends."""

    dialect: Dialect
    streamed: bool
    framing: int
    """0: the bytes are the response; else its body: with a length, in chunks, until the end."""
    ending: int
    """What follows a response that does not end; see `ENDINGS`."""
    kernel: bool
    """Whether the kernel stamps."""
    cuts: tuple[int, int]
    body: bytes
    """The response's, where the framing is ours; else the response."""
    payload: bytes
    """The response."""
    also: int
    """What else is done: 0 cut it once less, 1 read its events in other ways, to 7 nothing."""


def read_input(data: bytes) -> Input | None:
    """Take the fuzzer's bytes apart; None where there are too few."""
    if len(data) <= _control.size:
        return None
    how, also, one, other = _control.unpack_from(data)
    raw = data[_control.size :]
    framing = how >> 3 & 3
    payload = framed(raw, framing, one)
    size = len(payload)
    return Input(
        DIALECTS[how & 3],
        not how & 4,
        framing,
        min(how >> 6, 2),
        not how & 32,
        (one % size, other % size),
        raw,
        payload,
        also & 7,
    )


def framed(body: bytes, framing: int, cut: int) -> bytes:
    """Return the response."""
    if framing == 0:
        return body
    if framing == 1:
        return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    if framing == UNTIL_THE_END:
        return HEAD + b"\r\n" + body
    cut %= len(body) + 1
    parts = b"".join(
        b"%x;ext=1\r\n%b\r\n" % (len(part), part) for part in (body[:cut], body[cut:]) if part
    )
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n"


class Wire:
    """The epoll set, the only connection in it, and the clock."""

    engine: Engine

    def __init__(self) -> None:
        self.at = 0
        self.pieces: list[bytes] = []
        self.kernel = True
        self.ending = 0

    def now(self) -> int:
        return BEGIN_NS + self.at * BYTE_NS + LAG_NS

    def poll(self, *_: object) -> list[tuple[int, int]]:
        return [(FD, EPOLLIN)]

    def fileno(self) -> int:
        return FD

    def recv(self, *_: object) -> bytes:
        raise BlockingIOError

    def send(self, data: memoryview) -> int:
        return len(data)

    def recvmsg(self, *_: object) -> tuple[bytes, list[tuple[int, int, bytes]], int, None]:
        if not self.pieces:
            if self.ending == 1:
                raise ConnectionResetError(104, "Connection reset by peer")
            return b"", [], 0, None
        data = self.pieces.pop()
        self.at += len(data)
        if not self.kernel:
            return data, [], 0, None
        stamp = _stamp(*divmod(WALL_NS + BEGIN_NS + self.at * BYTE_NS, 10**9))
        return data, [(1, 35, stamp)], 0, None

    def nothing(self, *_: object) -> None:
        """What else an epoll set and a socket are asked."""

    register = modify = unregister = close = nothing


WIRE = Wire()


@contextlib.contextmanager
def in_memory() -> Iterator[None]:
    """Put the made-up wire and its clock in the place of the kernel's."""
    real = engine_module._now
    engine_module._now = WIRE.now
    WIRE.engine = Engine([Address(socket.AF_INET, ())], 1.0, lambda: WIRE)  # type: ignore[arg-type, return-value]
    WIRE.engine.first_offset_ns = WALL_NS
    try:
        yield
    finally:
        WIRE.engine.close()
        engine_module._now = real


def receive(given: Input, cuts: list[int]) -> Stream:
    """Let the engine read the response, cut at some places."""
    places = [0, *cuts, len(given.payload)]
    pieces = [given.payload[start:end] for start, end in pairwise(places)]
    WIRE.at, WIRE.pieces = 0, [piece for piece in reversed(pieces) if piece]
    WIRE.kernel, WIRE.ending = given.kernel, given.ending
    engine = WIRE.engine
    engine.kernel_stamps = None
    engine.pools[0].idle[FD] = WIRE  # type: ignore[assignment]
    done: list[Stream] = []
    engine.submit(REQUEST, done.append, Ticket(0, 0, "r", "measured", 0, 0))
    while not done and (WIRE.pieces or given.ending != 2):
        engine.pump()
    if not done:
        engine.expire()
    engine.pools[0].idle.clear()
    (stream,) = done
    return stream


def the_sample(stream: Stream, given: Input) -> tuple[Sample, str]:
    steps = sample_of(
        stream,
        given.dialect,
        [0],
        kernel_clock=bool(WIRE.engine.kernel_stamps),
        streamed=given.streamed,
    )
    return to_the_end(steps)


def to_the_end(steps: Generator[None, None, object]) -> object:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Sample).decode


def check(data: bytes) -> None:
    """Read one input in two ways, and assert what must be so."""
    given = read_input(data)
    if given is None:
        return
    stream = receive(given, sorted(given.cuts))
    found, text = the_sample(stream, given)
    check_sample(found, text, stream)
    if given.framing:
        assert stream.status == 200
        assert bytes(stream.body) == given.body
        broken = ENDINGS[given.ending] if given.framing == UNTIL_THE_END else None
        assert stream.error == broken, stream.error
    if given.also == 0:
        check_cuts(found, text, given)
    elif given.also == 1 and given.streamed:
        check_events(bytes(stream.body))
        check_line_ends(stream, given, found)


def check_cuts(found: Sample, text: str, given: Input) -> None:
    """Assert that coarser cuts make the same sample, with the stamps of the coarser reads."""
    cut = given.cuts[0]
    other, other_text = the_sample(receive(given, [cut]), given)
    assert text == other_text
    assert content(found) == content(other), (found, other)
    ends = [cut, len(given.payload)]
    for name in ("first_ns", "first_answer_ns", "last_ns", "end_ns"):
        assert later(getattr(found, name), found.clock, ends) == getattr(other, name), name
    assert [later(stamp, found.clock, ends) for stamp in stamps(found)] == stamps(other)


def check_sample(found: Sample, text: str, stream: Stream) -> None:
    """Assert what is so of any sample."""
    assert _decode(_encode(found)) == found
    if found.error is not None:
        assert KINDS.fullmatch(found.error), found.error
        assert found.detail or found.error.startswith("http"), found
        assert len(found.detail or "") <= DETAIL_CHARS
    else:
        assert found.status == 200
        assert found.detail is None
        assert found.output_chars > 0
    for count in (found.prompt_tokens, found.output_tokens):
        assert count is None or 0 <= count <= MOST_TOKENS
    size = len(stream.body)
    assert len(text) <= found.output_chars <= size * CHARS_PER_BYTE
    chunks = stamps(found)
    assert len(chunks) + found.silent_chunks <= size
    told = [found.submitted_ns, found.sent_ns, *chunks, found.done_ns]
    assert told == sorted(told), told  # type: ignore[type-var]
    if chunks:
        assert found.last_ns == chunks[-1]
        assert found.end_ns is not None
        assert chunks[-1] <= found.end_ns <= WIRE.now()
        assert found.first_answer_ns is None or found.first_answer_ns in chunks
    kernel = found.clock == "kernel"
    assert found.lag_us == [LAG_NS // 1000] * (len(chunks) if kernel else 0)


def check_events(body: bytes) -> None:
    """Assert that the fast way through a body finds the events that the slow one does."""
    found: list[tuple[int, bytes]] = []
    for ends, each, lines in batches(body):
        found += zip(ends, each if lines is None else lines.split(b"\n"), strict=True)
    assert found == list(events(body))


def check_line_ends(stream: Stream, given: Input, found: Sample) -> None:
    """Assert that CRLF, which no fast way knows, makes no other answer of a body."""
    body = bytes(stream.body)
    if b"\r" in body or stream.error is not None or stream.status != 200:
        return
    longer = body.replace(b"\n", b"\r\n")
    stream.reads.body_end[-1] = len(longer)
    answer: Answer = to_the_end(  # type: ignore[assignment]
        read_answer(longer, stream.reads, given.dialect, kernel_clock=False)
    )
    for name in ("error", "finish_reason", "output_chars", "output_hash", "silent_chunks"):
        assert getattr(answer, name) == getattr(found, name), name
    if found.token_source == "server":
        assert answer.output_tokens == found.output_tokens
    assert len(answer.chunk_at_ns) == len(stamps(found))


def stamps(found: Sample) -> list[int]:
    if found.first_ns is None:
        return []
    return list(accumulate(found.chunk_ns, initial=found.first_ns))


def content(found: Sample) -> list[object]:
    """What does not depend on when it came."""
    skipped = (*TIMES, "submitted_ns")
    return [getattr(found, name) for name in Sample.__struct_fields__ if name not in skipped]


def later(stamp: int | None, clock: str, ends: list[int]) -> int | None:
    """Return the stamp that coarser cuts, which end there, make of one."""
    if stamp is None:
        return None
    lag = LAG_NS if clock == "user" else 0
    place = (stamp - BEGIN_NS - lag) // BYTE_NS
    return BEGIN_NS + ends[bisect_left(ends, place)] * BYTE_NS + lag
