"""The engine against scripted servers on real sockets, driven by a plain loop without gevent."""

from __future__ import annotations

import _socket
import contextlib
import errno
import gc
import os
import resource
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from harness.measuring.validity import NO_DESCRIPTOR
from loadprofiles.records import DrivePlan
from loadprofiles.wire import engine as engine_module
from loadprofiles.wire.connections import EPOLLIN, Address, addresses_of
from loadprofiles.wire.engine import Engine
from loadprofiles.wire.stream import Stream
from loadprofiles.wire.tls import secured

if TYPE_CHECKING:
    import trustme
    from typing_extensions import Buffer

FOR_EVER = 1 << 62
Handler = Callable[[socket.socket, int], None]
REQUEST = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
HEAD = b"HTTP/1.1 200 OK\r\n"
BODY = b"data: x\n\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n9\r\n" + BODY + b"\r\n0\r\n\r\n"
SIZED = HEAD + b"content-length: 9\r\n\r\n" + BODY


def take(conn: socket.socket) -> bytes:
    """Read one request; b"" once the client has gone."""
    got = b""
    while b"\r\n\r\n" not in got:
        piece = conn.recv(65536)
        if not piece:
            return b""
        got += piece
    head, _, body = got.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += conn.recv(1 << 20)
    return head + b"\r\n\r\n" + body


def end(conn: socket.socket) -> None:
    """Say that there is no more, and leave the connection open."""
    if isinstance(conn, ssl.SSLSocket):
        conn.unwrap()
    else:
        conn.shutdown(socket.SHUT_WR)


def reset(conn: socket.socket) -> None:
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    conn.close()


