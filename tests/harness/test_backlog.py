from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from harness.measuring.backlog import backlog, in_flight
from loadprofiles.records import Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

MS = 1_000_000
S = 1_000_000_000
T0 = 50 * S
"""Start of the window in these tests."""


def sample(
    seq: int = 0, at_ms: float = 0, gaps_ms: Sequence[float] = (10, 10, 30), **changes: object
) -> Sample:
    """Due at T0 + at_ms, done 102 ms and the gaps later."""
    due = T0 + int(at_ms * MS)
    base = Sample(
        seq=seq, body=seq, request_id=f"r{seq}", phase="measured", due_ns=due, sent_ns=due,
        done_ns=due + int((102 + sum(gaps_ms)) * MS), status=200, output_tokens=len(gaps_ms) + 1,
    )  # fmt: skip
    return msgspec.structs.replace(base, **changes)


def failed(seq: int, error: str, at_ms: float = 0, **changes: object) -> Sample:
    return sample(seq, at_ms, error=error, output_tokens=None, **changes)


def dropped(seq: int) -> Sample:
    return failed(seq, "dropped", sent_ns=None, done_ns=None)


def test_in_flight_counts_all_phases_within_the_window() -> None:
    samples = [
        sample(0, 0, sent_ns=T0 - S, done_ns=T0 + S, phase="warmup"),
        sample(0, 0, sent_ns=T0 + S, done_ns=T0 + 3 * S),  # begins as the first one ends
        sample(1, 0, sent_ns=T0 + 2 * S, done_ns=T0 + 4 * S),
        failed(2, "timeout", sent_ns=T0 + 9 * S, done_ns=None),
        dropped(3),
        sample(0, 0, sent_ns=T0 + 10 * S, done_ns=T0 + 12 * S, phase="cooldown"),
        sample(1, 0, sent_ns=T0 - 2 * S, done_ns=T0, phase="warmup"),
    ]
    assert in_flight(samples, T0, T0 + 10 * S) == (pytest.approx((1 + 2 + 2 + 1) / 10), 2)
    assert in_flight([], T0, T0 + S) == (0.0, 0)


def served(
    due_s: np.ndarray[Any, Any], service_s: np.ndarray[Any, Any], slots: int
) -> list[Sample]:
    """Serve arrivals first come, first served, by `slots` slots: an M/G/c queue."""
    free = [0.0] * slots
    made = []
    for seq, (due, service) in enumerate(zip(due_s, service_s, strict=True)):
        begin = max(heapq.heappop(free), due)
        heapq.heappush(free, begin + service)
        tokens = max(1, round(service * 100))
        made.append(
            sample(
                seq, due * 1000, (), output_tokens=tokens, done_ns=T0 + int((begin + service) * S)
            )
        )
    return made


def arrivals(shape: str, rate: float, draw: np.random.Generator) -> np.ndarray[Any, Any]:
    """Thirty seconds of arrivals with the given mean rate."""
    if shape == "constant":
        return np.arange(0, 30, 1 / rate)
    if shape == "poisson":
        return np.sort(draw.uniform(0, 30, draw.poisson(rate * 30)))
    base = rate / 1.75  # bursts of 2 s every 8 s at four times the base rate
    quiet = draw.uniform(0, 30, draw.poisson(base * 30))
    loud = [at + draw.uniform(0, 2, draw.poisson(3 * base * 2)) for at in (3, 11, 19, 27)]
    return np.sort(np.concatenate([quiet, *loud]))


SERVERS = [(1, 0.1), (4, 0.4), (16, 2.0), (64, 3.0)]


@pytest.mark.parametrize(("slots", "mean_s"), SERVERS)
@pytest.mark.parametrize("lengths", ["equal", "exponential"])
@pytest.mark.parametrize("shape", ["constant", "poisson", "bursty"])
def test_an_overload_is_unstable_and_noise_is_not(
    shape: str, lengths: str, slots: int, mean_s: float
) -> None:
    calls = {0.7: 0, 1.3: 0}
    for load in calls:
        for seed in range(10):
            draw = np.random.default_rng([seed, slots])
            due = arrivals(shape, load * slots / mean_s, draw)
            service = np.full(due.size, mean_s)
            if lengths == "exponential":
                service = draw.exponential(mean_s, due.size)
            queue = backlog(served(due, service, slots), T0, T0 + 30 * S)
            calls[load] += not queue.stable
            if load > 1:
                assert queue.growth_rps > 0
    assert calls == {0.7: 0, 1.3: 10}


def test_the_growth_is_what_comes_in_less_what_goes_out() -> None:
    due = np.arange(0, 30, 1 / 26)
    queue = backlog(served(due, np.full(due.size, 0.05), 1), T0, T0 + 30 * S)
    assert queue.growth_rps == pytest.approx(6.0, abs=0.3)  # 26/s offered, 20/s possible


def test_a_ramp_below_capacity_is_stable() -> None:
    draw = np.random.default_rng(1)
    due = 30 * np.sqrt(draw.uniform(0, 1, 300))  # up to 20/s at the end
    queue = backlog(served(np.sort(due), np.full(300, 1.0), 25), T0, T0 + 30 * S)
    assert queue.stable


def test_answers_longer_than_the_window_are_no_backlog() -> None:
    due = np.arange(0, 30, 0.25)
    queue = backlog(served(due, np.full(due.size, 40.0), 1000), T0, T0 + 30 * S)
    assert queue.stable
    assert queue.growth_rps == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize(("error", "stable"), [("timeout", False), ("http_429", True)])
def test_what_was_refused_is_gone_and_what_timed_out_still_waits(
    error: str, *, stable: bool
) -> None:
    samples = [sample(n, 100 * n) for n in range(300)]
    for n in range(1, 300, 2):
        samples[n] = failed(n, error, 100 * n, done_ns=T0 + 100 * n * MS + 2 * S)
    assert backlog(samples, T0, T0 + 30 * S).stable is stable


def test_what_cannot_be_told_is_called_stable() -> None:
    few = np.arange(0, 30, 1 / 0.65)  # 20 arrivals; the queue rises by 2 requests
    assert backlog(served(few, np.full(few.size, 2.0), 1), T0, T0 + 30 * S).stable
    near = np.arange(0, 30, 1 / 20.9)  # 4.5 % above what can be served
    queue = backlog(served(near, np.full(near.size, 0.05), 1), T0, T0 + 30 * S)
    assert queue.stable
    assert queue.growth_rps == pytest.approx(0.9, abs=0.1)
    assert backlog([], T0, T0 + 30 * S).stable
