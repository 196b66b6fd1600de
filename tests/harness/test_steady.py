from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from harness.measuring.steady import mser
from tests.harness.cells import S, answer, measured

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.measuring.measurement import Steady
    from loadprofiles.records import Sample


def closed(
    streams: int, window_s: float, ttft_ms: Callable[[float], float], seed: int = 0
) -> list[Sample]:
    """Streams of 20 tokens, 10 ms apart, whose TTFT depends on when they begin."""
    rng = np.random.default_rng(seed)
    free = [float(rng.uniform(-0.3, 0)) for _ in range(streams)]
    found: list[Sample] = []
    while (at := min(free)) < window_s:
        wait = max(1.0, ttft_ms(at) * float(rng.lognormal(0, 0.2)))
        phase = "measured" if at >= 0 else "warmup"
        found.append(answer(len(found), at, wait, [10] * 19, phase=phase))
        free[free.index(at)] = at + wait / 1000 + 0.19
    return found


def steady_of(samples: list[Sample], window_s: float, **changes: object) -> Steady:
    found = measured(samples, window_s, streams=8, **changes).steady
    assert found is not None
    return found


@pytest.mark.parametrize("seed", range(6))
def test_steady_load_is_left_whole(seed: int) -> None:
    found = steady_of(closed(8, 20, lambda _: 50, seed), 20)
    assert found.state == "steady"
    assert found.cut_share < 0.15


def test_a_slow_beginning_is_cut_off_and_what_that_changes_is_told() -> None:
    """The first 4 s are slow, as those of a cold server."""
    samples = closed(8, 20, lambda at: 400 if at < 4 else 50)
    found = steady_of(samples, 20)
    assert found.state == "steady"
    assert found.from_s == pytest.approx(4, abs=1)
    assert found.to_s == pytest.approx(20, abs=1)
    assert found.cut_share == pytest.approx(0.2, abs=0.07)
    assert found.part is not None
    whole = measured(samples, 20, streams=8).metrics
    assert found.part.ttft_ms.p95 is not None
    assert whole.ttft_ms.p95 is not None
    assert found.part.ttft_ms.p95 < 100 < whole.ttft_ms.p95
    assert found.part.aggregate_tps == pytest.approx(8 * 20 / 0.24, rel=0.1)


def test_a_slow_end_is_cut_off_too() -> None:
    found = steady_of(closed(8, 20, lambda at: 400 if at > 17 else 50), 20)
    assert found.state == "steady"
    assert found.from_s < 2
    assert found.to_s == pytest.approx(17, abs=1.2)


def test_where_it_gets_slower_and_slower_there_is_no_steady_state() -> None:
    found = steady_of(closed(8, 20, lambda at: 50 + 40 * at), 20)
    assert found.state == "none"
    assert "changed" in found.reason
    assert found.part is None


def test_bursts_and_few_answers_are_not_judged() -> None:
    samples = closed(8, 20, lambda _: 50)
    assert steady_of(samples, 20, bursts_ns=[(S, 2 * S)]).state == "not judged"
    growing = {"kind": "ramp", "from_factor": 0.2, "to_factor": 1.8}
    assert steady_of(samples, 20, arrival=growing).reason == "its rate changes by plan"
    assert steady_of(samples, 20, arrival={"kind": "poisson"}).state == "steady"
    assert steady_of(samples[:20], 20).state == "not judged"
    assert steady_of([], 20).state == "not judged"


def test_mser_finds_a_step() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(10, 1, 400)
    values[:60] += 8
    assert mser(values) in {60, 65}
    assert mser(rng.normal(10, 1, 400) * 0 + 3) == 0
    assert mser(np.empty(0)) == 0
