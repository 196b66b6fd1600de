"""TLS as the engine speaks it, against scripted servers: what `test_engine` cannot ask of both."""

from __future__ import annotations

import _socket
import contextlib
import re
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadprofiles.wire.connections import Address
from loadprofiles.wire.engine import Engine
from loadprofiles.wire.tls import secured

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import trustme
    from typing_extensions import Buffer

    from loadprofiles.wire.stream import Stream
    from loadprofiles.wire.tls import TlsSocket

FOR_EVER = 1 << 62
REQUEST = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
CHUNK, LAST = b"9\r\ndata: x\n\n\r\n", b"0\r\n\r\n"
Handler = Callable[[socket.socket], object]


class Servers:
    """Starts servers, each with a thread for every connection, that get the bare TCP socket."""

    def __init__(self, authority: trustme.CA) -> None:
        self.authority = authority
        self.stack = contextlib.ExitStack()

    def context(self, *names: str) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.authority.issue_cert(*(names or ("127.0.0.1",))).configure_cert(context)
        return context

    def start(self, handle: Handler) -> tuple[str, int]:
        listener = socket.create_server(("127.0.0.1", 0))
        threads = [threading.Thread(target=self._accept, args=(listener, handle), daemon=True)]
        threads[0].start()
        self.stack.callback(listener.close)
        self.stack.callback(listener.shutdown, socket.SHUT_RDWR)
        return listener.getsockname()

    def _accept(self, listener: socket.socket, handle: Handler) -> None:
        while True:
            try:
                conn, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(conn, handle), daemon=True).start()

    @staticmethod
    def _serve(conn: socket.socket, handle: Handler) -> None:
        with conn, contextlib.suppress(OSError):
            conn.settimeout(10)
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            handle(conn)

    def answering(self, context: ssl.SSLContext, *pieces: bytes) -> tuple[str, int]:
        """Answer every request with the pieces, a moment apart, each in a record of its own."""

        def handle(conn: socket.socket) -> None:
            with context.wrap_socket(conn, server_side=True) as secure:
                while secure.recv(65536):
                    for piece in pieces:
                        secure.sendall(piece)
                        time.sleep(0.02)

        return self.start(handle)


@pytest.fixture
def servers(authority: trustme.CA) -> Iterator[Servers]:
    made = Servers(authority)
    with made.stack:
        yield made


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


