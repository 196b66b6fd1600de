"""A seeded random subset of a task's items, spread over its parts.

lm-eval's own `limit` takes the first items of each part, which are no sample of it.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def draw(sizes: Mapping[str, int], limit: int | None, seed: int) -> dict[str, list[int]]:
    """Draw `limit` items; each part gives its share.

    A larger limit draws the same items and more. Each part's items are shuffled and laid evenly
    over [0, 1) with a random offset; the first `limit` of all are taken.

    Args:
        sizes: part → number of its items.
        limit: how many; None: all.
        seed: of all that is random here.

    Returns:
        Part → its items, ascending; only parts that have any.
    """
    if limit is None or limit >= sum(sizes.values()):
        return {part: list(range(size)) for part, size in sizes.items() if size}
    places: list[tuple[float, str, int]] = []
    for part, size in sizes.items():
        chance = random.Random(f"{seed}/{part}")  # noqa: S311 - no secret
        items = list(range(size))
        chance.shuffle(items)
        offset = chance.random()
        places += [((n + offset) / size, part, item) for n, item in enumerate(items)]
    places.sort()
    drawn: dict[str, list[int]] = {}
    for _, part, item in places[:limit]:
        drawn.setdefault(part, []).append(item)
    return {part: sorted(drawn[part]) for part in sizes if part in drawn}
