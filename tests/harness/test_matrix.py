"""Which cells a run has."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.load.matrix import Cell, expand


def test_each_build_is_brought_up_once_and_each_repeat_takes_all_levels() -> None:
    cells = expand(["awq", "nf4"], "closed", [1, 32], 2, closed=True)
    assert [cell.id for cell in cells] == [
        "awq-closed-c1-1",
        "awq-closed-c32-1",
        "awq-closed-c1-2",
        "awq-closed-c32-2",
        "nf4-closed-c1-1",
        "nf4-closed-c32-1",
        "nf4-closed-c1-2",
        "nf4-closed-c32-2",
    ]


def test_a_cell_in_the_manifest_and_in_words() -> None:
    [cell] = expand(["awq"], "bursty", [2.5], 1, closed=False)
    assert cell.id == "awq-bursty-r2.5-1"
    assert cell.level_words == "2.5/s"
    assert cell.describe() == {
        "id": "awq-bursty-r2.5-1",
        "build": "awq",
        "profile": "bursty",
        "level": {"rate": 2.5},
        "repeat": 1,
        "lengths": "forced",
        "baseline": None,
    }
    [cell] = expand(["awq"], "closed", [8.0], 1, closed=True)
    assert cell.level_words == "8 streams"
    assert cell.level_value == {"concurrency": 8}
    assert isinstance(cell.level_value["concurrency"], int)


@given(
    levels=st.lists(st.integers(1, 10**12).map(lambda n: n / 1000), min_size=1, unique=True),
    repeats=st.integers(1, 3),
)
def test_no_two_cells_share_a_name(levels: list[float], repeats: int) -> None:
    cells = expand(["a", "b"], "steady", levels, repeats, closed=False)
    assert len({cell.id for cell in cells}) == len(cells) == 2 * len(levels) * repeats
    assert all("e" not in cell.id.removeprefix(f"{cell.build}-steady") for cell in cells)


def test_cells_are_values() -> None:
    cell = Cell(build="a", profile="p", level=1, repeat=1, closed=True)
    assert cell == Cell(build="a", profile="p", level=1, repeat=1, closed=True)


def test_lengths_are_a_dimension_and_the_first_build_is_the_baseline() -> None:
    cells = expand(["a", "b"], "closed", [8.0], 1, closed=True, lengths=("forced", "natural"))
    assert [(cell.id, cell.baseline) for cell in cells] == [
        ("a-closed-c8-1", None),
        ("a-closed-c8-natural-1", None),
        ("b-closed-c8-1", "a-closed-c8-1"),
        ("b-closed-c8-natural-1", "a-closed-c8-natural-1"),
    ]
    assert cells[1].level_words == "8 streams, natural length"
    assert cells[1].describe()["lengths"] == "natural"
