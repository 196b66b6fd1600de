"""How requests reach simulated engines: each stream by turns (closed loop), or by a schedule."""

from __future__ import annotations

from heapq import heapify, heappop, heappush, heapreplace
from typing import TYPE_CHECKING, Literal

import numpy as np

from harness.simulating.replica import NEVER, Replica, Work

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from harness.simulating.engine import Limits, StepCost

    Floats = npt.NDArray[np.float64]

Routing = Literal["round-robin", "least-loaded"]


def closed_loop(  # noqa: PLR0913 - an engine, its work, and who asks
    cost: StepCost,
    limits: Limits,
    work: Work,
    streams: int,
    pause_s: float,
    until_s: float,
) -> Floats:
    """Run one engine with `streams` requests always under way; the work's order is theirs.

    Args:
        cost: of the engine's steps.
        limits: of the engine.
        work: as much as there is; it ends early when there is no more.
        streams: requests held open.
        pause_s: between a last token and the arrival of the stream's next request.
        until_s: no request begins after.

    Returns:
        When each request reached the engine, in s from the start; NaN of those that did not.
    """
    count = len(work.prompts)
    arrivals = np.full(count, np.nan)
    replica = Replica(cost, limits, work)
    coming = [(pause_s, request) for request in range(min(streams, count))]
    heapify(coming)
    following = len(coming)
    while coming or replica.load:
        at = coming[0][0] if coming else NEVER
        if replica.load and replica.clock < at:
            for _ in replica.advance(at):
                arrives = replica.clock + pause_s
                if following < count and arrives < until_s:
                    heappush(coming, (arrives, following))
                    following += 1
            continue
        _, request = heappop(coming)
        arrivals[request] = at
        replica.offer(request, at)
    return arrivals
