"""Garbage through real sockets to the real engine: a classified error, never a crash or a hang.

What is endless, slow or cut off, which only a socket can be; `tests/fuzzing` has any bytes else.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import random
import re
import select
import socket
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from loadprofiles.dialects import dialect_names, load_dialect
from loadprofiles.wire import engine as engine_module
from loadprofiles.wire.connections import Address
from loadprofiles.wire.engine import Engine
from loadprofiles.wire.sample import Ticket, sample_of
from loadprofiles.wire.tls import secured
from tests.fuzzing import corpus, wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from loadprofiles.records import Sample
    from loadprofiles.wire.stream import Stream

AT_ONCE = 48
TIMEOUT_S = 0.25
KINDS = re.compile(
    r"connect|timeout|reset|truncated|malformed|empty|error_event|http_[1-9][0-9]{2}"
)
MIB = 1 << 20
ENDLESS_BYTES = 192 * MIB
"""What is endless ends here: far beyond what an engine may keep."""


def event(content: object) -> bytes:
    return b"data: " + json.dumps(content).encode() + b"\n\n"


def bodies() -> list[tuple[str, bytes]]:
    """A good answer of each dialect."""
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    done = b"data: [DONE]\n\n"
    completions = [{"text": "a"}, {"text": "é", "finish_reason": "length"}]
    deltas = [{"role": "assistant", "content": ""}, {"reasoning_content": "h"}, {"content": "😀"}]
    details = {"finish_reason": "length", "generated_tokens": 1}
    return [
        (
            "openai-completions",
            b"".join(event({"choices": [c]}) for c in completions)
            + event({"choices": [], "usage": usage})
            + done,
        ),
        (
            "openai-chat",
            b"".join(event({"choices": [{"delta": d}]}) for d in deltas)
            + event({"choices": [{"delta": {}, "finish_reason": "stop"}]})
            + done,
        ),
        ("tgi", event({"token": {"text": "a"}, "generated_text": "a", "details": details})),
        (
            "llamacpp",
            event({"content": "a", "stop": False})
            + event({"content": "", "stop": True, "stop_type": "limit", "tokens_predicted": 1}),
        ),
    ]


CHUNKED = b"transfer-encoding: chunked"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"


def chunked(body: bytes, size: int = 50) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def framings(body: bytes) -> list[bytes]:
    return [
        HEAD + b"transfer-encoding: chunked\r\n\r\n" + chunked(body),
        HEAD + b"content-length: %d\r\n\r\n" % len(body) + body,
        HEAD + b"connection: close\r\n\r\n" + body,
        b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"transfer-encoding: chunked\r\n\r\n"
        + chunked(body, 7),
    ]  # fmt: skip


@dataclass
class Case:
    """One connection's fate: what the server sends, how it is cut, and how it ends."""

    name: str
    dialect: str
    payload: bytes
    ending: str = "close"
    """close, reset, hold (until the client goes), or keep (for the next request)."""
    cuts: list[int] = field(default_factory=list)
    endless: bytes = b""
    """Sent over and over behind the payload."""
    pause_s: float = 0.0
    """Between the pieces."""
    expected: str = ""
    """A pattern of the errors it may have; "" for any, or none."""

    def __repr__(self) -> str:
        return (
            f"{self.name}, {self.dialect}, {self.ending}, cut at {self.cuts}:\n"
            f"{self.payload[:3000]!r} {self.endless[:100]!r}"
        )


