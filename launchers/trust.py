"""Which certificates to trust, and what to say where one cannot be."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from launchers.errors import ConnectError

if TYPE_CHECKING:
    from pathlib import Path

_ADVICE = {
    "self-signed": "name a file with the authority that signed it, --ca-file FILE",
    "issuer": "name a file with the authority that signed it, --ca-file FILE",
    "mismatch": "ask for it by a name that its certificate has",
    "expired": "the server needs a new one",
}
_WORDS = ("WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")
"""What OpenSSL makes of a plain http server's words in answer to a handshake."""
_HUNG_UP = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""Or the server hangs up: CPython 3.11.7 calls that the first, 3.11.2 the second."""


@dataclass(frozen=True, kw_only=True)
class Trust:
    """What makes a server of https believed."""

    ca_file: Path | None = None
    """PEM file of the authorities to trust; None for the system's."""
    verify: bool = True
    """False to take any certificate."""

    def context(self) -> ssl.SSLContext:
        """Return it as Python's ssl wants it.

        Raises:
            ConnectError: the file cannot be read, or holds no certificate.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except ssl.SSLError as error:
            raise ConnectError(f"{self.ca_file} holds no certificate in PEM form") from error
        except OSError as error:
            raise ConnectError(f"cannot read {self.ca_file}: {error.strerror}") from error
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def nobody() -> ssl.SSLContext:
    """Return what plain http needs: the system's authorities take 25 ms to read."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def tls_problem(error: BaseException | None) -> str | None:
    """Return what TLS found wrong, with the fix; None where it was something else."""
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    if error is None:
        return None
    if isinstance(error, ssl.SSLCertVerificationError):
        why = error.verify_message.rstrip(".")
        fixes = [text for sign, text in _ADVICE.items() if sign in why.lower()][:1]
        fix = " or ".join([*fixes, "do without the check, --insecure"])
        return f"certificate verify failed: {why}: {fix}"
    if isinstance(error, _HUNG_UP) or error.reason in _WORDS:
        return "it does not speak TLS on this port: is its URL http://…?"
    return f"TLS failed: {(error.reason or str(error)).replace('_', ' ').lower()}"
