"""Any valid answer, cut anywhere: the same content, and each chunk has the stamp of its last byte.

What is drawn: the dialect and what it says, how JSON and events are written, the HTTP framing,
and where the network cuts all of it.
"""

from __future__ import annotations

import _socket
import json
import select
import socket
import threading
import time
from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadprofiles.dialects import dialect_names, load_dialect
from loadprofiles.wire.connections import Address
from loadprofiles.wire.engine import Engine
from loadprofiles.wire.sample import Ticket, sample_of
from loadprofiles.wire.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from loadprofiles.records import Sample

STEP_NS = 1_000_000
LAG_NS = 7_000
WALL_NS = 10**18
REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


@dataclass(frozen=True)
class Said:
    """What an answer says. Texts: "" is a token without text; `thoughts` come before the rest."""

    texts: list[str]
    thoughts: list[str]
    prompt_tokens: int
    finish: str


Event = tuple[bytes, bool]
"""Its data, and whether it is a chunk: whether it has generated text."""


def dump(content: Any, *, ascii_only: bool) -> bytes:  # noqa: ANN401 - JSON
    return json.dumps(content, ensure_ascii=ascii_only).encode()


def completions(said: Said, *, ascii_only: bool) -> Iterator[Event]:
    for text in said.texts:
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": None}
        yield dump({"choices": [choice], "usage": None}, ascii_only=ascii_only), bool(text)
    last = {"index": 0, "text": "", "finish_reason": said.finish}
    yield dump({"choices": [last]}, ascii_only=ascii_only), False
    usage = {"prompt_tokens": said.prompt_tokens, "completion_tokens": len(said.texts)}
    yield dump({"choices": [], "usage": usage}, ascii_only=ascii_only), False
    yield b"[DONE]", False


def chat(said: Said, *, ascii_only: bool) -> Iterator[Event]:
    deltas = [{"role": "assistant", "content": ""}]
    deltas += [{"reasoning_content": text} for text in said.thoughts]
    deltas += [{"content": text} for text in said.texts]
    for delta in deltas:
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        yield dump({"choices": [choice]}, ascii_only=ascii_only), any(list(delta.values())[-1])
    last = {"index": 0, "delta": {}, "finish_reason": said.finish}
    yield dump({"choices": [last]}, ascii_only=ascii_only), False
    count = len(said.texts) + len(said.thoughts)
    usage = {"prompt_tokens": said.prompt_tokens, "completion_tokens": count}
    yield dump({"choices": [], "usage": usage}, ascii_only=ascii_only), False
    yield b"[DONE]", False


def tgi(said: Said, *, ascii_only: bool) -> Iterator[Event]:
    for text in said.texts:
        token = {"id": 1, "text": text or "</s>", "special": not text}
        content = {"token": token, "generated_text": None, "details": None}
        yield dump(content, ascii_only=ascii_only), bool(text)
    details = {
        "finish_reason": {"stop": "eos_token"}.get(said.finish, said.finish),
        "generated_tokens": len(said.texts),
        "input_length": said.prompt_tokens,
    }
    token = {"id": 2, "text": "</s>", "special": True}
    content = {"token": token, "generated_text": "".join(said.texts), "details": details}
    yield dump(content, ascii_only=ascii_only), False


def llamacpp(said: Said, *, ascii_only: bool) -> Iterator[Event]:
    for text in said.texts:
        yield dump({"content": text, "stop": False}, ascii_only=ascii_only), bool(text)
    last = {
        "content": "",
        "stop": True,
        "stop_type": {"stop": "eos", "length": "limit"}[said.finish],
        "tokens_predicted": len(said.texts),
        "tokens_evaluated": said.prompt_tokens,
    }
    yield dump(last, ascii_only=ascii_only), False


SPEAKERS: dict[str, Callable[..., Iterator[Event]]] = {
    "openai-completions": completions,
    "openai-chat": chat,
    "tgi": tgi,
    "llamacpp": llamacpp,
}


