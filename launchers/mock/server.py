"""The mock's loop: sockets, who asks for what, and the truth file."""

from __future__ import annotations

import contextlib
import gc
import json
import resource
import select
import signal
import socket
import ssl
import sys
import time
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any, NoReturn

from launchers.mock.answer import Answer
from launchers.mock.connection import Connection, TlsConnection
from launchers.mock.counting import Counts
from launchers.mock.engines import ENGINES, pages_of
from launchers.mock.faults import Faults
from launchers.mock.options import OptionsError
from launchers.mock.pacing import Paced
from launchers.mock.paths import find_shape
from launchers.mock.receipt import Receipts
from launchers.mock.speaker import TOKEN_PAGES, Speaker, find_dialect
from launchers.mock.steps import Stepped

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from launchers.mock.options import Options
    from launchers.mock.shapes import Asked
    from launchers.mock.speaker import Spoken

_BACKLOG = 4096
_EVENTS = 256
_PAGE = "text/plain; version=0.0.4"
_GRAIN_NS = 200_000
"""Tokens that are due within so much of each other may leave together: waking up costs CPU."""
_MOST_TOKENS = 10_000_000
_SILENT = frozenset({"silent"})
_MAKES_TEXT = frozenset({"empty", "early_stop", "repeats"})
"""Faults in what is said: such answers are not the model's."""
_now = time.perf_counter_ns


