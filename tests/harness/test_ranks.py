from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from harness.ranks import mann_whitney, wilcoxon_less


@pytest.mark.parametrize("seed", range(20))
def test_as_scipy_has_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one = rng.integers(0, 12, 40).astype(np.float64)  # with ties
    other = rng.integers(0, 12, 25) + rng.choice([0, 2])
    expected = scipy_stats.mannwhitneyu(one, other, method="asymptotic").pvalue
    assert mann_whitney(one, other) == pytest.approx(expected)
    paired = one[:25] - other
    expected = scipy_stats.wilcoxon(paired, alternative="less", method="asymptotic").pvalue
    assert wilcoxon_less(paired) == pytest.approx(expected)


def test_without_values_nothing_is_told() -> None:
    nothing = np.empty(0)
    assert mann_whitney(nothing, np.ones(3)) == 1.0
    assert mann_whitney(np.ones(4), np.ones(3)) == 1.0
    assert wilcoxon_less(np.zeros(5)) == 1.0