def test_no_dialect_is_forgotten() -> None:
    assert sorted(SPEAKERS) == dialect_names()


@dataclass
class Wire:
    """An answer as bytes, and where each byte of its body stands in them."""

    dialect: str
    said: Said
    raw: bytes
    sized: bool
    body: bytes
    at: list[int]
    """For each byte of the body its place in `raw`."""
    ends: list[int]
    """For each chunk, how much of the body there is once its data is there."""
    pieces: list[bytes] = field(default_factory=list)


text = st.text(st.characters(codec="utf-8"), max_size=6)
noise = st.lists(
    st.sampled_from([b": ping", b":", b"event: message", b"id: 7", b"retry: 10", b"other", b""]),
    max_size=3,
)


@st.composite
def answers(draw: st.DrawFn) -> Said:
    texts = draw(st.lists(text, min_size=1, max_size=6).filter(any))
    thoughts = draw(st.lists(text.filter(bool), max_size=2))
    finish = draw(st.sampled_from(["length", "stop"]))
    return Said(texts, thoughts, draw(st.integers(0, 1 << 40)), finish)


@st.composite
def wires(draw: st.DrawFn) -> Wire:
    dialect = draw(st.sampled_from(sorted(SPEAKERS)))
    said = draw(answers())
    line_ends = draw(st.sampled_from([[b"\n"], [b"\r\n"], [b"\r"], [b"\n", b"\r\n"]]))
    body, ends = bytearray(draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))), []
    events = list(SPEAKERS[dialect](said, ascii_only=draw(st.booleans())))
    for number, (data, is_chunk) in enumerate(events):
        for line in draw(noise):
            body += line + draw(st.sampled_from(line_ends))
        body += draw(st.sampled_from([b"data:", b"data: "])) + data
        if is_chunk:
            ends.append(len(body))
        blank = 1 if number + 1 < len(events) else draw(st.integers(0, 1))
        for _ in range(1 + blank):
            body += draw(st.sampled_from(line_ends))
    raw, at, sized = draw(framed(bytes(body)))
    wire = Wire(dialect, said, raw, sized, bytes(body), at, ends)
    cuts = sorted(draw(st.sets(st.integers(1, len(raw) - 1), max_size=30)))
    wire.pieces = [raw[start:end] for start, end in pairwise([0, *cuts, len(raw)])]
    return wire


