from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.measuring import stats
from harness.measuring.measurement import Stat

finite = st.floats(min_value=-1e9, max_value=1e9, allow_nan=False)


def rng() -> np.random.Generator:
    return stats.rng_for("test")


def test_nothing_is_described_as_nothing() -> None:
    assert stats.describe([], rng=rng()) == Stat()
    assert stats.describe_pooled([], rng=rng()) == Stat()
    assert stats.describe_pooled([np.array([], dtype=np.int64)], rng=rng()) == Stat()


def test_one_value_has_a_mean_and_no_percentile() -> None:
    stat = stats.describe([7.0], rng=rng())
    assert stat == Stat(mean=7.0, max=7.0, n=1)


@pytest.mark.parametrize(
    ("name", "least"), [("p50", 2), ("p90", 10), ("p95", 20), ("p99", 100), ("p99_9", 1000)]
)
def test_a_percentile_is_withheld_below_one_over_one_minus_q(name: str, least: int) -> None:
    values = np.arange(least, dtype=float)
    assert getattr(stats.describe(values[:-1], rng=rng()), name) is None
    expected = np.percentile(values, float(name[1:].replace("_", ".")))
    assert getattr(stats.describe(values, rng=rng()), name) == pytest.approx(expected)


@given(st.lists(finite, min_size=1, max_size=300), st.floats(0, 1))
def test_percentiles_are_numpys(values: list[float], share: float) -> None:
    ordered = np.sort(np.array(values))
    assert stats.percentile(ordered, share) == pytest.approx(
        float(np.quantile(ordered, share)), rel=1e-12, abs=1e-6
    )


def test_p95_of_a_speed_is_the_slow_side() -> None:
    stat = stats.describe(range(1, 102), rng=rng(), slow="low")
    assert stat.p95 == pytest.approx(6.0)
    assert stat.p50 == 51.0
    assert stat.max == 101.0
    low, high = stat.ci95["p95"]
    assert low <= 6.0 <= high < 51.0


def test_failures_count_as_infinite() -> None:
    stat = stats.describe([1.0] * 90 + [math.inf] * 10, rng=rng())
    assert (stat.n, stat.n_infinite) == (100, 10)
    assert stat.mean is None
    assert stat.max is None
    assert stat.p50 == 1.0
    assert stat.p90 is None  # rank 89.1: between the last finite and the first infinite value
    assert stat.p95 is None
    assert stat.ci95 == {"p50": (1.0, 1.0)}


def test_a_percentile_exactly_at_the_last_finite_value_is_given() -> None:
    assert stats.percentile(np.array([1.0, 2.0, math.inf]), 0.5) == 2.0
    assert stats.percentile(np.array([1.0, 2.0, math.inf]), 0.51) is None


def test_only_failures() -> None:
    stat = stats.describe([math.inf] * 30, rng=rng())
    assert stat == Stat(n=30, n_infinite=30)


@pytest.mark.parametrize("bad", [math.nan, -math.inf])
def test_no_number_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="numbers"):
        stats.describe([1.0, bad], rng=rng())
    with pytest.raises(ValueError, match="finite"):
        stats.describe_pooled([np.array([1.0, bad])], rng=rng())


@given(st.lists(finite, max_size=80), st.randoms(use_true_random=False))
def test_order_does_not_matter(values: list[float], random: object) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert stats.describe(values, rng=rng()) == stats.describe(shuffled, rng=rng())


@given(st.lists(st.floats(0, 1e6), min_size=20, max_size=80), st.floats(-1e6, 1e6))
def test_a_shift_shifts_everything(values: list[float], shift: float) -> None:
    here = stats.describe(values, rng=rng())
    there = stats.describe([value + shift for value in values], rng=rng())
    for name in ("mean", "p50", "p90", "p95", "max"):
        assert getattr(there, name) == pytest.approx(getattr(here, name) + shift, abs=1e-6)
    for name, ends in here.ci95.items():
        assert there.ci95[name] == pytest.approx([end + shift for end in ends], abs=1e-6)


@given(st.lists(finite, min_size=20, max_size=200))
def test_the_figures_lie_in_order(values: list[float]) -> None:
    stat = stats.describe(values, rng=rng())
    assert stat.p50 is not None
    assert stat.p90 is not None
    assert stat.p95 is not None
    assert stat.max is not None
    assert min(values) <= stat.p50 <= stat.p90 <= stat.p95 <= stat.max == max(values)
    low, high = stat.ci95["p50"]
    assert min(values) <= low <= high <= max(values)


def test_the_shortcut_is_the_percentile_bootstrap() -> None:
    values = np.random.default_rng(1).exponential(size=300)
    draws = np.random.default_rng(2).choice(values, (4000, 300))
    stat = stats.describe(values, rng=rng())
    for name, share in (("p50", 0.5), ("p95", 0.95)):
        expected = np.quantile(np.quantile(draws, share, axis=1), (0.025, 0.975))
        width = expected[1] - expected[0]
        assert stat.ci95[name] == pytest.approx(expected, abs=0.12 * width)


def test_the_shortcut_is_exact_for_few_values() -> None:
    values = np.array([1.0, 10.0, 100.0, 1000.0])
    draws = np.random.default_rng(2).choice(values, (200_000, 4))
    brute = np.median(draws, axis=1)
    ours = np.concatenate(
        [stats._independent_replicates(values, 0.5, stats.rng_for(str(n))) for n in range(100)]
    )
    for at in (1.0, 5.5, 10.0, 55.0, 100.0, 550.0, 1000.0):
        assert (ours == at).mean() == pytest.approx((brute == at).mean(), abs=0.006)


