"""The order of visits: drift cancels, and builds of a repeat are asked alike."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.load.matrix import expand
from harness.load.order import visits

BUILDS = ["a", "b", "c", "d"]
LEVELS = [1.0, 8.0, 32.0, 64.0]


def cells(builds: list[str] = BUILDS, repeats: int = 3):  # noqa: ANN201 - a test's own
    return expand(builds, "closed", LEVELS, repeats, closed=True)


def test_each_build_is_up_once_for_all_that_it_is_asked() -> None:
    found = visits(cells(), "each", 0)
    assert [visit.build for visit in found] == BUILDS
    assert [cell for visit in found for cell in visit.cells] == cells()


def test_mirrored_goes_there_and_back_and_there_again() -> None:
    found = visits(cells(), "mirrored", 0)
    assert "".join(visit.build for visit in found) == "abcddcbaabcd"
    assert [visit.number for visit in found] == [1] * 4 + [2] * 4 + [3] * 4


@given(st.integers(1, 5), st.integers(1, 3), st.integers(0, 1000))
def test_every_cell_is_measured_once_and_a_steady_drift_costs_all_builds_alike(
    builds: int, pairs: int, seed: int
) -> None:
    names = [f"b{number}" for number in range(builds)]
    planned = cells(names, 2 * pairs)
    found = [cell for visit in visits(planned, "mirrored", seed) for cell in visit.cells]
    assert sorted(cell.id for cell in found) == sorted(cell.id for cell in planned)
    places = {
        name: sum(
            number
            for number, visit in enumerate(visits(planned, "mirrored", seed))
            if visit.build == name
        )
        for name in names
    }
    assert len(set(places.values())) == 1


def test_levels_are_shuffled_by_the_seed_alike_for_all_builds_of_a_repeat() -> None:
    def levels(seed: int) -> list[list[float]]:
        return [[cell.level for cell in v.cells] for v in visits(cells(), "mirrored", seed)]

    one = levels(1)
    assert one == levels(1)
    assert one[0] == one[1] == one[2] == one[3]
    assert sorted(one[0]) == LEVELS
    assert len({tuple(levels(seed)[0]) for seed in range(20)}) > 5
    assert any(levels(seed)[0] != levels(seed)[4] for seed in range(5))