@st.composite
def framed(draw: st.DrawFn, body: bytes) -> tuple[bytes, list[int], bool]:
    """The response, the place of each of the body's bytes, and whether it tells its own end."""
    interim = draw(st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n"]))
    head = interim + b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    kind = draw(st.sampled_from(["chunked", "length", "close"]))
    if kind == "close":
        head += b"\r\n"
        return head + body, list(range(len(head), len(head) + len(body))), False
    if kind == "length":
        head += b"Content-Length: %d\r\n\r\n" % len(body)
        return head + body, list(range(len(head), len(head) + len(body))), True
    raw, at = bytearray(head + b"Transfer-Encoding: chunked\r\n\r\n"), []
    cuts = sorted(draw(st.sets(st.integers(1, len(body) - 1), max_size=10)))
    for start, end in pairwise([0, *cuts, len(body)]):
        raw += (
            b"%x" % (end - start) + draw(st.sampled_from([b"", b";ext=1", b';q="a b"'])) + b"\r\n"
        )
        at += range(len(raw), len(raw) + end - start)
        raw += body[start:end] + b"\r\n"
    raw += b"0\r\n" + draw(st.sampled_from([b"", b"x-trailer: 1\r\n"])) + b"\r\n"
    return bytes(raw), at, True


def sample(stream: Stream, dialect: str) -> Sample:
    stream.done_ns = stream.done_ns or stream.submitted_ns
    steps = sample_of(stream, load_dialect(dialect), [0], kernel_clock=True)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Sample = end.value[0]
            return found


def check_content(found: Sample, wire: Wire) -> None:
    said = wire.said
    thoughts = said.thoughts if wire.dialect == "openai-chat" else []
    chunks = [*thoughts, *filter(None, said.texts)]
    assert (found.error, found.detail) == (None, None)
    assert found.output_chars == sum(map(len, chunks))
    assert len(found.chunk_ns) + 1 == len(chunks) == len(wire.ends)
    assert found.finish_reason == said.finish
    assert found.prompt_tokens == said.prompt_tokens
    assert found.output_tokens == len(said.texts) + len(thoughts)
    assert found.token_source == "server"


def chunk_stamps(found: Sample) -> list[int]:
    assert found.first_ns is not None
    return list(accumulate(found.chunk_ns, initial=found.first_ns))


def as_if_received(wire: Wire) -> Stream:
    """What the engine makes of the pieces, each of them a read of its own, a step apart."""
    stream = Stream(REQUEST, lambda _: None, Ticket(0, 0, "r", "measured", 0))
    stream.reads.wall_minus_monotonic_ns = WALL_NS
    for number, piece in enumerate(wire.pieces, 1):
        stream.note_user(number * STEP_NS + LAG_NS)
        stream.reads.kernel.extend(divmod(WALL_NS + number * STEP_NS, 10**9))
        stream.feed(piece)
        stream.note_end(len(stream.body))
    assert stream.complete == wire.sized
    return stream


@settings(max_examples=250, deadline=None)
@given(wire=wires())
def test_any_answer_cut_anywhere(wire: Wire) -> None:
    stream = as_if_received(wire)
    assert bytes(stream.body) == wire.body
    found = sample(stream, wire.dialect)
    check_content(found, wire)
    arrived = list(accumulate(map(len, wire.pieces)))
    last_bytes = [wire.at[end - 1] + 1 for end in wire.ends]
    expected = [(bisect_left(arrived, place) + 1) * STEP_NS for place in last_bytes]
    assert chunk_stamps(found) == expected
    assert found.lag_us == [LAG_NS // 1000] * len(expected)
    assert found.clock == "kernel"
    thoughts = len(wire.said.thoughts) if wire.dialect == "openai-chat" else 0
    assert found.first_answer_ns == expected[thoughts]


# --- over real sockets -------------------------------------------------------------------------


class Talker:
    """A server that answers each request with the pieces it is told, and a client for it."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.close = False
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.serve, daemon=True).start()
        address = Address(socket.AF_INET, self.listener.getsockname())
        self.engine = Engine([address], 10, select.epoll)

    def serve(self) -> None:
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            conn.setsockopt(socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
            with conn:
                while conn.recv(65536):
                    for piece in self.pieces:
                        conn.sendall(piece)
                        time.sleep(0)
                    if self.close:
                        break

    def ask(self, wire: Wire) -> Stream:
        self.pieces, self.close = wire.pieces, not wire.sized
        done: list[Stream] = []
        deadline = time.monotonic() + 10
        self.engine.submit(REQUEST, done.append, Ticket(0, 0, "r", "measured", 0))
        while not done:
            assert time.monotonic() < deadline
            if select.select([self.engine.fd], [], [], 0.5)[0]:
                self.engine.pump()
        return done[0]


@pytest.fixture
def talker() -> Iterator[Talker]:
    made = Talker()
    yield made
    made.engine.close()
    made.listener.shutdown(socket.SHUT_RDWR)
    made.listener.close()


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(wire=wires())
def test_the_same_over_a_real_socket(talker: Talker, wire: Wire) -> None:
    """The kernel may join pieces, and says so by the reads: each chunk has the stamp of its."""
    stream = talker.ask(wire)
    assert stream.error is None, stream.detail
    assert bytes(stream.body) == wire.body
    reads = stream.reads
    found = sample(stream, wire.dialect)
    check_content(found, wire)
    brought = [bisect_left(reads.body_end, end) for end in wire.ends]
    stamps = reads.kernel_ns()
    for stamp, read in zip(chunk_stamps(found), brought, strict=True):
        assert abs(stamp - min(stamps[read], reads.user_ns[read])) < 50_000
