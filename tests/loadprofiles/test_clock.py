from __future__ import annotations

import os
import select
import struct
import time
from typing import TYPE_CHECKING

import pytest

from loadprofiles.wire.clock import TimerFd, kernel_stamp_ns, wall_minus_monotonic_ns

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def timer() -> Iterator[TimerFd]:
    made = TimerFd()
    yield made
    made.close()


def rings(timer: TimerFd, timeout_s: float) -> bool:
    return bool(select.select([timer.fd], [], [], timeout_s)[0])


def test_the_offset_joins_the_clocks() -> None:
    offset = wall_minus_monotonic_ns()
    before = time.time_ns()
    there = time.perf_counter_ns() + offset
    after = time.time_ns()
    assert before - 1_000_000 < there < after + 1_000_000
    assert abs(wall_minus_monotonic_ns() - offset) < 50_000


def test_kernel_stamps() -> None:
    stamp = struct.pack("qq", 1_790_000_000, 123_456_789)
    assert kernel_stamp_ns([(1, 35, stamp)]) == 1_790_000_000_123_456_789
    assert kernel_stamp_ns([]) == 0


def test_an_alarm_rings_at_its_time_and_not_before(timer: TimerFd) -> None:
    at_ns = time.perf_counter_ns() + 60_000_000
    timer.arm(at_ns)
    assert not rings(timer, 0.01)
    assert rings(timer, 5)
    assert time.perf_counter_ns() >= at_ns
    timer.acknowledge()
    assert not rings(timer, 0)


@pytest.mark.parametrize("at_ns", [-5, 0, 1])
def test_what_is_past_rings_at_once(timer: TimerFd, at_ns: int) -> None:
    timer.arm(at_ns)
    assert rings(timer, 1)


def test_it_can_be_armed_again(timer: TimerFd) -> None:
    timer.arm(time.perf_counter_ns() + 10**12)
    timer.arm(1)
    assert rings(timer, 1)
    timer.acknowledge()
    timer.acknowledge()  # one too many is harmless


def test_a_closed_timer_is_gone() -> None:
    timer = TimerFd()
    timer.close()
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(timer.fd)