class Client:
    """An engine and the plain loop that drives it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.done: list[Stream] = []

    def send(self) -> Stream:
        return self.engine.submit(REQUEST, self.done.append, None)

    def turn(self) -> None:
        if select.select([self.engine.fd], [], [], 0.02)[0]:
            self.engine.pump()
        self.engine.expire()

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline
            self.turn()

    def ask(self) -> Stream:
        stream = self.send()
        self.until(lambda: stream.done_ns)
        return stream


MakeClient = Callable[..., Client]


@pytest.fixture
def client(ca_file: str) -> Iterator[Callable[..., Client]]:
    with contextlib.ExitStack() as stack:

        def make(
            address: tuple[str, int],
            host: str = "127.0.0.1",
            *,
            trust: str | None = ca_file,
            verify: bool = True,
            timeout_s: float = 10,
        ) -> Client:
            secure = secured(host, trust, verify=verify)
            engine = Engine([Address(socket.AF_INET, address, secure)], timeout_s, select.epoll)
            stack.callback(engine.close)
            return Client(engine)

        yield make


def test_a_certificate_of_an_unknown_authority_is_refused(
    servers: Servers, client: MakeClient
) -> None:
    address = servers.answering(servers.context(), HEAD + CHUNK + LAST)
    stream = client(address, trust=None).ask()
    assert (stream.error, stream.sent_ns) == ("connect", None)
    assert "certificate verify failed" in stream.detail
    assert "--ca-file FILE" in stream.detail


def test_a_self_signed_certificate_is_named_so(
    servers: Servers, client: MakeClient, authority: trustme.CA, tmp_path: Path
) -> None:
    path = tmp_path / "own.pem"
    path.write_bytes(authority.private_key_pem.bytes() + authority.cert_pem.bytes())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)
    detail = client(servers.answering(context, HEAD + CHUNK + LAST), trust=None).ask().detail
    assert "certificate verify failed: self-signed certificate: " in detail
    assert "--ca-file FILE" in detail


def test_a_certificate_for_another_host_is_refused(servers: Servers, client: MakeClient) -> None:
    address = servers.answering(servers.context("other.example"), HEAD + CHUNK + LAST)
    by_name = client(address, "localhost").ask()
    assert by_name.error == "connect"
    assert "Hostname mismatch, certificate is not valid for 'localhost'" in by_name.detail
    by_address = client(address).ask()
    assert "IP address mismatch, certificate is not valid for '127.0.0.1'" in by_address.detail
    assert "a name that its certificate has" in by_address.detail


@pytest.mark.parametrize("trust", [None, "ca_file"])
def test_without_the_check_anybody_will_do(
    servers: Servers, client: MakeClient, trust: str | None, request: pytest.FixtureRequest
) -> None:
    address = servers.answering(servers.context("other.example"), HEAD + CHUNK + LAST)
    known = trust and request.getfixturevalue(trust)
    assert client(address, trust=known, verify=False).ask().answered


def test_the_name_asked_for_is_said(servers: Servers, client: MakeClient) -> None:
    """A server with several certificates must know which one is wanted (SNI)."""
    context, seen = servers.context("a.example"), []
    context.sni_callback = lambda _sock, name, _context: seen.append(name)
    address = servers.answering(context, HEAD + CHUNK + LAST)
    assert client(address, "a.example").ask().answered
    assert seen == ["a.example"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_versions_and_one_connection_for_all_requests(
    servers: Servers, client: MakeClient, version: ssl.TLSVersion
) -> None:
    """With TLS 1.3 two session tickets come before the first answer."""
    context = servers.context()
    context.minimum_version = context.maximum_version = version
    one = client(servers.answering(context, HEAD, CHUNK, CHUNK, LAST))
    streams = [one.ask() for _ in range(3)]
    assert all(stream.answered and not stream.retried for stream in streams)
    assert [len(stream.reads.user_ns) for stream in streams] == [4, 4, 4]
    assert one.engine.connections == 1
    assert one.engine.kernel_stamps
    assert streams[0].connect_ns is not None
    assert streams[1].connect_ns is None


def test_an_old_version_is_refused(servers: Servers, client: MakeClient) -> None:
    context = servers.context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    stream = client(servers.answering(context, HEAD + CHUNK + LAST)).ask()
    assert stream.error == "connect"
    assert re.search("version|protocol|sigalg", stream.detail), "Python's builds differ here"


def test_a_server_without_tls(servers: Servers, client: MakeClient) -> None:
    def handle(conn: socket.socket) -> None:
        conn.recv(65536)
        conn.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        conn.recv(1)

    stream = client(servers.start(handle)).ask()
    assert stream.error == "connect"
    assert "does not speak TLS" in stream.detail


def test_a_server_that_goes_away_in_the_handshake(servers: Servers, client: MakeClient) -> None:
    stream = client(servers.start(lambda conn: conn.recv(100))).ask()
    assert stream.error == "connect"
    assert stream.sent_ns is None


def test_a_server_that_says_nothing_in_the_handshake(servers: Servers, client: MakeClient) -> None:
    stream = client(servers.start(lambda _: time.sleep(1)), timeout_s=0.3).ask()
    assert (stream.error, stream.detail) == ("timeout", "not connected after 0.3 s")


def test_a_server_that_wants_a_certificate_of_the_client(
    servers: Servers, client: MakeClient, authority: trustme.CA
) -> None:
    """By TLS 1.3 the client has done its part of the handshake before it hears of it."""
    context = servers.context()
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    stream = client(servers.answering(context, HEAD + CHUNK + LAST)).ask()
    assert stream.error == "connect"
    assert "certificate required" in stream.detail


def test_connecting_takes_in_the_handshake(servers: Servers, client: MakeClient) -> None:
    context = servers.context()

    def handle(conn: socket.socket) -> None:
        time.sleep(0.2)
        with context.wrap_socket(conn, server_side=True) as secure:
            secure.recv(65536)
            secure.sendall(HEAD + CHUNK + LAST)

    one = client(servers.start(handle))
    stream = one.ask()
    assert stream.connect_ns >= 180_000_000
    assert stream.sent_ns - stream.submitted_ns >= stream.connect_ns - 20_000_000


def test_connections_opened_ahead_have_shaken_hands(servers: Servers, client: MakeClient) -> None:
    context, shaken = servers.context(), []

    def handle(conn: socket.socket) -> None:
        with context.wrap_socket(conn, server_side=True) as secure:
            shaken.append(secure)
            while secure.recv(65536):
                secure.sendall(HEAD + CHUNK + LAST)

    one = client(servers.start(handle))
    one.engine.open_ahead(20, FOR_EVER)
    one.until(lambda: not one.engine.opening)
    time.sleep(0.1)
    one.turn()  # the tickets
    assert (len(shaken), len(one.engine.pools[0].idle)) == (20, 20)
    streams = [one.send() for _ in range(20)]
    assert {stream.state for stream in streams} == {"reading"}
    one.until(lambda: len(one.done) == 20)
    assert all(stream.answered and stream.connect_ns is None for stream in streams)
    assert one.engine.connections == 20


class Full(_socket.socket):
    """Has no room for every other thing that it is to send."""

    sends = 0

    def send(self, data: Buffer, flags: int = 0, /) -> int:
        self.sends += 1
        if self.sends % 2:
            raise BlockingIOError
        return super().send(bytes(data)[:50], flags)


def test_a_socket_that_takes_little_at_a_time(
    servers: Servers, client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_socket, "socket", Full)
    one = client(servers.answering(servers.context(), HEAD + CHUNK + LAST))
    for _ in range(2):
        assert one.ask().answered
    assert one.engine.connections == 1


class Speaker:
    """Shakes hands and takes one request; what it encrypts then is sent as one likes."""

    def __init__(self, conn: socket.socket, context: ssl.SSLContext) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        for step in (self.tls.do_handshake, self.tls.read):
            self.do(conn, step)
        conn.sendall(self.outgoing.read())

    def do(self, conn: socket.socket, step: Callable[[], object]) -> None:
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                step()
                return
            conn.sendall(self.outgoing.read())
            self.incoming.write(conn.recv(65536))

    def encrypted(self, *texts: bytes) -> bytes:
        """Return each text in a record of its own."""
        for text in texts:
            self.tls.write(text)
        return self.outgoing.read()

    def goodbye(self) -> bytes:
        """Return TLS's own end, close_notify."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self.outgoing.read()