class Server:
    """Runs a handler in a thread for each connection, numbered from 0."""

    def __init__(
        self, handler: Handler, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> None:
        self.tls = tls
        self.family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listener = socket.create_server((host, 0), family=self.family)
        self.address = self.listener.getsockname()
        self.connections = 0
        self.handler = handler
        self.threads: list[threading.Thread] = []
        self.open: list[socket.socket] = []
        self.start(self.accept)

    def start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self.threads.append(thread)
        thread.start()

    def accept(self) -> None:
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError as error:
                if error.errno == errno.EMFILE:  # a test that leaves none, before this thread ran
                    time.sleep(0.01)
                    continue
                return
            number, self.connections = self.connections, self.connections + 1
            self.open.append(conn)
            self.start(self.serve, conn, number)

    def serve(self, conn: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError):
            if self.tls is not None:
                conn = self.tls.wrap_socket(conn, server_side=True)
                self.open.append(conn)
            self.handler(conn, number)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.threads[0].join(5)  # nothing more is accepted
        for sock in self.open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self.threads:
            thread.join(5)


plain = pytest.mark.parametrize("tls", ["http"], indirect=True)


@pytest.fixture(params=["http", "https"])
def tls(request: pytest.FixtureRequest) -> bool:
    """Whether a test's servers, and the client, speak TLS: nothing else may be any different."""
    return request.param == "https"


@pytest.fixture(scope="session")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture
def serve(authority: trustme.CA, *, tls: bool) -> Iterator[Callable[..., Server]]:
    context = None
    if tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1", "::1").configure_cert(context)
    with contextlib.ExitStack() as stack:

        def start(handler: Handler, host: str = "127.0.0.1") -> Server:
            server = Server(handler, host, context)
            stack.callback(server.close)
            return server

        yield start


class Client:
    """An engine and the plain loop that drives it."""

    def __init__(
        self, server: Server | tuple[str, int], timeout_s: float = 10, ca_file: str = ""
    ) -> None:
        address, family = (
            (server.address, server.family)
            if isinstance(server, Server)
            else (server, socket.AF_INET)
        )
        secure = secured(address[0], ca_file) if ca_file else None
        self.engine = Engine([Address(family, address, secure)], timeout_s, select.epoll)
        self.done: list[Stream] = []

    def send(self, request: bytes = REQUEST) -> Stream:
        return self.engine.submit(request, self.done.append, None)

    def turn(self, timeout_s: float = 0.02) -> None:
        if select.select([self.engine.fd], [], [], timeout_s)[0]:
            self.engine.pump()
        self.engine.expire()

    def finish(self) -> None:
        deadline = time.monotonic() + 60
        while self.engine.in_flight:
            assert time.monotonic() < deadline
            self.turn()

    def ask(self, request: bytes = REQUEST) -> Stream:
        stream = self.send(request)
        self.finish()
        assert self.done[-1] is stream
        return stream


@pytest.fixture
def client(ca_file: str, *, tls: bool) -> Iterator[Callable[..., Client]]:
    clients: list[Client] = []

    def make(server: Server | tuple[str, int], timeout_s: float = 10) -> Client:
        clients.append(Client(server, timeout_s, ca_file if tls else ""))
        return clients[-1]

    yield make
    for made in clients:
        made.engine.close()


def wait(_conn: socket.socket, _number: int) -> None:
    time.sleep(1)


def answers(*responses: bytes, close: bool = False) -> Handler:
    """Answer each request of a connection with the next response, the last one for ever."""

    def handle(conn: socket.socket, _: int) -> None:
        left = list(responses)
        while take(conn):
            conn.sendall(left.pop(0) if len(left) > 1 else left[0])
            if close:
                end(conn)
                return

    return handle


Serve = Callable[..., Server]
MakeClient = Callable[..., Client]


@pytest.mark.parametrize("response", [CHUNKED, SIZED])
def test_connections_are_kept(serve: Serve, client: MakeClient, response: bytes) -> None:
    one = client(serve(answers(response)))
    first, second = one.ask(), one.ask()
    assert (first.error, first.status, bytes(first.body)) == (None, 200, BODY)
    assert first.connect_ns is not None
    assert second.connect_ns is None
    assert not second.retried
    assert one.engine.connections == 1
    assert one.engine.kernel_stamps


def test_stamps_are_in_order(serve: Serve, client: MakeClient) -> None:
    stream = client(serve(answers(CHUNKED))).ask()
    assert stream.sent_ns is not None
    assert stream.done_ns is not None
    assert stream.submitted_ns <= stream.sent_ns
    slack = 50_000
    for user, kernel in zip(stream.reads.user_ns, stream.reads.kernel_ns(), strict=True):
        assert stream.sent_ns - slack <= kernel <= user + slack
        assert user <= stream.done_ns


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 9\r\n\r\n" + BODY,
        b"HTTP/1.0 200 OK\r\ncontent-length: 9\r\n\r\n" + BODY,
    ],
)
def test_connections_that_close(serve: Serve, client: MakeClient, response: bytes) -> None:
    one = client(serve(answers(response, close=True)))
    for _ in range(2):
        stream = one.ask()
        assert (stream.error, bytes(stream.body), stream.retried) == (None, BODY, False)
    assert one.engine.connections == 2


def test_an_old_client_may_keep_its_connection(serve: Serve, client: MakeClient) -> None:
    kept = b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 9\r\n\r\n" + BODY
    one = client(serve(answers(kept)))
    one.ask()
    one.ask()
    assert one.engine.connections == 1


@pytest.mark.parametrize(
    "interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Hints\r\nlink: x\r\n\r\n"]
)
@pytest.mark.parametrize("apart", [False, True])
def test_interim_responses(
    serve: Serve, client: MakeClient, interim: bytes, *, apart: bool
) -> None:
    def handle(conn: socket.socket, _: int) -> None:
        while take(conn):
            for part in (interim, CHUNKED) if apart else (interim + CHUNKED,):
                conn.sendall(part)
                time.sleep(0.05)

    one = client(serve(handle))
    for _ in range(2):
        stream = one.ask()
        assert (stream.error, stream.status, bytes(stream.body)) == (None, 200, BODY)
    assert one.engine.connections == 1


def test_an_idle_connection_that_closes_costs_nothing(serve: Serve, client: MakeClient) -> None:
    def handle(conn: socket.socket, _: int) -> None:
        take(conn)
        conn.sendall(CHUNKED)
        conn.close()

    one = client(serve(handle))
    for _ in range(3):
        stream = one.ask()
        time.sleep(0.1)  # the engine does not look before it sends again
        assert (stream.error, stream.retried) == (None, False)


def after_first(then: Handler) -> Handler:
    """Answer a connection's first request; do something else with its second."""

    def handle(conn: socket.socket, number: int) -> None:
        take(conn)
        conn.sendall(CHUNKED)
        while take(conn):
            if number == 0:
                then(conn, number)
                return
            conn.sendall(CHUNKED)

    return handle


