from __future__ import annotations

import numpy as np
import pytest

from harness.history.changes import LEAST, MOST, change_points

SERIES = 1000


def found(values: object) -> list[int]:
    return [change.at for change in change_points(values)]  # type: ignore[arg-type]  # arrays do


@pytest.mark.parametrize("kind", ["normal", "heavy tails"])
def test_a_series_of_thirty_without_a_change_seldom_has_one(kind: str) -> None:
    rng = np.random.default_rng(5)
    draw = rng.standard_normal if kind == "normal" else lambda n: rng.standard_t(2, n)
    alarms = sum(bool(found(draw(30))) for _ in range(SERIES))
    # At a true level of 5 % more than 71 of 1,000 come with a probability of 0.2 %.
    assert alarms <= 71


def test_a_step_of_three_deviations_is_found_where_it_is() -> None:
    rng = np.random.default_rng(6)
    near = exact = others = 0
    for _ in range(200):
        values = rng.standard_normal(30)
        values[18:] += 3
        cuts = found(values)
        near += any(abs(cut - 18) <= 1 for cut in cuts)
        exact += 18 in cuts
        others += any(abs(cut - 18) > 1 for cut in cuts)
    assert near >= 190
    assert exact >= 150
    assert others <= 30


def test_a_change_that_went_back_is_two() -> None:
    rng = np.random.default_rng(7)
    both = 0
    for _ in range(100):
        values = rng.standard_normal(40)
        values[15:26] += 4
        cuts = found(values)
        both += any(abs(cut - 15) <= 1 for cut in cuts) and any(abs(cut - 26) <= 1 for cut in cuts)
    assert both >= 90


def test_what_a_change_says() -> None:
    [change] = change_points([10.0, 10.5, 9.5, 10.2, 10.1, 9.9, 20.0, 21.0, 19.0, 20.5, 19.5, 20.2])
    assert change.at == 6
    assert change.before == pytest.approx(10.05)
    assert change.after == pytest.approx(20.1)
    assert change.p_value < 0.01


def test_the_scale_plays_no_part() -> None:
    values = np.concatenate([np.arange(12) % 5, np.arange(12) % 5 + 7.0])
    assert found(values) == found(np.exp(values)) == [12]


def test_equal_values_have_no_change_and_a_new_value_is_one() -> None:
    assert found([0.966] * 30) == []
    assert found([0.966] * 10 + [0.951] * 6) == [10]


def test_one_value_by_itself_is_an_outlier() -> None:
    assert found([10.0 + 0.01 * n for n in (3, 1, 2, 5, 4, 0)] + [99.0] + [10.02] * 8) == []


def test_few_values_show_nothing() -> None:
    for n in range(LEAST):
        assert found([0.0] * (n // 2) + [9.0] * (n - n // 2)) == []


def test_of_many_values_the_last_are_looked_at() -> None:
    values = [0.0] * 50 + [9.0] * MOST
    assert found(values) == []
    assert found([0.0] * 100 + [9.0] * (MOST - 50)) == [100]
