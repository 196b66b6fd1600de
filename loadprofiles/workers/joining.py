"""Who may join: each side proves to know a secret that never goes over the wire."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from loadprofiles.workers.messages import Hello

JOIN_VARIABLE: Final = "HARNESS_JOIN_TOKEN"
"""The environment variable that holds it, of a master and of its workers."""


def new_secret() -> str:
    """Return a secret for one run."""
    return secrets.token_urlsafe(15)


def prove(secret: str, side: str, token: str, nonce: str) -> str:
    """Return what only who knows the secret can say, for this worker and this cell.

    Args:
        secret: what both know.
        side: "worker" or "master", so that neither can say the other's again.
        token: the worker's, which it has made up.
        nonce: the master's, which it has made up.
    """
    said = f"{side}\n{token}\n{nonce}".encode()
    return hmac.new(secret.encode(), said, hashlib.sha256).hexdigest()


def is_proof(said: str | None, secret: str, side: str, token: str, nonce: str) -> bool:
    """Whether it was said by one who knows the secret."""
    return said is not None and hmac.compare_digest(
        said.encode(), prove(secret, side, token, nonce).encode()
    )


def is_loopback(host: str) -> bool:
    """Whether an address that is listened at is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True)
class Door:
    """What a master wants of whoever would join."""

    theirs: str | None
    """The secret of workers from elsewhere; None: all are let in."""
    local: str = field(default_factory=new_secret)
    """That of the workers which this master has started."""
    nonce: str = field(default_factory=new_secret)

    def secret_of(self, hello: Hello) -> str | None:
        """What this one has to know."""
        return self.theirs if hello.slot is None else self.local