def test_pooling_groups_of_one_value_is_the_plain_bootstrap() -> None:
    values = np.array([1.0, 10.0, 100.0, 1000.0])
    weights = np.concatenate([stats._multinomial(4, stats.rng_for(str(n))) for n in range(50)])
    ours = stats._pooled_replicates(values, np.arange(4), weights, 0.5)
    expected = [np.median(np.repeat(values, row.astype(int))) for row in weights]
    assert ours == pytest.approx(expected)


@pytest.mark.parametrize(("count", "size"), [(200, 40), (60, 400), (1500, 8)])
def test_pooled_intervals_are_the_cluster_bootstraps(count: int, size: int) -> None:
    random = np.random.default_rng(count)
    groups = [random.gamma(2, 2, size) * random.lognormal(0, 0.3) for _ in range(count)]
    stat = stats.describe_pooled(groups, rng=rng())
    stacked = np.stack(groups)
    drawn = [stacked[random.integers(0, count, count)].ravel() for _ in range(600)]
    for name, share in (("p50", 0.5), ("p95", 0.95)):
        expected = np.quantile([np.quantile(one, share) for one in drawn], (0.025, 0.975))
        width = expected[1] - expected[0]
        assert stat.ci95[name] == pytest.approx(expected, abs=0.2 * width)
        assert getattr(stat, name) == pytest.approx(np.quantile(stacked, share))


@pytest.mark.parametrize("count", [2, 3, 20])
def test_one_slow_request_that_a_resample_may_miss_widens_the_pooled_interval(count: int) -> None:
    random = np.random.default_rng(count)
    slow = random.normal(10, 0.1, 2000)  # most of the gaps belong to one request
    groups = [slow, *(random.normal(5, 0.1, 2000 // count) for _ in range(count - 1))]
    stat = stats.describe_pooled(groups, rng=rng())
    drawn = [
        np.concatenate([groups[at] for at in random.integers(0, count, count)]) for _ in range(1000)
    ]
    expected = np.quantile([np.quantile(one, 0.95) for one in drawn], (0.025, 0.975))
    assert expected[0] < 6
    assert stat.ci95["p95"] == pytest.approx(expected, abs=0.1)


def test_pooled_intervals_know_that_a_requests_gaps_belong_together() -> None:
    random = np.random.default_rng(5)
    level = random.normal(20, 5, 100)
    together = stats.describe_pooled([np.full(50, one) for one in level], rng=rng())
    apart = stats.describe(np.repeat(level, 50), rng=rng())

    def width(stat: Stat) -> float:
        return stat.ci95["p50"][1] - stat.ci95["p50"][0]

    assert width(together) > 4 * width(apart)


def test_one_request_has_no_pooled_interval() -> None:
    stat = stats.describe_pooled([np.arange(100)], rng=rng(), scale=0.5)
    assert stat.p50 == pytest.approx(24.75)
    assert stat.ci95 == {}


@pytest.mark.parametrize(("n", "p50_least", "p95_least"), [(200, 0.92, 0.88), (1000, 0.92, 0.92)])
def test_intervals_cover_the_truth_nineteen_times_in_twenty(
    n: int, p50_least: float, p95_least: float
) -> None:
    random = np.random.default_rng(20261121)
    trials, hits = 600, {"p50": 0, "p95": 0}
    truth = {"p50": math.log(2), "p95": math.log(20)}
    for _ in range(trials):
        stat = stats.describe(random.exponential(size=n), rng=random)
        for name, true in truth.items():
            low, high = stat.ci95[name]
            hits[name] += low <= true <= high
    assert p50_least <= hits["p50"] / trials <= 0.98
    assert p95_least <= hits["p95"] / trials <= 0.98


def test_pooled_intervals_cover_the_truth_of_clustered_gaps() -> None:
    random = np.random.default_rng(7)
    trials, hits = 150, 0
    for _ in range(trials):
        groups = [random.normal(random.normal(0, 1), 1, 30) for _ in range(120)]
        low, high = stats.describe_pooled(groups, rng=random).ci95["p50"]
        hits += low <= 0 <= high
    assert 0.89 <= hits / trials <= 0.99


def test_the_same_values_give_the_same_bytes_and_other_metrics_other_draws() -> None:
    values = np.random.default_rng(3).exponential(size=50)
    first = stats.describe(values, rng=stats.rng_for("a"))
    assert first == stats.describe(values, rng=stats.rng_for("a"))
    assert first.ci95 != stats.describe(values, rng=stats.rng_for("b")).ci95


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 10**8), max_size=12), max_size=30))
def test_pooling_agrees_with_the_values_in_one_heap(groups: list[list[int]]) -> None:
    arrays = [np.array(group, dtype=np.int64) for group in groups]
    pooled = stats.describe_pooled(arrays, rng=rng(), scale=1e-6)
    heap = stats.describe([value * 1e-6 for group in groups for value in group], rng=rng())
    for name in ("mean", "p50", "p90", "p95", "p99", "max", "n"):
        assert getattr(pooled, name) == pytest.approx(getattr(heap, name))
    for name, (low, high) in pooled.ci95.items():
        assert low <= high, name
        assert heap.max is not None
        assert high <= heap.max + 1e-9


def test_a_hundred_thousand_gaps_take_no_time() -> None:
    random = np.random.default_rng(0)
    groups = [random.integers(1, 10**7, 50) for _ in range(2000)]
    begun = time.process_time()
    stats.describe_pooled(groups, rng=rng())
    assert time.process_time() - begun < 1.0  # some 0.1 s
