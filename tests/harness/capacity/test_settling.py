"""What of a probe counts, and how fast a server is by the answers that it gave in it."""

from __future__ import annotations

import numpy as np
import pytest

from harness.capacity.settling import conversation_s, served_rate, settle_s, turns_of
from loadprofiles.records import DrivePlan

S = 1_000_000_000


def plan(after: list[int] | None = None, think_ns: list[int] | None = None) -> DrivePlan:
    return DrivePlan(
        host="h", port=1, path="/", dialect="openai-chat", mode="open", due_ns=[0, S],
        duration_ns=20 * S, warmup=0, drain_s=1, timeout_s=60, output_tokens=[4], after=after,
        think_ns=think_ns,
    )  # fmt: skip


def test_a_tenth_is_left_out_where_there_are_no_sessions() -> None:
    assert settle_s(plan(), 20, 20, 1.0) == pytest.approx(2.0)
    assert (turns_of(plan()), conversation_s(plan(), 1.0)) == (1.0, 0.0)


def test_of_sessions_it_is_as_long_as_their_later_turns_take_to_come() -> None:
    """Two sessions of three turns, 2 s to think before each but the first, answers of 1 s."""
    sessions = plan([-1, -1, 0, 1, 2, 3], [0, 0, *[2 * S] * 4])
    assert turns_of(sessions) == 3
    assert conversation_s(sessions, 1.0) == pytest.approx(6.0)
    assert settle_s(sessions, 100, 100, 1.0) == pytest.approx(10.0)
    assert settle_s(sessions, 20, 20, 1.0) == pytest.approx(6.0)
    assert settle_s(sessions, 8, 8, 1.0) == pytest.approx(4.0), "half at most"
    assert settle_s(sessions, 20, 8, 1.0) == pytest.approx(4.0), "of what there is"


@pytest.mark.parametrize("until_s", [6.1, 6.9, 7.9, 9.0, 11.0])
def test_answers_that_come_in_waves_are_served_at_one_rate(until_s: float) -> None:
    """64 slots, 2 s each, filled within half a second: 32/s, in waves two seconds apart."""
    wave = 2 + np.linspace(0, 0.5, 64)
    ends = np.concatenate([wave + 2 * number for number in range(8)])
    assert served_rate(ends, until_s) == pytest.approx(32, rel=0.15)


def test_of_no_answer_there_is_no_rate() -> None:
    assert served_rate(np.array([9.0]), 5.0) == 0
