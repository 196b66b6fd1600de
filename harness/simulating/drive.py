"""How requests reach simulated engines: by a schedule, or each stream by turns (closed loop)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from harness.simulating.replica import NEVER
from harness.simulating.routing import LeastLoaded, Turns

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from harness.simulating.replica import Replica
    from harness.simulating.routing import Routing

    Floats = npt.NDArray[np.float64]


class Failures:
    """Replicas of a fleet that die, each at a moment."""

    def __init__(self, at_s: dict[int, float] | None = None) -> None:
        self.at_s = at_s or {}
        """By position in the fleet."""
        self.lost: list[int] = []
        """Requests that were with one when it died, in any state."""


def by_schedule(
    arrivals_s: Floats,
    fleet: Sequence[Replica],
    routing: Routing = "round-robin",
    failures: Failures | None = None,
) -> None:
    """Send request i at `arrivals_s[i]`, ascending, to one of the fleet; run until all are done.

    A replica that dies loses what it has, and gets nothing more.
    """
    failing = failures or Failures()
    coming = sorted((at, index) for index, at in failing.at_s.items())
    router = LeastLoaded(fleet) if routing == "least-loaded" else Turns(fleet)

    def die_until(until_s: float) -> None:
        while coming and coming[0][0] <= until_s:
            at, index = coming.pop(0)
            fleet[index].run_until(at)
            router.remove(index)
            failing.lost += fleet[index].drop_all()

    for request, at in enumerate(arrivals_s.tolist()):
        die_until(at)
        if not router.send(request, at):
            failing.lost.append(request)
    die_until(NEVER)
    for replica in fleet:
        replica.run_until(NEVER)


def closed_loop(replica: Replica, streams: int, until_s: float) -> Floats:
    """Keep `streams` requests under way; the order of the replica's work is theirs.

    Args:
        replica: with as much work as there is; it ends early when there is no more.
        streams: requests held open.
        until_s: no request begins after.

    Returns:
        When each request was sent, in s from the start; NaN of those that were not.
    """
    count = len(replica.work.prompts)
    sent = np.full(count, np.nan)
    following = min(streams, count)
    for request in range(following):
        sent[request] = 0.0
        replica.send(request, 0.0)
    while replica.load:
        for _ in replica.advance():
            if following < count and replica.clock < until_s:
                sent[following] = replica.clock
                replica.send(following, replica.clock)
                following += 1
    return sent
