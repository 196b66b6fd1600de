from __future__ import annotations

import msgspec
import pytest

from harness.capacity.swept import next_of, sweep_of, sweeps_of
from harness.measuring.measurement import Caveat, CellMeasurement, RunInfo, measurements
from harness.measuring.sweep import Sweep, SweepPlan, Throughput
from tests.harness.cells import answer, measured

RUN = RunInfo(id="r", path="p", started="s", command="c", seed=1, harness_version="0")
PLAN = SweepPlan(low=1, high=64, least=1, levels=16, limit_s=60, max_fail_ratio=0.05)
BASE = measured([answer(n, 0.1 * n) for n in range(60)], 6, streams=1)
QUIET = msgspec.structs.replace(BASE.client, caveats=[], valid=True)


def cell(level: float, tps: float, **changes: object) -> CellMeasurement:
    """A closed loop's cell of so many tokens a second, ten a request."""
    throughput = Throughput(
        tps=tps, tps_se=0.01 * tps, rate=tps / 10, rate_se=0.002 * tps, from_s=0, to_s=6
    )
    fields = {"client": QUIET, "throughput": throughput, "level": {"concurrency": level}, **changes}
    return msgspec.structs.replace(BASE, id=f"a-p-c{level:g}-1", **fields)


def at_rate(level: float, done: float) -> CellMeasurement:
    """An open loop's, at a server that answers so many."""
    throughput = Throughput(
        tps=10 * done, tps_se=0.1, rate=done, rate_se=0.01 * done, from_s=0, to_s=6
    )
    return msgspec.structs.replace(
        BASE, id=f"a-p-r{level:g}-1", level={"rate": level}, throughput=throughput,
        client=QUIET, offered_rate=level, stable=done == level,
        metrics=msgspec.structs.replace(BASE.metrics, request_rate=done),
    )  # fmt: skip


SLOTS = [cell(n, 100 * min(n, 4)) for n in (1, 2, 3, 4, 6, 8, 12)]


def test_a_closed_sweep_has_its_knee_at_the_slots() -> None:
    found = sweep_of(PLAN, [*reversed(SLOTS)])
    assert found.knee is not None
    assert found.knee.kind == "corner"
    assert found.knee.level == pytest.approx(4, rel=0.02)
    assert found.knee.ci95[0] < 4 < found.knee.ci95[1]
    assert found.plateau == pytest.approx(400, rel=0.01)
    assert found.near == pytest.approx(3.8, rel=0.02)
    assert (found.level, found.unit) == ("concurrency", "tok/s")
    assert [one.level for one in found.levels] == [1, 2, 3, 4, 6, 8, 12]
    assert [one.fitted for one in found.levels] == pytest.approx(
        [one.throughput for one in found.levels], rel=0.02
    )


def test_an_open_sweep_has_its_knee_where_the_queue_begins_to_grow() -> None:
    rates = [(0.5, 0.5), (1, 1), (2, 2), (3.8, 3.8), (4.2, 4.02), (4.6, 3.98), (8, 2.0)]
    found = sweep_of(PLAN, [at_rate(*pair) for pair in rates])
    assert found.knee is not None
    assert found.knee.kind == "queue"
    assert found.knee.level == pytest.approx(4, rel=0.01), "8/s, where it collapsed, is left out"
    assert found.knee.ci95[0] < 4 < found.knee.ci95[1]
    assert found.unit == "req/s"


def test_until_the_last_level_it_is_under_way_and_the_run_did_not_end() -> None:
    part = SLOTS[:4]
    found = sweep_of(PLAN, part)
    assert found.ended == "under way"
    then = next_of(PLAN, part, closed=True)
    assert found.text == f"the next level is {then.level:g} ({then.why})"  # type: ignore[union-attr]
    run = measurements(RUN, part, len(part), [], [found])
    assert [one.code for one in run.caveats] == ["incomplete"]
    assert not run.valid
    told = [Caveat("interrupted", "interrupted", invalidates=True)]
    assert measurements(RUN, part, len(part), told, [found]).caveats == told
    timed = sweep_of(PLAN, part, "time")
    assert timed.ended == "time"
    assert measurements(RUN, part, len(part), [], [timed]).caveats == []


def test_builds_are_swept_each_on_its_own() -> None:
    others = [msgspec.structs.replace(one, build="b") for one in SLOTS[:3]]
    found = sweeps_of(PLAN, [*SLOTS, *others], {"b": "time"})
    assert [(one.build, one.ended == "time") for one in found] == [("a", False), ("b", True)]


def test_repeats_of_a_level_are_one_and_their_spread_counts() -> None:
    twice = [cell(2, 190), msgspec.structs.replace(cell(2, 210), repeat=2)]
    found = sweep_of(PLAN, [cell(1, 100), *twice])
    assert [one.level for one in found.levels] == [1, 2]
    assert found.levels[1].throughput == 200
    assert found.levels[1].se == pytest.approx(10)


def test_what_is_no_plateau_is_left_out_and_said() -> None:
    fallen = [*SLOTS, cell(24, 300)]
    found = sweep_of(PLAN, fallen)
    assert found.plateau == pytest.approx(400, rel=0.01)
    assert any("falls again at 24 streams" in note for note in found.notes)
    assert not found.levels[-1].used
    slow = msgspec.structs.replace(
        BASE.client, caveats=[Caveat("streams_not_held", "busy", invalidates=True)]
    )
    found = sweep_of(PLAN, [*SLOTS[:-1], cell(12, 500, client=slow)])
    assert any("client was the bottleneck at 12 streams" in note for note in found.notes)
    assert found.plateau == pytest.approx(400, rel=0.01)
    failed = msgspec.structs.replace(BASE.requests, failed=10)
    found = sweep_of(PLAN, [*SLOTS[:-1], cell(12, 500, requests=failed)])
    assert any("requests failed at 12 streams" in note for note in found.notes)


def test_levels_without_a_steady_state_and_much_that_was_cut_are_told() -> None:
    assert BASE.steady is not None
    none = msgspec.structs.replace(BASE.steady, state="none", reason="x")
    cut = msgspec.structs.replace(BASE.steady, state="steady", cut_share=0.4)
    found = sweep_of(PLAN, [cell(1, 100, steady=none), cell(2, 200, steady=cut)])
    assert any("No steady state at 1 streams" in note for note in found.notes)
    assert any("not steady at 2 streams" in note for note in found.notes)
    assert isinstance(found, Sweep)
