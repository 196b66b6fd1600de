"""The simulator beside a sizing: on cells that a simulated engine has served."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest

from harness.evidence.evidence import LoadRun
from harness.measuring.remeasure import measure_folder
from harness.measuring.slo import parse_slo
from harness.reports.prediction import fleets_of, sheet_of
from harness.sizing import predicted
from harness.sizing.predicted import Model, checked, models_of
from harness.sizing.record import Demand, Terms
from harness.sizing.sizing import size
from loadprofiles.records import Endpoint
from tests.harness.cells import answer
from tests.harness.simulating.folders import run_of, sweep_of, write
from tests.harness.sizing.made import supply

if TYPE_CHECKING:
    from pathlib import Path

    from harness.rundir import RunFolder
    from harness.sizing.supply import Measured

RATES = (3.0, 6.0, 9.0, 12.0, 15.0)
SLO = parse_slo("ttft_p95_ms<=400,e2e_p95_ms<=4000")


def cells_of(run: RunFolder) -> list[Measured]:
    manifest: dict[str, Any] = run.read_manifest()
    of = LoadRun(folder=run, manifest=manifest, measurements=cast("Any", None))
    names = [cell["id"] for cell in manifest["cells"]]
    return [(of, measure_folder(run.cell(name), None)) for name in names]


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Measured]:
    return cells_of(sweep_of(tmp_path_factory.mktemp("runs"), RATES))


@pytest.fixture(scope="module")
def model(cells: list[Measured]) -> Model:
    return Model.of("a", cells)


def test_every_second_level_is_held_against_what_was_measured(
    model: Model, cells: list[Measured]
) -> None:
    found = model.prediction(None, SLO)
    assert found.fitted_on == ["r3", "r9", "r15"]
    assert {one.level for one in found.held_out} == {6.0, 12.0}
    assert found.fleets == []
    by_name = {(one.level, one.metric): one for one in found.held_out}
    for (_, cell), level in zip((cells[1], cells[3]), (6.0, 12.0), strict=True):
        one = by_name[level, "ttft_p50_ms"]
        assert one.measured == pytest.approx(cell.metrics.ttft_ms.p50, rel=0.05)
        assert one.error == pytest.approx(0, abs=0.1), "its engine is the simulator's own"
    assert found.worst["ttft_p50_ms"] == max(
        abs(by_name[level, "ttft_p50_ms"].error) for level in (6.0, 12.0)
    )
    assert "fitted to 3 measured cells (3 to 15/s)" in found.text
    assert "at 2 measured levels that it had not seen (6 to 12/s)" in found.text
    sheet = sheet_of(found)
    assert len(sheet.rows) == len(found.held_out)
    assert sheet.rows[0][:2] == ("6/s", "ttft_p50_ms")


def test_the_sized_fleet_is_checked_with_all_up_and_with_the_spare_down(
    model: Model,
) -> None:
    demand, terms = Demand(source="40", peak_rate=40.0), Terms()
    sizing = size([supply("a", 10.0), supply("b", 10.0)], str(SLO), demand, terms)
    found = checked(sizing, {"a": model}, SLO)
    assert found.builds[1].prediction is None
    assert found.prediction == found.builds[0].prediction
    assert found.prediction is not None
    up, down = found.prediction.fleets
    assert (up.failed, up.replicas, down.failed, down.replicas) == (0, 6, 1, 5)
    assert (up.rate, down.rate) == (pytest.approx(40 / 6), pytest.approx(8.0))
    assert up.requests == pytest.approx(5000, rel=0.06)
    assert up.ttft_ms.p95 is not None
    assert down.ttft_ms.p95 is not None
    assert up.ttft_ms.p95 < down.ttft_ms.p95, "fewer replicas have more to do"
    assert up.busy < down.busy
    assert [limit.limit for limit in up.limits] == ["ttft_p95_ms<=400", "e2e_p95_ms<=4000"]
    assert up.limits[0].predicted == up.ttft_ms.p95
    worst = found.prediction.worst
    assert up.limits[0].error == max(worst["ttft_p50_ms"], worst["ttft_p95_ms"])
    assert (up.verdict, up.outside) == ("PASS", [])
    assert "At the peak with 1 down, 5 replicas at 8.00/s each: ttft_p95_ms<=400 comes to" in (
        found.prediction.text
    )
    assert [row[0] for row in fleets_of(found.prediction).rows] == ["all up", "1 down"]


def test_a_fleet_beyond_what_was_measured_says_so(model: Model) -> None:
    demand = Demand(source="40", peak_rate=40.0)
    sizing = size([supply("a", 40.0)], str(SLO), demand, Terms(headroom=0.0, spare=0))
    found = checked(sizing, {"a": model}, SLO).prediction
    assert found is not None
    [alone] = found.fleets
    assert (alone.replicas, alone.failed) == (1, 0)
    assert alone.outside
    assert "Beyond what it was fitted to" in found.text
    assert alone.verdict != "PASS"


def test_a_fleet_that_the_simulator_sees_break_is_a_caveat(model: Model) -> None:
    slo = parse_slo("ttft_p95_ms<=1")
    sizing = size([supply("a", 10.0)], str(slo), Demand(source="40", peak_rate=40.0), Terms())
    assert [one.code for one in checked(sizing, {"a": model}, slo).caveats] == [
        "simulated_fleet_fails"
    ]
    assert checked(sizing, {"a": model}, SLO).caveats == []


def test_the_same_cells_give_the_same_prediction(model: Model, cells: list[Measured]) -> None:
    assert Model.of("a", cells).prediction(None, SLO) == model.prediction(None, SLO)


def test_why_there_is_none(tmp_path: Path) -> None:
    few = cells_of(sweep_of(tmp_path / "few", RATES[:2], 8.0))
    models, [caveat] = models_of(["a"], few)
    assert not models
    assert caveat.code == "no_prediction"
    assert caveat.text.startswith("a: no prediction by the simulator: too few levels")
    several = run_of(tmp_path / "several", {"c1": "a", "c2": "a"})
    for name in ("c1", "c2"):
        write(
            several,
            name,
            [answer(n, n * 0.1) for n in range(40)],
            replicas=[Endpoint(host="h2", port=2, path="/")],
        )
    _, [caveat] = models_of(["a"], cells_of(several))
    assert "requests went to 2 addresses" in caveat.text
    one = run_of(tmp_path / "whole", {"c1": "a"})
    write(one, "c1", [answer(n, n * 0.1) for n in range(40)], stream=False)
    _, [caveat] = models_of(["a"], cells_of(one))
    assert "one document each" in caveat.text


def test_a_fit_that_fails_costs_no_search_and_a_mistake_elsewhere_is_none_of_it(
    cells: list[Measured], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ValueError("array must not contain infs or NaNs")

    with monkeypatch.context() as patched:
        patched.setattr(predicted, "fit", fails)
        _, [caveat] = models_of(["a"], cells)
    assert "cannot be fitted (ValueError: array must not contain infs or NaNs)" in caveat.text
    monkeypatch.setattr(predicted, "read_sweep", fails)
    with pytest.raises(ValueError, match="infs or NaNs"):
        models_of(["a"], cells)


def test_cells_in_which_the_queue_grew_or_the_client_was_slow_are_left_out(
    cells: list[Measured],
) -> None:
    changed = [(run, msgspec.structs.replace(cell, stable=cell.id != "r15")) for run, cell in cells]
    assert Model.of("a", changed).fitted.fitted_on == ["r3", "r9", "r12"]
    slow = [
        (run, msgspec.structs.replace(
            cell, client=msgspec.structs.replace(cell.client, valid=cell.id == "r3")))
        for run, cell in cells
    ]  # fmt: skip
    _, [caveat] = models_of(["a"], slow)
    assert "too few levels" in caveat.text
