from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from evals.compare import compare, pair
from evals.errors import PairError

if TYPE_CHECKING:
    from conftest import Answers

    from evals.records import Answer


def right(n11: int, n10: int, n01: int, n00: int) -> tuple[list[float], list[float]]:
    """Scores of the baseline and of ours for a table: first digit the baseline's."""
    counts = [n11, n10, n01, n00]
    baseline = np.repeat([1.0, 1.0, 0.0, 0.0], counts)
    return baseline.tolist(), np.repeat([1.0, 0.0, 1.0, 0.0], counts).tolist()


def test_a_table_of_pairs(answers: Answers) -> None:
    baseline, ours = right(80, 9, 2, 9)
    found = compare(answers(ours), answers(baseline), build="fp16")
    assert (found.build, found.pairs, found.score, found.baseline_score) == (
        "fp16",
        100,
        0.82,
        0.89,
    )
    assert found.difference == pytest.approx(-0.07)
    assert found.retained == pytest.approx(82 / 89)
    assert found.flips is not None
    assert (found.flips.lost, found.flips.gained, found.flips.rate) == (9, 2, 0.11)
    assert found.p_value == pytest.approx(mcnemar([[80, 9], [2, 9]], exact=True).pvalue)


def test_errors_on_either_side_drop_the_pair_and_are_counted(answers: Answers) -> None:
    ours = answers([1, 1, 1, 0], outcome=["error", "scored", "scored", "scored"])
    baseline = answers([1, 1, 1, 1], outcome=["scored", "error", "scored", "scored"])
    found = compare(ours, baseline)
    assert (found.pairs, found.errors, found.score, found.baseline_score) == (2, 2, 0.5, 1)
    assert "2 pairs left out" in found.notes[0]


def test_items_of_one_side_are_counted(answers: Answers) -> None:
    found = compare(answers([1] * 5), answers([1] * 8)[2:])
    assert (found.pairs, found.only_ours, found.only_baseline) == (3, 2, 3)


@pytest.mark.parametrize(
    ("field", "value", "remedy"),
    [
        ("route", "label", "--route"),
        ("prompt_hash", "other", "suite"),
        ("metric", "f1", "grader"),
        ("expected", "other", "gold"),
    ],
)
def test_what_was_asked_differently_is_refused(
    answers: Answers, field: str, value: str, remedy: str
) -> None:
    with pytest.raises(PairError, match=f"3 of 3 items differ in {field}.*{remedy}"):
        compare(answers([1, 0, 1], **{field: value}), answers([1, 0, 1], **{field: "echo"}))


def test_nothing_in_common_and_twice_the_same_are_refused(answers: Answers) -> None:
    with pytest.raises(PairError, match="no item in common"):
        compare(answers([1]), answers([1, 1])[1:])
    with pytest.raises(PairError, match="item-0 is twice among the answers of ours"):
        compare(answers([1]) * 2, answers([1]))


def test_items_of_two_tasks_may_have_one_name(answers: Answers) -> None:
    two = answers([1, 0], task=["a", "b"], item="same")
    assert compare(two, two).pairs == 2


def test_all_pairs_in_error_compare_nothing(answers: Answers) -> None:
    found = compare(answers([0], outcome="error"), answers([1]))
    assert (found.pairs, found.difference, found.noninferiority) == (0, None, None)
    assert "nothing is compared" in found.notes[-1]


@pytest.mark.parametrize(
    ("table", "verdict"),
    [((900, 10, 12, 78), "PASS"), ((800, 100, 10, 90), "FAIL"), ((80, 5, 3, 12), "INCONCLUSIVE")],
)
def test_three_verdicts(answers: Answers, table: tuple[int, int, int, int], verdict: str) -> None:
    baseline, ours = right(*table)
    tested = compare(answers(ours), answers(baseline), margin=0.03).noninferiority
    assert tested is not None
    assert tested.verdict == verdict
    assert (tested.items_needed is not None) == (verdict == "INCONCLUSIVE")
    if tested.items_needed is not None:
        assert tested.items_needed > sum(table)


def test_many_pairs_agree_with_students_t(answers: Answers) -> None:
    baseline, ours = right(7000, 600, 540, 1860)
    found = compare(answers(ours), answers(baseline), margin=0.01)
    d = np.array(ours) - baseline
    wanted = stats.ttest_1samp(d, -0.01, alternative="greater")
    assert found.noninferiority is not None
    assert found.noninferiority.p_pass == pytest.approx(wanted.pvalue, rel=0.02)
    assert found.difference_ci95 == pytest.approx(
        tuple(stats.ttest_1samp(d, 0).confidence_interval()), abs=2e-5
    )
    assert found.noninferiority.bound == pytest.approx(
        -stats.ttest_1samp(d, 0).confidence_interval(0.9)[0], abs=2e-5
    )


