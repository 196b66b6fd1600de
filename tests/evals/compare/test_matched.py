from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from statsmodels.stats.proportion import proportion_confint

from evals.compare.matched import Bounded, likeliest


def alone(values: np.ndarray, **bounds: float) -> Bounded:
    return Bounded.of(values.astype(float), np.arange(len(values)), **bounds)


def differences(lost: int, gained: int, same: int) -> np.ndarray:
    return np.repeat([-1.0, 1.0, 0.0], [lost, gained, same])


def tango_closed_form(lost: int, gained: int, n: int, margin: float) -> float:
    """Tango (1998): the quadratic of the restricted MLE of the smaller off-diagonal share."""
    b = (lost + gained) * (1 - margin) - 2 * gained * margin - 2 * (n - lost - gained) * margin
    c = gained * margin * (1 - margin)
    q = (b + math.sqrt(b * b + 8 * n * c)) / (4 * n)
    variance = n * (2 * q + margin - margin**2)
    return (gained - lost + n * margin) / math.sqrt(variance)


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(0, 40), min_size=3, max_size=5).filter(lambda c: sum(c) > 0),
    mean=st.floats(-0.9, 0.9),
)
def test_the_likeliest_distribution_is_that_of_brute_force(counts: list[int], mean: float) -> None:
    support = np.linspace(-1, 1, len(counts))
    seen = np.array(counts, dtype=float)
    found = likeliest(support, seen, mean)
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1, abs=1e-9)
    assert found @ support == pytest.approx(mean, abs=1e-8)

    def loss(share: np.ndarray) -> float:
        return -float((seen * np.log(np.maximum(share, 1e-15))).sum()) / seen.sum()

    brute = optimize.minimize(
        loss,
        np.full(len(counts), 1 / len(counts)),
        bounds=[(0, 1)] * len(counts),
        constraints=[
            {"type": "eq", "fun": lambda p: p.sum() - 1},
            {"type": "eq", "fun": lambda p: p @ support - mean},
        ],
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-14},
    )
    # Never less likely than the best that a general optimiser finds.
    feasible = abs(brute.x.sum() - 1) < 1e-7 and abs(brute.x @ support - mean) < 1e-7
    if feasible:
        assert loss(found) <= loss(np.clip(brute.x, 0, 1)) + 1e-6


@pytest.mark.parametrize("margin", [0.01, 0.02, 0.05])
@pytest.mark.parametrize(
    ("lost", "gained", "n"), [(0, 0, 50), (3, 0, 100), (0, 4, 100), (9, 5, 300)]
)
def test_differences_are_tested_as_tango_does(
    lost: int, gained: int, n: int, margin: float
) -> None:
    z = alone(differences(lost, gained, n - lost - gained)).z(-margin)
    assert z == pytest.approx(tango_closed_form(lost, gained, n, margin), abs=1e-7)


def test_equal_builds_without_a_flip_pass_only_with_enough_items() -> None:
    few, many = alone(np.zeros(100)), alone(np.zeros(200))
    assert few.p_above(-0.02) > 0.05
    assert many.p_above(-0.02) < 0.05
    low, high = many.interval() or (0, 0)
    assert low == pytest.approx(-(1.959964**2) / (200 + 1.959964**2), abs=1e-6)
    assert high == pytest.approx(-low)


@pytest.mark.parametrize(("right", "n"), [(0, 10), (7, 10), (10, 10), (263, 300)])
def test_independent_right_or_wrong_answers_have_wilsons_interval(right: int, n: int) -> None:
    values = np.repeat([1.0, 0.0], [right, n - right])
    interval = alone(values, least=0, greatest=1).interval()
    wanted = proportion_confint(right, n, method="wilson")
    assert interval == pytest.approx(wanted, abs=1e-7)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 300))
def test_limits_are_where_the_test_turns(lost: int, gained: int, same: int) -> None:
    values = alone(differences(lost, gained, same))
    low, high = values.interval() or (math.nan, math.nan)
    quantile = stats.norm.isf(0.025)
    assert -1 <= low <= values.mean.mean <= high <= 1
    if low > -1 + 1e-6:
        assert values.z(low) == pytest.approx(quantile, abs=1e-4)
    if high < 1 - 1e-6:
        assert values.z(high) == pytest.approx(-quantile, abs=1e-4)


def exact_error(n: int, flip_rate: float, margin: float) -> tuple[float, float]:
    """Chance that a build exactly at the margin is called PASS, and FAIL: all outcomes weighed."""
    most = int(n * flip_rate + 9 * math.sqrt(n * flip_rate) + 9)
    lost, gained = (flip_rate + margin) / 2, (flip_rate - margin) / 2
    passed = failed = 0.0
    for i in range(min(n, most) + 1):
        for j in range(min(n - i, most) + 1):
            chance = stats.multinomial.pmf([i, j, n - i - j], n, [lost, gained, 1 - flip_rate])
            if chance < 1e-9:
                continue
            values = alone(differences(i, j, n - i - j))
            passed += chance * (values.p_above(-margin) < 0.05)
            failed += chance * (values.p_below(-margin) < 0.05)
    return passed, failed


def test_on_the_side_of_fail_the_score_test_alone_errs_too_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def score_test_alone(self: Bounded, mean: float) -> float:
        return float(stats.norm.cdf(self.z(mean)))

    monkeypatch.setattr(Bounded, "p_below", score_test_alone)
    assert exact_error(100, 0.04, 0.03)[1] == pytest.approx(0.088, abs=1e-3)


def test_few_flips_do_not_pass_a_build_at_the_margin() -> None:
    passed, failed = exact_error(100, 0.04, 0.03)
    assert passed < 0.05  # Student's t: 0.134
    assert failed < 0.05
    d = differences(3, 0, 97)
    assert stats.ttest_1samp(d, -0.05, alternative="greater").pvalue < 0.15
