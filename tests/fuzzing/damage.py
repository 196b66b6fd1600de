"""What befalls a file: cut off, garbled, or whole with one thing in it that is not as it was."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator

Place = tuple[str | int, ...]
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 7, 0.5, 1e308, -1e308, 1 << 40, 1 << 62, (1 << 63) - 1, 1 << 63, 1 << 70,
    "", "x", "x" * 2000, "\x1b[31m\u202e", "\ud83d", "../..", "nan",
    [], {}, [[]], [None], {"": None}, [1, 2],
)  # fmt: skip
DEEP = b"[" * 100_000
WAYS = ("cut", "garbled", "value", "value", "value", "gone", "twice", "deep", "empty")

damages = st.tuples(
    st.sampled_from(WAYS), st.integers(0, 1 << 32), st.sampled_from(VALUES), st.binary(max_size=12)
)
Damage = tuple[str, int, Any, bytes]


def damaged(data: bytes, damage: Damage, *, lines: bool) -> bytes:
    """Return a JSON file's bytes, of one document or of many `lines`, after the damage."""
    way, place, _, noise = damage
    if way == "empty":
        return b""
    if way == "deep":
        return DEEP
    if way == "cut":
        return data[: place % (len(data) + 1)]
    if way == "garbled":
        at = place % (len(data) + 1)
        return data[:at] + noise + data[at + len(noise) // 2 :]
    documents = data.splitlines() if lines else [data]
    if not documents:
        return noise
    number = place % len(documents)
    if way == "twice":
        documents.insert(number, documents[number])
    else:
        documents[number] = json.dumps(changed(json.loads(documents[number]), damage)).encode()
    return b"\n".join(documents) + b"\n"


def changed(document: Any, damage: Damage) -> Any:  # noqa: ANN401 - JSON or TOML
    """Change or take out one value of a document, in place."""
    way, _, value, _ = damage
    places = list(within(document))
    if not places:
        return value
    *path, last = places[place_of(damage, len(places))]
    inner = document
    for part in path:
        inner = inner[part]
    if way == "gone":
        del inner[last]
    else:
        inner[last] = value
    return document


def place_of(damage: Damage, count: int) -> int:
    """Which of so many values is changed."""
    return (damage[1] >> 8) % count


def within(document: Any, before: Place = ()) -> Iterator[Place]:  # noqa: ANN401
    """Yield the place of each value, whole tables and lists too."""
    if isinstance(document, dict):
        items: Any = document.items()
    elif isinstance(document, list):
        items = enumerate(document)
    else:
        return
    for key, value in items:
        yield (*before, key)
        yield from within(value, (*before, key))
