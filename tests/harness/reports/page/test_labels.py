"""Names of points: in no other's way, near enough, and the same for the same points."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from harness.reports.page.labels import Label, place

SHARE = st.floats(0, 1)


def overlap(a: Label, b: Label) -> bool:
    """Whether two names cover each other on a plot of 280 by 180 px with letters of 7 by 14."""

    def sides(one: Label) -> tuple[float, float]:
        wide = 7 * len(one.name) / 280
        return (one.x - wide, one.x) if one.end else (one.x, one.x + wide)

    (left, right), (other_left, other_right) = sides(a), sides(b)
    return left < other_right and other_left < right and abs(a.y - b.y) < 14 / 180


def test_a_lone_name_stands_beside_its_point() -> None:
    [left] = place([((0.2, 0.5), "fp16")])
    assert (left.y, left.end, left.led) == (0.5, False, False)
    [right] = place([((0.9, 0.5), "fp16")])
    assert right.end


def test_names_of_points_on_one_spot_are_told_apart() -> None:
    for spot in [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0), (0.3, 0.97)]:
        found = place([(spot, name) for name in ("fp16", "gptq", "awq", "nf4", "int8")])
        assert not any(overlap(a, b) for a, b in itertools.combinations(found, 2))
        assert sum(one.led for one in found) >= 3


def test_no_name_stands_behind_another_point() -> None:
    found = {one.name: one for one in place([((0.5, 0.9), "a"), ((0.52, 0.9), "b")])}
    assert found["a"].x < 0.5 or found["a"].y != 0.9
    assert found["b"].x > 0.52 or found["b"].y != 0.9


@given(st.lists(st.tuples(SHARE, SHARE), min_size=1, max_size=6, unique=True))
def test_the_order_of_the_points_does_not_matter(spots: list[tuple[float, float]]) -> None:
    points = [(spot, f"b{number}") for number, spot in enumerate(spots)]
    found = place(points)
    assert found == place(points[::-1])
    assert {(one.point, one.name) for one in found} == set(points)
    assert all(-0.1 <= one.x <= 1.1 and -0.1 <= one.y <= 1.1 for one in found)
