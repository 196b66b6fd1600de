"""Servers whose throughput is known, swept without any server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from harness.capacity.climb import Ask, Bounds, Seen, Stop, step

Law = Callable[[float], float]
CLOSED = Bounds(closed=True, low=1, high=1024, least=1, cells=20)
OPEN = Bounds(closed=False, low=2, high=1000, least=0.5, cells=20)


def slots(count: int) -> Law:
    """So many servers of one second: throughput of N streams."""
    return lambda streams: min(streams, count)


def batch(cap: float, share: float) -> Law:
    """Steps of 1 + share * n seconds, of at most `cap` sequences."""
    return lambda streams: min(streams, cap) / (1 + share * min(streams, cap))


def seen(level: float, throughput: float, **changes: object) -> Seen:
    """One level of a closed loop."""
    one = Seen(
        level=level,
        throughput=throughput,
        se=0.005 * throughput,
        offered_rate=throughput,
        answered_rate=throughput,
        latency_s=level / throughput if throughput else None,
        requests=1000,
        stable=True,
        client_was_slow=False,
        failing=False,
    )
    return replace(one, **changes)  # type: ignore[arg-type]


def at_rate(limit: float, rate: float, alone_s: float = 0.2) -> Seen:
    """One rate of an open loop at a server that answers `limit` a second at most."""
    held = rate <= limit
    done = min(rate, limit)
    return seen(rate, done, offered_rate=rate, stable=held, latency_s=alone_s if held else None)


def sweep(measure: Callable[[float], Seen], bounds: Bounds) -> tuple[list[Seen], Stop]:
    """Sweep until there is an end."""
    found: list[Seen] = []
    while isinstance(ask := step(bounds, found), Ask):
        assert ask.level not in [one.level for one in found], "nothing is measured twice"
        found.append(measure(ask.level))
        assert len(found) <= bounds.cells
    return found, ask
