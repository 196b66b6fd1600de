from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from harness.errors import BadInputError
from harness.evidence.evidence import read_evidence
from harness.measuring.measurement import Caveat, Sessions, Stat
from harness.measuring.slo import parse_slo
from harness.sizing.supply import holds, supplies
from loadprofiles.records import DrivePlan
from tests.harness.evidence.runs import a_cell, load_run
from tests.harness.sizing.made import opened

if TYPE_CHECKING:
    from pathlib import Path

    from harness.measuring.measurement import CellMeasurement
    from harness.sizing.record import Supply

SLO = parse_slo("ttft_due_p95_ms<=200")


def found(path: Path, cells: list[CellMeasurement], **manifest: Any) -> list[Supply]:  # noqa: ANN401
    run = load_run(path / "run", cells, **manifest)
    return supplies(read_evidence([run]).cells, SLO)


def test_the_highest_rate_below_the_first_that_broke(tmp_path: Path) -> None:
    cells = [opened(4, 50), opened(8, 150), opened(10, 300), opened(12, 900)]
    [one] = found(tmp_path, cells)
    assert (one.rate, one.rate_between, one.basis) == (8.0, (8.0, 10.0), "open levels")
    assert one.cell == "awq-steady-r8-1"
    assert one.prompt_tokens == 20
    assert one.output_tokens == 4
    assert one.per_server == 8.0


def test_a_level_must_hold_in_every_repeat(tmp_path: Path) -> None:
    cells = [opened(4, 50), opened(8, 150), opened(8, 250, repeat=2)]
    [one] = found(tmp_path, cells)
    assert one.rate_between == (4.0, 8.0)


def test_what_holds_above_a_break_does_not_count_and_is_told(tmp_path: Path) -> None:
    [one] = found(tmp_path, [opened(4, 50), opened(8, 250), opened(10, 150)])
    assert one.rate == 4.0
    assert [caveat.code for caveat in one.caveats] == ["not_monotone"]


def test_all_levels_held_so_nothing_bounds_it_above(tmp_path: Path) -> None:
    [one] = found(tmp_path, [opened(4, 50), opened(8, 150)])
    assert one.rate_between == (8.0, None)


def test_no_level_held(tmp_path: Path) -> None:
    [one] = found(tmp_path, [opened(4, 500), opened(8, 700)])
    assert (one.rate, one.basis) == (None, "nothing held")


def test_a_closed_loop_is_taken_where_there_is_no_other_and_told(tmp_path: Path) -> None:
    stat = Stat(p95=100.0, n=400)
    cells = []
    for streams, rate, p95 in ((1, 2.0, 100.0), (8, 9.0, 150.0), (32, 12.0, 800.0)):
        cell = a_cell(concurrency=streams)
        metrics = msgspec.structs.replace(
            cell.metrics,
            request_rate=rate,
            ttft_due_ms=msgspec.structs.replace(stat, p95=p95),
        )
        cells.append(msgspec.structs.replace(cell, metrics=metrics, metrics_with_failures={}))
    [one] = found(tmp_path, cells)
    assert (one.rate, one.rate_between, one.basis) == (9.0, (9.0, 12.0), "closed levels")
    assert [caveat.code for caveat in one.caveats] == ["closed_loop"]


@pytest.mark.parametrize(("level", "held"), [("rate", 6.0), ("concurrency", 4.0)])
def test_sessions_of_three_turns_are_an_arrival_each(
    tmp_path: Path, level: str, held: float
) -> None:
    """12 answers/s are 4 sessions/s."""
    base = opened(6, 50)
    cell = msgspec.structs.replace(
        base,
        level={level: 6.0},
        metrics=msgspec.structs.replace(base.metrics, request_rate=12.0),
        sessions=Sessions(planned=2, complete=2, broken=0, cut_off=0, turns=[]),
    )
    run = load_run(tmp_path / "run", [cell])
    with pytest.raises(BadInputError, match="how many turns a session has"):
        supplies(read_evidence([run]).cells, SLO)
    plan = DrivePlan(
        host="h", port=1, path="/", dialect="openai-chat", mode="open", due_ns=[0, 1],
        duration_ns=2, warmup=0, drain_s=1, timeout_s=60, output_tokens=[4] * 6,
        after=[-1, -1, 0, 1, 2, 3],
    )  # fmt: skip
    (run.cell(cell.id) / "plan.json").write_bytes(msgspec.json.encode(plan))
    [one] = supplies(read_evidence([run]).cells, SLO)
    assert (one.unit, one.turns, one.rate) == ("sessions/s", 3.0, held)
    assert one.prompt_tokens == 20, "of a request"


def test_several_servers_and_one_alone(tmp_path: Path) -> None:
    cells = [opened(10, 50), opened(20, 900), opened(15, 90, servers=2), opened(30, 900, servers=2)]
    [one] = found(tmp_path, cells)
    assert (one.servers, one.rate, one.per_server) == (2, 15.0, 7.5)
    assert one.bounds == (7.5, 15.0)
    assert one.efficiency == 0.75


def test_cells_of_a_slow_client_count_for_nothing(tmp_path: Path) -> None:
    slow = opened(8, 900)
    slow = msgspec.structs.replace(slow, client=msgspec.structs.replace(slow.client, valid=False))
    [one] = found(tmp_path, [opened(4, 50), slow])
    assert one.rate_between == (4.0, None)
    assert [caveat.code for caveat in one.caveats] == ["invalid_cells"]


def test_what_makes_a_rate_doubtful_goes_along(tmp_path: Path) -> None:
    cell = opened(4, 50)
    told = [Caveat("prefix_cache_hits", "hits"), Caveat("few_samples", "few")]
    client = msgspec.structs.replace(cell.client, caveats=told)
    [one] = found(tmp_path, [msgspec.structs.replace(cell, client=client)])
    assert one.caveats == [Caveat("prefix_cache_hits", "awq: hits")]


def test_failures_count_as_infinite() -> None:
    cell = opened(4, 50)
    assert holds(cell, SLO)
    lost = Stat(p50=50.0, n=400, n_infinite=40)
    cell = msgspec.structs.replace(cell, metrics_with_failures={"ttft_due_ms": lost})
    assert not holds(cell, SLO)


def test_a_queue_that_grew_holds_nothing() -> None:
    assert not holds(opened(4, 50, stable=False), parse_slo("itl_p95_ms<=500"))


def test_a_limit_without_a_value_does_not_hold() -> None:
    few = Stat(p50=50.0, n=5)
    cell = opened(4, 50, metrics_with_failures={"ttft_due_ms": few})
    assert not holds(cell, SLO)


def test_the_manifest_tells_of_the_server(tmp_path: Path) -> None:
    servers = {
        "awq": {
            "weights": {"bytes": 3 << 30},
            "reported": {"kv_cache_tokens": 8192, "kv_cache_gib": 1.0, "max_model_len": 4096},
        }
    }
    [one] = found(tmp_path, [opened(4, 50)], servers=servers)
    assert (one.weights_gib, one.kv_cache_gib, one.max_model_len) == (3.0, 1.0, 4096.0)
    assert one.kv_bytes_per_token == (1 << 30) / 8192


def test_what_cannot_be_put_together(tmp_path: Path) -> None:
    other = msgspec.structs.replace(opened(8, 50), profile="bursty")
    with pytest.raises(BadInputError, match="several profiles: bursty, steady"):
        found(tmp_path, [opened(4, 50), other])
    with pytest.raises(BadInputError, match="hold no load cells"):
        supplies([], SLO)
