from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from loadprofiles.prompts.lengths import (
    Empirical,
    Length,
    LogNormal,
    Normal,
    Uniform,
    longest,
    sample_lengths,
)

LENGTH: TypeAdapter[Any] = TypeAdapter(Length)
UNIFORM = Uniform(kind="uniform", low=16, high=96)
NORMAL = Normal(kind="normal", mean=60, sd=15, low=10, high=110)
LOGNORMAL = LogNormal(kind="lognormal", median=128, sigma=0.35, low=20, high=900)
EMPIRICAL = Empirical(kind="empirical", values=(7, 30, 30, 900), weights=(1, 2, 3, 4))


@st.composite
def lengths(draw: st.DrawFn) -> Length:
    kind = draw(st.sampled_from(["fixed", "uniform", "normal", "lognormal", "empirical"]))
    low = draw(st.integers(1, 5000))
    high = draw(st.integers(low, low + 5000))
    centre = draw(st.floats(low, high))
    if kind == "empirical":
        values = draw(st.lists(st.integers(low, high), min_size=1, max_size=9))
        weights = draw(st.lists(st.floats(0, 1e300), min_size=len(values), max_size=len(values)))
        given = tuple(weights) if max(weights) > 0 else None
        rounds = given is None or draw(st.booleans())
        given = None if rounds else given
        return Empirical(kind="empirical", values=tuple(values), weights=given, rounds=rounds)
    if kind == "fixed":
        return low
    if kind == "uniform":
        return Uniform(kind="uniform", low=low, high=high)
    if kind == "normal":
        sd = draw(st.floats(1e-3, 1e6))
        return Normal(kind="normal", mean=centre, sd=sd, low=low, high=high)
    sigma = draw(st.floats(1e-3, 5))
    return LogNormal(kind="lognormal", median=centre, sigma=sigma, low=low, high=high)


@given(lengths(), st.integers(0, 200), st.integers(0, 2**63))
def test_any_length_lies_within_its_bounds(length: Length, count: int, seed: int) -> None:
    drawn = sample_lengths(length, count, np.random.default_rng(seed))
    low = length if isinstance(length, int) else length.low
    assert drawn.dtype == np.int64
    assert drawn.shape == (count,)
    assert np.all((drawn >= low) & (drawn <= longest(length)))
    more = sample_lengths(length, count + 50, np.random.default_rng(seed))
    assert np.array_equal(drawn, more[:count])


def test_uniform_reaches_both_ends_equally() -> None:
    drawn = sample_lengths(UNIFORM, 81_000, np.random.default_rng(1))
    counts = np.bincount(drawn)[16:]
    assert len(counts) == 81
    chi_square = float(((counts - 1000) ** 2 / 1000).sum())
    assert abs(chi_square - 80) < 4 * math.sqrt(160)


def test_normal_has_its_mean_and_deviation() -> None:
    drawn = sample_lengths(NORMAL, 20_000, np.random.default_rng(1))
    assert drawn.mean() == pytest.approx(60, abs=0.4)
    assert drawn.std() == pytest.approx(15, abs=0.4)


def test_lognormal_has_its_median_and_spread() -> None:
    drawn = sample_lengths(LOGNORMAL, 20_000, np.random.default_rng(1))
    assert np.median(drawn) == pytest.approx(128, abs=1.5)
    assert np.log(drawn).std() == pytest.approx(0.35, abs=0.01)


def test_a_histogram_comes_up_in_its_proportions() -> None:
    drawn = sample_lengths(EMPIRICAL, 50_000, np.random.default_rng(1))
    values, counts = np.unique(drawn, return_counts=True)
    assert values.tolist() == [7, 30, 900]
    expected = np.array([0.1, 0.5, 0.4]) * 50_000
    assert float(((counts - expected) ** 2 / expected).sum()) < 13.8  # chi-square, 2 df, 0.1 %


def test_in_rounds_each_value_comes_once_before_any_comes_again() -> None:
    length = Empirical(kind="empirical", values=(16, 128, 1500), rounds=True)
    drawn = sample_lengths(length, 302, np.random.default_rng(1))
    orders = {tuple(part) for part in drawn[:300].reshape(100, 3).tolist()}
    assert {tuple(sorted(order)) for order in orders} == {(16, 128, 1500)}
    assert len(orders) == 6
    assert len(set(drawn[300:].tolist())) == 2
    assert np.array_equal(drawn[:100], sample_lengths(length, 100, np.random.default_rng(1)))


def test_values_without_weight_never_come_up() -> None:
    length = Empirical(kind="empirical", values=(1, 5, 6, 9), weights=(0, 1, 1, 0))
    assert (length.low, longest(length)) == (5, 6)
    assert set(sample_lengths(length, 1000, np.random.default_rng(1)).tolist()) == {5, 6}
    assert length.at(np.array([0.0, np.nextafter(1, 0)])).tolist() == [5, 6]


def test_bounds_carry_no_heap() -> None:
    tight = Normal(kind="normal", mean=50, sd=1000, low=1, high=100)
    counts = np.bincount(sample_lengths(tight, 50_000, np.random.default_rng(1)))
    assert counts[100] < 2 * counts[50]
    assert counts[1] < 2 * counts[50]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "greater than or equal to 1"),
        (True, "valid integer"),
        (12.5, "whole number of tokens, or a table with kind"),
        ("128", "whole number of tokens, or a table with kind"),
        ({"low": 1, "high": 2}, "whole number of tokens, or a table with kind"),
        ({"kind": "gauss", "low": 1, "high": 2}, "whole number of tokens, or a table with kind"),
        ({"kind": "uniform", "low": 9, "high": 2}, "low = 9 is above high = 2; swap them"),
        ({"kind": "uniform", "low": 0, "high": 2}, "uniform.low"),
        ({"kind": "uniform", "low": 1, "high": 2, "mean": 1}, "uniform.mean"),
        ({"kind": "normal", "mean": 5, "sd": 0, "low": 1, "high": 9}, "normal.sd"),
        ({"kind": "normal", "mean": 50, "sd": 1, "low": 1, "high": 9}, "mean = 50 lies outside"),
        ({"kind": "empirical", "values": []}, "at least 1 item"),
        (
            {"kind": "empirical", "values": [3], "weights": [1], "rounds": True},
            "weights say otherwise; leave one of both out",
        ),
        ({"kind": "empirical", "values": [3, 0]}, "empirical.values.1"),
        ({"kind": "empirical", "values": [3, 4], "weights": [1]}, "2 values but 1 weights"),
        ({"kind": "empirical", "values": [3], "weights": [-1]}, "empirical.weights.0"),
        ({"kind": "empirical", "values": [3, 4], "weights": [0, 0]}, "weights are all 0"),
        (
            {"kind": "lognormal", "median": 50, "sigma": 1, "low": 1, "high": 9},
            "median = 50 lies outside low = 1 … high = 9; move median inside",
        ),
    ],
)
def test_impossible_lengths_are_refused_by_name(value: object, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        LENGTH.validate_python(value)
    assert caught.value.error_count() == 1
    assert message in str(caught.value)


def test_lengths_survive_the_manifest() -> None:
    for length in (64, UNIFORM, NORMAL, LOGNORMAL, EMPIRICAL):
        assert LENGTH.validate_json(LENGTH.dump_json(length)) == length
