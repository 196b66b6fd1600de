"""Percentiles of few answers."""

import math

import numpy as np
import pytest

from harness.comparing.tails import least_answers, longer, missed


@pytest.mark.parametrize(
    ("metric", "answers"),
    [("e2e_p50_ms", 8), ("ttft_p95_ms", 80), ("tpot_p99_ms", 400), ("e2e_p99_9_ms", 4000),
     ("itl_p95_ms", 0), ("e2e_mean_ms", 0), ("aggregate_tps", 0), ("memory_peak_gib", 0)],
)  # fmt: skip
def test_four_answers_have_to_lie_beyond(metric: str, answers: int) -> None:
    assert least_answers(metric) == answers


def test_what_is_missed_is_what_a_draw_misses() -> None:
    count, q = 100, 0.95
    drawn = np.random.default_rng(1).exponential(size=(20_000, count))
    logs = np.log(np.quantile(drawn, q, axis=1))
    truth = math.log(-math.log(1 - q))
    below = missed("e2e_p95_ms", count, float(logs.var()))
    assert below > 0
    assert truth - float(np.median(logs)) == pytest.approx(below, rel=0.25)
    assert missed("sequence_p95_tps", count, 0.01) == -missed("e2e_p95_ms", count, 0.01)
    assert missed("e2e_p50_ms", count, 0.01) == missed("aggregate_tps", count, 0.01) == 0


def test_how_much_longer() -> None:
    assert longer("e2e_p95_ms", 30).endswith("a --duration about 2.7 times as long")
    assert longer("e2e_p95_ms", None) == longer("e2e_p95_ms", 900) == "a longer --duration"
