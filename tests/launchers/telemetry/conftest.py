"""A server on a real socket whose metrics page can be anything."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GOOD = "vllm:num_requests_running 2\nvllm:generation_tokens_total 7\n"


class PageServer:
    """Answers each connection's first request with `answer`, which may be changed at any time."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/metrics"
        self.answer: Callable[[socket.socket], object] = page()
        self.asked: list[bytes] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def die(self) -> None:
        """Stop listening."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(sock,), daemon=True).start()

    def _answer(self, sock: socket.socket) -> None:
        try:
            with sock:
                self.asked.append(sock.recv(65536))
                self.answer(sock)
        except OSError:
            pass


def page(text: str = GOOD, status: str = "200 OK") -> Callable[[socket.socket], object]:
    """Answer with a whole page, and close."""
    head = f"HTTP/1.1 {status}\r\ncontent-length: {len(text.encode())}\r\nconnection: close\r\n\r\n"
    return lambda sock: sock.sendall((head + text).encode())


def silence(sock: socket.socket) -> None:
    """Say nothing for long."""
    sock.settimeout(30)
    sock.recv(1)


def trickle(sock: socket.socket) -> None:
    """Send a page that never ends, a byte now and then."""
    sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        sock.sendall(b"#")
        time.sleep(0.02)


def drip(sock: socket.socket) -> None:
    """Send a head that never ends, a byte now and then."""
    sock.sendall(b"HTTP/1.1 200 OK\r\nx: ")
    while True:
        sock.sendall(b"x")
        time.sleep(0.02)


def flood(sock: socket.socket) -> None:
    """Send a page that never ends, as fast as it goes."""
    sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    block = b"vllm:num_requests_running 2\n" * 10_000
    while True:
        sock.sendall(block)


def rubbish(sock: socket.socket) -> None:
    """Answer with 100 kB that are no text."""
    body = bytes(range(256)) * 400
    sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)


def promise(sock: socket.socket) -> None:
    """Promise 100 MB, send a few bytes, and close."""
    sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\nvllm:")


def garbage(sock: socket.socket) -> None:
    """Speak something else."""
    sock.sendall(bytes(range(256)) * 4)


@pytest.fixture
def page_server() -> Iterator[PageServer]:
    server = PageServer()
    yield server
    server.die()


def until(true: Callable[[], Any], timeout_s: float = 10) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)
