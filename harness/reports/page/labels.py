"""Where names of points stand: beside their points, in no other's way."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_WIDE: Final = 0.03
"""A letter's width as a share of a plot's: of the narrowest, 250 px."""
_HIGH: Final = 0.09
"""A line's height as a share of a plot's: of the lowest, on paper."""
_ASIDE: Final = 0.035
"""From a point's middle to its name."""
_AROUND: Final = 0.045
"""Half a point's height."""
_ROWS: Final = (0, -1, 1, -2, 2, -3, 3, -4, 4, -5, 5, -6, 6)
"""Lines above (below 0) and below the point, the nearest first."""


class Label(NamedTuple):
    """A name and the place of its first, or of its last, letter; shares from the upper left."""

    name: str
    point: tuple[float, float]
    x: float
    y: float
    end: bool
    """Whether the name ends there."""
    led: bool
    """Whether a line leads to its point."""


class _Box(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float

    def shared(self, other: _Box) -> float:
        """The area that both cover."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.bottom, other.bottom) - max(self.top, other.top)
        return wide * high if wide > 0 and high > 0 else 0.0


def place(points: Sequence[tuple[tuple[float, float], str]]) -> list[Label]:
    """Place the names of points, each as near as there is room; the same for the same points.

    Args:
        points: place (from the left and from the top, 0 to 1) and name.
    """
    dots = [at for at, _ in points]
    taken = [_Box(x - _ASIDE / 2, y - _AROUND, x + _ASIDE / 2, y + _AROUND) for x, y in dots]
    found = []

    def burden(candidate: tuple[Label, _Box]) -> float:
        label, box = candidate
        passed = sum(_passes(label, dot) for dot in dots if dot != label.point)
        return passed + sum(box.shared(other) for other in taken)

    for at, name in sorted(points, key=lambda one: (one[0][1], one[0][0], one[1])):
        label, box = min(_candidates(at, name), key=burden)  # of equals the first
        taken.append(box)
        found.append(label)
    return found


def _passes(label: Label, dot: tuple[float, float]) -> bool:
    """Whether the way from a point to its name leads over another, whose name it then seems."""
    (x, y), steps = label.point, 8
    return any(
        abs(x + (label.x - x) * step / steps - dot[0]) < _ASIDE / 2
        and abs(y + (label.y - y) * step / steps - dot[1]) < _AROUND / 2
        for step in range(2, steps + 1)
    )


def _candidates(at: tuple[float, float], name: str) -> Iterator[tuple[Label, _Box]]:
    wide = _WIDE * max(1, len(name))
    x, y = at
    for row, out in product(_ROWS, (1, 3)):
        for end in (x > 0.6, x <= 0.6):  # noqa: PLR2004 - to the left where the right is near
            start = x + (-1 if end else 1) * out * _ASIDE
            left, middle = (start - wide if end else start), y + row * _HIGH
            box = _Box(left, middle - _HIGH / 2, left + wide, middle + _HIGH / 2)
            inside = box.left >= -_ASIDE and box.right <= 1 + _ASIDE
            if inside and box.top >= -_HIGH and box.bottom <= 1 + _AROUND:
                yield Label(name, at, start, middle, end, bool(row) or out > 1), box
    yield Label(name, at, x, y, x > 0.6, led=False), _Box(0, 0, 1, 1)  # noqa: PLR2004 - as above
