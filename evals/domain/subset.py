"""Some of the items: at random, but of every category and cluster its share."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from evals.grading import Item

T = TypeVar("T")


def subset(items: list[Item], limit: int | None, seed: int) -> list[Item]:
    """Return at most `limit` items, in the order in which they are asked.

    A smaller limit takes the beginning of a larger one's items. Of n items of a category the k-th
    stands at the share (k − ½) / n of the whole order (systematic sampling), so that any beginning
    holds of every category its share, to within one item; within a category the same holds for its
    clusters. What comes first within a cluster is drawn by a hash of seed and id: an item's draw
    does not depend on what other items there are.
    """
    draw = {item.id: _draw(seed, item.id) for item in items}
    drawn = sorted(items, key=lambda item: draw[item.id])
    by_category = _spread(
        (
            (category, _in_turns(group, lambda item: item.cluster or item.id, seed))
            for category, group in _grouped(drawn, lambda item: item.category)
        ),
        seed,
    )
    return by_category[:limit]


def _in_turns(items: list[Item], key: Callable[[Item], str], seed: int) -> list[Item]:
    return _spread(_grouped(items, key), seed)


def _grouped(items: list[Item], key: Callable[[Item], str]) -> Iterable[tuple[str, list[Item]]]:
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups.items()


def _spread(groups: Iterable[tuple[str, list[T]]], seed: int) -> list[T]:
    placed: list[tuple[float, bytes, T]] = []
    for name, members in groups:
        tie = _draw(seed, f"group\0{name}")  # which is no item's name
        placed += [((k + 0.5) / len(members), tie, one) for k, one in enumerate(members)]
    placed.sort(key=lambda place: place[:2])
    return [one for _, _, one in placed]


def _draw(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}".encode(errors="surrogatepass")).digest()
