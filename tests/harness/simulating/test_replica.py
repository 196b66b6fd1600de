"""One simulated engine against theory, against a plain loop, and against itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.simulating.engine import Engine, Limits, StepCost
from harness.simulating.replica import NEVER, Replica, Work
from tests.harness.simulating.reference import Request, serve

COST = StepCost(base_s=5e-3, sequence_s=2e-4, prefill_token_s=5e-5, context_token_s=3e-7)
FREE = StepCost(base_s=0.01, sequence_s=0.0, prefill_token_s=0.0, context_token_s=0.0)


def run(engine: Engine, requests: list[Request]) -> tuple[Work, Replica]:
    work = Work([one.prompt for one in requests], [one.output for one in requests])
    replica = Replica(engine, work)
    for number, one in enumerate(requests):
        replica.run_until(one.sent_s)
        replica.send(number, one.sent_s)
    replica.run_until(NEVER)
    return work, replica


@pytest.mark.parametrize("busy", [0.3, 0.7])
def test_one_at_a_time_waits_as_long_as_in_an_m_d_1_queue(busy: float) -> None:
    """Pollaczek-Khinchine: the mean wait is r s / (2 (1 - r)), busy for a share r of the time."""
    rng = np.random.default_rng(7)
    arrivals = np.cumsum(rng.exponential(0.01 / busy, 40_000))
    engine = Engine(cost=FREE, limits=Limits(max_num_seqs=1))
    work, replica = run(engine, [Request(at, 8, 1) for at in arrivals.tolist()])
    wait = np.array(work.first_s) - arrivals - 0.01
    assert wait.mean() == pytest.approx(busy * 0.01 / (2 * (1 - busy)), rel=0.06)
    assert replica.busy_s == pytest.approx(400)


def test_without_load_a_request_takes_its_steps_and_its_overhead() -> None:
    engine = Engine(cost=COST, limits=Limits(), overhead_s=0.003, overhead_each_s=1.0)
    work, _ = run(engine, [Request(2.0, 100, 3)])
    first = 2.003 + COST.of(1, 100, 0, 1)
    assert work.first_s == [pytest.approx(first)]
    assert work.last_s == [pytest.approx(first + COST.of(1, 0, 101, 0) + COST.of(1, 0, 102, 0))]


def test_a_prompt_longer_than_the_budget_takes_several_steps_and_slows_the_others() -> None:
    engine = Engine(cost=COST, limits=Limits(max_num_batched_tokens=64))
    work, _ = run(engine, [Request(0.0, 60, 9), Request(1e-6, 130, 1)])
    alone = COST.of(1, 60, 0, 1)
    chunks = [COST.of(1, 63, 61, 0), COST.of(1, 63, 62, 0), COST.of(2, 4, 63, 1)]
    assert work.first_s == [pytest.approx(alone), pytest.approx(alone + sum(chunks))]


REQUESTS = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 120), st.integers(1, 30)), min_size=1, max_size=12
)
LIMITS = st.builds(
    Limits,
    max_num_seqs=st.sampled_from([1, 2, 5, 1 << 40]),
    max_num_batched_tokens=st.sampled_from([16, 100, 1 << 40]),
)


@settings(deadline=None)
@given(REQUESTS, LIMITS, st.sampled_from([0.0, 0.002]))
def test_leaps_come_to_the_same_times_as_one_step_after_the_other(
    asked: list[tuple[int, int, int]], limits: Limits, each: float
) -> None:
    engine = Engine(cost=COST, limits=limits, overhead_s=0.0013, overhead_each_s=each)
    requests = [Request(at * 0.0107, prompt, output) for at, prompt, output in sorted(asked)]
    work, _ = run(engine, requests)
    serve(engine, requests)
    assert work.first_s == pytest.approx([one.tokens_s[0] for one in requests])
    assert work.last_s == pytest.approx([one.tokens_s[-1] for one in requests])


@settings(deadline=None)
@given(REQUESTS, st.integers(150, 400), st.sampled_from([1, 3, 1 << 40]))
def test_all_complete_once_and_the_cache_is_never_over_full(
    asked: list[tuple[int, int, int]], kv_tokens: int, slots: int
) -> None:
    engine = Engine(
        cost=COST, limits=Limits(kv_tokens=kv_tokens, max_num_seqs=slots, max_num_batched_tokens=64)
    )
    asked = sorted(asked)
    work = Work([prompt for _, prompt, _ in asked], [output for _, _, output in asked])
    replica = Replica(engine, work)
    done: list[int] = []
    for number in range(len(asked)):
        replica.send(number, 0.0)
    while replica.load:
        done += replica.advance()
        held = sum(work.prompts[one] for one in replica.running)
        assert replica.kv_tokens <= kv_tokens
        assert len(replica.running) <= slots
        assert not replica.running or held <= replica.kv_tokens
    assert sorted(done) == list(range(len(asked)))
    assert replica.kv_tokens == 0
    assert all(0 < one <= other for one, other in zip(work.first_s, work.last_s, strict=True))
    gaps = sum(output - 1 for _, _, output in asked)
    assert sum(work.gap_weight) == gaps, "each token after the first is one gap"
    total = sum(length * count for length, count in zip(work.gap_s, work.gap_weight, strict=True))
    spans = sum(b - a for a, b in zip(work.first_s, work.last_s, strict=True))
    assert total == pytest.approx(spans)


@pytest.mark.parametrize("within", [(0.0, 0.05), (0.021, 0.043), (0.05, 9.0), (9.0, 10.0)])
def test_gaps_count_where_they_end(within: tuple[float, float]) -> None:
    """Steps of 10 ms: tokens at 10, 20, … 90 ms, and a second answer's from 60 ms on."""
    engine = Engine(cost=FREE, limits=Limits())
    work = Work([5, 5], [9, 4], within)
    replica = Replica(engine, work)
    replica.send(0, 0.0)
    replica.run_until(0.045)
    replica.send(1, 0.045)
    replica.run_until(NEVER)
    ends = [0.01 * n for n in (2, 3, 4, 5, 6, 7, 8, 9, 7, 8, 9)]
    assert sum(work.gap_weight) == sum(within[0] <= end < within[1] for end in ends)


def test_a_full_cache_pushes_the_latest_back() -> None:
    engine = Engine(cost=COST, limits=Limits(kv_tokens=120))
    work, _ = run(engine, [Request(0.0, 40, 40), Request(0.0, 40, 40)])
    alone, _ = run(engine, [Request(0.0, 40, 40)])
    assert work.preemptions == 1
    assert work.last_s[0] > alone.last_s[0], "it was slowed while both ran"
    assert work.last_s[1] > work.last_s[0]
    assert max(work.gap_s) > 10 * COST.of(2, 0, 120, 0), "the stall of the one pushed back"


def test_what_a_dead_replica_had_is_told_and_gone() -> None:
    work = Work([10] * 4, [50] * 4)
    replica = Replica(Engine(cost=COST, limits=Limits(max_num_seqs=2), overhead_s=1e-3), work)
    for number in range(3):
        replica.send(number, 0.0)
    replica.run_until(0.1)
    replica.send(3, 0.1)
    assert sorted(replica.drop_all()) == [0, 1, 2, 3]
    assert replica.load == replica.kv_tokens == 0
    assert all(math.isnan(one) for one in work.last_s)
