from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from evals.records import Answer
from harness.evidence.limits import parse_limit
from harness.gating.answers import tries
from harness.gating.trial import UnknownError

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.gating.trial import Trial

N = 400


def answers(
    right: Callable[[int], bool], *, task: str = "", metric: str = "accuracy"
) -> list[Answer]:
    return [
        Answer(
            item=f"q{number}",
            task=task,
            category=("red", "blue")[number % 2],
            score=float(right(number)),
            metric=metric,
        )
        for number in range(N)
    ]


def trial(rule: str, ours: list[Answer], theirs: list[Answer]) -> Trial:
    [found] = tries(parse_limit(rule), ours, theirs)
    return found


def test_the_same_answers_keep_every_rule() -> None:
    same = answers(lambda n: n % 10 > 0)
    for rule in ("retained(quiz)>=95%", "difference(quiz)>=-2%"):
        found = trial(rule, same, same)
        assert found.p_pass is not None
        assert found.p_pass < 0.05
        assert found.p_fail is not None
        assert found.p_fail > 0.99
    assert trial("retained(quiz)>=95%", same, same).value == 1


def test_a_retained_share_is_the_loss_that_it_allows() -> None:
    theirs = answers(lambda n: n % 10 > 0)  # 90 %
    ours = answers(lambda n: n % 10 > 0 and n % 8 > 0)
    share = trial("retained(quiz)>=95%", ours, theirs)
    points = trial("difference(quiz)>=-4.5%", ours, theirs)
    assert share.p_pass == pytest.approx(points.p_pass)
    assert share.p_fail == pytest.approx(points.p_fail)
    assert share.value == pytest.approx(1 + (points.value or 0) / 0.9)
    assert share.p_fail is not None
    assert share.p_fail < 0.01
    assert "of 90.0 % over 400 items (−" in share.text


def test_the_category_that_lost_most_is_named() -> None:
    theirs = answers(lambda _: True)
    ours = answers(lambda n: n % 2 == 1 or n % 3 > 0)  # red loses a third
    found = trial("retained(quiz)>=95%", ours, theirs)
    assert "red lost most: −33" in found.text
    red, blue = tries(parse_limit("retained(quiz/*)>=90%"), ours, theirs)
    assert (red.name, blue.name) == ("red", "blue")
    assert red.p_fail is not None
    assert red.p_fail < 0.001
    assert blue.p_pass is not None
    assert blue.p_pass < 0.05
    assert red.excess > blue.excess
    assert trial("retained(quiz/blue)>=90%", ours, theirs) == blue


def test_a_task_of_a_suite_by_its_name() -> None:
    both = [*answers(lambda _: True, task="mmlu"), *answers(lambda n: n > 9, task="arc")]
    assert trial("retained(arc)>=90%", both, both).text.startswith("+0.0 points")
    assert "400 items" in trial("retained(mmlu)>=97%", both, both).text
    assert [t.name for t in tries(parse_limit("retained(all)>=90%"), both, both)] == ["mmlu", "arc"]


def test_few_items_say_how_many_more() -> None:
    theirs = answers(lambda _: True)[:40]
    ours = answers(lambda n: n % 13 > 0)[:40]
    found = trial("retained(quiz)>=95%", ours, theirs)
    assert found.p_pass is not None
    assert found.p_pass > 0.05
    assert found.settle is not None
    assert found.settle.endswith("more items")


def test_perplexities() -> None:
    theirs = [
        Answer(item=str(n), metric="token_perplexity", score=30.0 + n % 5, weight=20)
        for n in range(60)
    ]
    ours = [
        Answer(item=a.item, metric=a.metric, score=a.score + 0.4 + 0.01 * (n % 3), weight=20)
        for n, a in enumerate(theirs)
    ]
    found = trial("perplexity_rise(text)<=5%", ours, theirs)
    assert found.value == pytest.approx(0.0208, abs=1e-3)
    assert found.p_pass is not None
    assert found.p_pass < 0.05
    tight = trial("perplexity_rise(text)<=1%", ours, theirs)
    assert tight.p_fail is not None
    assert tight.p_fail < 0.05
    absolute = trial("perplexity(text)<=6", ours, [])
    assert absolute.p_pass is not None
    assert absolute.p_pass < 0.05
    with pytest.raises(UnknownError, match="perplexity_rise"):
        trial("retained(text)>=95%", ours, theirs)


def test_an_absolute_score_needs_no_baseline() -> None:
    ours = answers(lambda n: n % 10 > 0)
    found = trial("score(quiz)>=80%", ours, [])
    assert found.value == pytest.approx(0.9)
    assert found.p_pass is not None
    assert found.p_pass < 0.05
    high = trial("score(quiz)>=95%", ours, [])
    assert high.p_fail is not None
    assert high.p_fail < 0.05


def test_what_cannot_be_tried_says_why() -> None:
    some = answers(lambda _: True)
    with pytest.raises(UnknownError, match="no item in common"):
        trial("retained(quiz)>=95%", some, [])
    with pytest.raises(UnknownError, match="no answers of green: it has blue, red"):
        trial("retained(quiz/green)>=95%", some, some)
    with pytest.raises(UnknownError, match="nothing right"):
        trial("retained(quiz)>=95%", some, answers(lambda _: False))


@pytest.mark.parametrize("rule", ["retained(quiz)>=100%", "difference(quiz)>=0%"])
def test_that_nothing_is_lost_is_unknown_where_an_older_run_asks_it(rule: str) -> None:
    same = answers(lambda n: n % 10 > 0)
    with pytest.raises(UnknownError, match="cannot be shown by any number of items"):
        tries(parse_limit(rule, recorded=True), same, same)
