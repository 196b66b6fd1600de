"""Numbers computed anew from a run's folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from harness import cli
from harness.errors import ExitCode
from harness.load.matrix import expand
from harness.load.record import RunRecord
from harness.measuring.measure import CellFacts
from harness.measuring.remeasure import DAMAGED, measure_folder, remeasure, write_facts
from harness.measuring.slo import parse_slo
from harness.reports.cells import read_cell, read_drawn
from harness.rundir import RunFolder
from loadprofiles.records import (
    DRIVE_FILE,
    PLAN_FILE,
    SAMPLES_FILE,
    DrivePlan,
    DriveReport,
    Sample,
)

if TYPE_CHECKING:
    from pathlib import Path

S = 1_000_000_000
MS = 1_000_000


def drive_cell(folder: Path, level: int, answers: int = 30) -> None:
    """Write what a driver leaves behind."""
    plan = DrivePlan(
        host="h", port=1, path="/", dialect="openai-completions", mode="closed", streams=1,
        requests=answers, warmup=0, drain_s=1, timeout_s=1, output_tokens=[2] * answers,
    )  # fmt: skip
    samples = [
        Sample(
            seq=seq, body=seq, request_id=f"r{seq}", phase="measured", due_ns=S * seq,
            submitted_ns=S * seq, sent_ns=S * seq, first_ns=S * seq + 100 * MS,
            last_ns=S * seq + 900 * MS, done_ns=S * (seq + 1), status=200, output_tokens=2,
            chunk_ns=[800 * MS], lag_us=[1, 1],
        )
        for seq in range(answers)
    ]  # fmt: skip
    drive = DriveReport(
        ended="done", window_start_ns=0, window_end_ns=answers * S, clock="kernel",
        wall_minus_monotonic_ns=0, clock_step_ns=0, cpu_s=0, run_delay_s=0, gc_collections=0,
        connections=1, samples=answers, versions={},
    )  # fmt: skip
    facts = CellFacts(
        id=folder.name, build="awq", engine="vllm", engine_version=None, model="m",
        profile="closed", repeat=1, level={"concurrency": level},
    )  # fmt: skip
    write_facts(folder, facts)
    (folder / PLAN_FILE).write_bytes(msgspec.json.encode(plan))
    (folder / DRIVE_FILE).write_bytes(msgspec.json.encode(drive))
    (folder / SAMPLES_FILE).write_bytes(b"".join(msgspec.json.encode(s) + b"\n" for s in samples))


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run of two cells, killed when it had driven both and made numbers of the first."""
    folder = RunFolder.create(tmp_path, "x")
    cells = expand(["awq"], "closed", [1.0, 8.0], 1, closed=True)
    record = RunRecord(
        folder, command=["harness", "load"], seed=1, cells=cells,
        request={"slo": "ttft_p95_ms<=200"}, profile={"duration_s": 30},
    )  # fmt: skip
    for cell in cells:
        drive_cell(folder.cell(cell.id), int(cell.level))
    record.add_cell(measure_folder(folder.cell(cells[0].id), parse_slo("ttft_p95_ms<=200")))
    record.save()
    return folder


def test_the_same_samples_give_the_same_numbers(run: RunFolder) -> None:
    before, after = run.read_measurements(), remeasure(run)
    assert after.cells[0] == before.cells[0]
    assert after.cells[0].metrics.goodput == pytest.approx(1.0)


def test_a_cell_that_was_driven_and_not_counted_gets_its_numbers(run: RunFolder) -> None:
    before, after = run.read_measurements(), remeasure(run)
    assert [cell.level for cell in after.cells] == [{"concurrency": 1}, {"concurrency": 8}]
    assert [caveat.code for caveat in before.caveats] == ["incomplete"]
    assert after.caveats == []


def test_a_cell_that_was_never_driven_stays_without(run: RunFolder) -> None:
    (run.cell("awq-closed-c8-1") / DRIVE_FILE).unlink()
    after = remeasure(run)
    assert len(after.cells) == 1
    assert "1 of 2 cells" in after.caveats[0].text


