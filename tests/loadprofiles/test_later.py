"""Calls at their moments: in order, not before, and only those that are due."""

from __future__ import annotations

import select
import time
from itertools import pairwise

from loadprofiles.driving.later import Later

MS = 1_000_000


def test_calls_come_in_the_order_of_their_moments_and_never_early() -> None:
    later, made = Later(), []
    start = time.perf_counter_ns()
    for offset_ms in (60, 20, 40, 20, 90):
        at = start + offset_ms * MS

        def call(at: int = at) -> None:
            made.append((at, time.perf_counter_ns()))

        later.at(at, call)
    while len(later):
        assert select.select([later.fd], [], [], 5)[0], "the alarm rings for each"
        later.ring()
    assert [(at - start) // MS for at, _ in made] == [20, 20, 40, 60, 90]
    assert all(when >= at for at, when in made)
    later.close()


def test_a_call_may_ask_for_another() -> None:
    later, made = Later(), []

    def again() -> None:
        made.append(time.perf_counter_ns())
        if len(made) < 3:
            later.at(made[-1] + 5 * MS, again)

    later.at(0, again)
    while len(later):
        assert select.select([later.fd], [], [], 5)[0]
        later.ring()
    assert len(made) == 3
    assert all(second - first >= 5 * MS for first, second in pairwise(made))
    later.close()


def test_many_due_at_once_are_made_in_several_turns() -> None:
    later, made = Later(), []
    for number in range(200):
        later.at(1, lambda number=number: made.append(number))
    turns = 0
    while len(later):
        assert select.select([later.fd], [], [], 5)[0]
        later.ring()
        turns += 1
    assert made == list(range(200))
    assert turns > 1
    later.close()
