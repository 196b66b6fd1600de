"""How many connections a process of the load driver can hold: each is an open file."""

from __future__ import annotations

import resource
import sys
from typing import Final

OWN: Final = 64
"""What a driver has open beside its connections; a worker, Locust's included, some 40."""


def room() -> int:
    """How many connections one process of this user can hold; it may lift its own soft limit."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return sys.maxsize if hard == resource.RLIM_INFINITY else max(0, hard - OWN)


def short_of(streams: int) -> str:
    """Say of a worker what it lacks for so many streams; nothing where they fit."""
    if streams <= room():
        return ""
    return (
        f"has file descriptors for {room()} streams and not for its {streams}: raise the limit "
        "there (ulimit -Hn), or have more workers"
    )
