"""One client's connection: HTTP in, bytes out, TLS.

Bytes leave in a `send` of their own at once, on a raw non-blocking socket; what the kernel does
not take waits in `pending`.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
from typing import TYPE_CHECKING

import httptools

if TYPE_CHECKING:
    from launchers.mock.server import Server

_READ = 1 << 16
_EVENTS = b"text/event-stream"
_REASONS = {
    200: "OK", 307: "Temporary Redirect", 400: "Bad Request", 401: "Unauthorized",
    404: "Not Found", 422: "Unprocessable Entity", 429: "Too Many Requests",
    500: "Internal Server Error", 503: "Service Unavailable",
}  # fmt: skip
_STREAM_HEAD = (
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    "transfer-encoding: chunked\r\n{}\r\n"
)


class Connection:
    """A client's connection. Also the callback object of its httptools parser."""

    def __init__(self, server: Server, sock: socket.socket) -> None:
        self._server = server
        self._send = sock.send
        self._sock = sock
        self.fd = sock.fileno()
        self.closed = False
        self.pending = b""
        self._ends = False
        self._last = server.options.close
        head = _STREAM_HEAD.format("connection: close\r\n" if self._last else "")
        self._stream_head = head.encode()
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self.received_ns = 0
        self.on_message_begin()

    # --- in ------------------------------------------------------------------------------------

    def readable(self) -> None:
        """Read what there is."""
        try:
            data, self.received_ns = self._server.receive(self._sock, _READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._received(data)
        else:
            self.close()

    def _received(self, data: bytes) -> None:
        if self._parser is None:
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if isinstance(error.__context__, KeyboardInterrupt):  # in a callback
                raise KeyboardInterrupt from error
            self.close()

    def on_message_begin(self) -> None:
        """Forget the request before."""
        self.path = b""
        self.request_id = ""
        self.authorization = b""
        self.body = bytearray()

    def on_url(self, url: bytes) -> None:
        """Keep the path."""
        self.path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep what matters."""
        name = name.lower()
        if name == b"x-request-id":
            self.request_id = value.decode("latin-1")
        elif name == b"authorization":
            self.authorization = value

    def on_body(self, data: bytes) -> None:
        """Keep the body."""
        self.body += data

    def on_message_complete(self) -> None:
        """Answer."""
        if self._parser is not None and not self._parser.should_keep_alive():
            self._last = True
        self._server.answer(self)

    # --- out -----------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send bytes, or keep what the kernel does not take now."""
        if self.pending:
            self.pending += data
            return
        try:
            sent = self._send(data)
        except BlockingIOError:
            sent = 0
        except OSError:  # gone, or closed here before
            self.close()
            return
        if sent != len(data):
            self.pending = data[sent:]
            self._server.watch(self)

    def writable(self) -> None:
        """Send what waits."""
        data, self.pending = self.pending, b""
        if data:
            Connection.write(self, data)
        if not self.pending and not self.closed:
            self._server.watch(self)
            if self._ends:
                self.close()

    def begin_stream(self, more: bytes, kind: bytes = _EVENTS) -> None:
        """Send the head of a streamed answer, and its first bytes if any."""
        self.write(self._stream_head.replace(_EVENTS, kind) + more)

    def reply(self, status: int, content: object, extra: str = "") -> None:
        """Send a whole response; one without content has a body that is no JSON."""
        body = b"upstream unavailable" if content is None else json.dumps(content).encode()
        self.reply_text(status, body, "application/json", extra)

    def reply_text(self, status: int, body: bytes, kind: str, extra: str = "") -> None:
        """Send a whole response of any kind."""
        extra += "connection: close\r\n" if self._last else ""
        self.write(
            f"HTTP/1.1 {status} {_REASONS[status]}\r\ncontent-type: {kind}\r\n"
            f"{extra}content-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        self.end_answer()

    def end_answer(self) -> None:
        """Close if this was the connection's last answer."""
        if not self._last:
            return
        if self.pending:
            self._ends = True
        else:
            self.close()

    def close(self) -> None:
        """Close politely, whatever is still to be sent."""
        if self.closed:
            return
        self.closed = True
        self.pending = b""
        self._parser = None  # it and this are a cycle, and the collector is off
        self._server.forget(self)
        self._sock.close()

    def half_close(self) -> None:
        """Say that nothing more will come; what the client says is still read."""
        with contextlib.suppress(OSError):  # gone
            self._sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with a reset."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()


class TlsConnection(Connection):
    """A connection that speaks TLS over the same raw socket."""

    def __init__(self, server: Server, sock: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(server, sock)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._shaken = False

    def _received(self, data: bytes) -> None:
        self._incoming.write(data)
        try:
            if not self._shaken:
                self._tls.do_handshake()
                self._shaken = True
            while plain := self._tls.read(_READ):
                super()._received(plain)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:  # also how a client says that it has closed
            self._flush()
            self.close()
            return
        self._flush()

    def write(self, data: bytes) -> None:
        """Encrypt and send."""
        if not self.closed:
            self._tls.write(data)
            self._flush()

    def _flush(self) -> None:
        if data := self._outgoing.read():
            super().write(data)
