"""The benchmark of a comparison's intervals, a little of it."""

import numpy as np
from compare_statistics import LEVELS, Setting, coverage


def test_most_intervals_hold_the_truth() -> None:
    found = coverage(Setting(2, 3, 0.0, 0.03), trials=40, seed=1)
    assert list(found) == ["p50", "p95"]
    for kind in ("value", "ratio"):
        one = found["p50"][kind]
        assert len(one.levels) == len(LEVELS)
        assert float(np.mean(one.levels)) > 0.85  # standard error: 3 of 100
        assert 0.02 < one.width < 0.5
        if kind == "ratio":  # 44 % and 84 % of these 40
            assert one.shown[1.1] < 0.65
            assert one.shown[1.2] > 0.65
