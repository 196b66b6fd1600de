"""What a fit finds in cells of a simulated engine whose parameters are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.errors import BadInputError
from harness.simulating.drive import closed_loop
from harness.simulating.engine import Engine, Limits, StepCost
from harness.simulating.fit import fit
from harness.simulating.observed import Observed
from harness.simulating.rehearse import METRICS, measured, rehearsed
from harness.simulating.replica import Replica, Work
from harness.simulating.steps import equations, step_cost
from tests.harness.simulating.reference import Request, cell, observed, serve

TRUTH = Engine(
    cost=StepCost(base_s=4e-3, sequence_s=3e-4, prefill_token_s=6e-5, context_token_s=5e-7),
    limits=Limits(max_num_seqs=64),
    overhead_s=0.012,
    overhead_each_s=4e-4,
)
RATES = (4.0, 10.0, 16.0, 20.0)


@pytest.fixture(scope="module")
def cells() -> list[Observed]:
    return [cell(TRUTH, rate, 20.0, seed) for seed, rate in enumerate(RATES)]


def test_an_equation_holds_what_came_between_first_and_last_token() -> None:
    """Two requests; the second's first token falls into the first one's answer."""
    early, late = Request(0.0, 100, 4), Request(0.5, 30, 2)
    early.tokens_s, late.tokens_s = [1.0, 2.0, 3.0, 4.0], [2.0, 3.0]
    one = observed([early, late], 10.0, 1.0)
    rows, seconds = equations(replace(one, outputs=np.array([5, 2])))
    assert len(rows) == 0, "three gaps are too few"
    early.output, early.tokens_s = 5, [1.0, 2.0, 3.0, 4.0, 5.0]
    rows, seconds = equations(observed([early, late], 10.0, 1.0))
    assert seconds.tolist() == [4.0]
    steps, tokens, prefill, context = rows[0].tolist()
    assert (steps, tokens, prefill) == (4, 6, 30)
    assert context == 102 + 103 + 104 + 105 + 32


def test_the_length_of_steps_is_found(cells: list[Observed]) -> None:
    found = step_cost(cells)
    for name in ("base_s", "sequence_s", "prefill_token_s"):
        assert getattr(found, name) == pytest.approx(getattr(TRUTH.cost, name), rel=0.05), name
    assert found.context_token_s == pytest.approx(TRUTH.cost.context_token_s, rel=0.3)


def test_cells_of_one_answer_each_have_steps_that_take_time() -> None:
    """Nothing tells a cell's speed from its batch there: its mean is all there is."""
    few = []
    for n in range(5, 10):
        times = [0.1 + 1e-3 * n * step for step in range(9)]
        few.append(observed([Request(0.0, 50 * n, 9, tokens_s=times)], 1.0, 1.0))
    cost = step_cost(few)
    costs = [getattr(cost, name) for name in ("base_s", "sequence_s", "prefill_token_s")]
    for one in few:
        [row], [seconds] = equations(one)
        assert np.dot(row, [*costs, cost.context_token_s]) == pytest.approx(seconds, rel=0.1)


def slowed(one: Observed, factor: float, name: str = "") -> Observed:
    """Return the cell as it had been on a machine that takes so many times as long."""
    times = ("due_s", "sent_s", "first_s", "last_s", "chunk_s")
    return replace(
        one, id=name or one.id, window_s=one.window_s * factor,
        **{field: getattr(one, field) * factor for field in times},
    )  # fmt: skip


@pytest.mark.parametrize("factors", [(1.0, 1.0, 1.0, 1.5), (1.5, 1.2, 1.0, 0.8)])
def test_a_machine_that_is_faster_in_one_cell_than_in_the_next_does_not_turn_the_steps(
    cells: list[Observed], factors: tuple[float, ...]
) -> None:
    """A slow cell with large batches is no reason to take sequences for slow."""
    found = step_cost([slowed(one, by) for one, by in zip(cells, factors, strict=True)])
    mean = float(np.exp(np.mean(np.log(factors))))
    for name in ("base_s", "sequence_s", "prefill_token_s", "context_token_s"):
        assert getattr(found, name) == pytest.approx(mean * getattr(TRUTH.cost, name), rel=0.06)


def test_what_the_machine_did_to_a_level_is_told_from_what_the_simulator_missed(
    cells: list[Observed],
) -> None:
    fitted = fit([cells[0], slowed(cells[1], 1.4), cells[2], cells[3]], TRUTH.limits)
    e2e = next(one for one in fitted.held_out if one.metric == "e2e_p50_ms")
    assert e2e.error < -0.25
    assert e2e.error_at_own_speed == pytest.approx(0, abs=0.05)
    assert e2e.repeats == [e2e.measured]


def test_answers_in_chunks_of_several_tokens_say_the_same(cells: list[Observed]) -> None:
    """Every other stamp is hidden: a chunk is two tokens then."""
    one = cells[1]
    ends = np.cumsum(one.chunks)
    place = np.arange(one.chunk_s.size) - np.repeat(ends - one.chunks, one.chunks)
    kept = (place % 2 == 0) & np.repeat(one.chunks % 2 == 0, one.chunks)
    even = one.chunks % 2 == 0
    halved = replace(
        one, **{name: getattr(one, name)[even] for name in (
            "measured", "due_s", "sent_s", "first_s", "last_s", "prompts", "outputs")},
        chunk_s=one.chunk_s[kept], chunks=one.chunks[even] // 2,
    )  # fmt: skip
    rows, _ = equations(halved)
    assert rows[:, 0].tolist() == (one.outputs[even] - 2)[one.outputs[even] >= 6].tolist()