def test_text_has_the_stamp_of_its_records_last_byte(servers: Servers, client: MakeClient) -> None:
    """One record in three reads, then three records in one read."""
    context, sent_ns = servers.context(), []

    def handle(conn: socket.socket) -> None:
        encrypted = Speaker(conn, context).encrypted
        time.sleep(0.05)
        record = encrypted(HEAD + CHUNK)
        for part in (record[:3], record[3:40], record[40:]):
            time.sleep(0.05)
            sent_ns.append(time.perf_counter_ns())
            conn.sendall(part)
        time.sleep(0.05)
        sent_ns.append(time.perf_counter_ns())
        conn.sendall(encrypted(CHUNK, CHUNK, LAST))
        conn.recv(1)

    stream = client(servers.start(handle)).ask()
    assert stream.answered
    assert list(stream.reads.body_end) == [9, 27]
    stamps = stream.reads.kernel_ns()
    assert 0 < stamps[0] - sent_ns[2] < 40_000_000
    assert 0 < stamps[1] - sent_ns[3] < 40_000_000


class Wire:
    """A server's end of TLS in memory, and what the client takes for its socket."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.reads: list[bytes] = []

    def fileno(self) -> int:
        return -1

    def getsockopt(self, *_: int) -> int:
        return 0

    def send(self, data: bytes) -> int:
        return self.incoming.write(data)

    def recv(self, _size: int) -> bytes:
        if not self.reads:
            raise BlockingIOError
        return self.reads.pop(0)

    def recvmsg(self, size: int, _: int) -> tuple[bytes, list[object], int, None]:
        return self.recv(size), [], 0, None

    def shake_hands(self, client: TlsSocket) -> None:
        done = False
        while not done:
            done = client.handshake()
            with contextlib.suppress(ssl.SSLWantReadError):
                self.tls.do_handshake()
            self.reads.append(self.outgoing.read())  # at last the session tickets


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    texts=st.lists(st.binary(min_size=1, max_size=400), min_size=1, max_size=8),
    cuts=st.sets(st.integers(1, 4000), max_size=20),
    version=st.sampled_from([ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]),
)
def test_records_cut_anywhere(
    servers: Servers, ca_file: str, texts: list[bytes], cuts: set[int], version: ssl.TLSVersion
) -> None:
    """Each record's text is there with the read that brings its last byte, and not before."""
    context = servers.context()
    context.maximum_version = version
    wire = Wire(context)
    client = secured("127.0.0.1", ca_file)(wire)  # type: ignore[arg-type]
    wire.shake_hands(client)
    wire.reads = [b"".join(wire.reads)]
    raw, ends = b"", []
    for text in texts:
        wire.tls.write(text)
        raw += wire.outgoing.read()
        ends.append(len(raw))
    edges = [0, *sorted(cut for cut in cuts if cut < len(raw)), len(raw)]
    wire.reads += [raw[start:end] for start, end in pairwise(edges)]
    if not wire.reads[0]:
        wire.reads.pop(0)
    else:
        assert client.recvmsg(16384, 64)[0] == b""
        assert client.decrypt() == b""  # the tickets
    for edge in edges[1:]:
        assert client.recvmsg(16384, 64)[0] == b""
        whole = [text for text, end in zip(texts, ends, strict=True) if end <= edge]
        assert client.decrypt() == b"".join(whole)
        texts, ends = texts[len(whole) :], ends[len(whole) :]
    assert not texts
    with pytest.raises(BlockingIOError):
        client.recv(1)


