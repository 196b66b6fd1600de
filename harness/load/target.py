"""From a server that answers, and what was asked, to where requests go and what they pin."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from loadprofiles.dialects import load_dialect
from loadprofiles.plan import Target
from loadprofiles.records import Endpoint

if TYPE_CHECKING:
    from harness.load.matrix import Cell
    from harness.load.request import LoadRequest
    from launchers.server import Server

_PORTS = {"http": 80, "https": 443}


def target_of(request: LoadRequest, cell: Cell, server: Server) -> Target:
    """Return where the load driver is to send its requests."""
    first, *others = (_endpoint(base) for base in (server.base_url, *server.replicas))
    request, given = request.of(cell.build), request.url(cell.build)
    ca_file = given.trust.ca_file if given is not None else None
    return Target(
        host=first.host,
        port=first.port,
        path=first.path,
        replicas=tuple(others),
        tls=urlsplit(server.base_url).scheme == "https",
        ca_file=None if ca_file is None else str(ca_file.absolute()),
        tls_verify=given.trust.verify if given is not None else True,
        model=server.model,
        headers=tuple(request.headers),
        api_key_env=request.api_key_env,
        pin_output=pin_of(request, cell, server),
        max_model_len=server.max_model_len,
    )


def _endpoint(base: str) -> Endpoint:
    parts = urlsplit(base)
    assert parts.hostname is not None  # noqa: S101 - launchers checked it
    host = parts.hostname
    if not host.isascii():
        host = host.encode("idna").decode()
    return Endpoint(host=host, port=parts.port or _PORTS[parts.scheme], path=parts.path)


def pin_of(request: LoadRequest, cell: Cell, server: Server) -> tuple[str, ...]:
    """Return the request fields that pin the output length."""
    if cell.lengths == "natural":
        return ()
    request, pins = request.of(cell.build), server.pin_output
    if request.force_ignore_eos and not pins:
        pins = ("ignore_eos",)
    known = load_dialect(request.spoken(cell.build)).pins
    return tuple(field for field in pins if field in known)


def is_here(host: str) -> bool:
    """Whether a host name means this machine: only to its own addresses can a socket be bound."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    for family, kind, protocol, _, address in found:
        try:
            with socket.socket(family, kind, protocol) as sock:
                sock.bind(address)
        except OSError:
            continue
        return True
    return False
