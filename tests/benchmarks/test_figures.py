"""One short case of the figures, and the arithmetic of the growth of memory."""

from __future__ import annotations

import os

import figures
import pytest

from harness.measuring.truth import Spread


@pytest.mark.parametrize("workers", [1, 2])
def test_a_case_is_driven_and_joined_with_the_truth(workers: int) -> None:
    cpus = (min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0)))
    server = {"ttft_ms": 30.0, "itl_ms": 20.0, "jitter_ms": 10.0}
    case = figures.Case("small", "closed", 4, 5, 1.0, server, workers=workers)
    result = figures.run_case(case, cpus)
    assert result.problem is None
    assert result.lost == 0
    assert result.answers > 8
    assert result.tokens_per_s == pytest.approx(4 * 5 / 0.115, rel=0.3)
    assert 3.0 < result.held <= 4.0
    assert result.ttft.p50 < 5_000
    assert result.cpu_us_per_token > 0


def test_growth_is_a_slope_and_not_a_level() -> None:
    case = figures.Case("long", "closed", 4)
    flat = figures.Result(case, finished=40_000, rss_mib=tuple([50.0] * 40))
    assert figures.growth(flat) == (0.0, 50.0)
    rising = figures.Result(case, finished=40_000, rss_mib=tuple(50 + n for n in range(40)))
    kib, end_mib = figures.growth(rising)
    assert kib == pytest.approx(1024 / 1000)
    assert end_mib == 89


def test_a_goal_without_a_value_is_missed() -> None:
    assert not figures.within(None, 10, 50)
    few = Spread(p50=3.0, p99=None, max=60.0, n=20)
    assert not figures.within(few, 10, 50), "the largest stands in for a p99 that is not there"
    assert figures.within(few, 10, 100)


class Canned:
    """In place of the bench: fast results that are valid or not."""

    def __init__(self, *valid: bool) -> None:
        self.valid = list(valid)

    def run(self, case: figures.Case) -> figures.Result:
        speed = 100_000.0 * case.workers
        valid = self.valid.pop(0)
        return figures.Result(case, tokens_per_s=speed, cpu_us_per_token=9.0, valid=valid)


@pytest.mark.parametrize("figure", [figures.pace, figures.workers])
def test_an_invalid_run_passes_nothing(figure: object) -> None:
    assert list(figure(Canned(True, True)))[-1].passed
    assert list(figure(Canned(True, False)))[-1].passed is False
