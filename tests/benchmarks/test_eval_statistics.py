"""The quick version of what is promised of comparisons."""

from __future__ import annotations

import math

import drawn_pairs
import eval_statistics
import pytest
from scipy import stats

from evals.compare.matched import Bounded

SURE = 1e-4
"""Chance that a right procedure is called wrong."""


@pytest.mark.parametrize(
    "part", ["difference", "clusters", "graded", "single", "perplexity", "power", "whole"]
)
def test_what_is_promised_of_comparisons(part: str) -> None:
    rows = list(eval_statistics.PARTS[part](quick=True))
    judged = [row for row in rows if row.goal is not None]
    assert judged
    assert [
        eval_statistics.line(r, verdict=False) for r in judged if not r.passed(doubt=SURE)
    ] == []


def test_students_t_would_be_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def z(self: Bounded, mean: float) -> float:
        return self.mean.t(mean)

    monkeypatch.setattr(Bounded, "z", z)
    rates = eval_statistics.exact_rates(100, 0.04, 0.03)
    assert rates["passed"] == pytest.approx(0.134, abs=0.002)
    rows = list(eval_statistics.rows("t", rates, 100, None))
    assert not rows[0].passed()


def test_clusters_taken_for_independent_would_be_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bounded, "spread", 1.0)
    draw = drawn_pairs.pairs_of(300, 0.10, -0.03, clusters=30, icc=0.1)
    rates = eval_statistics.difference_rates(draw, 0.03, 500, 1)
    row = next(eval_statistics.rows("naive", rates, 300, 500))
    assert not row.passed(doubt=SURE)


def test_the_population_is_the_one_asked_for() -> None:
    rng = eval_statistics.np.random.default_rng(1)
    draw = drawn_pairs.pairs_of(20_000, 0.10, -0.03, accuracy=0.7, clusters=2_000, icc=0.1)
    ours, baseline, cluster = draw(rng)
    assert baseline.mean() == pytest.approx(0.7, abs=0.015)
    assert (ours - baseline).mean() == pytest.approx(-0.03, abs=0.01)
    assert (ours != baseline).mean() == pytest.approx(0.10, abs=0.01)
    # The design effect of clusters of m is 1 + (m - 1) · ICC.
    assert Bounded.of(ours - baseline, cluster).spread == pytest.approx(1.9, abs=0.25)


def test_a_simulated_share_is_given_the_doubt_of_its_runs() -> None:
    row = eval_statistics.Row("", 0.075, eval_statistics.TYPE_ONE, 200)
    assert not row.passed()
    assert row.passed(doubt=SURE)
    assert not eval_statistics.Row("", 0.075, eval_statistics.TYPE_ONE, 20_000).passed(doubt=SURE)
    assert not eval_statistics.Row("", 0.061, eval_statistics.TYPE_ONE, None).passed(doubt=SURE)
    assert stats.binom.sf(14, 200, 0.06) > SURE
    assert eval_statistics.Row("", math.nan, None, 1).passed() is None