def special() -> list[Case]:
    """What mutation does not find."""
    dialect, body = bodies()[0]
    good = framings(body)[0]
    packed = gzip.compress(body)
    big = event({"choices": [{"text": "x" * (10 * MIB), "finish_reason": "stop"}]})
    deep = b"data: " + b"[" * 100_000 + b"\n\n"
    lines = b"".join(b"x-%d: %d\r\n" % (n, n) for n in range(20_000))
    ok, bad, held = "None", "malformed|truncated", "hold"
    long, short = b"a" * 9000, b"x-a: b\r\n" * 900

    def head(headers: bytes, rest: bytes = body) -> bytes:
        return HEAD + headers + b"\r\n\r\n" + rest

    def endless(name: str, payload: bytes, more: bytes, expected: str = "malformed") -> Case:
        return Case(name, dialect, payload, held, endless=more, expected=expected)

    def plain(name: str, payload: bytes, expected: str, ending: str = "close") -> Case:
        return Case(name, dialect, payload, ending, expected=expected)

    return [
        plain("nothing", b"", "reset"),
        plain("reset at once", b"", "reset", "reset"),
        plain("silence", b"", "timeout", held),
        plain("half a head", HEAD, "timeout", held),
        Case("a byte at a time", dialect, good, "keep", list(range(len(good))), expected=ok),
        Case("too slow", dialect, good, held, list(range(len(good))), b"", 0.05, "timeout"),
        endless("endless head", HEAD, b"x: " + long),
        endless("endless header", HEAD + b"x: ", long),
        endless("endless status", b"HTTP/1.1 200 ", long),
        endless("endless headers", HEAD, short),
        endless("endless interim answers", b"", b"HTTP/1.1 103 Hints\r\n\r\n" * 300),
        endless("endless body", HEAD + b"\r\n", b": p\n" * 4000),
        endless("endless trailers", good[:-2], short),
        endless("endless trailer", good[:-2] + b"x: ", long),
        endless("endless extension", good[:-5] + b"5;x=", long),
        plain("many headers", HEAD + lines + good[len(HEAD) :], ok, "keep"),
        plain("a huge chunk", head(CHUNKED, b"7fffffffffffffff\r\n" + body), bad),
        plain("too huge a chunk", head(CHUNKED, b"fffffffffffffffff\r\n" + body), bad),
        plain("a negative chunk", head(CHUNKED, b"-5\r\n" + body), bad),
        plain("a negative length", head(b"content-length: -5"), bad),
        plain("a huge length", head(b"content-length: 99999999999999999999"), bad),
        plain("two lengths", head(b"content-length: 5\r\ncontent-length: 6"), bad),
        plain(
            "length and chunks",
            head(b"content-length: 5\r\n" + CHUNKED, chunked(body)),
            f"{bad}|{ok}",
        ),
        plain(
            "compressed",
            head(b"content-encoding: gzip\r\ncontent-length: %d" % len(packed), packed),
            "malformed",
        ),
        plain("NULs", HEAD + b"\r\n" + b"\0" * 5000, "malformed"),
        plain("no UTF-8", HEAD + b"\r\n" + body.replace(b'"a"', b'"\xff\xfe"'), "malformed"),
        plain("deep JSON", HEAD + b"\r\n" + deep, "malformed"),
        plain("10 MiB in one event", framings(big)[1], ok, "keep"),
        plain(
            "an error with half a character",
            framings(b'data: {"error": {"message": "\\ud83d"}}\n\n')[0],
            "error_event|malformed",
            "keep",
        ),
    ]


