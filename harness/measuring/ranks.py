"""Tests by ranks: scipy's, for values that may be few, or all alike.

scipy is imported when a test is made: it takes a second, and 100 MiB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from harness.measuring.samples import Floats


def mann_whitney(one: Floats, other: Floats) -> float:
    """Two-sided p that both come from one distribution (Mann & Whitney 1947, ties corrected)."""
    if not one.size or not other.size or np.ptp(np.concatenate([one, other])) == 0:
        return 1.0
    from scipy.stats import mannwhitneyu

    return float(mannwhitneyu(one, other, method="asymptotic").pvalue)


def wilcoxon_less(differences: Floats) -> float:
    """One-sided p that paired differences lie below 0 by chance (Wilcoxon 1945, zeros left out)."""
    some = differences[differences != 0]
    if not some.size:
        return 1.0
    from scipy.stats import wilcoxon

    return float(wilcoxon(some, alternative="less", method="asymptotic").pvalue)
