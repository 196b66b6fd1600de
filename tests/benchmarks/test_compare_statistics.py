"""The benchmark of a comparison's intervals, a little of it."""

import numpy as np
from compare_statistics import LEVELS, coverage


def test_most_intervals_hold_the_truth() -> None:
    found = coverage(2, 3, 0.0, 0.03, trials=40, seed=1)
    assert list(found) == ["p50", "p95"]
    for kind in ("value", "ratio"):
        shares, width = found["p50"][kind]
        assert len(shares) == len(LEVELS)
        assert float(np.mean(shares)) > 0.85  # standard error: 3 of 100
        assert 0.02 < width < 0.5