def test_whole_clusters_that_flip_are_less_sure(answers: Answers) -> None:
    baseline, ours = right(240, 30, 10, 20)
    alone = compare(answers(ours), answers(baseline))
    names = [f"t{number // 10}" for number in range(300)]
    clustered = compare(answers(ours, cluster=names), answers(baseline, cluster=names))
    assert clustered.clusters == 30
    assert alone.difference_ci95 is not None
    assert clustered.difference_ci95 is not None
    assert np.ptp(clustered.difference_ci95) > 2 * np.ptp(alone.difference_ci95)
    assert clustered.difference == alone.difference


def test_few_clusters_are_told(answers: Answers) -> None:
    names = [f"t{number % 4}" for number in range(100)]
    baseline, ours = right(80, 5, 5, 10)
    found = compare(answers(ours, cluster=names), answers(baseline, cluster=names))
    assert "4 clusters" in found.notes[0]
    one = compare(answers(ours, cluster="x"), answers(baseline, cluster="x"))
    assert one.difference_ci95 is None
    assert one.noninferiority is not None
    assert one.noninferiority.verdict == "INCONCLUSIVE"


def test_the_category_that_lost_is_named_and_holm_corrects(answers: Answers) -> None:
    kinds = [f"k{number % 6}" for number in range(600)]
    baseline = [1.0] * 600
    ours = [0.0 if number % 6 == 4 and number % 5 == 0 else 1.0 for number in range(600)]
    ours[1] = ours[7] = ours[13] = 0.0  # three of k1: a chance of 1 in 8, no regression
    found = compare(answers(ours, category=kinds), answers(baseline, category=kinds))
    assert found.regressed == ["k4"]
    assert found.worst == "k4"
    part, other = found.categories["k4"], found.categories["k1"]
    assert part.difference == pytest.approx(-0.2)
    assert part.p_lost == pytest.approx(0.5**20)
    assert part.p_holm == pytest.approx(6 * 0.5**20)
    assert other.p_lost == pytest.approx(0.125)
    assert other.p_holm == pytest.approx(0.625)


def test_no_loss_has_no_worst_category(answers: Answers) -> None:
    kinds = ["a", "b"] * 20
    same = answers([1, 0] * 20, category=kinds)
    found = compare(same, same)
    assert (found.regressed, found.worst, found.p_value) == ([], None, 1.0)


def test_flips_near_a_tie_and_confident_ones(answers: Answers) -> None:
    likely = [[-1.0, -1.01], [-0.1, -2.5], [-0.1, -2.5]]
    baseline = answers([1, 1, 1], loglikelihoods=likely, choice=0)
    ours = answers([0, 0, 1], loglikelihoods=[[-1, -1]] * 3, choice=[1, 1, 0])
    flips = compare(ours, baseline).flips
    assert flips is not None
    assert (flips.lost, flips.near_tie, flips.confident) == (2, 1, 1)
    unknown = compare(answers([0, 1]), answers([1, 1])).flips
    assert unknown is not None
    assert unknown.near_tie is None


def test_above_chance_is_known_from_the_choices_or_given(answers: Answers) -> None:
    baseline, ours = right(50, 10, 5, 35)
    two = {"loglikelihoods": [[-1.0, -2.0]] * 100, "choice": 0}
    found = compare(answers(ours, **two), answers(baseline, **two)).above_chance
    assert found is not None
    assert found.share == pytest.approx((0.55 - 0.5) / (0.6 - 0.5))
    named = {"category": "yes-no"}
    given = compare(answers(ours, **named), answers(baseline, **named), chance={"yes-no": 0.25})
    assert given.above_chance is not None
    assert given.above_chance.share == pytest.approx(0.3 / 0.35)
    assert compare(answers(ours), answers(baseline)).above_chance is None


def test_ship_only_if_every_task_passes(answers: Answers) -> None:
    good, same = right(1900, 10, 10, 80)
    bad, worse = right(1500, 300, 20, 180)
    tasks = ["good"] * 2000 + ["bad"] * 2000
    found = compare(answers(same + worse, task=tasks), answers(good + bad, task=tasks))
    verdicts = {n: p.noninferiority.verdict for n, p in found.tasks.items() if p.noninferiority}
    assert verdicts == {"good": "PASS", "bad": "FAIL"}
    assert found.noninferiority is not None
    assert found.noninferiority.verdict == "FAIL"
    assert found.regressed == ["bad"]
    assert found.difference == pytest.approx(-0.14 / 2)
    assert found.retained == pytest.approx((1 + 1520 / 1800) / 2)


