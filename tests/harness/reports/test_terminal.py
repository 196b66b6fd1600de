"""What a terminal of 80 columns shows, and what it says of the load."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from rich.console import Console

from harness.measuring.measurement import EndpointUse, Stat
from harness.reports import load_report
from harness.reports.figures import count, figure
from harness.reports.terminal import print_run
from harness.rundir import RunFolder

if TYPE_CHECKING:
    from pathlib import Path

    from harness.measuring.measurement import CellMeasurement


def on_terminal(run: RunFolder, width: int = 80) -> str:
    out = io.StringIO()
    print_run(run, Console(file=out, width=width, color_system=None))
    return out.getvalue()


def rewritten(run: RunFolder, folder: Path, **changes: Any) -> RunFolder:  # noqa: ANN401 - fields
    """The same run with other fields in every cell."""
    found = run.read_measurements()
    cells = [msgspec.structs.replace(cell, **changes) for cell in found.cells]
    changed = RunFolder(folder)
    changed.write_manifest(run.read_manifest())
    changed.write_measurements(msgspec.structs.replace(found, cells=cells))
    return changed


def busy(cell: CellMeasurement) -> dict[str, object]:
    """Fields as wide as they come."""
    return {
        "requests": msgspec.structs.replace(cell.requests, ok=123_456, failed=12_345),
        "metrics": msgspec.structs.replace(
            cell.metrics,
            aggregate_tps=234_567.0,
            request_rate=1234.0,
            ttft_ms=Stat(n=500, p50=12_345.0, p95=23_456.0, p99=34_567.0),
            e2e_ms=Stat(n=500, p50=45_678.0, p95=56_789.0, p99=67_890.0),
        ),
        "level": {"concurrency": 1024.0},
    }


@pytest.mark.parametrize("repeat", [1, 2])
@pytest.mark.parametrize("build", ["a", "fp16", "demo-model-instruct-awq"])
def test_no_number_and_no_verdict_is_cut_at_80_columns(
    runs: dict[str, RunFolder], tmp_path: Path, build: str, repeat: int
) -> None:
    first = runs["one-level"].read_measurements().cells[0]
    for lengths in ("forced", "natural"):
        run = rewritten(
            runs["one-level"], tmp_path, build=build, repeat=repeat, lengths=lengths, **busy(first)
        )
        lines = on_terminal(run).splitlines()
        assert all(len(line) <= 80 for line in lines if str(tmp_path) not in line)
        [header] = [line for line in lines if "valid" in line and "failed" in line]
        assert header.rstrip().endswith("valid")
        verdicts = [line for line in lines if "123,456" in line and "234,567" in line]
        assert len(verdicts) == len(runs["one-level"].read_measurements().cells)
        assert all(line.rstrip().endswith(" yes") for line in verdicts)
        assert sum("12,345" in line and "~67,890" in line for line in lines) == len(verdicts)


def test_a_rate_that_was_not_answered_is_told(runs: dict[str, RunFolder]) -> None:
    calm, flooded = runs["unstable"].read_measurements().cells
    text = " ".join(on_terminal(runs["unstable"]).split())
    wanted = (
        f"Offered {figure(flooded.offered_rate)}/s, answered "
        f"{figure(flooded.metrics.request_rate)}/s; in flight {figure(flooded.in_flight_mean)} on "
        f"average, {count(flooded.in_flight_peak)} at most, awq · 20/s"
    )
    assert wanted in text
    assert text.count("Offered") == 1, f"{figure(calm.offered_rate)}/s was answered"


def test_markdown_has_what_was_offered_and_in_flight(runs: dict[str, RunFolder]) -> None:
    text = load_report("markdown").render(runs["unstable"])
    table = text.partition("### Throughput")[2].strip().splitlines()
    header, *rows = ([part.strip() for part in line.split("|")] for line in table[:4])
    for cell, row in zip(runs["unstable"].read_measurements().cells, rows[1:], strict=True):
        told = dict(zip(header, row, strict=True))
        assert told["due/s"] == figure(cell.offered_rate)
        assert told["req/s"] == figure(cell.metrics.request_rate)
        assert told["in flight, mean"] == figure(cell.in_flight_mean)
        assert told["in flight, peak"] == count(cell.in_flight_peak)


def test_a_replica_of_an_unstable_cell_has_the_word_without_a_unit(
    runs: dict[str, RunFolder], tmp_path: Path
) -> None:
    stat = Stat(n=9, unstable=True)
    use = EndpointUse(address="a:1", sent=9, failed=0, errors={}, ttft_ms=stat)
    text = on_terminal(rewritten(runs["unstable"], tmp_path, endpoints=[use]), 200)
    assert "TTFT p50 unstable, awq" in text
    assert "unstable ms" not in text
