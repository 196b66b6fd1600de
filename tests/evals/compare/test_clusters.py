from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.regression.linear_model import OLS

from evals.compare.clusters import clustered_mean, codes, mean_of


def brute(values: np.ndarray, cluster: np.ndarray) -> tuple[float, float]:
    """CR2 and Satterthwaite's degrees of freedom with matrices, as Imbens & Kolesár write them."""
    n = len(values)
    x = np.ones((n, 1))
    bread = np.linalg.inv(x.T @ x)
    hat = x @ bread @ x.T
    residual = values - values.mean()
    meat, columns = 0.0, []
    for g in np.unique(cluster):
        rows = np.flatnonzero(cluster == g)
        block = np.eye(len(rows)) - hat[np.ix_(rows, rows)]
        w, v = np.linalg.eigh(block)
        a = v @ np.diag([1 / math.sqrt(e) if e > 1e-12 else 0.0 for e in w]) @ v.T
        meat += float((x[rows].T @ a @ residual[rows]).item()) ** 2
        columns.append((np.eye(n) - hat)[:, rows] @ a @ x[rows] @ bread)
    big = np.hstack(columns)
    eigen = np.linalg.eigvalsh(big.T @ big)
    return float(bread.item() ** 2 * meat), float(eigen.sum() ** 2 / (eigen**2).sum())


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=2, max_size=7), st.integers(0, 10**6))
def test_variance_and_degrees_of_freedom_are_those_of_the_matrices(
    sizes: list[int], seed: int
) -> None:
    cluster = np.repeat(np.arange(len(sizes)), sizes)
    values = np.random.default_rng(seed).normal(size=len(cluster)).round(3)
    found = mean_of(values, cluster)
    variance, df = brute(values, cluster)
    assert found.variance == pytest.approx(variance, rel=1e-9)
    assert found.df == pytest.approx(df, rel=1e-9)


def test_clusters_of_one_size_have_the_variance_of_statsmodels() -> None:
    values = np.random.default_rng(3).normal(size=60)
    cluster = np.repeat(np.arange(12), 5)
    fitted = OLS(values, np.ones(60)).fit(cov_type="cluster", cov_kwds={"groups": cluster})
    found = mean_of(values, cluster)
    assert math.sqrt(found.variance) == pytest.approx(fitted.bse[0], rel=1e-9)
    assert found.df == pytest.approx(11)


def test_items_alone_have_the_ordinary_standard_error() -> None:
    values = np.random.default_rng(4).normal(size=40)
    found = mean_of(values, np.arange(40))
    assert found.variance == pytest.approx(values.var(ddof=1) / 40)
    assert found.df == pytest.approx(39)


def test_copies_of_an_item_tell_nothing_new() -> None:
    values = np.random.default_rng(5).normal(size=40)
    once = mean_of(values, np.arange(40))
    often = mean_of(np.repeat(values, 7), np.repeat(np.arange(40), 7))
    assert often.variance == pytest.approx(once.variance)
    assert often.df == pytest.approx(once.df)


def test_one_cluster_has_no_variance() -> None:
    found = mean_of(np.array([1.0, 2.0]), np.array([0, 0]))
    assert math.isnan(found.variance)
    assert found.df == 0


def test_labels_are_numbered_as_they_come() -> None:
    assert codes(["b", "a", "b", "c"]).tolist() == [0, 1, 0, 2]


def test_skewness_is_removed_and_the_interval_is_what_the_test_does_not_reject() -> None:
    rng = np.random.default_rng(6)
    sums = rng.gamma(1, 1, 30)
    found = clustered_mean(sums, np.ones(30))
    low, high = found.interval() or (0, 0)
    assert found.skew * math.sqrt(30) == pytest.approx(stats.skew(sums))
    assert high - found.mean > found.mean - low  # the long tail may hide more above
    assert found.p_above(low) == pytest.approx(0.025, abs=1e-9)
    assert found.p_above(high) == pytest.approx(0.975, abs=1e-9)


def test_symmetric_values_have_students_interval() -> None:
    values = np.array([-3.0, -1, 1, 3, -2, 2])
    found = clustered_mean(values, np.ones(6))
    wanted = stats.ttest_1samp(values, 0).confidence_interval()
    assert found.interval() == pytest.approx(tuple(wanted))


def test_values_without_variance_are_certain() -> None:
    found = clustered_mean(np.full(5, 2.0), np.ones(5))
    assert found.interval() == (2, 2)
    assert (found.p_above(1.9), found.p_above(2), found.p_above(2.1)) == (0, 0.5, 1)
