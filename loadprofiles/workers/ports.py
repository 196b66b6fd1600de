"""Whether this machine lets somebody listen at an address."""

from __future__ import annotations

import socket


def why_not_free(host: str, port: int) -> str | None:
    """Return why nobody can listen there now; None if somebody can. Host "*" is every address."""
    name = {"*": "0.0.0.0"}.get(host, host)  # noqa: S104 - as ZeroMQ spells it
    try:
        found = socket.getaddrinfo(name.strip("[]"), port, type=socket.SOCK_STREAM)
        family, kind, _, _, address = found[0]
        with socket.socket(family, kind) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
    except (OSError, UnicodeError) as problem:
        why = getattr(problem, "strerror", None) or problem
        return f"cannot listen at {host}:{port}: {why}"
    return None
