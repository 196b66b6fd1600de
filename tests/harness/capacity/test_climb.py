from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.capacity.climb import CLOSE, CLOSE_RATE, Ask, step
from tests.harness.capacity.laws import CLOSED, OPEN, at_rate, batch, seen, slots, sweep


def test_streams_double_until_throughput_grows_no_more_and_then_come_those_around_the_knee() -> (
    None
):
    found, stop = sweep(lambda n: seen(n, slots(4)(n)), CLOSED)
    levels = [one.level for one in found]
    assert levels[:5] == [1, 2, 4, 8, 12]
    assert set(levels[5:]) <= {3, 5, 6}
    assert levels[5:]
    assert stop.why == "saturated"


@pytest.mark.parametrize("count", [1, 2, 7, 23, 100])
def test_neighbours_of_the_knee_are_measured(count: int) -> None:
    found, stop = sweep(lambda n: seen(n, slots(count)(n)), CLOSED)
    levels = sorted(one.level for one in found)
    assert stop.why == "saturated"
    below = max(level for level in levels if level <= count)
    above = min(level for level in levels if level > count)
    assert above / below <= CLOSE**2 or above - below <= 1 + below


def test_a_range_and_a_number_of_levels_bound_a_sweep() -> None:
    found, stop = sweep(lambda n: seen(n, n), replace(CLOSED, low=2, high=20))
    assert [one.level for one in found] == [2, 4, 8, 16, 20]
    assert stop.why == "range"
    found, stop = sweep(lambda n: seen(n, n), replace(CLOSED, cells=4))
    assert [one.level for one in found] == [1, 2, 4, 8]
    assert stop.why == "levels"


@pytest.mark.parametrize(("change", "why"), [("client_was_slow", "client"), ("failing", "failing")])
def test_a_level_that_shows_something_else_ends_it(change: str, why: str) -> None:
    def measure(n: float) -> object:
        return seen(n, n, **{change: n >= 8})

    found, stop = sweep(measure, CLOSED)  # type: ignore[arg-type]
    assert [one.level for one in found] == [1, 2, 4, 8]
    assert stop.why == why
    rated, stop = sweep(lambda r: replace(at_rate(50, r), **{change: r >= 8}), OPEN)  # type: ignore[arg-type]
    assert stop.why == why
    assert max(one.level for one in rated) == 8


def test_where_nobody_answers_there_is_no_second_level() -> None:
    assert sweep(lambda n: seen(n, 0.0, failing=True), CLOSED)[1].why == "unanswered"


def test_one_step_without_gain_is_confirmed_by_a_smaller_one() -> None:
    ask = step(CLOSED, [seen(n, min(n, 4)) for n in (1, 2, 4, 8)])
    assert isinstance(ask, Ask)
    assert ask.level == 12
    ask = step(CLOSED, [*(seen(n, min(n, 4)) for n in (1, 2, 4, 8)), seen(12, 4.6)])
    assert isinstance(ask, Ask)
    assert ask.level == 24, "throughput grew after all"


@pytest.mark.parametrize("limit", [1.3, 7, 40, 333])
def test_rates_bracket_the_limit_of_an_open_loop(limit: float) -> None:
    found, stop = sweep(lambda rate: at_rate(limit, rate), OPEN)
    assert stop.why == "saturated"
    held = max(one.level for one in found if not one.saturated)
    over = min(one.level for one in found if one.saturated)
    assert held <= limit < over
    assert over / held <= CLOSE_RATE * 1.01


def test_an_open_loop_begins_with_a_light_load() -> None:
    """2/s of 5 s each are ten at a time: far from light."""
    found, _ = sweep(lambda rate: at_rate(7, rate, alone_s=5.0), replace(OPEN, least=0.01))
    assert min(one.level for one in found) == pytest.approx(0.05)
    found, _ = sweep(lambda rate: at_rate(7, rate, alone_s=5.0), replace(OPEN, least=2))
    assert min(one.level for one in found) == 2, "lower rates send too little in the window"
    found, _ = sweep(lambda rate: at_rate(300, rate, alone_s=0.01), OPEN)
    assert [one.level for one in found][:2] == [2, 50], "and goes up at once where it is too light"


@given(
    cap=st.floats(1, 400),
    share=st.floats(0, 1),
    low=st.integers(1, 8),
    cells=st.integers(4, 24),
    noise=st.lists(st.floats(0.9, 1.1), min_size=24, max_size=24),
)
def test_every_sweep_ends_within_its_bounds(
    cap: float, share: float, low: int, cells: int, noise: list[float]
) -> None:
    bounds = replace(CLOSED, low=low, cells=cells)
    luck = iter(noise)
    found, stop = sweep(lambda n: seen(n, batch(cap, share)(n) * next(luck)), bounds)
    assert len(found) <= cells
    assert all(low <= one.level <= bounds.high for one in found)
    assert stop.text
