"""The prefill curve of one cell, held against made-up requests whose line is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.harness.cells import answer, measured

if TYPE_CHECKING:
    from harness.measuring.measurement import CellMeasurement

STEPS = (16, 64, 128, 256, 512, 1024, 1500)
UNIQUE = {"prompts_unique": True}
FIXED_MS, PER_1000_MS = 8.0, 40.0


def cell(
    rounds: int = 12,
    noise: float = 0.05,
    seed: int = 1,
    bend: float = 0.0,
    **changes: Any,  # noqa: ANN401 - a plan's fields
) -> CellMeasurement:
    rng = np.random.default_rng(seed)
    tokens = [int(n) for _ in range(rounds) for n in rng.permutation(STEPS)]
    ttft = [
        (FIXED_MS + PER_1000_MS * n / 1000 + bend * (n / 1000) ** 2) * np.exp(rng.normal(0, noise))
        for n in tokens
    ]
    samples = [
        answer(seq, 0.2 * seq, float(ms), prompt_tokens=n + 1)
        for seq, (n, ms) in enumerate(zip(tokens, ttft, strict=True))
    ]
    given = {"streams": 1, "prompt_tokens": tokens, "facts": UNIQUE} | changes
    return measured(samples, 0.2 * len(samples), **given)


def test_each_length_is_a_step_and_the_line_is_found() -> None:
    found = cell().prefill
    assert found is not None
    assert found.line is not None
    assert [(step.low, step.high, step.n) for step in found.steps] == [(n, n, 12) for n in STEPS]
    assert found.length_source == "server"
    assert [step.tokens for step in found.steps] == [n + 1 for n in STEPS]
    line = found.line
    assert line.fixed_ms == pytest.approx(FIXED_MS, rel=0.05)
    assert line.per_1000_ms == pytest.approx(PER_1000_MS, rel=0.05)
    assert line.fixed_ci95[0] < line.fixed_ms < line.fixed_ci95[1]
    assert line.off < 0.1


def test_the_line_s_intervals_hold_the_truth_as_often_as_they_say() -> None:
    lines = [found.line for seed in range(120) if (found := cell(seed=seed).prefill) and found.line]
    assert len(lines) == 120
    # By the server's count each prompt has a token more than the line was made of.
    fixed = sum(low <= FIXED_MS - PER_1000_MS / 1000 <= high for low, high in
                (line.fixed_ci95 for line in lines))  # fmt: skip
    slopes = sum(low <= PER_1000_MS <= high for low, high in (line.per_1000_ci95 for line in lines))
    assert fixed >= 105  # 95 % of 120 are 114, less 3.5 standard deviations
    assert slopes >= 105


def test_a_curve_that_bends_says_how_far_the_line_is_off() -> None:
    found = cell(noise=0.01, bend=40).prefill
    assert found is not None
    assert found.line is not None
    assert found.line.off > 0.15


def test_many_lengths_make_eight_steps() -> None:
    rng = np.random.default_rng(3)
    tokens = rng.integers(50, 900, 400).tolist()
    samples = [
        answer(seq, 0.2 * seq, 5 + n / 20, prompt_tokens=None) for seq, n in enumerate(tokens)
    ]
    found = measured(samples, 80, streams=1, prompt_tokens=tokens, facts=UNIQUE).prefill
    assert found is not None
    assert found.line is not None
    assert len(found.steps) == 8
    assert found.length_source == "planned"
    assert [a.high < b.low for a, b in zip(found.steps, found.steps[1:], strict=False)] == [
        True
    ] * 7
    assert found.line.per_1000_ms == pytest.approx(50, rel=0.02)


@pytest.mark.parametrize(
    "changes",
    [
        {"streams": 2},
        {"streams": None},
        {"prompt_tokens": []},
        {"prompt_tokens": [128] * 84},
        {"facts": {"prompts_unique": False}},
    ],
)
def test_there_is_none_of_queues_or_of_one_length_or_of_prompts_that_a_cache_knows(
    changes: dict[str, Any],
) -> None:
    assert cell(**changes).prefill is None