def test_a_rehearsed_cell_is_the_measured_one(cells: list[Observed]) -> None:
    for one in cells:
        truth, found = measured(one), rehearsed(one, TRUTH)
        for name in METRICS:
            assert getattr(found, name) == pytest.approx(getattr(truth, name), rel=0.01), name


def test_levels_left_out_of_the_fit_are_predicted(cells: list[Observed]) -> None:
    fitted = fit(cells, TRUTH.limits)
    assert fitted.fitted_on == ["a-4", "a-16", "a-20"]
    assert {(one.mode, one.level) for one in fitted.held_out} == {("open", 10.0)}
    assert [one.metric for one in fitted.held_out] == list(METRICS)
    assert all(abs(one.error) < 0.05 for one in fitted.held_out), fitted.worst()
    assert fitted.engine.overhead_s + fitted.engine.cost.base_s == pytest.approx(0.016, rel=0.1)
    assert fitted.caveats == []
    assert 1 < fitted.seen.batch < 64
    assert fitted.seen.prompt_tokens[0] >= 50


def test_repeats_of_a_level_are_left_out_together(cells: list[Observed]) -> None:
    again = replace(cells[1], id="again")
    fitted = fit([*cells, again], TRUTH.limits)
    assert fitted.held_out[0].cells == ["a-10", "again"]
    assert fitted.held_out[0].measured == pytest.approx(measured(again).ttft_p50_ms)
    assert fitted.held_out[0].repeats == [fitted.held_out[0].measured] * 2


def test_two_levels_leave_none_to_check(cells: list[Observed]) -> None:
    fitted = fit(cells[:2], TRUTH.limits)
    assert fitted.held_out == []
    assert fitted.worst() == {}
    assert "its error is unknown" in fitted.caveats[0]


def test_a_closed_loop_is_rehearsed_with_as_many_streams() -> None:
    """Streams of equal requests, served by the plain loop in rounds: all begin and end together."""
    engine = Engine(cost=TRUTH.cost, limits=Limits())
    rounds = []
    at = 0.0
    for _ in range(12):
        both = [Request(at, 100, 10), Request(at, 100, 10)]
        serve(engine, both)
        at = both[0].tokens_s[-1]
        rounds += both
    first_wave = rounds[2].sent_s
    for one in rounds:
        one.sent_s -= first_wave
        one.tokens_s = [token - first_wave for token in one.tokens_s]
    one = observed(rounds, rounds[-1].tokens_s[-1], 2.0, streams=2)
    truth, found = measured(one), rehearsed(one, engine)
    for name in METRICS:
        assert getattr(found, name) == pytest.approx(getattr(truth, name), rel=1e-3), name


def test_a_closed_loop_keeps_its_load_until_the_last_answer() -> None:
    """The window is shorter than an answer: most of what was measured ended after it."""
    rng = np.random.default_rng(5)
    work = Work(rng.integers(50, 400, 900).tolist(), rng.integers(100, 300, 900).tolist())
    sent = closed_loop(Replica(TRUTH, work), 24, until_s=20.0)
    begun = np.isfinite(sent)
    opens = float(sent[24])
    first, last = (np.array(stamps)[begun] - opens for stamps in (work.first_s, work.last_s))
    sent = sent[begun] - opens
    truth = Observed(
        id="c", build="a", level=24.0, streams=24, window_s=3.0,
        measured=(sent >= 0) & (sent < 3.0), due_s=sent, sent_s=sent, first_s=first, last_s=last,
        prompts=np.array(work.prompts)[begun], outputs=np.array(work.outputs)[begun],
        chunk_s=np.stack([first, last], axis=1).ravel(), chunks=np.full(begun.sum(), 2),
    )  # fmt: skip
    assert (last[truth.measured] > 3.0).mean() > 0.5
    seen, found = measured(truth), rehearsed(truth, TRUTH)
    for name in METRICS[:4]:
        assert getattr(found, name) == pytest.approx(getattr(seen, name), rel=0.01), name


def test_a_cell_that_something_else_slowed_down_is_named(cells: list[Observed]) -> None:
    slow = slowed(cells[1], 1.5, "slow")
    (caveat,) = fit([cells[0], slow, cells[2], cells[3]], TRUTH.limits).caveats
    assert "slow 1.5" in caveat
    assert cells[2].id not in caveat


def test_of_a_long_cell_the_first_part_is_rehearsed(cells: list[Observed]) -> None:
    long = cells[3]
    part = long.shortened(100)
    assert part.measured.sum() == 100
    assert part.window_s == long.sent_s[100]
    assert part.chunk_s.size == part.chunks.sum()
    assert measured(part).aggregate_tps == pytest.approx(
        ((long.chunk_s >= 0) & (long.chunk_s < part.window_s)).sum() / part.window_s
    )
    assert long.shortened(10_000) is long


def test_nothing_to_fit_is_said() -> None:
    with pytest.raises(BadInputError, match="no measured cell"):
        fit([])
    short = [Request(float(n), 10, 1) for n in range(30)]
    serve(TRUTH, short)
    with pytest.raises(BadInputError, match="no answers of several tokens"):
        fit([observed(short, 30.0, 1.0)])
