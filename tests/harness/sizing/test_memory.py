from __future__ import annotations

from typing import Any

import pytest

from harness.sizing.memory import memory_of
from harness.sizing.record import Demand, Terms
from launchers.telemetry.records import GIB
from tests.harness.sizing.made import supply

CARD: dict[str, Any] = {
    "weights_gib": 15.0, "kv_cache_gib": 5.0, "kv_cache_tokens": 40_960.0,
    "kv_bytes_per_token": 131_072.0, "max_model_len": 8192.0,
    "memory_peak_gib": 21.5, "memory_kind": "vram",
}  # fmt: skip
"""Llama 3 8B in 16 bits: 2 · 32 layers · 8 heads · 128 · 2 bytes = 128 KiB a token."""


def test_a_budget_by_hand() -> None:
    # 16 in flight at once; 40,960 tokens hold 20 requests of 2,048
    found = memory_of(supply(**CARD), Terms(context_tokens=2048, gpu_memory_gib=24), None)
    assert found.fits
    assert (found.concurrency, found.most_concurrency) == (16, 20)
    assert found.other_gib == pytest.approx(1.5)
    assert found.kv_need_gib == pytest.approx(16 * 2048 * 131_072 / GIB) == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("terms", "changes", "said"),
    [
        (Terms(context_tokens=16_384), {}, "longer than the 8,192"),
        (Terms(context_tokens=8192), {}, "the KV cache holds 5 of 8,192 tokens"),
        (Terms(context_tokens=2048, gpu_memory_gib=20), {}, "take 21.5 GiB, and the card has 20"),
        (Terms(context_tokens=8192), {"kv_cache_tokens": 4096.0}, "does not hold one request"),
    ],
)
def test_what_does_not_fit(terms: Terms, changes: dict[str, Any], said: str) -> None:
    found = memory_of(supply(**CARD | changes), terms, None)
    assert found.fits is False
    assert said in found.text


def test_a_request_takes_whole_blocks_of_the_cache() -> None:
    terms = Terms(context_tokens=2049)
    assert memory_of(supply(**CARD), terms, None).most_concurrency == 19
    blocks = memory_of(supply(**CARD, kv_block_tokens=1024), terms, None)
    assert blocks.most_concurrency == 13, "three blocks each of 40"


def test_behind_a_sliding_window_only_layers_without_one_hold_a_request() -> None:
    """Mistral 7B v0.1: 32 layers, all with a window of 4,096; Gemma's way: 5 of 30 without."""
    terms = Terms(context_tokens=8192)
    mistral = memory_of(supply(**CARD, kv_window_tokens=4096), terms, None)
    assert mistral.most_concurrency == 10, "40,960 tokens, 4,096 of each"
    assert mistral.kv_need_gib == pytest.approx(16 * 4096 * 131_072 / GIB)
    assert "the last 4,096" in mistral.text
    some = {"kv_window_tokens": 1024, "kv_bytes_beyond_window": 131_072 / 6}
    gemma = memory_of(supply(**CARD, **some), terms, None)
    held = 1024 + 7168 / 6
    assert gemma.kv_need_gib == pytest.approx(16 * held * 131_072 / GIB)
    assert gemma.most_concurrency == int(5 * GIB / 131_072 / held) == 18
    assert gemma.fits
    short = memory_of(supply(**CARD, **some), Terms(context_tokens=1000), None)
    assert short.most_concurrency == 40
    assert "window" not in short.text
    two = Terms(context_tokens=8192, gpus_per_replica={"": 2})
    assert memory_of(supply(**CARD, **some), two, None).fits is None


def test_the_longest_request_is_the_traces_else_the_engines() -> None:
    demand = Demand(source="t", peak_rate=1.0, longest_tokens=1000)
    assert memory_of(supply(**CARD), Terms(), demand).context_tokens == 1000
    assert memory_of(supply(**CARD), Terms(context_tokens=500), demand).context_tokens == 500
    assert memory_of(supply(**CARD), Terms(), None).context_tokens == 8192


def test_what_nobody_knows_is_not_said_to_fit() -> None:
    found = memory_of(supply(), Terms(context_tokens=100), None)
    assert found.fits is None
    assert "could not be told" in found.text
    several = memory_of(
        supply(**CARD), Terms(context_tokens=2048, gpu_memory_gib=1, gpus_per_replica={"": 2}), None
    )
    assert several.card_gib is None, "sizes of a replica of several GPUs are told in two ways"
