"""Intervals over few repeats hold the truth as often as they say."""

import math

import numpy as np
import pytest

from harness.comparing.noise import Spread, interval, log_variance, own_spread, paired_spread

TRIALS = 600


@pytest.mark.parametrize("repeats", [2, 3, 5])
@pytest.mark.parametrize(
    ("shared", "visit", "cell"), [(0.05, 0.0, 0.02), (0.02, 0.03, 0.01), (0.0, 0.1, 0.01)]
)
def test_95_of_100_hold_the_truth(repeats: int, shared: float, visit: float, cell: float) -> None:
    rng = np.random.default_rng(repeats)
    builds, levels = 3, 4
    within = np.array([0.03, 0.02, 0.01, 0.01]) ** 2
    held = {"own": 0, "ratio": 0}
    for _ in range(TRIALS):
        logs = (
            rng.normal(0, shared, (1, 1, repeats))
            + rng.normal(0, visit, (builds, 1, repeats))
            + rng.normal(0, cell, (builds, levels, repeats))
            + rng.normal(0, 1, (builds, levels, repeats)) * np.sqrt(within)[None, :, None]
        )
        own, paired = own_spread(logs, within), paired_spread(logs, within)
        level = int(rng.integers(levels))
        means = logs[:, level].mean(axis=1)
        value = interval(means[1], own.levels[level], own.df, repeats)
        ratio = interval(means[1] - means[0], 2 * paired.levels[level], paired.df, repeats)
        assert value is not None
        assert ratio is not None
        held["own"] += value[0] <= 0 <= value[1]
        held["ratio"] += ratio[0] <= 0 <= ratio[1]
    # Their standard error is 0.009. Two repeats in which one cause outweighs all others hold it 91
    # times in 100 (benchmarks/compare_statistics.py).
    least = 0.89 if repeats == 2 else 0.92
    assert least <= held["own"] / TRIALS <= 0.98
    assert least <= held["ratio"] / TRIALS <= 0.98


def test_what_all_levels_of_a_visit_share_is_one_observation() -> None:
    rng = np.random.default_rng(1)
    apart = rng.normal(0, 0.1, (3, 4, 2))
    together = np.repeat(rng.normal(0, 0.1, (3, 1, 2)), 4, axis=1)
    none = np.zeros(4)
    assert own_spread(apart, none).df > 5
    assert own_spread(together, none).df <= 3
    assert paired_spread(together, none).df == pytest.approx(2)


def test_what_a_repeat_does_to_all_is_no_noise_of_a_ratio() -> None:
    rng = np.random.default_rng(2)
    logs = rng.normal(0, 0.2, (1, 4, 3)) + rng.normal(0, 0.01, (2, 4, 3))
    own, paired = own_spread(logs, np.zeros(4)), paired_spread(logs, np.zeros(4))
    assert paired.levels[0] < own.levels[0] / 50


def test_one_repeat_says_nothing_and_equal_values_are_certain() -> None:
    assert own_spread(np.zeros((2, 3, 1)), np.zeros(3)).df == 0
    assert interval(1.0, 0.1, 0.0, 1) is None
    same = own_spread(np.ones((2, 3, 2)), np.zeros(3))
    assert same == Spread((0.0, 0.0, 0.0), 6.0)
    assert interval(1.0, 0.0, 6.0, 2) == (1.0, 1.0)


def test_a_level_of_few_requests_is_noisier() -> None:
    rng = np.random.default_rng(3)
    within = np.array([0.04, 0.0004])
    logs = rng.normal(0, 1, (2, 2, 5)) * np.sqrt(within)[None, :, None]
    few, many = own_spread(logs, within).levels
    assert few > 1.5 * many


def test_the_variance_of_a_logarithm_is_read_off_an_interval() -> None:
    assert log_variance(10.0, (10 / math.exp(0.196), 10 * math.exp(0.196))) == pytest.approx(
        0.01, rel=1e-3
    )
    assert log_variance(10.0, None) == 0
    assert log_variance(10.0, (0.0, 20.0)) == 0
