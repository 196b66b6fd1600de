"""In which turns a gate's servers are up. Pure.

Suites come first, the baseline's before the candidate's, in a start of their own. Loads follow once
nothing is broken, one repeat of either side after the other in mirrored order, B A, A B, B A, …:
what a machine gains or loses in pace at a steady rate cancels over each two repeats
(`harness.load.order`). Every repeat has a start of its own: what starts of one build differ by is
in how its repeats differ then, so that a test may take them as independent, and none of them
finds caches that suites have warmed.
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
    repeat: int | None = None
    """Of each load stage that has so many; from 1."""


def plan_turns(served: Collection[Role], *, asks: bool, repeats: int) -> list[Turn]:
    """Return the turns in their order.

    Args:
        served: the sides that are brought up; a finished run has no turn.
        asks: whether there are suites.
        repeats: the most of any load stage; 0: there is none.
    """
    turns = [Turn(role=role, asks=True) for role in ROLES if role in served and asks]
    cells = [
        Cell(build=role, profile="", level=1.0, closed=True, repeat=repeat)
        for role in reversed(ROLES)
        if role in served
        for repeat in range(1, repeats + 1)
    ]
    for visit in visits(cells, "mirrored", 0):
        role: Role = "baseline" if visit.build == "baseline" else "candidate"
        asked = any(turn.role == role for turn in turns)
        turns.append(Turn(role=role, asks=not asked, repeat=visit.cells[0].repeat))
    if not turns and "candidate" in served:  # no stage can be gone through; its contract can
        turns.append(Turn(role="candidate", asks=True))
    return turns
