"""What the verdicts on telemetry's cost are made of."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import httpx
import msgspec
import pytest
import telemetry_cost
from medians import Middle, middle
from telemetry_cost import Block

from launchers.telemetry.scraping import MOST_BYTES
from loadprofiles.records import SAMPLES_FILE
from tests.harness.cells import T0, answer

if TYPE_CHECKING:
    from pathlib import Path


def test_a_verdict_needs_the_whole_interval() -> None:
    found = middle([0.01] * 5 + [0.03] * 5 + [0.02])
    assert (found.low, found.at, found.high) == (0.01, 0.02, 0.03)
    assert found.verdict(0.02) == "INCONCLUSIVE"
    assert Middle(0.01, 0.0, 0.02).verdict(0.02) == "PASS"
    assert Middle(0.04, 0.03, 0.05).verdict(0.02) == "FAIL"


def test_tokens_belong_to_the_block_in_which_they_came(tmp_path: Path) -> None:
    """An answer's tokens come 50, 60, 70 and 80 ms after it was sent."""
    (tmp_path / SAMPLES_FILE).write_bytes(msgspec.json.encode(answer(0, 0.0)) + b"\n")
    ms = 1_000_000
    bounds = [(40, 65), (65, 75)]
    blocks = [Block(True, start_ns=T0 + a * ms, end_ns=T0 + b * ms) for a, b in bounds]
    telemetry_cost._sort_in(blocks, tmp_path)
    assert [block.tokens for block in blocks] == [2, 1]
    assert [block.seen["TTFT"] for block in blocks] == [[50.0], []]
    assert [block.seen["ITL"] for block in blocks] == [[10.0], [10.0]]


def test_the_cpu_clock_of_a_process_is_its_own() -> None:
    clock = telemetry_cost._cpu_clock(os.getpid())
    assert time.clock_gettime(clock) == pytest.approx(time.process_time(), abs=0.5)


@pytest.mark.parametrize("size", [100_000, 5_000_000])
def test_a_page_is_as_large_as_it_is_called(size: int) -> None:
    with telemetry_cost._page(size, 0.0) as url:
        got = len(httpx.get(url, trust_env=False).content)
    assert size - 200 < got <= size
    assert (got > MOST_BYTES) is (size > MOST_BYTES)
