from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats

from evals.compare import pair, quality_score, retained

if TYPE_CHECKING:
    from conftest import Answers


def table(n11: int, n10: int, n01: int, n00: int) -> tuple[np.ndarray, np.ndarray]:
    counts = [n11, n10, n01, n00]
    return np.repeat([1.0, 0, 1, 0], counts), np.repeat([1.0, 1, 0, 0], counts)


def nam_blackwelder(n11: int, n10: int, n01: int, n00: int, ratio: float) -> float:
    """Their score statistic, with the restricted MLE found by a search over the one free share."""
    n = n11 + n10 + n01 + n00
    best = None
    # p01 free; constraint p11 (1 - r) + p01 = r p10, likelihood profiled over a grid of p10, p01.
    for p10 in np.linspace(1e-4, 0.6, 1200):
        for p01 in (p10 * ratio - (1 - ratio) * np.linspace(1e-4, 1, 400)) if ratio != 1 else [p10]:
            p11 = (ratio * p10 - p01) / (1 - ratio)
            p00 = 1 - p11 - p10 - p01
            if min(p11, p01, p00) <= 0:
                continue
            fit = n11 * np.log(p11) + n10 * np.log(p10) + n01 * np.log(p01) + n00 * np.log(p00)
            if best is None or fit > best[0]:
                best = (fit, p10, p01)
    assert best is not None
    _, p10, p01 = best
    return ((n11 + n01) - ratio * (n11 + n10)) / np.sqrt(n * ratio * (p10 + p01))


def test_the_limits_are_where_nam_and_blackwelders_statistic_turns() -> None:
    ours, baseline = table(60, 12, 4, 24)
    found = retained(ours, baseline, np.arange(100))
    assert found.share == pytest.approx(64 / 72)
    assert found.ci95 is not None
    low, high = found.ci95
    assert nam_blackwelder(60, 12, 4, 24, low) == pytest.approx(1.96, abs=0.03)
    assert nam_blackwelder(60, 12, 4, 24, high) == pytest.approx(-1.96, abs=0.06)


def test_many_items_agree_with_the_t_test_of_ours_less_r_times_the_baseline() -> None:
    ours, baseline = table(6500, 500, 400, 2600)
    found = retained(ours, baseline, np.arange(10000))
    assert found.ci95 is not None
    p = stats.ttest_1samp(ours - found.ci95[0] * baseline, 0, alternative="greater").pvalue
    assert p == pytest.approx(0.025, abs=1e-3)


def test_no_flip_is_no_certainty() -> None:
    ours, baseline = table(80, 0, 0, 20)
    found = retained(ours, baseline, np.arange(100))
    assert found.share == 1
    assert found.ci95 is not None
    assert found.ci95[0] < 0.97
    assert found.ci95[1] > 1.02


def test_above_chance_the_same_loss_is_larger() -> None:
    ours, baseline = table(560, 40, 22, 378)
    plain = retained(ours, baseline, np.arange(1000))
    above = retained(ours, baseline, np.arange(1000), chance=0.5)
    assert plain.share == pytest.approx(0.97)
    assert above.share == pytest.approx(0.82)
    assert plain.ci95 is not None
    assert above.ci95 is not None
    assert above.ci95[0] < 0.82 < above.ci95[1]


def test_a_baseline_at_chance_retains_nothing() -> None:
    ours, baseline = table(25, 0, 0, 75)
    assert retained(ours, baseline, np.arange(100), chance=0.25).share is None
    assert retained(np.zeros(4), np.zeros(4), np.arange(4)).share is None


def test_below_chance_a_negative_share_is_retained() -> None:
    ours, baseline = np.array([0.0, 0, 1]), np.array([1.0, 1, 1])
    found = retained(ours, baseline, np.arange(3), chance=0.5)
    assert found.share == pytest.approx(-1 / 3)
    assert found.ci95 is not None
    assert found.ci95[0] < -1 / 3 < found.ci95[1]


def test_one_cluster_has_no_interval() -> None:
    ours, baseline = table(5, 1, 1, 1)
    assert retained(ours, baseline, np.zeros(8, dtype=int)).ci95 is None


def test_the_quality_score_is_the_mean_of_ratios_and_not_the_ratio_of_sums(
    answers: Answers,
) -> None:
    big_ours, big_base = table(900, 0, 0, 100)
    small_ours, small_base = table(25, 25, 0, 50)
    suites = {
        "big": pair(answers(big_ours), answers(big_base)),
        "small": pair(answers(small_ours), answers(small_base)),
    }
    found = quality_score(suites, seed=1)
    assert found.score == pytest.approx((1 + 0.5) / 2)
    assert found.tasks == {"big": 1.0, "small": 0.5}
    assert found.ci95 is not None
    assert found.lower95 is not None
    assert found.ci95[0] < found.lower95 < 0.75 < found.ci95[1]
    assert quality_score(suites, seed=1) == found
    assert quality_score(suites, seed=2).ci95 != found.ci95


def test_tasks_of_a_suite_count_alone_and_perplexity_not_at_all(answers: Answers) -> None:
    both = answers([1, 1, 0, 1], task=["a", "a", "b", "b"])
    texts = answers([10, 20], metric="perplexity", weight=5)
    suites = {"standard": pair(both, both), "text": pair(texts, texts)}
    assert quality_score(suites, seed=0).tasks == {"standard/a": 1.0, "standard/b": 1.0}


def test_the_bootstraps_interval_is_that_of_the_ratios(answers: Answers) -> None:
    ours, baseline = table(650, 50, 40, 260)
    found = quality_score({"one": pair(answers(ours), answers(baseline))}, seed=3)
    wanted = retained(ours, baseline, np.arange(1000)).ci95
    assert found.ci95 == pytest.approx(wanted, abs=4e-3)


def test_nothing_to_retain_has_no_score(answers: Answers) -> None:
    wrong = answers([0, 0])
    assert quality_score({"one": pair(wrong, wrong)}, seed=0).score is None
