"""The load engine: many streams, one epoll, exact stamps.

All sockets are raw and non-blocking (`connections`) and lie in one private epoll set whose
descriptor gevent's hub watches; so Locust's greenlets run as ever, but a token costs no greenlet
switch. A read is one `recvmsg` that brings the kernel's receive stamp along; the bytes pass through
httptools for framing and are kept. Nothing is decoded here.

Knows no event loop. `drive` hands in the epoll class, because Locust patches it away.
"""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING

import httptools

from loadprofiles.wire.clock import CLOCK_STEP_LIMIT_NS, wall_minus_monotonic_ns
from loadprofiles.wire.connections import EPOLLIN, EPOLLOUT, Pool, connect_ns, stamped_socket
from loadprofiles.wire.stream import Stream
from loadprofiles.wire.tls import TlsSocket

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from select import epoll as Epoll  # noqa: N812 - a class, and `epoll` is what holds one

    from loadprofiles.wire.connections import Address, Connection

_READ_BYTES = 16_384
_ANCILLARY_BYTES = 64
_POLL_EVENTS = 256
_MAX_RESPONSE_BYTES = 64 * 1024 * 1024
_READS_WITHOUT_BODY = 256
"""So many in a row are no answer: 4 MiB at most, which the parser keeps."""
_STALE_NS = 1_000_000_000
"""A kept-alive connection that breaks so soon after sending had been closed before."""
_NOT_ENDED = {
    "connecting": "not connected",
    "sending": "the request was not taken",
    "reading": "no end of the answer",
}
_FEW_READINGS = 4
_NO_STAMP = bytes(16)
_NO_HTTP = (httptools.HttpParserError, httptools.HttpParserUpgrade)
_now = time.perf_counter_ns