@pytest.mark.parametrize("close", [socket.socket.close, reset])
def test_a_kept_connection_that_was_closed_is_tried_anew(
    serve: Serve, client: MakeClient, close: Callable[[socket.socket], None]
) -> None:
    one = client(serve(after_first(lambda conn, _: close(conn))))
    first, second = one.ask(), one.ask()
    assert (second.error, second.retried, second.status) == (None, True, 200)
    assert second.connect_ns is not None
    assert second.sent_ns is not None
    assert first.done_ns is not None
    assert second.sent_ns > second.submitted_ns > first.done_ns
    assert one.engine.connections == 2


def test_only_once(serve: Serve, client: MakeClient) -> None:
    def handle(conn: socket.socket, number: int) -> None:
        take(conn)
        if number == 0:
            conn.sendall(CHUNKED)
            take(conn)
        conn.close()

    one = client(serve(handle))
    one.ask()
    second = one.ask()
    assert (second.error, second.retried) == ("reset", True)


def test_a_late_break_is_the_servers(
    serve: Serve, client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "_STALE_NS", 0)
    one = client(serve(after_first(lambda conn, _: conn.close())))
    one.ask()
    second = one.ask()
    assert (second.error, second.retried) == ("reset", False)


@pytest.mark.parametrize("close", [socket.socket.close, reset])
def test_a_fresh_connection_is_not_tried_anew(
    serve: Serve, client: MakeClient, close: Callable[[socket.socket], None]
) -> None:
    def handle(conn: socket.socket, _: int) -> None:
        take(conn)
        close(conn)

    stream = client(serve(handle)).ask()
    assert (stream.error, stream.retried, stream.status) == ("reset", False, 0)