@pytest.mark.parametrize("name", [SAMPLES_FILE, DRIVE_FILE, PLAN_FILE])
@pytest.mark.parametrize("content", [None, b"{}\n", b"\xff\n"], ids=["gone", "other", "garbage"])
def test_files_that_are_damaged_leave_the_old_numbers(
    run: RunFolder, name: str, content: bytes | None
) -> None:
    path = run.cell("awq-closed-c1-1") / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    after = remeasure(run)
    assert after.cells[0] == run.read_measurements().cells[0]
    told = [caveat.text for caveat in after.caveats if caveat.code == DAMAGED]
    if content is None:
        assert told == []  # a cell that was not driven yet has none, either
    else:
        assert (
            f"awq-closed-c1-1 cannot be measured anew, and its earlier numbers stay: {name}"
            in (told[0])
        )
        assert not after.valid


@pytest.mark.parametrize("garbage", [b"garbage\n", b"garbage", b"\0\0\0\0", b'{"seq": "x"'])
def test_what_is_no_sample_makes_a_run_invalid_and_is_named_once(
    run: RunFolder, garbage: bytes
) -> None:
    with (run.cell("awq-closed-c1-1") / SAMPLES_FILE).open("ab") as file:
        file.write(garbage)
    run.write_measurements(remeasure(run))
    after = remeasure(run)
    assert [caveat.code for caveat in after.caveats] == [DAMAGED]
    assert "samples.jsonl, line 31: " in after.caveats[0].text
    assert not after.valid
    for read in (read_cell, read_drawn):
        [problem] = read(run, "awq-closed-c1-1").problems
        assert "samples.jsonl, line 31: " in problem


def test_a_cut_last_line_is_no_sample_and_is_told(run: RunFolder) -> None:
    folder = run.cell("awq-closed-c1-1")
    path = folder / SAMPLES_FILE
    whole = path.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    for cut in (1, len(last) // 2, len(last) - 2):
        path.write_bytes(whole + last[:cut])
        cell = remeasure(run).cells[0]
        assert cell.client.valid
        [told] = [caveat for caveat in cell.client.caveats if caveat.code == "cut_line"]
        assert f"the first {cut} bytes of a sample" in told.text
        for read in (read_cell, read_drawn):
            records = read(run, cell.id)
            assert len(records.samples) == 30
            assert f"the first {cut} bytes of a sample" in records.problems[0]


def test_a_last_line_without_its_end_is_a_sample(run: RunFolder) -> None:
    path = run.cell("awq-closed-c1-1") / SAMPLES_FILE
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))
    assert remeasure(run).cells[0] == run.read_measurements().cells[0]
    assert len(read_drawn(run, "awq-closed-c1-1").samples) == 30


def test_harness_report_takes_the_numbers_from_the_samples(
    run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    drive_cell(run.cell("awq-closed-c1-1"), 1, answers=20)
    assert cli.run(["report", str(run.path), "--format", "json"]) == ExitCode.OK
    captured = capsys.readouterr()
    assert "computed anew" in captured.err
    told = msgspec.json.decode(captured.out)
    assert [cell["requests"]["ok"] for cell in told["cells"]] == [20, 30]
    assert run.read_measurements() == remeasure(run)
    assert cli.run(["report", str(run.path), "--format", "json"]) == ExitCode.OK
    assert "anew" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        (DRIVE_FILE, '"window_end_ns":30000000000', f'"window_end_ns":{2**62}'),
        (DRIVE_FILE, '"window_end_ns":30000000000', '"window_end_ns":-1'),
        (SAMPLES_FILE, '"due_ns":29000000000', f'"due_ns":{2**63 - 1}'),
        (SAMPLES_FILE, '"done_ns":30000000000', f'"done_ns":{-(2**62)}'),
        ("facts.json", '"concurrency": 8', '"concurrency": 1e308'),
    ],
)
def test_times_and_levels_that_no_run_has_are_damage(
    run: RunFolder, name: str, old: str, new: str
) -> None:
    path = run.path / "cells" / "awq-closed-c8-1" / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    assert cli.run(["report", str(run.path)]) == ExitCode.OK
    found = remeasure(run)
    assert [cell.id for cell in found.cells] == ["awq-closed-c1-1"]
    [caveat] = [one for one in found.caveats if one.code == DAMAGED]
    assert name in caveat.text
