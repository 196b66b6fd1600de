"""In which order servers are brought up, and what is asked of each then. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.load.matrix import Cell

Order = Literal["each", "mirrored"]
"""each: a build is brought up once, for all its cells · mirrored: once a repeat, in the order
A B C D, then D C B A, then A B C D, …, its levels shuffled alike for all builds of a repeat."""


@dataclass(frozen=True, kw_only=True)
class Visit:
    """One time that a build is up."""

    build: str
    number: int
    """1 for its first time."""
    cells: tuple[Cell, ...]
    """In the order in which they are measured."""


def visits(cells: Sequence[Cell], order: Order, seed: int) -> list[Visit]:
    """Return the visits in their order.

    Mirrored, a machine that slows down (or warms up) at a steady pace costs every build the same
    over two repeats: the first one's places 1 and 2n add up to what the last one's n and n + 1 do.
    (The ABBA order of crossover trials: Cochran & Cox, Experimental Designs, 2nd ed. 1957, ch. 4.)

    Args:
        cells: of all builds, which are visited in the order in which they appear here.
        order: see `Order`.
        seed: decides how levels are shuffled.
    """
    builds = list(dict.fromkeys(cell.build for cell in cells))
    if order == "each":
        return [
            Visit(build=build, number=1, cells=tuple(cell for cell in cells if cell.build == build))
            for build in builds
        ]
    found = []
    for number, repeat in enumerate(sorted({cell.repeat for cell in cells})):
        for build in reversed(builds) if number % 2 else builds:
            own = [cell for cell in cells if cell.build == build and cell.repeat == repeat]
            random.Random(f"levels/{seed}/{repeat}").shuffle(own)  # noqa: S311 - not for secrets
            found.append(Visit(build=build, number=number + 1, cells=tuple(own)))
    return found
