"""How requests reach simulated engines: by a schedule, or each stream by turns (closed loop)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from harness.simulating.replica import NEVER

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from harness.simulating.replica import Replica

    Floats = npt.NDArray[np.float64]

Routing = Literal["round-robin", "least-loaded"]


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

    Least-loaded is the replica with the fewest requests, waiting ones included. A replica that
    dies loses what it has, and gets nothing more.
    """
    failing = failures or Failures()
    coming = sorted((at, index) for index, at in failing.at_s.items())
    alive = list(fleet)
    turn = 0
    for request, at in enumerate(arrivals_s.tolist()):
        while coming and coming[0][0] <= at:
            _die(fleet[coming[0][1]], alive, coming.pop(0)[0], failing)
        if not alive:
            failing.lost.append(request)
            continue
        if routing == "least-loaded":
            for replica in alive:
                replica.run_until(at)
            replica = min(alive, key=_load)
        else:
            replica = alive[turn % len(alive)]
            turn += 1
            replica.run_until(at)
        replica.send(request, at)
    for at, index in coming:
        _die(fleet[index], alive, at, failing)
    for replica in alive:
        replica.run_until(NEVER)


def _die(replica: Replica, alive: list[Replica], at_s: float, failures: Failures) -> None:
    replica.run_until(at_s)
    alive.remove(replica)
    failures.lost += replica.drop_all()


def _load(replica: Replica) -> int:
    return replica.load


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
