"""TLS on a raw non-blocking socket, decrypted in memory.

An SSLSocket would read by itself, and the kernel's receive stamps would be lost. Here a read is a
`recvmsg` as ever, and what it brought goes through an `ssl.MemoryBIO` afterwards. Text gets the
stamp of the read that brought its record's last byte: no part of a record is known before.
"""

from __future__ import annotations

import contextlib
import ssl
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

    Ancillary = list[tuple[int, int, bytes]]

_READ_BYTES = 16_384
"""No record's text is longer."""
_SHUT_RD = 0
_TRUST = "name a file with the authority that signed it, --ca-file FILE"
_ADVICE = {
    "self-signed": _TRUST,
    "issuer": _TRUST,
    "mismatch": "ask for it by a name that its certificate has",
    "expired": "the server needs a new one",
}
_NO_TLS = ("WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")


class TlsError(ConnectionError):
    """TLS failed: why, and what to do about it."""


def secured(
    host: str, ca_file: str | None = None, *, verify: bool = True
) -> Callable[[_socket.socket], TlsSocket]:
    """Return what puts TLS (1.2 or newer) around a socket to `host`.

    Args:
        host: the name, or IP address, that the server's certificate must be for.
        ca_file: PEM file with the authorities to trust; None for the system's.
        verify: False to take any certificate.

    Raises:
        OSError: the file cannot be read, or holds no certificate.
    """
    context = ssl.create_default_context(cafile=ca_file)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return lambda sock: TlsSocket(sock, context, host)


class TlsSocket:
    """A socket with TLS, for the few calls that the engine makes.

    Session tickets and whatever else is TLS's own come and go unseen. No session is resumed: every
    handshake is a whole one.
    """

    def __init__(self, sock: _socket.socket, context: ssl.SSLContext, host: str) -> None:
        self._sock = sock
        self.fileno, self.getsockopt = sock.fileno, sock.getsockopt
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=host)
        self.unsent = bytearray()
        """Encrypted, and not yet taken by the socket."""
        self.began_ns = 0
        """When the handshake began."""
        self.said_end = False
        """The server said by TLS that there will be no more; else an end may be a cut."""
        self._closed = False
        self._encrypted = False
        """What `send` was last called with is, and waits for the socket."""

    def handshake(self) -> bool:
        """Carry on with it; return whether it is done.

        Raises:
            OSError: it has failed.
        """
        if self.began_ns:
            with contextlib.suppress(BlockingIOError):
                self._take(self._sock.recv(_READ_BYTES))
        else:
            self.began_ns = time.perf_counter_ns()
        done = True
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            done = False
        except ssl.SSLError as error:
            with contextlib.suppress(OSError):
                self._flush()  # the alert that tells the server why
            raise TlsError(words(error)) from error
        if self._closed and not done:
            raise TlsError(
                "the server closed the connection during the TLS handshake: does it speak TLS on "
                "this port?"
            )
        with contextlib.suppress(BlockingIOError):
            self._flush()
        return done

    def send(self, data: memoryview) -> int:
        """Send all of `data`, or the rest of it where the last call with it could not.

        Raises:
            BlockingIOError: the socket takes no more for now.
            OSError: the connection broke.
        """
        size = len(data)
        while data and not self._encrypted:
            data = data[self._tls.write(data) :]
        self._encrypted = True
        self._flush()
        self._encrypted = False
        return size

    def recvmsg(self, size: int, ancillary_size: int) -> tuple[bytes, Ancillary, int, object]:
        """Read, and return the kernel's stamp alone: `decrypt` gives the text."""
        data, ancillary, flags, address = self._sock.recvmsg(size, ancillary_size)
        self._take(data)
        return b"", ancillary, flags, address

    def decrypt(self) -> bytes | None:
        """Return the text of what was read; b"" where there is none yet, None at the end.

        Raises:
            TlsError: what was read is no TLS, or an alert.
        """
        text = b""
        try:
            while self._in.pending and not self.said_end:
                piece = self._tls.read(_READ_BYTES)
                self.said_end = not piece
                text += piece
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.said_end = True
        except ssl.SSLError as error:
            raise TlsError(words(error)) from error
        if self._out.pending:  # an answer to TLS's own: new keys
            with contextlib.suppress(OSError):
                self._flush()
        if text:
            if self.said_end:
                with contextlib.suppress(OSError):
                    self._sock.shutdown(_SHUT_RD)  # so that there is something to notice
            return text
        return None if self.said_end or self._closed else b""

    def recv(self, _size: int, _flags: int = 0) -> bytes:
        """Look what has come unasked; b"" is the end.

        Raises:
            BlockingIOError: nothing but TLS's own.
            OSError: the connection broke.
        """
        text: bytes | None = b""
        while text == b"":
            self._take(self._sock.recv(_READ_BYTES))
            text = self.decrypt()
        return text or b""

    def close(self) -> None:
        """Say goodbye and close."""
        with contextlib.suppress(OSError):
            self._tls.unwrap()
        with contextlib.suppress(OSError):
            self._flush()
        self._sock.close()

    def _take(self, data: bytes) -> None:
        if data:
            self._in.write(data)
        else:
            self._closed = True

    def _flush(self) -> None:
        if self._out.pending:
            self.unsent += self._out.read()
        while self.unsent:
            del self.unsent[: self._sock.send(self.unsent)]


def words(error: ssl.SSLError) -> str:
    """Return what went wrong, and what to do about it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = error.verify_message.rstrip(".")
        advice = [text for sign, text in _ADVICE.items() if sign in why.lower()][:1]
        fixes = " or ".join([*advice, "do without the check, --insecure"])
        return f"certificate verify failed: {why}: {fixes}"
    if error.reason in _NO_TLS:
        return "the server does not speak TLS on this port: is its URL http://…?"
    reason = (error.reason or str(error)).replace("_", " ").lower()
    return f"TLS failed: {reason}"
