"""The heads of the requests of one cell: the same for all to one address but the request's id."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import msgspec

from loadprofiles.records import HEADERS_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loadprofiles.records import DrivePlan


def request_heads(plan: DrivePlan, values: Mapping[str, str] | None = None) -> list[bytes]:
    """Return for each address what stands before the request id, in the order of the addresses.

    Secrets come from the environment: the values of the plan's headers, unless they are given, and
    the bearer token.
    """
    lines = [
        "Content-Type: application/json",
        f"Accept: {'text/event-stream' if plan.stream else 'application/json'}",
        "Accept-Encoding: identity",
        f"User-Agent: serving-load-harness Python/{sys.version_info[0]}.{sys.version_info[1]}",
        *secret_lines(plan, values),
    ]
    first = (plan.path, plan.host, plan.port)
    return [
        "\r\n".join([
            f"POST {path} HTTP/1.1",
            f"Host: {_authority(host, port, tls=plan.tls)}",
            *lines,
            "X-Request-Id: ",
        ]).encode("latin-1")
        for path, host, port in [first, *((one.path, one.host, one.port) for one in plan.replicas)]
    ]  # fmt: skip


def secret_lines(plan: DrivePlan, values: Mapping[str, str] | None = None) -> list[str]:
    """Return the lines of a head whose values may be secret; see `request_heads`."""
    if values is None:
        values = msgspec.json.decode(os.environ.get(HEADERS_VARIABLE, "{}"), type=dict[str, str])
    lines = [f"{name}: {values[name]}" for name in plan.headers]
    if plan.api_key_env and os.environ.get(plan.api_key_env):
        lines.append(f"Authorization: Bearer {os.environ[plan.api_key_env]}")
    return lines


def _authority(host: str, port: int, *, tls: bool) -> str:
    """Host and port as a URL has them: without a zone, and without the scheme's own port."""
    name = f"[{host.partition('%')[0]}]" if ":" in host else host
    return name if port == (443 if tls else 80) else f"{name}:{port}"