class Server:
    """A listening mock.

    Args:
        options: what it is told.

    Raises:
        OptionsError: it cannot listen there, or the certificate is of no use.
    """

    def __init__(self, options: Options) -> None:
        options.check()
        self.options = options
        self._faults = Faults(options.faults, options.seed)
        self._schedule: Paced | Stepped = Stepped(self) if options.step_ms else Paced(self)
        self._tls = _tls_context(options)
        self._listener = _listen(options)
        self._epoll = select.epoll()
        self._epoll.register(self._listener, select.EPOLLIN)
        self._connections: dict[int, Connection] = {}
        self._truth = _open(options.truth, "truth")
        self.receive: Callable[[socket.socket, int], tuple[bytes, int]] = _receive
        if options.truth is not None:
            self.receive = Receipts(self._listener).receive
        self._bodies = _open(options.bodies, "bodies")
        self._speaker = Speaker(options)
        self._pages = pages_of(options.engine, options.max_model_len)
        self._paths = ENGINES[options.engine].paths
        self._model_speaks = not (options.words or options.stamps or options.natural_tokens)
        self._streams_speak = self._model_speaks and options.graded
        self._count = self._served = 0
        self.counts = Counts(dict(options.page_lies))

    @property
    def url(self) -> str:
        """The API's base."""
        port = self._listener.getsockname()[1]
        host = f"[{self.options.host}]" if ":" in self.options.host else self.options.host
        return f"{'https' if self._tls else 'http'}://{host}:{port}/v1"

    def run(self) -> NoReturn:
        """Serve until interrupted."""
        _allow_many_files()
        gc.collect()
        gc.freeze()
        gc.disable()
        schedule, poll, wait = self._schedule, self._epoll.poll, select.select
        waited_for, none = [self._epoll.fileno()], ()
        listener, connections = self._listener.fileno(), self._connections
        while True:
            due_ns = schedule.due_ns
            if due_ns is None:
                events = poll(-1, _EVENTS)
            else:
                left_ns = due_ns - _now()
                if left_ns > 0:  # epoll's own timeout counts whole milliseconds
                    wait(waited_for, none, none, max(left_ns, _GRAIN_NS) / 1e9)
                events = poll(0, _EVENTS)
            for fd, mask in events:
                if fd == listener:
                    self._accept()
                elif (connection := connections.get(fd)) is not None:
                    if mask & select.EPOLLOUT:
                        connection.writable()
                    if mask & ~select.EPOLLOUT and not connection.closed:
                        connection.readable()
            schedule.run()

    def close(self) -> None:
        """Close everything."""
        for connection in list(self._connections.values()):
            connection.close()
        self._listener.close()
        self._epoll.close()
        if self._truth is not None:
            self._truth.close()
        if self._bodies is not None:
            self._bodies.close()

    # --- what connections call -----------------------------------------------------------------

    def watch(self, connection: Connection) -> None:
        """Ask the kernel whether bytes that wait can go, or stop asking."""
        mask = select.EPOLLIN | (select.EPOLLOUT if connection.pending else 0)
        self._epoll.modify(connection.fd, mask)

    def forget(self, connection: Connection) -> None:
        """Drop a connection that is about to close."""
        del self._connections[connection.fd]
        self._epoll.unregister(connection.fd)

    def answer(self, connection: Connection) -> None:
        """Answer a whole request."""
        key = self.options.api_key
        if key and connection.authorization != b"Bearer " + key.encode():
            connection.reply(401, {"error": {"message": "invalid api key", "code": 401}})
        elif connection.path in self._pages:
            connection.reply(200, self._pages[connection.path])
        elif connection.path == b"/metrics":
            connection.reply_text(200, self._metrics(), _PAGE)
        elif self.options.engine != "any" and connection.path not in self._paths:
            connection.reply(404, {"error": {"message": "not found", "code": 404}})
        elif find_shape(connection.path, self.options.engine) is not None:
            self._complete(connection)
        elif connection.path in TOKEN_PAGES:
            self._tokenize(connection)
        else:
            connection.reply(404, {"error": {"message": "not found", "code": 404}})

    def finish(self, answer: Answer) -> None:
        """End an answer regularly."""
        self._served += 1
        self.counts.finish(answer)
        if self._truth is not None:  # before the end, so that whoever has the end finds it there
            self._truth.write(
                f'{{"request_id":"{answer.request_id}","received_ns":{answer.received_ns},'
                f'"begun_ns":{answer.begun_ns},'
                f'"sent_ns":{answer.sent_ns.tolist()},"unsure":{answer.unsure}}}\n'
            )
            self._truth.flush()
        answer.end()
        if self.options.die_after and self._served >= self.options.die_after:
            sys.stderr.write("mock: dying as asked\n")
            sys.stderr.flush()
            sys.exit(3)

    # --- inside --------------------------------------------------------------------------------

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # none left, or no file descriptor left
            while True:
                sock, _ = self._listener.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection = (
                    Connection(self, sock)
                    if self._tls is None
                    else TlsConnection(self, sock, self._tls)
                )
                self._connections[connection.fd] = connection
                self._epoll.register(connection.fd, select.EPOLLIN)

    def _complete(self, connection: Connection) -> None:
        """Answer a request for a completion, or fail to as asked."""
        fault = self._faults.next()
        if fault in _SILENT:
            return
        if fault == "black_hole":
            self._vanish()
        elif fault == "html":
            connection.reply_text(200, b"<html><body>Please log in</body></html>", "text/html")
        elif fault == "no_http":
            connection.write(b"SSH-2.0-mock\r\n")
        elif fault == "redirect":
            connection.reply(307, {}, "location: http://192.0.2.1/v1/completions\r\n")
        elif fault and fault.startswith("http_"):
            extra = "retry-after: 1\r\n" if fault == "http_429" else ""
            message = {"error": {"message": f"told to {fault[5:]}"}}
            connection.reply(int(fault[5:]), None if fault == "http_503" else message, extra)
        else:
            self._admit(connection, fault)

    def _vanish(self) -> NoReturn:
        """Be as a machine that has gone: the kernel drops whoever knocks, but for one or two."""
        self._listener.listen(0)
        while True:
            signal.pause()

    def _speak(
        self, connection: Connection, body: dict[str, Any], asked: Asked
    ) -> tuple[Asked, Spoken | None]:
        """Let the model answer, where it does at this path."""
        path = connection.path.partition(b"?")[0]
        if (dialect := find_dialect(path, body, self.options.engine)) is None:
            return asked, None
        state = self._schedule.state()
        in_flight = int(state["num_requests_running"] + state["num_requests_waiting"])
        spoken = self._speaker.answer(dialect, body, connection.request_id, in_flight)
        asked = replace(asked, tokens=spoken.tokens, prompt_tokens=spoken.prompt_tokens)
        return asked, spoken

    def _admit(self, connection: Connection, fault: str | None) -> None:
        shape = find_shape(connection.path, self.options.engine)
        assert shape is not None  # noqa: S101 - looked at before
        try:
            body = json.loads(connection.body)
            asked = shape.asked(body)
            if not isinstance(asked.tokens, int) or not 0 <= asked.tokens <= _MOST_TOKENS:  # type: ignore[redundant-expr]
                raise ValueError(f"{asked.tokens!r} is no number of tokens")  # noqa: TRY301
            spoken = None
            speaks = self._streams_speak if asked.stream else self._model_speaks
            if speaks and fault not in _MAKES_TEXT:
                asked, spoken = self._speak(connection, body, asked)
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            connection.reply(*ENGINES[self.options.engine].refuse(str(error)))
            return
        self._count += 1
        if self._bodies is not None:
            told = {"request_id": connection.request_id, "number": self._count, "body": body}
            self._bodies.write(json.dumps(told) + "\n")
            self._bodies.flush()
        answer = Answer(connection, shape, asked, fault, self.options, self._count, spoken)
        self._schedule.admit(answer)

    def _tokenize(self, connection: Connection) -> None:
        try:
            page = self._speaker.page(connection.path, json.loads(connection.body))
        except (ValueError, TypeError, AttributeError) as error:
            connection.reply(*ENGINES[self.options.engine].refuse(str(error)))
        else:
            connection.reply(200, page)

    def _metrics(self) -> bytes:
        kv_tokens = self.options.kv_tokens if self.options.step_ms else None
        return self.counts.page(self._schedule.state(), kv_tokens).encode()


def _receive(sock: socket.socket, size: int) -> tuple[bytes, int]:
    return sock.recv(size), _now()


def _listen(options: Options) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        sock = socket.create_server((options.host, options.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise OptionsError(
            f"cannot listen on {options.host}, port {options.port}: {error.strerror or error}"
        ) from error
    sock.setblocking(False)
    return sock


def _open(path: Path | None, name: str) -> IO[str] | None:
    try:
        return None if path is None else path.open("w", buffering=1 << 20)
    except OSError as error:
        raise OptionsError(f"{name}: cannot write {path}: {error.strerror or error}") from error


def _tls_context(options: Options) -> ssl.SSLContext | None:
    if options.tls_cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(options.tls_cert, options.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise OptionsError(f"tls_cert: of no use: {error}") from error
    return context


def _allow_many_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def serve(options: Options, on_ready: Callable[[str], None]) -> NoReturn:
    """Serve in the foreground until interrupted.

    Args:
        options: what it is told.
        on_ready: told the URL once it listens.

    Raises:
        OptionsError: it cannot listen, or what it is told is impossible.
        KeyboardInterrupt: Ctrl-C.
    """
    server = Server(options)
    try:
        on_ready(server.url)
        server.run()
    finally:
        server.close()
