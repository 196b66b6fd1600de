"""One request on the wire, from submission to the end of its response."""

from __future__ import annotations

import time
from array import array
from typing import TYPE_CHECKING, Any, Literal

import httptools

from loadprofiles.wire.answer import Reads

if TYPE_CHECKING:
    from collections.abc import Callable

    from loadprofiles.wire.connections import Connection, Pool

State = Literal["connecting", "sending", "reading", "done"]
_LEAST_STATUS, _SWITCHING_PROTOCOLS = 100, 101
HTTP_OK = 200
_COUNT_DIGITS = 15
_NOTED = {b"location": "Location", b"retry-after": "Retry-After"}


class Stream:
    """One request. Also the callback object of its httptools parser.

    Times are CLOCK_MONOTONIC ns. `error` is None, "connect", "timeout", "reset", "truncated",
    "malformed" or "aborted"; an HTTP status other than 200 is no error here.
    """

    __slots__ = (
        "body",
        "close",
        "complete",
        "connect_ns",
        "connect_started_ns",
        "cut",
        "detail",
        "done_ns",
        "error",
        "fd",
        "feed",
        "meta",
        "note",
        "note_end",
        "note_kernel",
        "note_user",
        "on_done",
        "parser",
        "pool",
        "prompt_tokens",
        "reads",
        "recvmsg",
        "request",
        "retried",
        "sent_bytes",
        "sent_ns",
        "sized",
        "sock",
        "state",
        "status",
        "submitted_ns",
        "turn",
    )

    pool: Pool
    sock: Connection
    cut: bool
    """TLS: the connection ended without TLS's own end."""
    recvmsg: Any
    fd: int
    turn: int
    note_user: Any
    note_kernel: Any
    note_end: Any
    connect_started_ns: int

    def __init__(self, request: bytes, on_done: Callable[[Stream], None], meta: object) -> None:
        self.request = request
        self.on_done = on_done
        self.meta = meta
        self.submitted_ns = time.perf_counter_ns()
        self.sent_ns: int | None = None
        self.done_ns: int | None = None
        self.connect_ns: int | None = None
        self.error: str | None = None
        self.detail: str | None = None
        self.retried = False
        self.state: State = "connecting"
        self.renew()

    def renew(self) -> None:
        """Forget everything about a response, for the first try and for the one retry."""
        self.parser: Any = httptools.HttpResponseParser(self)
        self.feed: Any = self.parser.feed_data
        self.reads = reads = Reads(array("q"), array("q"), array("q"))
        self.note_user = reads.user_ns.append
        self.note_kernel = reads.kernel.frombytes
        self.note_end = reads.body_end.append
        self.body = bytearray()
        self.status = 0
        self.note = ""
        self.prompt_tokens: int | None = None
        """As a header of TGI says: its documents do not."""
        self.sent_bytes = 0
        self.complete = False
        self.close = False
        self.cut = False
        self.sized = False

    def release(self) -> None:
        """Break the cycle with the parser: the garbage collector is off while measuring."""
        self.parser = self.feed = self.note_user = self.note_kernel = self.note_end = None

    @property
    def answered(self) -> bool:
        """Whether this is a whole 200 response; what it says is read later."""
        return self.error is None and self.status == HTTP_OK

    # --- the parser's callbacks ----------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Refuse a second response: the parser then raises, with `complete` set."""
        if self.complete:
            raise ValueError("bytes behind the end of the response")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep what matters of the head; trailers say nothing here."""
        if self.status:
            return
        name = name.lower()
        if name in (b"content-length", b"transfer-encoding"):
            self.sized = True
        elif name in _NOTED:
            self.note = f"{_NOTED[name]}: {value.decode('latin-1')}"
        elif name == b"x-prompt-tokens" and value.isdigit() and len(value) < _COUNT_DIGITS:
            self.prompt_tokens = int(value)

    def on_headers_complete(self) -> None:
        """Keep the status; one below 100 is none."""
        status = self.parser.get_status_code()
        if status < _LEAST_STATUS:
            raise ValueError(f"status {status:03}")
        self.status = status
        if not self.parser.should_keep_alive():
            self.close = True

    def on_body(self, data: bytes) -> None:
        """Keep the body, without its HTTP chunks' framing."""
        self.body += data

    def on_message_complete(self) -> None:
        """Note the end of the response; an interim one (100 Continue, 103) is none."""
        if self.status < HTTP_OK and self.status != _SWITCHING_PROTOCOLS:
            self.status, self.close, self.sized = 0, False, False
            self.note, self.prompt_tokens = "", None
        else:
            self.complete = True