class Server:
    """Serves each request the case whose number is its path."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.cases: list[Case] = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(conn,), daemon=True).start()

    def serve(self, conn: socket.socket) -> None:
        try:
            with conn:
                conn.settimeout(10)
                while self.answer(conn):
                    pass
        except OSError:
            pass

    def answer(self, conn: socket.socket) -> bool:
        got = conn.recv(65536)
        if not got.startswith(b"POST /"):
            return False  # the end, or TLS: then a byte of garbage will do
        case = self.cases[int(got[6:].split(b" ", 1)[0])]
        start = 0
        for cut in [*case.cuts, len(case.payload)]:
            conn.sendall(case.payload[start:cut])
            start = cut
            time.sleep(case.pause_s)
        sent = 0
        while case.endless and sent < ENDLESS_BYTES:
            conn.sendall(case.endless)
            sent += len(case.endless)
        if case.ending == "reset":
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif case.ending == "hold":
            while conn.recv(65536):
                pass
        return case.ending == "keep"


def sample(stream: Stream, dialect: str) -> Sample:
    steps = sample_of(stream, load_dialect(dialect), [0], kernel_clock=True)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Sample = end.value[0]
            return found


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Client:
    """An engine, the server, and what must be so of every case."""

    def __init__(self, server: Server) -> None:
        self.server = server
        address = Address(socket.AF_INET, server.listener.getsockname())
        self.engine = Engine([address], TIMEOUT_S, select.epoll)
        self.seen: Counter[str] = Counter()
        self.outputs: dict[str, tuple[str | None, str]] = {}

    def run(self, cases: Iterable[Case]) -> int:
        """Run them, some at a time; return how many there were."""
        left, known = iter(cases), self.server.cases
        done: list[Stream] = []
        known.clear()
        checked, quiet_since = 0, time.monotonic()
        while True:
            while self.engine.in_flight < AT_ONCE and (case := next(left, None)) is not None:
                number = len(known)
                known.append(case)
                self.engine.submit(
                    b"POST /%d HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}" % number,
                    done.append,
                    Ticket(number, 0, case.name, "measured", 0),
                )
            if select.select([self.engine.fd], [], [], 0.02)[0]:
                self.engine.pump()
            self.engine.expire()
            if done:
                quiet_since = time.monotonic()
            assert time.monotonic() < quiet_since + TIMEOUT_S + 10, "it hangs"
            for stream in done:
                assert isinstance(stream.meta, Ticket)
                self.check(known[stream.meta.seq], stream)
                checked += 1
            done.clear()
            if not self.engine.in_flight:
                return checked

    def check(self, case: Case, stream: Stream) -> None:
        assert len(stream.reads.user_ns) == len(stream.reads.body_end)
        found = sample(stream, case.dialect)
        assert msgspec.json.decode(msgspec.json.encode(found))["error"] == found.error
        assert found.error is None or KINDS.fullmatch(found.error), (found.error, case)
        assert found.detail or str(found.error).startswith(("None", "http")), (found.error, case)
        assert re.fullmatch(case.expected or ".*", str(found.error)), (found, case)
        if found.error is None:
            assert found.first_ns is not None
        self.seen[str(found.error)] += 1
        self.outputs[case.name] = (found.error, found.output_hash)


@pytest.fixture
def client() -> Iterator[Client]:
    server = Server()
    made = Client(server)
    yield made
    made.engine.close()
    server.listener.shutdown(socket.SHUT_RDWR)
    server.listener.close()


@pytest.mark.parametrize("case", special(), ids=lambda case: case.name.replace(" ", "-"))
def test_special(client: Client, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "_MAX_RESPONSE_BYTES", 12 * MIB)
    if case.expected != "timeout":  # it must not take one to end it, on a busy machine neither
        client.engine._timeout_ns = 60 * 10**9
    before = resident()
    client.run([case])
    assert resident() - before < 160 * MIB
    client.run([Case("good", "openai-completions", framings(bodies()[0][1])[0], "keep")])
    assert client.seen["None"] >= 1


def test_the_corpus_of_the_fuzzer_says_the_same_over_a_socket(client: Client) -> None:
    """What `tests/fuzzing` reads without one is what the engine reads."""
    client.engine._timeout_ns = 60 * 10**9
    given = [wire.read_input(data) for data in corpus.kept()]
    closed = {
        str(number): one
        for number, one in enumerate(given)
        if one is not None and one.ending == 0 and one.streamed
    }
    names = {id(load_dialect(name)): name for name in dialect_names()}
    expected = {}
    with wire.in_memory():
        for name, one in closed.items():
            found, _ = wire.the_sample(wire.receive(one, []), one)
            expected[name] = (found.error, found.output_hash)
    cases = [Case(name, names[id(one.dialect)], one.payload) for name, one in closed.items()]
    assert client.run(cases) > 50
    assert client.outputs == expected
    assert len(client.seen) > 6


def test_garbage_instead_of_tls() -> None:
    rng = random.Random(1)  # noqa: S311 - no secret

    def answer(conn: socket.socket, data: bytes) -> None:
        with conn, contextlib.suppress(OSError):
            conn.settimeout(5)
            conn.recv(65536)
            conn.sendall(data)
            conn.recv(1)

    records = (
        b"",
        b"\x16\x03\x03\x00\x40",
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"\x17\x03\x03\xff\xff",
    )
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        address = Address(socket.AF_INET, listener.getsockname(), secured("127.0.0.1"))
        engine = Engine([address], TIMEOUT_S, select.epoll)
        done: list[Stream] = []
        for _ in range(40):
            engine.submit(b"POST / HTTP/1.1\r\n\r\n", done.append, None)
        for _ in range(40):
            data = rng.choice(records) + rng.randbytes(rng.randrange(200))
            threading.Thread(target=answer, args=(listener.accept()[0], data), daemon=True).start()
        deadline = time.monotonic() + 10
        while len(done) < 40:
            assert time.monotonic() < deadline
            if select.select([engine.fd], [], [], 0.02)[0]:
                engine.pump()
            engine.expire()
        engine.close()
    assert {stream.error for stream in done} <= {"connect", "timeout"}
    assert all(stream.detail for stream in done)
