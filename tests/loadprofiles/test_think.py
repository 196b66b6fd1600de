"""Think times against their distributions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError
from scipy import stats

from loadprofiles.traffic.think import MAX_THINK_S, Exponential, LogNormal, Think, sample_think_ns

EXPONENTIAL = Exponential(kind="exponential", mean=2.0)
LOGNORMAL = LogNormal(kind="lognormal", median=1.5, sigma=0.5)


def draw(think: Think, count: int, seed: int = 1) -> np.ndarray:
    return sample_think_ns(think, count, np.random.default_rng(seed)) / 1e9


def test_exponential_times_are_exponential() -> None:
    times = draw(EXPONENTIAL, 4000)
    assert stats.kstest(times, stats.expon(scale=2).cdf).pvalue > 0.01
    assert stats.kstest(times, stats.expon(scale=2.2).cdf).pvalue < 0.01


def test_lognormal_times_are_lognormal() -> None:
    times = draw(LOGNORMAL, 4000)
    assert stats.kstest(times, stats.lognorm(s=0.5, scale=1.5).cdf).pvalue > 0.01
    assert times.mean() == pytest.approx(1.5 * math.exp(0.5**2 / 2), rel=0.05)


def test_a_number_is_every_time() -> None:
    assert draw(0.25, 3).tolist() == [0.25] * 3


@pytest.mark.parametrize("think", [EXPONENTIAL, LOGNORMAL, 1.0])
def test_a_longer_list_begins_the_same_and_no_time_has_no_end(think: Think) -> None:
    assert np.array_equal(draw(think, 10), draw(think, 1000)[:10])
    assert draw(LogNormal(kind="lognormal", median=3000, sigma=3), 1000).max() == MAX_THINK_S


@pytest.mark.parametrize("value", [0, -1, "soon", {"kind": "normal"}, {"kind": "exponential"}])
def test_impossible_times_are_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Think).validate_python(value)