def test_a_task_that_lost_is_listed_beside_another_tasks_categories(answers: Answers) -> None:
    good, _ = right(400, 0, 0, 100)
    bad, worse = right(300, 100, 5, 95)
    tasks = ["mmlu"] * 500 + ["arc"] * 500
    kinds = ["law", "anatomy"] * 250 + [""] * 500
    found = compare(
        answers(good + worse, task=tasks, category=kinds),
        answers(good + bad, task=tasks, category=kinds),
    )
    assert found.regressed == ["arc"]
    assert list(found.categories) == ["mmlu/law", "mmlu/anatomy"]
    assert found.categories["mmlu/law"].pairs == 250


def test_bits_per_byte_are_compared_as_byte_perplexity(answers: Answers) -> None:
    bits = {"weight": 100, "metric": "bits_per_byte"}
    found = compare(answers([62, 83], **bits), answers([60, 80], **bits))
    assert found.perplexity is not None
    assert found.perplexity.ratio == pytest.approx(math.exp(5 / 200))
    assert "byte perplexity" in found.notes[0]


def test_truncated_answers_are_counted_on_both_sides(answers: Answers) -> None:
    ours = answers([0] * 8 + [1] * 12, outcome=["truncated"] * 8 + ["scored"] * 12)
    found = compare(ours, answers([1] * 20))
    assert found.outcomes.keys() == {"truncated"}
    shift = found.outcomes["truncated"]
    assert (shift.ours, shift.baseline) == (8, 0)
    assert shift.p_value == pytest.approx(2 * 0.5**8)


def windows(answers: Answers, nats: list[float], tokens: list[float]) -> list[Answer]:
    return answers(nats, weight=tokens, metric="perplexity")


def test_perplexities_are_compared_on_their_windows(answers: Answers) -> None:
    rng = np.random.default_rng(5)
    tokens = rng.integers(200, 500, 40).astype(float)
    base = tokens * rng.normal(2.5, 0.4, 40)
    rise = tokens * rng.normal(0.03, 0.02, 40)
    found = compare(
        windows(answers, (base + rise).tolist(), tokens.tolist()),
        windows(answers, base.tolist(), tokens.tolist()),
    )
    assert found.perplexity is not None
    assert found.perplexity.ratio == pytest.approx(math.exp(rise.sum() / tokens.sum()))
    assert found.score == pytest.approx(math.exp((base + rise).sum() / tokens.sum()))
    assert found.retained == pytest.approx(1 / found.perplexity.ratio)
    low, high = found.perplexity.ci95 or (0, 0)
    assert 1.02 < low < found.perplexity.ratio < high < 1.045
    # The text's own difficulty drops out of the pairs: unpaired the interval is many times wider.
    assert found.difference_ci95 is not None
    assert found.difference_ci95[0] > 0
    assert found.noninferiority is not None
    assert (found.noninferiority.verdict, found.noninferiority.margin) == ("PASS", 0.05)
    assert found.flips is None


@pytest.mark.parametrize(
    ("rise", "noise", "verdict"), [(0.2, 0.01, "FAIL"), (0.04, 0.2, "INCONCLUSIVE")]
)
def test_verdicts_on_perplexity(answers: Answers, rise: float, noise: float, verdict: str) -> None:
    rng = np.random.default_rng(6)
    tokens = [100.0] * 20
    more = (250 + 100 * (rise + noise * rng.standard_normal(20))).tolist()
    found = compare(windows(answers, more, tokens), windows(answers, [250.0] * 20, tokens))
    assert found.noninferiority is not None
    assert found.noninferiority.verdict == verdict


@pytest.mark.parametrize("rise", [0.0, 0.2])
def test_no_verdict_on_perplexity_without_every_window(answers: Answers, rise: float) -> None:
    tokens = [100.0] * 20
    ours = windows(answers, [250 + 100 * rise + n % 3 for n in range(20)], tokens)
    base = windows(answers, [250.0 + n % 2 for n in range(20)], tokens)
    verdict = "FAIL" if rise else "PASS"
    whole = compare(ours, base).noninferiority
    assert whole is not None
    assert whole.verdict == verdict
    ours[7].outcome = "error"
    found = compare(ours, base)
    assert found.noninferiority is not None
    assert found.noninferiority.verdict == "INCONCLUSIVE"
    assert found.score is not None
    assert f"not {verdict}" in found.notes[-1]


def test_other_windows_are_refused(answers: Answers) -> None:
    with pytest.raises(PairError, match="weight"):
        compare(windows(answers, [5], [2]), windows(answers, [5], [3]))


def test_pairs_keep_the_order_of_ours(answers: Answers) -> None:
    ours = answers([1, 0, 1])
    pairs = pair(ours, reversed(answers([0, 0, 1])))
    assert pairs.scores.tolist() == [1, 0, 1]
    assert pairs.baseline_scores.tolist() == [0, 0, 1]
