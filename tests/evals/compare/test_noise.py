from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from evals.compare import beyond_floor, under_load

if TYPE_CHECKING:
    from conftest import Answers


def flipped(scores: np.ndarray, rate: float, seed: int, *, only_down: bool = False) -> np.ndarray:
    rng = np.random.default_rng(seed)
    flip = rng.random(len(scores)) < rate
    if only_down:
        flip &= scores == 1
    return np.where(flip, 1 - scores, scores)


def exchanged(scores: np.ndarray, count: int) -> np.ndarray:
    """Return scores of which as many were lost as were gained."""
    found = scores.copy()
    found[np.flatnonzero(scores == 1)[:count]] = 0
    found[np.flatnonzero(scores == 0)[:count]] = 1
    return found


TRUTH = (np.random.default_rng(0).random(2000) < 0.85).astype(float)


def test_a_build_within_the_noise_of_its_server(answers: Answers) -> None:
    found = beyond_floor(
        answers(flipped(TRUTH, 0.02, 1)), answers(TRUTH), answers(flipped(TRUTH, 0.02, 2))
    )
    assert found is not None
    assert not found.beyond
    assert found.rate == pytest.approx(0.02, abs=0.01)
    assert found.excess == pytest.approx(found.rate - found.floor)


def test_a_build_beyond_the_noise_of_its_server(answers: Answers) -> None:
    found = beyond_floor(
        answers(flipped(TRUTH, 0.08, 1)), answers(TRUTH), answers(flipped(TRUTH, 0.02, 2))
    )
    assert found is not None
    assert found.beyond
    assert found.excess_ci95 is not None
    assert found.excess_ci95[0] > 0.03


def test_items_not_asked_twice_are_left_out(answers: Answers) -> None:
    all_items = answers(TRUTH)
    found = beyond_floor(all_items, all_items, all_items[:50])
    assert found is not None
    assert (found.items, found.excess, found.beyond) == (50, 0, False)


def test_a_loss_under_load_is_not_charged_to_the_build(answers: Answers) -> None:
    idle = exchanged(TRUTH, 10)
    found = under_load(
        idle=answers(idle),
        load=answers(flipped(idle, 0.06, 2, only_down=True)),
        idle_again=answers(flipped(idle, 0.01, 3)),
        baseline=answers(TRUTH),
        baseline_again=answers(exchanged(TRUTH, 8)),
    )
    assert found.by_load.finding == "lost"
    assert found.by_build is not None
    assert found.by_build.finding == "none"
    assert found.together is not None
    assert found.together.difference == pytest.approx(-0.05, abs=0.02)


def test_a_loss_by_the_build_is_not_charged_to_the_load(answers: Answers) -> None:
    idle = flipped(TRUTH, 0.07, 1, only_down=True)
    found = under_load(
        idle=answers(idle),
        load=answers(exchanged(idle, 10)),
        idle_again=answers(exchanged(idle, 9)),
        baseline=answers(TRUTH),
    )
    assert found.by_load.finding == "none"
    assert found.by_build is not None
    assert found.by_build.finding == "lost"
    assert found.by_build.floor is None


def test_answers_that_change_both_ways_under_load_have_changed(answers: Answers) -> None:
    half = (np.arange(2000) % 2).astype(float)
    found = under_load(
        idle=answers(half),
        load=answers(flipped(half, 0.1, 2)),
        idle_again=answers(half),
    )
    assert found.by_load.finding == "changed"
    assert found.by_build is None


def test_few_items_say_that_they_do_not_know(answers: Answers) -> None:
    few = answers(TRUTH[:30])
    assert under_load(idle=few, load=few).by_load.finding == "unknown"
