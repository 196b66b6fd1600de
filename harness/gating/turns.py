"""In which turns a gate's servers are up. Pure.

Suites come first, the baseline's before the candidate's. Loads follow once nothing is broken, one
repeat of either side after the other in mirrored order, B A, A B, B A, …: what a machine gains or
loses in pace at a steady rate cancels over each two repeats (`harness.load.order`). Two repeats of
one side that follow each other share one start of its server.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from harness.load.matrix import Cell
from harness.load.order import visits

if TYPE_CHECKING:
    from collections.abc import Collection

Role = Literal["baseline", "candidate"]
ROLES: Final[tuple[Role, Role]] = ("baseline", "candidate")


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One time that a side's server is up."""

    role: Role
    asks: bool = False
    """Whether it is probed, and asked the suites, before it is driven."""
    repeats: tuple[int, ...] = ()
    """Of each load stage, as far as it has so many; from 1."""


def plan_turns(served: Collection[Role], *, asks: bool, repeats: int) -> list[Turn]:
    """Return the turns in their order.

    Args:
        served: the sides that are brought up; a finished run has no turn.
        asks: whether there are suites.
        repeats: the most of any load stage; 0: there is none.
    """
    if len(served) == 1:
        [role] = served
        return [Turn(role=role, asks=True, repeats=tuple(range(1, repeats + 1)))]
    if not served:
        return []
    cells = [
        Cell(build=role, profile="", level=1.0, closed=True, repeat=repeat)
        for role in reversed(ROLES)
        for repeat in range(1, repeats + 1)
    ]
    turns = [Turn(role="baseline", asks=True)] if asks else []
    if asks or not repeats:
        turns.append(Turn(role="candidate", asks=True))
    for visit in visits(cells, "mirrored", 0):
        side: Role = "baseline" if visit.build == "baseline" else "candidate"
        own = (visit.cells[0].repeat,)
        last = turns[-1] if turns else None
        if last is not None and last.role == side:
            turns[-1] = Turn(role=side, asks=last.asks, repeats=last.repeats + own)
        else:
            asked = any(turn.role == side for turn in turns)
            turns.append(Turn(role=side, asks=not asked, repeats=own))
    return turns
