"""Fleets and closed loops of simulated engines."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.simulating.drive import Failures, by_schedule, closed_loop
from harness.simulating.engine import Engine, Limits, StepCost
from harness.simulating.replica import NEVER, Replica, Work

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


def plainly(arrivals: list[float], fleet: list[Replica], dying: dict[int, float]) -> list[int]:
    """Least loaded, asked of all at each arrival."""
    lost: list[int] = []
    alive = dict(enumerate(fleet))
    turns = {index: index for index in alive}
    for request, at in enumerate([*arrivals, NEVER]):
        for index in [index for index in alive if index in dying and dying[index] <= at]:
            alive[index].run_until(dying[index])
            lost += alive.pop(index).drop_all()
        for one in alive.values():
            one.run_until(at)
        if at == NEVER:
            return lost
        if not alive:
            lost.append(request)
            continue
        index = min(alive, key=lambda index: (alive[index].load, turns[index]))
        turns[index] = len(fleet) + request
        alive[index].send(request, at)
    return lost


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 60), st.integers(1, 90), st.integers(1, 30)), min_size=1,
        max_size=40,
    ),
    st.integers(1, 4),
    st.sampled_from([Limits(), Limits(max_num_seqs=2, max_num_batched_tokens=40),
                     Limits(kv_tokens=160), Limits(kv_tokens=200, max_num_batched_tokens=64)]),
    st.dictionaries(st.integers(0, 3), st.sampled_from([0.05, 0.2]), max_size=2),
)  # fmt: skip
def test_least_loaded_is_who_had_the_fewest_when_all_are_asked(
    asked: list[tuple[int, int, int]], count: int, limits: Limits, dying: dict[int, float]
) -> None:
    cost = StepCost(base_s=5e-3, sequence_s=2e-4, prefill_token_s=5e-5, context_token_s=3e-7)
    engine = Engine(cost=cost, limits=limits, overhead_s=0.0013, overhead_each_s=2e-4)
    asked = sorted(asked)
    arrivals = [at * 0.0107 for at, _, _ in asked]
    dying = {index: at for index, at in dying.items() if index < count}
    found, plain = (
        Work([prompt for _, prompt, _ in asked], [output for _, _, output in asked])
        for _ in range(2)
    )
    failures = Failures(dying)
    by_schedule(
        np.array(arrivals), [Replica(engine, found) for _ in range(count)], "least-loaded", failures
    )
    lost = plainly(arrivals, [Replica(engine, plain) for _ in range(count)], dying)
    assert sorted(failures.lost) == sorted(lost)
    assert found.first_s == pytest.approx(plain.first_s, nan_ok=True)
    assert found.last_s == pytest.approx(plain.last_s, nan_ok=True)
    assert found.preemptions == plain.preemptions


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
