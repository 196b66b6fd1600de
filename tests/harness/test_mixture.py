from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.harness.cells import answer, measured

if TYPE_CHECKING:
    from loadprofiles.records import Sample


def mixed(penalty_ms: float) -> list[Sample]:
    """Short prompts every 0.1 s; every second one meets a long one that is read for 80 ms."""
    rng = np.random.default_rng(3)
    found = []
    for n in range(200):
        met = n % 2
        noise = float(rng.uniform(0, 4))
        tokens = int(rng.integers(20, 60))
        found.append(
            answer(len(found), 0.1 * n, 20 + noise + penalty_ms * met, prompt_tokens=tokens)
        )
        if met:
            long = int(rng.integers(900, 1100))
            found.append(answer(len(found), 0.1 * n + 0.002, 80, prompt_tokens=long))
    return found


@pytest.mark.parametrize("penalty_ms", [0, 25])
def test_what_short_requests_pay_for_long_ones(penalty_ms: float) -> None:
    found = measured(mixed(penalty_ms), 20).mixture
    assert found is not None
    assert found.length_source == "server"
    assert found.short_below < 60
    assert found.long_from >= 900
    assert found.ttft_ms.difference == pytest.approx(penalty_ms, abs=1.5)
    assert found.ttft_ms.ci95 is not None
    low, high = found.ttft_ms.ci95
    assert low < penalty_ms < high
    assert found.buckets[-1].ttft_ms.p50 == pytest.approx(80)
    assert sum(bucket.ttft_ms.n for bucket in found.buckets) == 300
    for one, other in zip(found.buckets, found.buckets[1:], strict=False):
        assert one.high < other.low


def test_planned_lengths_serve_where_the_server_does_not_count() -> None:
    samples = [answer(n, 0.1 * n, prompt_tokens=None) for n in range(100)]
    lengths = [10 if n % 2 else 500 for n in range(100)]
    found = measured(samples, 10, prompt_tokens=lengths).mixture
    assert found is not None
    assert found.length_source == "planned"
    assert [(b.low, b.high, b.ttft_ms.n) for b in found.buckets] == [(10, 10, 50), (500, 500, 50)]
    assert measured(samples, 10).mixture is None


def test_prompts_of_one_length_or_few_answers_are_no_mixture() -> None:
    assert measured([answer(n, 0.1 * n) for n in range(100)], 10).mixture is None
    few = [answer(n, 0.1 * n, prompt_tokens=n) for n in range(30)]
    assert measured(few, 10).mixture is None
    assert measured([], 10).mixture is None


def test_fairness_is_one_where_all_wait_alike_and_less_where_one_waits() -> None:
    lengths = {"prompt_tokens": 9}
    alike = [answer(n, 0.1 * n, **{**lengths, "prompt_tokens": n}) for n in range(100)]
    found = measured(alike, 10).mixture
    assert found is not None
    assert found.fairness == pytest.approx(1.0)
    alike[50] = answer(50, 5.0, 80_000, prompt_tokens=50)
    unfair = measured(alike, 10).mixture
    assert unfair is not None
    assert unfair.fairness is not None
    assert unfair.fairness < 0.05
