from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.harness.cells import S, answer, measured

if TYPE_CHECKING:
    from harness.measuring.measurement import Bursts
    from loadprofiles.records import Sample

WINDOW_S = 60.0
BURSTS = [(10.0, 14.0), (40.0, 44.0)]
SPANS = [(round(a * S), round(b * S)) for a, b in BURSTS]


def served(
    rate: float, burst_rate: float, capacity: float, slow_from_s: float = 1e9
) -> list[Sample]:
    """One server that takes 1/capacity s for a request, in the order of arrival.

    From `slow_from_s` on each answer begins 30 ms later.
    """
    rng = np.random.default_rng(5)
    due: list[float] = []
    at = 0.0
    while at < WINDOW_S:
        inside = any(a <= at < b for a, b in BURSTS)
        due.append(at)
        at += float(rng.exponential(1 / (burst_rate if inside else rate)))
    free, found = 0.0, []
    for seq, moment in enumerate(due):
        begin = max(moment, free)
        free = begin + 1 / capacity
        late_ms = 30 if moment >= slow_from_s else 0
        ttft_ms = 1000 * (free - moment) + 5 + late_ms + float(rng.uniform(0, 3))
        found.append(answer(seq, moment, ttft_ms, (1, 1)))
    return found


def bursts_of(samples: list[Sample]) -> Bursts:
    found = measured(samples, WINDOW_S, bursts_ns=SPANS).bursts
    assert found is not None
    return found


def test_backlog_recovery_and_latency_of_a_queue_that_is_known() -> None:
    """40/s come, 50/s can be done, 100/s in a burst of 4 s: 200 wait, gone after 20 s."""
    found = bursts_of(served(rate=40, burst_rate=100, capacity=50))
    assert [(one.start_s, one.end_s) for one in found.bursts] == BURSTS
    assert [one.arrivals for one in found.bursts] == pytest.approx([400, 400], rel=0.15)
    for one in found.bursts:
        assert one.beyond_usual == pytest.approx(200, rel=0.35)
    first, second = found.bursts
    assert first.recovery_s == pytest.approx(20, rel=0.4)
    assert second.recovery_s is None or second.recovery_s > 10
    inside, between = found.ttft_inside_ms.p50, found.ttft_between_ms.p50
    assert inside is not None
    assert between is not None
    assert inside > between


def test_a_server_with_room_is_back_at_once_and_nothing_stays_slow() -> None:
    found = bursts_of(served(rate=40, burst_rate=100, capacity=1000))
    assert all(one.recovery_s is not None and one.recovery_s < 0.5 for one in found.bursts)
    stayed = found.stayed["ttft_ms"]
    assert stayed.ci95 is not None
    assert stayed.ci95[0] < 0.5
    assert stayed.ci95[1] > -0.5


def test_what_stays_slow_is_told() -> None:
    found = bursts_of(served(rate=40, burst_rate=100, capacity=1000, slow_from_s=10.0))
    stayed = found.stayed["ttft_ms"]
    assert stayed.difference == pytest.approx(30, abs=2)
    assert stayed.ci95 is not None
    assert stayed.ci95[0] > 25


def test_a_burst_without_quiet_before_it_is_set_against_what_follows() -> None:
    samples = served(rate=40, burst_rate=100, capacity=1000)
    found = measured(samples, WINDOW_S, bursts_ns=[(0, 10 * S)]).bursts
    assert found is not None
    assert found.usual_backlog is not None
    assert found.bursts[0].recovery_s is not None
    assert found.stayed["ttft_ms"].difference is None  # nothing came before


def test_a_backlog_that_does_not_go_has_no_recovery() -> None:
    found = bursts_of(served(rate=40, burst_rate=100, capacity=20))
    assert [one.recovery_s for one in found.bursts] == [None, None]
    assert found.ttft_inside_ms.unstable


def test_without_bursts_there_is_nothing() -> None:
    samples = served(rate=40, burst_rate=40, capacity=50)
    assert measured(samples, WINDOW_S).bursts is None
    assert measured(samples, WINDOW_S, bursts_ns=[(70 * S, 80 * S)]).bursts is None
    assert measured([], WINDOW_S, bursts_ns=SPANS).bursts is not None