def test_what_is_larger_than_a_read(servers: Servers, client: MakeClient) -> None:
    text = bytes(range(256)) * 4096
    body = HEAD + b"%x\r\n" % len(text) + text + b"\r\n" + LAST
    stream = client(servers.answering(servers.context(), body)).ask()
    assert stream.answered
    assert bytes(stream.body) == text


@pytest.mark.parametrize(
    ("politely", "error"), [(True, None), (False, "truncated")], ids=["close_notify", "cut"]
)
@pytest.mark.parametrize("apart", [False, True])
def test_without_a_length_only_tls_can_say_that_the_answer_is_whole(
    servers: Servers, client: MakeClient, *, politely: bool, error: str | None, apart: bool
) -> None:
    """Anybody on the way can close a TCP connection (RFC 9112, section 9.8)."""
    context = servers.context()

    def handle(conn: socket.socket) -> None:
        speaker = Speaker(conn, context)
        text = speaker.encrypted(b"HTTP/1.1 200 OK\r\n\r\ndata: x\n\n")
        end = speaker.goodbye() if politely else b""
        for part in (text, end) if apart else (text + end,):
            conn.sendall(part)
            time.sleep(0.05)
        if politely:
            conn.recv(100)  # and leave the connection itself open

    stream = client(servers.start(handle)).ask()
    assert (stream.error, bytes(stream.body)) == (error, b"data: x\n\n")


def test_garbage_in_mid_answer(servers: Servers, client: MakeClient) -> None:
    context = servers.context()

    def handle(conn: socket.socket) -> None:
        encrypted = Speaker(conn, context).encrypted
        conn.sendall(encrypted(HEAD + CHUNK))
        time.sleep(0.05)
        record = bytearray(encrypted(CHUNK))
        record[-1] ^= 1
        conn.sendall(record)
        conn.recv(100)

    stream = client(servers.start(handle)).ask()
    assert (stream.error, bytes(stream.body)) == ("malformed", b"data: x\n\n")
    assert "bad record mac" in stream.detail