class Engine:
    """Keeps any number of streams open towards its addresses; never blocks.

    `epoll` is the class that gevent's patching takes away. Whoever runs the loop calls `pump`
    when `fd` is readable and `expire` now and then. Times are CLOCK_MONOTONIC ns.
    """

    def __init__(self, addresses: Sequence[Address], timeout_s: float, epoll: type[Epoll]) -> None:
        self._timeout_ns = int(timeout_s * 1e9)
        self._epoll = epoll()
        self._poll = self._epoll.poll
        self.fd: int = self._epoll.fileno()
        self._turn = 0
        self._live: dict[int, Stream] = {}
        self._bells: dict[int, Callable[[], object]] = {}
        self.pools = [Pool(address, self._epoll) for address in addresses]
        self.reads = 0
        self.kernel_stamps: bool | None = None
        """Whether the kernel stamps what it receives; None before the first answer's end."""
        # The kernel begins to stamp a little after the first socket has asked for it.
        self._stamping = stamped_socket(addresses[0].family)
        self.first_offset_ns = wall_minus_monotonic_ns()

    def watch(self, fd: int, call: Callable[[], object]) -> None:
        """Let `pump` make this call, too, when a file descriptor of somebody else is readable."""
        self._bells[fd] = call
        self._epoll.register(fd, EPOLLIN)

    def unwatch(self, fd: int) -> None:
        """Forget it, before it is closed."""
        if self._bells.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    @property
    def in_flight(self) -> int:
        """Streams that have not ended."""
        return len(self._live)

    @property
    def connections(self) -> int:
        """Connections begun so far."""
        return sum(pool.opened for pool in self.pools)

    # --- connecting ----------------------------------------------------------------------------

    def submit(
        self, request: bytes, on_done: Callable[[Stream], None], meta: object, endpoint: int = 0
    ) -> Stream:
        """Send `request` at once; `on_done(stream)` is called at its end.

        That is from `pump`, `expire` or `abort`, or from here where it cannot even be tried.
        Takes an open connection where one is idle, else connects (and stamps `sent_ns` only once
        connected). Failures arrive through `on_done`, never as exceptions. `endpoint` is the
        address's position.
        """
        stream = Stream(request, on_done, meta)
        stream.pool = self.pools[endpoint]
        sock = stream.pool.take_idle()
        if sock is None:
            self._connect(stream)
        else:
            self._adopt(stream, sock)
            stream.state = "sending"
            self._send(stream, watched=False)
        return stream

    def open_ahead(self, count: int, until_ns: int) -> None:
        """Begin to open connections: there will be `count` with those in use, spread evenly."""
        for pool in self.pools:
            pool.open_ahead(-(-count // len(self.pools)), until_ns)

    @property
    def opening(self) -> int:
        """Connections on their way that no stream waits for."""
        return sum(len(pool.opening) for pool in self.pools)

    def _adopt(self, stream: Stream, sock: Connection) -> None:
        stream.sock, stream.fd, stream.recvmsg = sock, sock.fileno(), sock.recvmsg
        stream.turn = self._turn
        stream.pool.in_use += 1
        self._live[stream.fd] = stream

    def _connect(self, stream: Stream) -> None:
        stream.state = "connecting"
        stream.connect_started_ns = _now()
        try:
            sock = self._open(stream.pool)
        except OSError as problem:
            self._finish(stream, "connect", problem.strerror)
            return
        self._adopt(stream, sock)

    def _open(self, pool: Pool) -> Connection:
        """Begin to connect; where no file descriptor is left, at the cost of an idle connection.

        Raises:
            OSError: refused at once, or no file descriptor left.
        """
        try:
            return pool.open()
        except OSError as problem:
            rich = max(self.pools, key=lambda one: len(one.idle))
            if problem.errno != errno.EMFILE or not rich.idle:
                raise
            rich.close(*rich.idle.popitem())
            return pool.open()

    # --- sending -------------------------------------------------------------------------------

    def _advance(self, stream: Stream, event: int) -> bool:
        """Carry on with connecting or sending; return whether there is something to read."""
        if stream.turn == self._turn:
            return False  # the event is about a closed socket that had this number before
        if stream.state == "connecting":
            try:
                if not stream.pool.connected(stream.sock):
                    return False
            except OSError as problem:
                self._end(stream, "connect", problem.strerror or str(problem))
                return False
            stream.connect_ns = connect_ns(stream.sock, stream.connect_started_ns)
            stream.state = "sending"
        elif event & EPOLLIN:
            return True  # a server may answer before it has read everything
        self._send(stream, watched=True)
        return False

    def _send(self, stream: Stream, *, watched: bool) -> None:
        """Send what the socket takes; `watched`: the epoll set waits for it to take more."""
        if stream.sent_ns is None:
            stream.sent_ns = _now()
        rest = memoryview(stream.request)[stream.sent_bytes :]
        try:
            sent = stream.sock.send(rest)
        except BlockingIOError:
            sent = 0
        except (BrokenPipeError, ConnectionResetError):
            stream.close = True  # what the server said before may still be there to read
            sent = len(rest)
        except OSError as problem:
            self._broken(stream, problem)
            return
        stream.sent_bytes += sent
        if sent < len(rest):
            self._epoll.modify(stream.fd, EPOLLIN | EPOLLOUT)
            return
        if watched:
            self._epoll.modify(stream.fd, EPOLLIN)
        stream.state = "reading"

    # --- receiving -----------------------------------------------------------------------------

    def pump(self, wait_s: float = 0.0) -> int:  # noqa: C901 - the hot path calls little
        """Take what has arrived, and return on how many connections something had.

        Called whenever `fd` is readable. Waits for `wait_s` at most if nothing has.
        """
        find = self._live.get
        self._turn += 1
        events = self._poll(wait_s, _POLL_EVENTS)
        for fd, event in events:
            stream = find(fd)
            if stream is None:
                if fd in self._bells:
                    self._bells[fd]()
                else:
                    any(pool.noticed(fd) for pool in self.pools)
                continue
            if stream.state != "reading" and not self._advance(stream, event):
                continue
            try:
                data, ancillary, _, _ = stream.recvmsg(_READ_BYTES, _ANCILLARY_BYTES)
            except BlockingIOError:
                continue
            except OSError as problem:
                self._broken(stream, problem)
                continue
            now = _now()
            if not data:
                data = self._decrypted(stream)
                if not data:
                    continue
            stream.note_user(now)
            stream.note_kernel(ancillary[0][2] if ancillary else _NO_STAMP)
            try:
                stream.feed(data)
            except _NO_HTTP as problem:
                self._garbled(stream, problem)
                continue
            size = len(stream.body)
            stream.note_end(size)
            if stream.complete:
                self._end(stream, None, None)
            elif size > _MAX_RESPONSE_BYTES:
                self._end(stream, "malformed", f"response exceeds {_MAX_RESPONSE_BYTES} bytes")
        self.reads += len(events)
        return len(events)

    def _decrypted(self, stream: Stream) -> bytes | None:
        """Look what a read without bytes was: the connection's end, or TLS with some text in it."""
        text, sock = None, stream.sock
        if isinstance(sock, TlsSocket):
            try:
                text = sock.decrypt()
            except OSError as problem:
                stream.close = True
                kind = "malformed" if stream.reads.user_ns else "connect"
                self._end(stream, kind, str(problem))
                return None
            stream.cut = text is None and not sock.said_end
        if text is None:
            self._closed(stream)
        return text

    def _garbled(self, stream: Stream, problem: Exception) -> None:
        """Bytes that are no HTTP; behind a whole response they cost the connection alone."""
        stream.reads.body_end.append(len(stream.body))
        stream.close = True
        if stream.complete:
            self._end(stream, None, None)
        else:
            self._end(stream, "malformed", f"not HTTP: {problem}")

    def _closed(self, stream: Stream) -> None:
        """The peer closed: the regular end of a response without a length, else a broken one."""
        if not stream.reads.user_ns:
            self._broken(stream, ConnectionResetError(errno.ECONNRESET, "closed without an answer"))
            return
        stream.close = True
        regular = stream.status and not stream.sized and not stream.cut
        self._end(stream, None if regular else "truncated", "connection closed in mid-answer")

    def _broken(self, stream: Stream, problem: OSError) -> None:
        """A connection broke. A kept-alive one that the server had closed is tried once anew."""
        stream.close = True
        unused = stream.connect_ns is None and not stream.retried and not stream.reads.user_ns
        if unused and _now() - (stream.sent_ns or 0) < _STALE_NS:
            self._release(stream, keep=False)
            stream.retried = True
            stream.sent_ns = None
            stream.renew()
            self._connect(stream)
            return
        self._end(stream, "reset", problem.strerror or str(problem))

    def _end(self, stream: Stream, error: str | None, detail: str | None) -> None:
        whole = error is None and stream.complete and stream.state == "reading"
        self._release(stream, keep=whole and not stream.close)
        if stream.reads.kernel and not self.kernel_stamps:
            self.kernel_stamps = any(stream.reads.kernel)
        self._finish(stream, error, detail)

    def _finish(self, stream: Stream, error: str | None, detail: str | None) -> None:
        stream.done_ns = _now()
        stream.reads.wall_minus_monotonic_ns = self.first_offset_ns
        stream.error = error
        stream.detail = detail if error else None
        stream.state = "done"
        stream.release()
        stream.on_done(stream)

    def _release(self, stream: Stream, *, keep: bool) -> None:
        """Take the connection from a stream."""
        del self._live[stream.fd]
        stream.pool.in_use -= 1
        if keep:
            stream.pool.idle[stream.fd] = stream.sock
        else:
            stream.pool.close(stream.fd, stream.sock)

    # --- keeping house -------------------------------------------------------------------------

    def expire(self) -> None:
        """End the streams that are past their time, and those whose head or trailer never ends."""
        limit, most = _now() - self._timeout_ns, _READS_WITHOUT_BODY
        late = [stream for stream in self._live.values() if stream.submitted_ns <= limit]
        endless = [
            stream
            for stream in self._live.values()
            if len(ends := stream.reads.body_end) > most and ends[-most] == ends[-1]
        ]
        for stream in late:
            if stream.state != "done":
                what = _NOT_ENDED[stream.state]
                self._end(stream, "timeout", f"{what} after {self._timeout_ns / 1e9:g} s")
        for stream in endless:
            if stream.state != "done":
                stream.close = True
                what = f"{most} reads brought nothing of the body: is there an end to its headers?"
                self._end(stream, "malformed", what)

    def abort(self, detail: str) -> None:
        """End every stream, as "aborted"."""
        for stream in list(self._live.values()):
            if stream.state != "done":
                self._end(stream, "aborted", detail)

    def clock_step_ns(self) -> int:
        """Return by how much the wall clock has moved against the monotonic one since the start.

        Later stamps are not corrected: the caller falls back to user stamps instead. A few
        readings do; if they tell of a step, more make sure that they were not interrupted.
        """
        step = wall_minus_monotonic_ns(_FEW_READINGS) - self.first_offset_ns
        if abs(step) > CLOCK_STEP_LIMIT_NS:
            step = wall_minus_monotonic_ns() - self.first_offset_ns
        return step

    def close(self) -> None:
        """Close every connection."""
        self.abort("the driver is closing")
        for pool in self.pools:
            pool.close_all()
        self._stamping.close()
        self._epoll.close()
