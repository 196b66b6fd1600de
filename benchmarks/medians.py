"""Medians with intervals: what benchmarks that measure in pairs say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Middle:
    """A median over pairs, and its interval."""

    at: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.at:.4f} ({self.low:.4f} … {self.high:.4f})"

    def verdict(self, most: float) -> str:
        """Whether it is at most so much."""
        return "PASS" if self.high <= most else "FAIL" if self.low > most else "INCONCLUSIVE"


def middle(values: Sequence[float], confidence: float = 0.95) -> Middle:
    """Return the median and its interval."""
    interval = stats.quantile_test(list(values)).confidence_interval(confidence)
    return Middle(float(np.median(values)), float(interval.low), float(interval.high))
