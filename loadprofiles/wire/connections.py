"""The connections to one address: those that wait for a stream, and those on their way.

A connection is a raw non-blocking `_socket` (which gevent never patches), or one of `tls` around
it. The engine's epoll set watches it from its beginning to its end.
"""

from __future__ import annotations

import _socket
import contextlib
import errno
import os
import struct
import time
from typing import TYPE_CHECKING, NamedTuple

from loadprofiles.wire.clock import SO_TIMESTAMPNS
from loadprofiles.wire.tls import TlsSocket, secured

if TYPE_CHECKING:
    from collections.abc import Callable
    from select import epoll as Epoll  # noqa: N812 - a class, and `epoll` is what holds one

    from loadprofiles.records import DrivePlan

    Connection = _socket.socket | TlsSocket

EPOLLIN, EPOLLOUT = 0x001, 0x004
_OPENING_AT_ONCE = 64
"""Servers queue at least this many new connections (SOMAXCONN was 128 for long)."""
_TCP_INFO = 11
_tcp_info = struct.Struct("68xI28xI")  # linux/tcp.h: tcpi_rtt (µs), tcpi_total_retrans
_TRY_S = 2.0
_now = time.perf_counter_ns


class Address(NamedTuple):
    """Where to connect to, and how."""

    family: int
    sockaddr: tuple[object, ...]
    secure: Callable[[_socket.socket], TlsSocket] | None = None
    """Puts TLS around a new socket; None for plain http."""
    problem: str = ""
    """Why there is none: connecting fails for it."""


def addresses_of(plan: DrivePlan) -> list[Address]:
    """Return where the plan's requests go, in the order of `Sample.endpoint`."""
    return [
        _address_of(
            host,
            port,
            secured(host, plan.ca_file, verify=plan.tls_verify) if plan.tls else None,
        )
        for host, port in [(plan.host, plan.port), *((one.host, one.port) for one in plan.replicas)]
    ]


def _address_of(
    host: str, port: int, secure: Callable[[_socket.socket], TlsSocket] | None
) -> Address:
    try:
        return Address(*_resolve(host, port), secure)
    except _socket.gaierror as problem:
        return Address(_socket.AF_INET, (), secure, f"cannot find {host}: {problem.strerror}")


def _resolve(host: str, port: int) -> tuple[int, tuple[object, ...]]:
    """Return family and address of a host.

    Of several, as `localhost` has (::1, 127.0.0.1), one that takes a connection, else the first.
    """
    found = _socket.getaddrinfo(host, port, 0, _socket.SOCK_STREAM)
    for family, _, _, _, address in found if len(found) > 1 else []:
        sock = _socket.socket(family, _socket.SOCK_STREAM)
        sock.settimeout(_TRY_S)
        try:
            sock.connect(address)
        except OSError:
            continue
        finally:
            sock.close()
        return family, address
    return found[0][0], found[0][4]


class Pool:
    """The connections to one address that no stream has, and how new ones come about."""

    def __init__(self, address: Address, epoll: Epoll) -> None:
        self.address = address
        self.idle: dict[int, Connection] = {}
        self.opening: dict[int, Connection] = {}
        self.in_use = 0
        """Connections that streams have."""
        self.opened = 0
        """Connections begun so far."""
        self._epoll = epoll
        self._may_open_ahead = True

    def open(self) -> Connection:
        """Begin to connect; `connected` says when it is done.

        Raises:
            OSError: refused at once, no such address, or no file descriptor left.
        """
        if self.address.problem:
            raise OSError(errno.EADDRNOTAVAIL, self.address.problem)
        sock = stamped_socket(self.address.family)
        try:
            self._epoll.register(sock.fileno(), EPOLLOUT)
            self.opened += 1
            _check(sock.connect_ex(self.address.sockaddr))
        except OSError:
            sock.close()
            raise
        return sock if self.address.secure is None else self.address.secure(sock)

    def connected(self, sock: Connection) -> bool:
        """Carry on with connecting; return whether it is done, the TLS handshake included.

        Raises:
            OSError: it has failed.
        """
        _check(sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR))
        if not isinstance(sock, TlsSocket) or sock.handshake():
            return True
        self._epoll.modify(sock.fileno(), EPOLLIN | EPOLLOUT if sock.unsent else EPOLLIN)
        return False

    def take_idle(self) -> Connection | None:
        """Return an open connection that is fit for a request; None without one."""
        while self.idle:
            fd, sock = self.idle.popitem()
            if _still_good(sock):
                return sock
            self.close(fd, sock)
        return None

    def open_ahead(self, count: int, until_ns: int) -> None:
        """Begin to open connections, so that there will be `count` with those in use.

        Stops at `until_ns`, and where enough are on their way; `noticed` takes them in. Failures
        are silent here and meet the request that then connects by itself; after one no more are
        tried.
        """
        missing = count - self.in_use - len(self.idle)
        for _ in range(min(missing, _OPENING_AT_ONCE) - len(self.opening)):
            if not self._may_open_ahead or _now() >= until_ns:
                return
            try:
                sock = self.open()
            except OSError:
                self._may_open_ahead = False
                return
            self.opening[sock.fileno()] = sock

    def noticed(self, fd: int) -> bool:
        """Look after a connection that no stream has; return whether it is one of these."""
        if fd in self.idle:
            if not _still_good(self.idle[fd]):
                self.close(fd, self.idle.pop(fd))
        elif fd in self.opening:
            try:
                if self.connected(self.opening[fd]):
                    self._epoll.modify(fd, EPOLLIN)
                    self.idle[fd] = self.opening.pop(fd)
            except OSError:
                self._may_open_ahead = False
                self.close(fd, self.opening.pop(fd))
        else:
            return False
        return True

    def close(self, fd: int, sock: Connection) -> None:
        """Close a connection."""
        self._epoll.unregister(fd)
        sock.close()

    def close_all(self) -> None:
        """Close all that no stream has."""
        for fd, sock in (self.idle | self.opening).items():
            self.close(fd, sock)
        self.idle.clear()
        self.opening.clear()


def stamped_socket(family: int) -> _socket.socket:
    """Return a raw non-blocking TCP socket that asks for receive stamps; not every kernel has."""
    sock = _socket.socket(family, _socket.SOCK_STREAM)
    sock.setblocking(False)
    sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
    with contextlib.suppress(OSError):
        sock.setsockopt(_socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    return sock


def connect_ns(sock: Connection, started_ns: int) -> int:
    """Return how long connecting took until now.

    TCP's part is no longer than its handshake, however late we look; that of TLS is as seen.
    """
    now = _now()
    began_ns = sock.began_ns if isinstance(sock, TlsSocket) else now
    return _tcp_ns(sock, began_ns - started_ns) + now - began_ns


def _tcp_ns(sock: Connection, seen_ns: int) -> int:
    """Return how long TCP's handshake took.

    The kernel keeps its round trip, but not how long it waited where the first packet was lost (a
    server's full queue drops it).
    """
    try:
        rtt_us, lost = _tcp_info.unpack(
            sock.getsockopt(_socket.IPPROTO_TCP, _TCP_INFO, _tcp_info.size)
        )
    except (OSError, struct.error):
        return seen_ns
    return min(seen_ns, rtt_us * 1000) if rtt_us and not lost else seen_ns


def _still_good(sock: Connection) -> bool:
    """Whether an idle connection has brought neither its end nor bytes that nobody asked for."""
    try:
        sock.recv(1, _socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def _check(code: int) -> None:
    if code not in (0, errno.EINPROGRESS):
        raise OSError(code, os.strerror(code))
