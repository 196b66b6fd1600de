from __future__ import annotations

import numpy as np
import pytest

from harness.capacity.knee import Curve, fit
from tests.harness.capacity.laws import CLOSED, Law, batch, seen, slots, sweep


def swept(law: Law, noise: float = 0.0, seed: int = 0) -> Curve:
    rng = np.random.default_rng(seed)
    found, _ = sweep(
        lambda n: seen(n, law(n) * float(np.exp(rng.normal(0, noise))), se=noise * law(n)), CLOSED
    )
    curve = fit(*zip(*((one.level, one.throughput, one.se) for one in found), strict=True))
    assert curve is not None
    return curve


@pytest.mark.parametrize(
    ("law", "corner", "plateau"),
    [
        (slots(4), 4, 4),
        (slots(11), 11, 11),
        (slots(100), 100, 100),
        (batch(32, 0.05), 32, 32 / 2.6),
        (lambda n: min(n / 2, 8.0), 16, 8),
    ],
)
def test_a_corner_is_found_where_it_is(law: Law, corner: float, plateau: float) -> None:
    curve = swept(law)
    assert curve.kind == "corner"
    assert curve.knee == pytest.approx(corner, rel=0.02)
    assert curve.plateau == pytest.approx(plateau, rel=0.01)
    assert curve.near is not None
    assert law(curve.near) == pytest.approx(0.95 * plateau, rel=0.02)


def test_without_a_corner_the_knee_is_at_nine_tenths_of_the_limit() -> None:
    """N / (1 + N/2) comes to 2 at most, and to 1.8 with 18."""
    curve = swept(batch(1e9, 0.5))
    assert curve.kind == "gradual"
    assert curve.plateau == pytest.approx(2, rel=0.01)
    assert curve.knee == pytest.approx(18, rel=0.02)


def test_throughput_that_only_grows_has_no_knee() -> None:
    levels = [1.0, 2, 4, 8, 16]
    curve = fit(levels, [3 * n for n in levels], [0.01] * 5)
    assert curve is not None
    assert curve.knee is None
    assert curve.knee_ci95 is None


def test_three_levels_are_too_few() -> None:
    assert fit([1, 2, 4, 4], [1, 2, 2, 2], [0.1] * 4) is None


@pytest.mark.parametrize(
    ("law", "truth"), [(slots(11), 11), (batch(23, 0.05), 23), (batch(1e9, 0.5), 18)]
)
def test_the_interval_holds_the_truth(law: Law, truth: float) -> None:
    curves = [swept(law, 0.02, seed) for seed in range(20)]
    intervals = [curve.knee_ci95 for curve in curves if curve.knee_ci95]
    assert len(intervals) == 20
    assert sum(low <= truth <= high for low, high in intervals) >= 18
    assert np.median([high / low for low, high in intervals]) < 1.5, "and says something"
