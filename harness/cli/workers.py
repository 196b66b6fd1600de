"""Flags about the workers that drive together."""

import math
import os
from collections.abc import Iterator

from harness.errors import BadInputError
from loadprofiles.records import Fleet
from loadprofiles.workers.joining import JOIN_VARIABLE, is_loopback, new_secret
from loadprofiles.workers.ports import why_not_free

WEB_HOST = "127.0.0.1"
WEB_PORT = 8089
MOST = 256
_PORTS = range(1, 65536)


def fleet_of(
    workers: int | None,
    expect_workers: int,
    bind: str | None,
    join_timeout: float,
    web_port: int | None,
    *,
    web: bool,
    elsewhere: bool,
) -> Fleet | None:
    """Return the workers that were asked for; None: one process drives by itself.

    `elsewhere`: whether other machines can ask the server, too.

    Raises:
        BadInputError: what cannot be, with the fix.
    """
    if workers is not None and not (0 if expect_workers else 1) <= workers <= MOST:
        raise BadInputError(f"--workers: {workers} is not in 1 to {MOST}")
    if not 0 <= expect_workers <= MOST:
        raise BadInputError(f"--expect-workers: {expect_workers} is not in 0 to {MOST}")
    if not (math.isfinite(join_timeout) and join_timeout > 0):
        raise BadInputError(f"--join-timeout: {join_timeout:g} s must be more than 0")
    if web_port is not None and not web:
        raise BadInputError("--web-port goes with --web; add it, or leave the port out")
    if web_port is not None and web_port not in _PORTS:
        raise BadInputError(f"--web-port: {web_port} is not in 1 to 65535")
    if expect_workers and bind is None:
        raise BadInputError(
            "--expect-workers: where shall they join?",
            hint="Add --bind HOST:PORT, an address of this machine that they can reach.",
        )
    if expect_workers and not elsewhere:
        raise BadInputError(
            "--expect-workers: a --server listens on this machine's loopback address alone",
            hint="Serve the model where the workers can ask it, and give its --url.",
        )
    if bind is not None and not expect_workers:
        raise BadInputError("--bind goes with --expect-workers N; add it, or leave --bind out")
    if workers is None and not expect_workers and not web:
        return None
    host, port = address_of("bind", bind) if bind is not None else ("127.0.0.1", 0)
    fleet = Fleet(
        local=(0 if expect_workers else 1) if workers is None else workers,
        remote=expect_workers,
        host=host,
        port=port,
        join_timeout_s=join_timeout,
        web_port=(web_port or WEB_PORT) if web else None,
    )
    _check_ports(fleet)
    return fleet


def _check_ports(fleet: Fleet) -> None:
    """Try both ports: what cannot be had is told before anything begins.

    Raises:
        BadInputError: naming the flag.
    """
    why = why_not_free(fleet.host, fleet.port)
    if why is not None:
        raise BadInputError(
            f"--bind: {why}",
            hint="Name an address of this machine (ip addr lists them) and a port that is free.",
        )
    why = None if fleet.web_port is None else why_not_free(WEB_HOST, fleet.web_port)
    if why is not None:
        raise BadInputError(f"--web-port: {why}", hint="Give another one: --web-port PORT.")
    if fleet.web_port == fleet.port:
        raise BadInputError(f"--web-port: {fleet.port} is --bind's; give each a port of its own")


def address_of(flag: str, text: str) -> tuple[str, int]:
    """Return host and port.

    Raises:
        BadInputError: it is no HOST:PORT.
    """
    host, sign, port = text.rpartition(":")
    if not sign or not host or not port.isdigit() or int(port) not in _PORTS:
        raise BadInputError(f'--{flag}: "{text}" is no HOST:PORT', hint="e.g. 10.0.0.5:5557")
    return host, int(port)


def _secret_for(host: str) -> str:
    """Have a secret that workers must know, if others can reach `host`; what to say of it.

    The user's own is in the environment, or else one is made up for this run, and shown.
    """
    if os.environ.get(JOIN_VARIABLE):
        return f"(with this {JOIN_VARIABLE} in the environment) "
    if is_loopback(host):
        return ""
    os.environ[JOIN_VARIABLE] = made_up = new_secret()  # the driver's process gets it from there
    return f"{JOIN_VARIABLE}={made_up} "


def announcements(fleet: Fleet | None, *, quiet: bool = False) -> Iterator[str]:
    """Say what the user can do now; where nothing is shown, that has to be said before.

    Raises:
        BadInputError: workers would have to know what is not shown.
    """
    if fleet is not None and fleet.remote:
        if quiet and not (os.environ.get(JOIN_VARIABLE) or is_loopback(fleet.host)):
            raise BadInputError(
                f"--quiet: the secret that workers need to join at {fleet.host} would not be shown",
                hint=f"Set {JOIN_VARIABLE} here and for each worker, or leave --quiet out.",
            )
        yield (
            f"waiting for {fleet.remote} workers; on each of their machines: "
            f"{_secret_for(fleet.host)}harness worker --join {fleet.host}:{fleet.port}"
        )
    if fleet is not None and fleet.web_port is not None:
        yield f"Locust's page, while a cell is driven: http://{WEB_HOST}:{fleet.web_port}"
