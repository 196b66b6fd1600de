from __future__ import annotations

import numpy as np
import pytest

from evals.compare.matched import Bounded
from evals.power import design_effect, items_needed, margin_reachable, reach


@pytest.mark.parametrize(
    ("flips", "margin", "items"),
    [
        (0.05, 0.01, 3092),
        (0.10, 0.01, 6183),
        (0.15, 0.02, 2319),
        (0.10, 0.03, 687),
        (0.05, 0.05, 124),
    ],
)
def test_items_for_a_margin(flips: float, margin: float, items: int) -> None:
    assert items_needed(margin, flips) == pytest.approx(items, abs=1)


@pytest.mark.parametrize(
    ("items", "points"), [(14042, 0.66), (10042, 0.78), (1172, 2.3), (1267, 2.2), (300, 4.5)]
)
def test_margin_for_the_items_at_hand(items: int, points: float) -> None:
    assert 100 * margin_reachable(items, 0.10) == pytest.approx(points, abs=0.05)


def test_the_two_are_inverse() -> None:
    needed = items_needed(0.02, 0.12, power=0.9, effect=1.7)
    assert needed is not None
    assert margin_reachable(needed, 0.12, power=0.9, effect=1.7) == pytest.approx(0.02, rel=1e-3)


def share_passed(
    n: int, flips: float, margin: float, difference: float, *, clusters: int | None = None
) -> tuple[float, float]:
    rng = np.random.default_rng(9)
    passed = failed = 0
    runs = 600
    for _ in range(runs):
        lost, gained = (flips - difference) / 2, (flips + difference) / 2
        if clusters:
            size = n // clusters
            shares = rng.dirichlet(np.array([lost, gained, 1 - flips]) * (1 / 0.05 - 1), clusters)
            cluster = np.repeat(np.arange(clusters), size)
            chance = shares[cluster]
        else:
            cluster = np.arange(n)
            chance = np.tile([lost, gained, 1 - flips], (n, 1))
        draw = rng.random(len(cluster))
        d = np.where(draw < chance[:, 0], -1.0, np.where(draw < chance[:, :2].sum(1), 1.0, 0.0))
        values = Bounded.of(d, cluster)
        passed += values.p_above(-margin) < 0.05
        failed += values.p_below(-margin) < 0.05
    return passed / runs, failed / runs


def test_the_power_asked_for_is_the_power_simulated() -> None:
    n = items_needed(0.03, 0.10)
    assert n is not None
    assert share_passed(n, 0.10, 0.03, 0.0)[0] == pytest.approx(0.8, abs=0.05)


def test_a_build_beyond_the_margin_fails_with_that_power() -> None:
    n = items_needed(0.02, 0.15, difference=-0.06)
    assert n is not None
    assert share_passed(n, 0.15, 0.02, -0.06)[1] == pytest.approx(0.8, abs=0.06)


def test_clusters_cost_what_the_design_effect_says() -> None:
    effect = design_effect(20, 0.05)
    n = items_needed(0.04, 0.10, effect=effect)
    assert n is not None
    clusters = round(n / 20)
    assert share_passed(clusters * 20, 0.10, 0.04, 0.0, clusters=clusters)[0] == pytest.approx(
        0.8, abs=0.07
    )
    assert share_passed(round(n / effect), 0.10, 0.04, 0.0, clusters=clusters)[0] < 0.75


def test_equal_builds_without_flips_need_items_too() -> None:
    n = items_needed(0.02, 0.0)
    assert n == 133
    assert Bounded.of(np.zeros(n), np.arange(n)).p_above(-0.02) < 0.05
    assert Bounded.of(np.zeros(n - 2), np.arange(n - 2)).p_above(-0.02) > 0.05


def test_no_number_of_items_tells_a_build_at_the_margin() -> None:
    assert items_needed(0.02, 0.1, difference=-0.02) is None


@pytest.mark.parametrize(
    ("margin", "flips", "power"), [(0, 0.1, 0.8), (0.02, 1.5, 0.8), (0.02, 0.1, 1.0)]
)
def test_shares_out_of_range_are_refused(margin: float, flips: float, power: float) -> None:
    with pytest.raises(ValueError, match="is not"):
        items_needed(margin, flips, power=power)
    with pytest.raises(ValueError, match="is none"):
        margin_reachable(0, 0.1)


def test_what_items_reach() -> None:
    alone = reach(300, margin=0.02)
    assert (alone.items_needed, alone.design_effect) == (1546, 1.0)
    assert reach(14042, margin=0.02).margin < 0.02 < alone.margin
    clustered = reach(300, margin=0.02, clusters=30)
    assert clustered.design_effect == pytest.approx(1.45)
    assert clustered.margin > alone.margin
