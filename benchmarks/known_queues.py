"""Servers on paper whose highest rate is known: what they do to arrivals, and where the limit is.

`Slots` is an M/D/c queue with a limit on the wait; `Batch` an engine in steps, each of which takes
longer the more requests run, with a limit on the whole answer's time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from harness.capacity import virtual

if TYPE_CHECKING:
    from harness.measuring.samples import Floats

ALLOWED: Final = 0.05
"""Share of the requests that may break the limit."""
LONG: Final = 3_000_000
"""Arrivals of each of four simulations that say where the limit is; of a `Batch` a tenth."""


class Server(Protocol):
    """What the search is tried on."""

    @property
    def alone_s(self) -> float:
        """How long an answer takes alone."""

    def closed(self, streams: int) -> tuple[float, float]:
        """Answers/s to so many streams, and the share of them that breaks the limit."""

    def shows(self, due_s: Floats) -> tuple[Floats, Floats]:
        """Which requests break the limit (0 or 1), and when each ends, by their arrivals."""

    def limit(self) -> float:
        """The rate at which `ALLOWED` of the requests break the limit, requests/s."""


@dataclass(frozen=True)
class Slots:
    """So many slots, how long a request takes one, and the wait that is allowed, in seconds."""

    slots: int
    service_s: float
    wait_s: float

    def __str__(self) -> str:
        return f"{self.slots} slots, {_short(self.service_s)}, wait {_short(self.wait_s)}"

    @property
    def alone_s(self) -> float:
        """See `Server`."""
        return self.service_s

    def closed(self, streams: int) -> tuple[float, float]:
        """See `Server`."""
        wait_s = max(0.0, streams / self.slots - 1) * self.service_s
        return min(streams, self.slots) / self.service_s, float(wait_s > self.wait_s)

    def waits_s(self, due_s: Floats) -> Floats:
        """How long each request waits: with equal services the slots take turns."""
        found = np.zeros(due_s.size)
        for slot in range(min(self.slots, due_s.size)):
            due = due_s[slot :: self.slots]
            found[slot :: self.slots] = virtual.waits(due, np.full(due.size, self.service_s))
        return found

    def shows(self, due_s: Floats) -> tuple[Floats, Floats]:
        """See `Server`."""
        waits_s = self.waits_s(due_s)
        return (waits_s > self.wait_s).astype(float), due_s + waits_s + self.service_s

    def limit(self) -> float:
        """See `Server`."""
        return _limit(self, self.slots / self.service_s, LONG)


@dataclass(frozen=True)
class Batch:
    """Steps of base_s + each_s x running give every running request, `slots` at most, a token."""

    slots: int
    base_s: float
    each_s: float
    tokens: int
    most_s: float
    """That an answer may take, from when its request was due."""

    def __str__(self) -> str:
        return (
            f"{self.tokens} steps of {_short(self.base_s)} + n x {self.each_s * 1e6:.0f} us, "
            f"n <= {self.slots}, e2e {_short(self.most_s)}"
        )

    @property
    def alone_s(self) -> float:
        """See `Server`."""
        return self.tokens * (self.base_s + self.each_s)

    def closed(self, streams: int) -> tuple[float, float]:
        """See `Server`."""
        running = min(streams, self.slots)
        rate = running / (self.tokens * (self.base_s + self.each_s * running))
        return rate, float(streams / rate > self.most_s)

    def shows(self, due_s: Floats) -> tuple[Floats, Floats]:
        """See `Server`."""
        due, ends = [*due_s.tolist(), np.inf], np.empty(due_s.size)
        joined: list[int] = []
        at_s, arrived, begun, ended, running = 0.0, 0, 0, 0, 0
        while ended < ends.size:
            if not running and due[begun] > at_s:
                at_s = due[begun]
            while due[arrived] <= at_s:
                arrived += 1
            new = min(arrived - begun, self.slots - running)
            begun, running = begun + new, running + new
            joined.append(new)
            at_s += self.base_s + self.each_s * running
            if len(joined) >= self.tokens and (gone := joined[-self.tokens]):
                ends[ended : ended + gone] = at_s
                ended, running = ended + gone, running - gone
        return (ends - due_s > self.most_s).astype(float), ends

    def limit(self) -> float:
        """See `Server`."""
        return _limit(self, self.closed(self.slots)[0], LONG // 10)


def _short(seconds: float) -> str:
    return f"{seconds:g} s" if seconds >= 1 else f"{seconds * 1000:g} ms"


def _limit(server: Server, most: float, long: int) -> float:
    """The mean of four simulations."""
    return float(np.mean([limit_by(server, most, long, seed) for seed in range(4)]))


def limit_by(server: Server, most: float, long: int, seed: int) -> float:
    """The rate at which `ALLOWED` of so many requests break the limit, below `most`."""
    gaps = np.random.default_rng(seed).exponential(size=long)
    due = np.cumsum(gaps) * (long / gaps.sum())
    low, high = 0.0, most
    for _ in range(16):
        rate = (low + high) / 2
        held = float(server.shows(due / rate)[0].mean()) <= ALLOWED
        low, high = (rate, high) if held else (low, rate)
    return (low + high) / 2


SERVERS: Final[tuple[Server, ...]] = (
    Slots(8, 0.08, 0.05),
    Slots(8, 0.08, 0.1),
    Slots(8, 0.08, 0.02),
    Slots(1, 0.01, 0.02),
    Slots(16, 1.0, 0.5),
    Slots(64, 2.0, 0.2),
    Slots(256, 4.0, 0.2),
    Slots(1024, 8.0, 0.5),
    Slots(1, 10.0, 10.0),
    Batch(256, 0.02, 1e-4, 100, 3.5),
    Batch(4096, 0.02, 2e-5, 200, 6.0),
)
