from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from evals.compare import summarise

if TYPE_CHECKING:
    from conftest import Answers


def test_outcomes_are_counted_and_errors_left_out(answers: Answers) -> None:
    outcomes = ["scored"] * 6 + ["error", "truncated", "unparsed", "empty"]
    score = summarise(answers([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], outcome=outcomes))
    assert (score.items, score.errors, score.truncated, score.unparsed, score.empty) == (
        9, 1, 1, 1, 1,
    )  # fmt: skip
    assert score.score == pytest.approx(4 / 9)
    assert score.ci95 == pytest.approx(proportion_confint(4, 9, method="wilson"), abs=1e-7)
    assert score.interval == "wilson"


def test_nothing_answered_has_no_score(answers: Answers) -> None:
    score = summarise(answers([0, 0], outcome="error"))
    assert (score.items, score.errors, score.score, score.ci95) == (0, 2, None, None)
    assert summarise([]).score is None


def test_categories_have_scores_of_their_own(answers: Answers) -> None:
    score = summarise(answers([1, 0, 1, 1], category=["a", "a", "b", "b"]))
    assert {name: (part.items, part.score) for name, part in score.categories.items()} == {
        "a": (2, 0.5),
        "b": (2, 1.0),
    }


def test_clusters_widen_the_interval(answers: Answers) -> None:
    right = [1] * 60 + [0] * 20
    alike = [f"t{number // 4}" for number in range(80)]
    alone = summarise(answers(right))
    clustered = summarise(answers(right, cluster=alike))
    assert clustered.interval == "wilson by cluster"
    assert clustered.clusters == 20
    assert alone.ci95 is not None
    assert clustered.ci95 is not None
    ratio = (clustered.ci95[1] - clustered.ci95[0]) / (alone.ci95[1] - alone.ci95[0])
    assert 1.8 < ratio < 2.4  # four copies of each: twice as wide, and 19 degrees of freedom


def test_one_cluster_has_no_interval(answers: Answers) -> None:
    score = summarise(answers([1, 0, 1], cluster="all"))
    assert (score.ci95, score.interval, score.clusters) == (None, "none", 1)


def test_the_mean_of_tasks_weighs_tasks_and_subjects_by_size(answers: Answers) -> None:
    tasks = ["mmlu_a"] * 6 + ["mmlu_b"] * 2 + ["arc"] * 2
    right = [1, 1, 1, 1, 1, 1, 0, 0, 1, 0]
    score = summarise(answers(right, task=tasks), groups={"mmlu_a": "mmlu", "mmlu_b": "mmlu"})
    assert {name: part.score for name, part in score.tasks.items()} == {"mmlu": 0.75, "arc": 0.5}
    assert score.score == pytest.approx((0.75 + 0.5) / 2)
    assert score.interval == "by task"


def test_the_mean_of_tasks_has_the_interval_of_independent_errors(answers: Answers) -> None:
    rng = np.random.default_rng(1)
    right = (rng.random(4000) < 0.7).astype(float).tolist()
    tasks = [f"t{number % 2}" for number in range(4000)]
    both, pooled = summarise(answers(right, task=tasks)), summarise(answers(right))
    assert both.ci95 == pytest.approx(pooled.ci95, abs=2e-4)


def test_perplexity_is_of_sums_and_not_of_means(answers: Answers) -> None:
    nats, tokens = [2000.0, 600.0, 15.0], [1000.0, 250.0, 5.0]
    score = summarise(answers(nats, weight=tokens, metric="perplexity"))
    assert score.score == pytest.approx(math.exp(2615 / 1255))
    assert score.score != pytest.approx(np.mean(np.exp(np.divide(nats, tokens))), rel=0.05)
    assert score.ci95 is not None
    assert score.ci95[0] < score.score < score.ci95[1]
    assert score.interval == "ratio by cluster"


def test_no_perplexity_is_below_one(answers: Answers) -> None:
    found = summarise(answers([10.0, 90.0, 20.0], weight=100.0, metric="perplexity"))
    assert found.ci95 is not None
    assert found.ci95[0] == 1


def test_graded_scores_have_an_interval_too(answers: Answers) -> None:
    graded = np.random.default_rng(2).choice([0, 0.25, 0.5, 1], size=400)
    score = summarise(answers(graded.tolist()))
    half = 1.96 * graded.std() / 20
    assert score.interval == "t"
    assert score.ci95 == pytest.approx((graded.mean() - half, graded.mean() + half), abs=2e-3)


def test_perplexities_by_other_units_have_intervals(answers: Answers) -> None:
    rng = np.random.default_rng(3)
    nats = rng.normal(500, 40, 30).tolist()
    units = {"weight": 200, "scores": {"words": 100.0, "bytes": 600.0}, "metric": "perplexity"}
    found = summarise(answers(nats, **units))
    assert found.ci95 is not None
    for name, size in (("word_perplexity", 100), ("byte_perplexity", 600)):
        wanted = [limit ** (200 / size) for limit in found.ci95]
        assert found.further_ci95[name] == pytest.approx(wanted)
    low, high = found.further_ci95["bits_per_byte"]
    assert low < math.fsum(nats) / 30 / 600 / math.log(2) < high


def test_bits_per_byte_are_bits(answers: Answers) -> None:
    found = summarise(answers([60, 80], weight=100, metric="bits_per_byte"))
    assert found.score == pytest.approx(140 / 200 / math.log(2))
    assert found.ci95 is not None
    assert found.ci95[0] < found.score < found.ci95[1]


def test_categories_of_several_tasks_have_their_tasks_name(answers: Answers) -> None:
    one = answers([1, 0, 1], task=["mmlu", "mmlu", "arc"], category=["law", "law", ""])
    assert list(summarise(one).categories) == ["mmlu/law"]
