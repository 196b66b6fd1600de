from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.sizing.demand import demand_of
from harness.sizing.replicas import (
    day_of,
    efficiency,
    failing,
    grown,
    serving_for,
    serving_range,
)
from tests.harness.sizing.made import supply, trace

RATES = st.floats(0.01, 1e6)
HEADROOMS = st.floats(0, 0.9)


@pytest.mark.parametrize(
    ("peak", "holds", "headroom", "serving"),
    [
        (100, 10, 0.0, 10),  # exactly: no eleventh for a rounding error
        (100.1, 10, 0.0, 11),
        (100, 10, 0.2, 13),  # 100 / 8 = 12.5
        (96, 10, 0.2, 12),
        (0.3, 0.1, 0.0, 3),  # 0.3 / 0.1 is a little less than 3, and 0.6 / 0.2 a little more
        (0.6, 0.2, 0.0, 3),
        (0.01, 10, 0.5, 1),
    ],
)
def test_replicas_by_hand(peak: float, holds: float, headroom: float, serving: int) -> None:
    assert serving_for(peak, holds, headroom) == serving


@given(RATES, RATES, st.floats(0.01, 1e4), HEADROOMS)
def test_more_demand_never_takes_fewer(a: float, b: float, holds: float, headroom: float) -> None:
    low, high = sorted((a, b))
    assert serving_for(low, holds, headroom) <= serving_for(high, holds, headroom)


@given(RATES, st.floats(0.01, 1e4), HEADROOMS, HEADROOMS)
def test_more_headroom_never_takes_fewer(peak: float, holds: float, a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert serving_for(peak, holds, low) <= serving_for(peak, holds, high)


@given(RATES, st.floats(0.01, 1e4), HEADROOMS)
def test_the_fleet_holds_the_peak_and_one_less_does_not(
    peak: float, holds: float, headroom: float
) -> None:
    n = serving_for(peak, holds, headroom)
    usable = holds * (1 - headroom)
    assert n * usable >= peak * (1 - 1e-8)
    assert n == 1 or (n - 1) * usable < peak


@given(RATES, st.floats(0.01, 1e4), st.floats(1.0, 3.0), HEADROOMS)
def test_the_range_holds_the_number_in_it(
    peak: float, low: float, factor: float, headroom: float
) -> None:
    high = low * factor
    found = serving_range(peak, (low, high), headroom)
    assert found is not None
    assert found[0] is not None
    assert found[1] is not None
    assert found[0] <= serving_for(peak, (low + high) / 2, headroom) <= found[1]


def test_a_side_that_nothing_bounds_stays_open() -> None:
    assert serving_range(100, (10.0, None), 0.0) == (None, 10)
    assert serving_range(100, (0.0, 20.0), 0.0) == (5, None)
    assert serving_range(100, None, 0.0) is None


def test_what_is_left_when_replicas_fail() -> None:
    # 30/s at four replicas of 10/s: three hold it, two do not
    found = failing(30, 4, 10, 2)
    assert [(one.failed, one.load, one.holds) for one in found] == [
        (0, 0.75, True), (1, 1.0, True), (2, 1.5, False),
    ]  # fmt: skip
    assert failing(5, 1, 10, 3)[-1].load is None, "nothing is left of one"


def test_growth_is_compound() -> None:
    assert grown(100, 0.1, 0) == 100
    assert grown(100, 0.1, 2) == pytest.approx(121)
    assert grown(100, -0.5, 1) == 50


def test_a_day_by_its_windows() -> None:
    # windows of 10 s with 10, 30 and 0 arrivals; a last one that is cut off is no window
    times = [*range(10), *(10 + n / 3 for n in range(30)), 31.0]
    demand = demand_of(trace(times), "t.csv", 10.0)
    assert demand.rates == [1.0, 3.0, 0.0]
    day = day_of(demand, 1.0, 0.0, 1, 4)
    assert day is not None
    assert day.replicas == [2, 4, 2]
    assert day.replica_hours == pytest.approx(8 * 10 / 3600)
    assert day.replica_hours_fixed == pytest.approx(12 * 10 / 3600)


def test_how_well_servers_add_up() -> None:
    alone = supply(rate=10.0, rate_ci95=(8.0, 12.0))
    four = supply(rate=30.0, rate_ci95=(28.0, 32.0), servers=4)
    assert efficiency(alone, four) == (0.75, (7 / 12, 8 / 8))
    assert efficiency(supply(rate=10.0, rate_between=(10.0, None)), four) == (0.75, (None, 0.8))
    assert efficiency(four, four) is None, "one alone was not measured"
    assert efficiency(alone, alone) is None
    assert efficiency(supply(rate=None), four) is None
