"""Fleets and closed loops of simulated engines."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.simulating.drive import Failures, by_schedule, closed_loop
from harness.simulating.engine import Engine, Limits, StepCost
from harness.simulating.replica import Replica, Work

ENGINE = Engine(
    cost=StepCost(base_s=0.01, sequence_s=0.0, prefill_token_s=0.0, context_token_s=0.0),
    limits=Limits(max_num_seqs=1),
)


def fleet(count: int, outputs: list[int]) -> tuple[Work, list[Replica]]:
    work = Work([1] * len(outputs), outputs)
    return work, [Replica(ENGINE, work) for _ in range(count)]


def test_round_robin_takes_turns_and_least_loaded_avoids_a_queue() -> None:
    outputs = [100, 1, 1, 1]
    arrivals = np.array([0.0, 0.001, 0.1, 0.2])
    turns, replicas = fleet(2, outputs)
    by_schedule(arrivals, replicas, "round-robin")
    assert turns.first_s[2] == pytest.approx(1.01), "behind the long answer"
    loaded, replicas = fleet(2, outputs)
    by_schedule(arrivals, replicas, "least-loaded")
    assert loaded.first_s[2] == pytest.approx(0.11)
    assert loaded.last_s[0] == turns.last_s[0] == pytest.approx(1.0)


def test_a_dead_replica_loses_what_it_has_and_gets_no_more() -> None:
    work, replicas = fleet(2, [100, 1, 1, 1, 1])
    failures = Failures({0: 0.5})
    by_schedule(np.array([0.0, 0.1, 0.2, 0.6, 0.7]), replicas, "round-robin", failures)
    assert sorted(failures.lost) == [0, 2]
    assert work.first_s[3] == pytest.approx(0.61)
    assert work.first_s[4] == pytest.approx(0.71)


def test_without_a_replica_left_all_is_lost() -> None:
    work, replicas = fleet(1, [1, 1])
    failures = Failures({0: 0.5})
    by_schedule(np.array([0.0, 0.6]), replicas, "least-loaded", failures)
    assert failures.lost == [1]
    assert math.isnan(work.last_s[1])


def test_a_replica_dies_after_the_last_arrival_too() -> None:
    _, replicas = fleet(1, [100])
    failures = Failures({0: 0.5})
    by_schedule(np.array([0.0]), replicas, "round-robin", failures)
    assert failures.lost == [0]


def test_streams_send_again_as_soon_as_they_have_their_answer() -> None:
    engine = Engine(cost=ENGINE.cost, limits=Limits(), overhead_s=0.005)
    work = Work([1] * 100, [10] * 100)
    sent = closed_loop(Replica(engine, work), 3, until_s=0.4)
    first, last = np.array(work.first_s), np.array(work.last_s)
    begun = np.isfinite(sent)
    assert begun.sum() == 3 * 4, "each takes 0.105 s, and begins no other from 0.4 s on"
    assert np.isfinite(last).sum() == begun.sum(), "what was begun is answered"
    assert (first - sent)[begun] == pytest.approx(np.full(12, 0.015))
    assert sent[3:6] == pytest.approx(last[:3])
