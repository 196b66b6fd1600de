"""What a run's files say while it is under way, and when a part of it fails."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import harness.reports
from harness.load.matrix import expand
from harness.load.record import RunRecord
from harness.measuring.measure import CellFacts, measure
from harness.rundir import RunFolder
from loadprofiles.records import DrivePlan, DriveReport, Sample
from loadprofiles.wire.clock import wall_minus_monotonic_ns

if TYPE_CHECKING:
    from pathlib import Path

    from harness.measuring.measurement import CellMeasurement

S = 1_000_000_000


@pytest.fixture
def record(tmp_path: Path) -> RunRecord:
    return RunRecord(
        RunFolder.create(tmp_path, "x"),
        command=["harness", "load"],
        seed=1,
        cells=expand(["awq"], "closed", [1.0, 8.0], 1, closed=True),
        request={},
        profile={},
    )


def measured(level: int) -> CellMeasurement:
    sample = Sample(
        seq=0, body=0, request_id="r", phase="measured", due_ns=S, submitted_ns=S, sent_ns=S,
        first_ns=S + 1, last_ns=2 * S, done_ns=2 * S, status=200, output_tokens=2, chunk_ns=[S - 1],
        lag_us=[1, 1],
    )  # fmt: skip
    plan = DrivePlan(
        host="h", port=1, path="/", dialect="openai-completions", mode="closed", streams=1,
        requests=1, warmup=0, drain_s=1, timeout_s=1, output_tokens=[2],
    )  # fmt: skip
    drive = DriveReport(
        ended="done", window_start_ns=S, window_end_ns=2 * S, clock="kernel",
        wall_minus_monotonic_ns=0, clock_step_ns=0, cpu_s=0, run_delay_s=0, gc_collections=0,
        connections=1, samples=1, versions={},
    )  # fmt: skip
    facts = CellFacts(
        id=f"awq-closed-c{level}-1", build="awq", engine="vllm", engine_version=None, model="m",
        profile="closed", repeat=1, level={"concurrency": level},
    )  # fmt: skip
    return measure(facts, plan, [sample], drive)


def test_a_run_that_was_killed_is_not_valid(record: RunRecord) -> None:
    record.add_cell(measured(1))
    record.save()
    told = json.loads((record.folder.path / "measurements.json").read_text())
    assert told["cells"][0]["client"]["valid"]
    assert not told["valid"]
    assert [caveat["code"] for caveat in told["caveats"]] == ["incomplete"]
    assert "1 of 2 cells" in told["caveats"][0]["text"]


def test_cells_lie_in_the_order_of_the_plan_whichever_was_measured_first(record: RunRecord) -> None:
    """As `harness report` computes them anew: interleaved builds end their cells by turns."""
    record.add_cell(measured(8))
    record.add_cell(measured(1))
    assert [cell.id for cell in record.measurements().cells] == [
        "awq-closed-c1-1",
        "awq-closed-c8-1",
    ]


def test_a_whole_run_is_valid_and_a_reason_against_it_stands_alone(record: RunRecord) -> None:
    record.add_cell(measured(1))
    record.add_cell(measured(8))
    assert record.measurements().valid
    assert record.measurements().caveats == []
    record.add_problem("server_failed", "awq: it died")
    assert not record.measurements().valid
    assert [caveat.code for caveat in record.measurements().caveats] == ["server_failed"]


def test_the_manifest_anchors_the_stamps_to_wall_time(record: RunRecord) -> None:
    record.save()
    anchor = json.loads((record.folder.path / "manifest.json").read_text())["clock"]
    assert anchor["wall_minus_monotonic_ns"] == pytest.approx(wall_minus_monotonic_ns(), abs=S)


def test_a_report_with_a_bug_costs_a_line_and_no_other_report(
    record: RunRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = harness.reports.load_report

    def broken(name: str) -> object:
        if name == "html":
            raise ZeroDivisionError("by zero")
        return load(name)

    monkeypatch.setattr(harness.reports, "load_report", broken)
    record.add_cell(measured(1))
    record.save()
    (problem,) = record.write_reports()
    assert problem.startswith("no html report, which is a bug:\nTraceback")
    assert "ZeroDivisionError: by zero" in problem
    assert (record.folder.path / "report.md").is_file()
