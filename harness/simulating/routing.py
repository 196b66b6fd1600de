"""Who of a fleet gets the next request: by turns, or whoever has the fewest."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.simulating.replica import Replica

Routing = Literal["round-robin", "least-loaded"]


class Turns:
    """Round robin over the replicas that live."""

    def __init__(self, fleet: Sequence[Replica]) -> None:
        self._fleet = fleet
        self._alive = list(range(len(fleet)))
        self._turn = 0

    def send(self, request: int, at_s: float) -> bool:
        """Send a request to whose turn it is; return False where nobody is left."""
        if not self._alive:
            return False
        replica = self._fleet[self._alive[self._turn % len(self._alive)]]
        self._turn += 1
        replica.run_until(at_s)
        replica.send(request, at_s)
        return True

    def remove(self, index: int) -> None:
        """Send nothing more to one, by its place in the fleet."""
        self._alive.remove(index)


class LeastLoaded:
    """The replica with the fewest requests, waiting ones included; of several the longest unasked.

    A replica's load falls only when a step ends an answer, and each says before which moment none
    of its steps does. So one whose moment has not come is left alone: its load is known. Both
    questions, whose moment is next and who has the fewest, are asked of heaps, in which entries
    that no longer hold are passed over.
    """

    def __init__(self, fleet: Sequence[Replica]) -> None:
        self._fleet = fleet
        self._ranks = [(0, index, index) for index in range(len(fleet))]
        """(load, turn at which it was last sent one, place)."""
        self._best = list(self._ranks)
        self._quiet = [0.0] * len(fleet)
        self._next = [(0.0, index) for index in range(len(fleet))]
        self._alive = [True] * len(fleet)
        self._turn = len(fleet)

    def send(self, request: int, at_s: float) -> bool:
        """Send a request to the least loaded; return False where nobody is left."""
        self._run_until(at_s)
        best, ranks = self._best, self._ranks
        while best and (best[0] != ranks[best[0][2]] or not self._alive[best[0][2]]):
            heappop(best)
        if not best:
            return False
        index = best[0][2]
        replica = self._fleet[index]
        replica.send(request, at_s)
        self._rank(index, self._turn)
        self._turn += 1
        quiet = replica.quiet_until()
        if quiet < self._quiet[index]:
            self._quiet[index] = quiet
            heappush(self._next, (quiet, index))
        return True

    def remove(self, index: int) -> None:
        """Send nothing more to one, by its place in the fleet."""
        self._alive[index] = False

    def _run_until(self, at_s: float) -> None:
        coming = self._next
        while coming and coming[0][0] < at_s:
            moment, index = heappop(coming)
            if moment != self._quiet[index] or not self._alive[index]:
                continue
            replica = self._fleet[index]
            replica.run_until(at_s)
            if replica.load != self._ranks[index][0]:
                self._rank(index, self._ranks[index][1])
            self._quiet[index] = quiet = replica.quiet_until()
            heappush(coming, (quiet, index))

    def _rank(self, index: int, turn: int) -> None:
        self._ranks[index] = rank = (self._fleet[index].load, turn, index)
        if len(self._best) > 8 * len(self._ranks):
            self._best = [one for one in self._ranks if self._alive[one[2]]]
            heapify(self._best)
        else:
            heappush(self._best, rank)