@pytest.mark.parametrize(
    ("response", "error"),
    [
        (CHUNKED[:-5], "truncated"),
        (CHUNKED[:-12], "truncated"),
        (SIZED[:-2], "truncated"),
        (HEAD + b"content-le", "truncated"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "truncated"),
        (b"SSH-2.0-OpenSSH_9\r\n", "malformed"),
        (b"\x15\x03\x01\x00\x02\x02\x28", "malformed"),
        (HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n", "malformed"),
        (CHUNKED + b"garbage", None),
        (CHUNKED + SIZED, None),
        (HEAD + b"connection: close\r\ncontent-length: 9\r\n\r\n" + BODY + b"more", None),
    ],
)
def test_broken_responses(
    serve: Serve, client: MakeClient, response: bytes, error: str | None
) -> None:
    one = client(serve(answers(response, close=True)))
    stream = one.ask()
    assert stream.error == error, stream.detail
    assert len(stream.reads.user_ns) == len(stream.reads.body_end)
    if error is None:
        assert bytes(stream.body) == BODY
        assert (stream.status, one.engine.pools[0].idle) == (200, {})


def test_switching_protocols_is_a_status(serve: Serve, client: MakeClient) -> None:
    head = b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"
    stream = client(serve(answers(head))).ask()
    assert (stream.error, stream.status) == (None, 101)


def test_a_reset_in_mid_answer(serve: Serve, client: MakeClient) -> None:
    def handle(conn: socket.socket, _: int) -> None:
        take(conn)
        conn.sendall(CHUNKED[:-5])
        time.sleep(0.1)
        reset(conn)

    stream = client(serve(handle)).ask()
    assert (stream.error, stream.status, bytes(stream.body)) == ("reset", 200, BODY)


def test_headers_that_matter_are_noted(serve: Serve, client: MakeClient) -> None:
    head = b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\ncontent-length: 0\r\n\r\n"
    stream = client(serve(answers(head))).ask()
    assert (stream.error, stream.status, stream.note) == (None, 429, "Retry-After: 7")


@plain
def test_refused(client: MakeClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    stream = client(address).ask()
    assert (stream.error, stream.sent_ns, stream.detail) == ("connect", None, "Connection refused")
    assert stream.done_ns is not None


@plain
def test_a_black_hole_times_out(client: MakeClient) -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # fill the queue: further connections get no answer
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        stream = client(listener.getsockname(), 0.3).ask()
    assert (stream.error, stream.sent_ns) == ("timeout", None)
    assert "not connected after 0.3 s" in (stream.detail or "")


def test_silence_times_out(serve: Serve, client: MakeClient) -> None:
    stream = client(serve(wait), 0.3).ask()
    assert (stream.error, stream.detail) == ("timeout", "no end of the answer after 0.3 s")
    assert stream.sent_ns is not None


def test_a_retried_stream_times_out_as_well(serve: Serve, client: MakeClient) -> None:
    """It is younger in the engine's books than streams that were submitted after it."""
    one = client(serve(after_first(lambda conn, _: conn.close())), 0.5)
    one.ask()
    stuck = [one.send(REQUEST), one.send(REQUEST)]
    stuck[0].submitted_ns -= 10**9
    one.engine._live[stuck[0].fd] = one.engine._live.pop(stuck[0].fd)
    one.engine.expire()
    assert [stream.error for stream in stuck] == ["timeout", None]


def big(size: int) -> bytes:
    return b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size


def test_a_request_larger_than_the_socket_takes(serve: Serve, client: MakeClient) -> None:
    seen: list[int] = []

    def handle(conn: socket.socket, _: int) -> None:
        for _ in range(2):
            time.sleep(0.1)
            seen.append(len(take(conn)))
            conn.sendall(CHUNKED)

    one, request = client(serve(handle)), big(20_000_000)
    for _ in range(2):
        stream = one.ask(request)
        assert (stream.error, stream.status) == (None, 200)
    assert seen == [len(request)] * 2
    assert one.engine.connections == 1


@pytest.mark.parametrize("wait_s", [0, 0.3])
def test_an_answer_before_the_request_is_over(
    serve: Serve, client: MakeClient, wait_s: float
) -> None:
    def handle(conn: socket.socket, _: int) -> None:
        conn.recv(1000)
        conn.sendall(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\n{}")
        time.sleep(wait_s)
        conn.close()  # with bytes unread: a reset

    one = client(serve(handle))
    stream = one.ask(big(20_000_000))
    assert (stream.error, stream.status, one.engine.pools[0].idle) == (None, 413, {})


def test_a_server_that_takes_nothing_times_out(serve: Serve, client: MakeClient) -> None:
    stream = client(serve(wait), 0.3).ask(big(20_000_000))
    assert (stream.error, stream.detail) == ("timeout", "the request was not taken after 0.3 s")


def test_an_endless_answer_is_cut(
    serve: Serve, client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "_MAX_RESPONSE_BYTES", 100_000)

    def handle(conn: socket.socket, _: int) -> None:
        take(conn)
        conn.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            conn.sendall(b"x" * 65536)

    stream = client(serve(handle)).ask()
    assert (stream.error, stream.detail) == ("malformed", "response exceeds 100000 bytes")


@contextlib.contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Let this process open nothing more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@plain
def test_no_file_descriptor_left(serve: Serve, client: MakeClient) -> None:
    one = client(serve(answers(CHUNKED)))
    with no_descriptor_left():
        stream = one.ask()
        one.engine.open_ahead(4, FOR_EVER)
        assert one.engine.opening == 0
    assert (stream.error, stream.detail) == ("connect", "Too many open files")
    assert stream.detail == NO_DESCRIPTOR
    assert one.ask().error is None


@plain
def test_the_last_file_descriptor_is_taken_from_an_idle_connection(serve: Serve) -> None:
    """Of replicas asked by turns one may keep what another needs."""
    places = [serve(answers(CHUNKED)) for _ in range(2)]
    addresses = [Address(place.family, place.address) for place in places]
    one = Client(places[0])
    one.engine.close()
    one.engine = Engine(addresses, 10, select.epoll)
    try:
        one.ask()
        first, second = one.engine.pools
        assert (len(first.idle), len(second.idle)) == (1, 0)
        with no_descriptor_left():
            stream = one.engine.submit(REQUEST, one.done.append, None, endpoint=1)
        one.finish()
        assert (stream.error, len(first.idle), len(second.idle)) == (None, 0, 1)
    finally:
        one.engine.close()


def test_ipv6(serve: Serve, client: MakeClient) -> None:
    assert client(serve(answers(CHUNKED), host="::1")).ask().error is None


def open_ahead(one: Client, count: int) -> None:
    """Open connections and wait until they are."""
    deadline = time.monotonic() + 5
    one.engine.open_ahead(count, FOR_EVER)
    while one.engine.opening:
        assert time.monotonic() < deadline
        one.turn()
        one.engine.open_ahead(count, FOR_EVER)


def test_each_of_several_addresses_has_its_own_connections(
    serve: Serve, client: MakeClient, ca_file: str, *, tls: bool
) -> None:
    """One of them is down: that costs its own requests only, and no other's connections."""
    one, two = serve(answers(CHUNKED)), serve(answers(SIZED))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dead = listener.getsockname()
    secure = secured("127.0.0.1", ca_file) if tls else None
    places = [Address(socket.AF_INET, at, secure) for at in (one.address, dead, two.address)]
    several = client(one)
    several.engine.close()
    several.engine = engine = Engine(places, 10, select.epoll)
    open_ahead(several, 30)
    assert [len(pool.idle) for pool in engine.pools] == [10, 0, 10]
    streams = [engine.submit(REQUEST, several.done.append, None, n % 3) for n in range(12)]
    several.finish()
    assert [stream.error for stream in streams] == [None, "connect", None] * 4
    assert [stream.connect_ns is None for stream in streams] == [True] * 12
    assert [len(pool.idle) for pool in engine.pools] == [10, 0, 10]
    assert [pool.in_use for pool in engine.pools] == [0, 0, 0]
    assert (one.connections, two.connections) == (10, 10)


@plain
@pytest.mark.parametrize("first", ["::1", "127.0.0.1"])
def test_of_a_name_with_several_addresses_one_that_answers(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """As `localhost` often has two, and a server listens on one."""
    server = serve(answers(CHUNKED), host="::1")
    port = server.address[1]
    both = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
    ]
    found = both if first == "::1" else both[::-1]
    monkeypatch.setattr(_socket, "getaddrinfo", lambda *_: found)
    plan = DrivePlan(
        host="two.example", port=port, path="/", dialect="tgi", mode="open", warmup=0, drain_s=1,
        timeout_s=1, output_tokens=[],
    )  # fmt: skip
    assert addresses_of(plan) == [Address(socket.AF_INET6, ("::1", port, 0, 0))]
    server.close()
    assert addresses_of(plan) == [Address(found[0][0], found[0][4])]


def test_connections_opened_ahead(serve: Serve, client: MakeClient) -> None:
    one = client(serve(answers(CHUNKED)))
    open_ahead(one, 100)
    assert (len(one.engine.pools[0].idle), one.engine.connections) == (100, 100)
    streams = [one.send() for _ in range(100)]
    open_ahead(one, 100)  # those in use count
    one.finish()
    assert all(stream.error is None and stream.connect_ns is None for stream in streams)
    assert one.engine.connections == 100
    open_ahead(one, 100)
    assert one.engine.connections == 100


def test_closed_ones_are_replaced(serve: Serve, client: MakeClient) -> None:
    all_open = threading.Event()

    def handle(conn: socket.socket, number: int) -> None:
        all_open.wait(60)
        while number >= 20 and take(conn):
            conn.sendall(CHUNKED)
        conn.close()

    one = client(serve(handle))
    open_ahead(one, 20)
    all_open.set()
    deadline = time.monotonic() + 60
    while one.engine.pools[0].idle:
        assert time.monotonic() < deadline
        one.turn()
    open_ahead(one, 20)
    assert (len(one.engine.pools[0].idle), one.engine.connections) == (20, 40)
    assert one.ask().connect_ns is None


def test_opening_ahead_never_waits_and_keeps_to_its_time(serve: Serve, client: MakeClient) -> None:
    one = client(serve(answers(CHUNKED)))
    one.engine.open_ahead(1000, time.perf_counter_ns() - 1)
    assert one.engine.connections == 0
    one.engine.open_ahead(1000, FOR_EVER)
    assert one.engine.opening == one.engine.connections == 64
    one.engine.open_ahead(1000, FOR_EVER)
    assert one.engine.opening == 64


@plain
def test_opening_ahead_to_nobody_is_tried_once(client: MakeClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    one = client(address)
    open_ahead(one, 500)
    assert (one.engine.pools[0].idle, one.engine.connections) == ({}, 64)
    open_ahead(one, 500)
    assert one.engine.connections == 64


def test_connecting_lasts_no_longer_than_the_handshake(serve: Serve, client: MakeClient) -> None:
    """A loop that comes late must not be booked as a server that connects slowly."""
    one = client(serve(answers(CHUNKED)))
    stream = one.send()
    time.sleep(0.2)
    one.finish()
    assert stream.sent_ns is not None
    assert stream.sent_ns - stream.submitted_ns > 190_000_000
    assert 0 < (stream.connect_ns or 0) < 20_000_000


@plain
def test_a_server_that_does_not_accept_is_slow_to_connect_to(client: MakeClient) -> None:
    """The kernel's round trip leaves out the packets that a full queue has dropped."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            sock = stack.enter_context(socket.socket())
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        one = client(listener.getsockname())
        stream = one.send()
        one.turn(0.2)
        listener.settimeout(0.1)
        while stream.state == "connecting":
            with contextlib.suppress(TimeoutError):
                stack.enter_context(listener.accept()[0])
            one.turn()
    assert (stream.connect_ns or 0) > 500_000_000


class Full(_socket.socket):
    """Has no room for the first thing that it is to send."""

    waited = False

    def send(self, data: Buffer, flags: int = 0, /) -> int:
        if not self.waited:
            self.waited = True
            raise BlockingIOError
        return super().send(data, flags)


@plain
def test_a_socket_without_room_is_watched_only_until_it_has_some(
    serve: Serve, client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def handle(conn: socket.socket, _: int) -> None:
        take(conn)
        time.sleep(0.3)
        conn.sendall(CHUNKED)

    monkeypatch.setattr(_socket, "socket", Full)
    one = client(serve(handle))
    open_ahead(one, 1)
    stream = one.send()
    assert (stream.state, stream.connect_ns) == ("sending", None)
    one.turn()
    assert stream.state == "reading"
    assert one.engine._poll(0, 10) == []
    one.finish()
    assert stream.error is None


@plain
def test_a_step_of_the_wall_clock(client: MakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = client(("127.0.0.1", 1)).engine
    real = engine_module.wall_minus_monotonic_ns
    assert abs(engine.clock_step_ns()) < 50_000
    # A few readings, all of them interrupted, are no step...
    monkeypatch.setattr(
        engine_module, "wall_minus_monotonic_ns", lambda n=32: real() + (10**6 if n < 32 else 0)
    )
    assert abs(engine.clock_step_ns()) < 50_000
    # ... but this is one.
    monkeypatch.setattr(engine_module, "wall_minus_monotonic_ns", lambda _=32: real() + 10**6)
    assert abs(engine.clock_step_ns() - 10**6) < 50_000


def test_many_at_once(serve: Serve, client: MakeClient) -> None:
    one = client(serve(answers(CHUNKED)))
    streams = [one.send() for _ in range(300)]
    assert one.engine.in_flight == 300
    one.finish()
    assert all(stream.answered for stream in streams)
    assert len(one.done) == 300


def test_aborted(serve: Serve, client: MakeClient) -> None:
    one = client(serve(wait))
    streams = [one.send() for _ in range(3)]
    one.turn()
    one.engine.abort("enough")
    assert {(stream.error, stream.detail) for stream in streams} == {("aborted", "enough")}
    assert (one.engine.in_flight, len(one.done)) == (0, 3)


@plain
def test_an_event_of_a_closed_socket_is_not_its_successors(
    serve: Serve, client: MakeClient
) -> None:
    """A descriptor's number may be reused within one batch of events."""
    one = client(serve(answers(CHUNKED)))
    stream = one.send()
    assert stream.state == "connecting"
    assert not one.engine._advance(stream, EPOLLIN)
    assert (stream.state, stream.sent_ns) == ("connecting", None)
    one.finish()
    assert stream.error is None


def test_finished_streams_need_no_garbage_collector(serve: Serve, client: MakeClient) -> None:
    one = client(serve(after_first(lambda conn, _: conn.close())))
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            one.ask()
        one.done.clear()
        left = [item for item in gc.get_objects() if isinstance(item, Stream)]
        assert left == []
    finally:
        gc.enable()
