from __future__ import annotations

import numpy as np
import pytest

from harness.measuring.ranks import mann_whitney, wilcoxon_less


def test_values_from_one_distribution_and_from_two() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=200), rng.normal(size=150)
    assert mann_whitney(one, other) > 0.01
    assert mann_whitney(one, other + 1) < 1e-9
    assert mann_whitney(other + 1, one) == pytest.approx(mann_whitney(one, other + 1))


def test_pairs_below_zero_and_above() -> None:
    differences = np.array([-3.0, -2, -5, 0, -4, -1, -6, -2, 1, -7, -3, -8])
    assert wilcoxon_less(differences) < 0.01
    assert wilcoxon_less(-differences) > 0.99
    assert wilcoxon_less(differences) == wilcoxon_less(np.append(differences, [0.0, 0]))


def test_without_values_nothing_is_told() -> None:
    nothing = np.empty(0)
    assert mann_whitney(nothing, np.ones(3)) == 1.0
    assert mann_whitney(np.ones(4), np.ones(3)) == 1.0
    assert wilcoxon_less(np.zeros(5)) == 1.0
