"""The harness is told to stop, or killed: what was measured is kept, the reports are whole."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import msgspec
import psutil
import pytest

from harness.measuring.measurement import Measurements
from loadprofiles.records import read_samples
from tests.faults.after import check_kept, check_next, check_numbers, samples_of
from tests.faults.table import Row, rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from loadprofiles.records import Sample
    from tests.conftest import StartMock
    from tests.e2e.conftest import Done, Workplace

PROMPT = ("--ttft-ms=10", "--itl-ms=5")
LOAD = ("--profile", "closed", "--level", "2", "--output-tokens", "8")


def samples(workplace: Workplace) -> list[Sample]:
    """All samples so far of the one run's only cell."""
    cells = list(workplace.path.glob("runs/*/cells/*"))
    return list(read_samples(cells[0])) if cells and (cells[0] / "samples.jsonl").exists() else []


def driving(workplace: Workplace, phase: str = "measured", count: int = 5) -> Callable[[], bool]:
    return lambda: sum(sample.phase == phase for sample in samples(workplace)) >= count


def check_row(row: Row, workplace: Workplace, done: Done) -> None:
    """It ended and says why as the table has it; its numbers are those of its samples."""
    assert done.code == row.code, done.err
    assert re.search(row.says, done.err)
    if row.code == 130:
        assert f"harness load --resume {workplace.runs[0]} goes on" in done.err
        report = (workplace.runs[0] / "report.md").read_text().replace("\\", "")
        assert re.search(row.says, report)
    truth = workplace.path / "truth.jsonl"
    for cell in done.cells if done.out.startswith("{") else ():
        check_numbers(done.run, cell)
        if truth.is_file():
            check_kept(samples_of(done.run, cell["id"]), truth)


def check_whole(run: Path) -> Measurements:
    """The run folder has everything, and each file is complete."""
    found = msgspec.json.decode((run / "measurements.json").read_bytes(), type=Measurements)
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["run"]["id"] == run.name
    assert "</html>" in (run / "report.html").read_text()
    assert "interrupted" in (run / "report.md").read_text()
    assert not list(run.rglob("*.tmp"))
    assert not list(run.rglob("*.part"))
    return found


@pytest.mark.parametrize(
    "row", rows("harness", "sigint_in_window", "sigterm_in_window", "sighup_in_window")
)
def test_in_the_window(row: Row, workplace: Workplace, mock: StartMock) -> None:
    url = mock(*PROMPT, f"--truth={workplace.path / 'truth.jsonl'}")
    process = workplace.start("load", "--url", url, *LOAD, "--duration", "60", "--json")
    workplace.wait_for(driving(workplace))
    number = signal.Signals[row.name.partition("_")[0].upper()]
    os.killpg(process.pid, number)  # a terminal tells the whole group
    done = workplace.finish(process)
    check_row(row, workplace, done)
    [cell] = done.cells
    assert cell["requests"]["ok"] >= 5
    assert cell["requests"]["failed"] == 0
    assert cell["metrics"]["ttft_ms"]["p50"] > 9
    assert 0 < cell["window_s"] < 30
    assert "interrupted" in {caveat["code"] for caveat in cell["client"]["caveats"]}
    assert done.json["valid"] is False
    assert check_whole(done.run).cells[0].id == cell["id"]
    again = workplace.inside("report", str(done.run), "--format", "json")
    assert again.code == 0
    assert again.out == done.out
    check_next(workplace, url)


@pytest.mark.parametrize("row", rows("harness", "sigint_in_warm_up"))
def test_in_the_warm_up(row: Row, workplace: Workplace, mock: StartMock) -> None:
    url = mock("--ttft-ms=200", "--itl-ms=5")
    argv = ("--url", url, *LOAD, "--warmup", "500", "--duration", "60", "--json")
    process = workplace.start("load", *argv)
    workplace.wait_for(driving(workplace, "warmup", 2))
    process.send_signal(signal.SIGINT)
    done = workplace.finish(process)
    check_row(row, workplace, done)
    [cell] = done.cells
    assert cell["requests"]["ok"] == cell["requests"]["sent"] == 0
    assert cell["metrics"]["ttft_ms"]["n"] == 0
    check_whole(done.run)
    check_next(workplace, url)


@pytest.mark.parametrize("row", rows("harness", "sigint_in_drain"))
def test_in_the_drain(
    row: Row, workplace: Workplace, mock: StartMock, shared_mock: StartMock
) -> None:
    truth = workplace.path / "truth.jsonl"
    url = mock("--fault=stall:0.5", *PROMPT, f"--truth={truth}")
    process = workplace.start(
        "load", "--url", url, "--json",
        *("--profile", "steady", "--rate", "20", "--duration", "1", "--warmup", "0"),
        *("--output-tokens", "8"),
    )  # fmt: skip
    workplace.wait_for(driving(workplace, count=3))
    time.sleep(2.5)  # the window is long over; the stalled half is waited for
    process.send_signal(signal.SIGINT)
    done = workplace.finish(process)
    check_row(row, workplace, done)
    [cell] = done.cells
    assert cell["window_s"] == pytest.approx(1.0)
    assert cell["requests"]["ok"] + cell["requests"]["failed"] == cell["requests"]["planned"]
    assert cell["requests"]["ok"] >= 3
    assert cell["requests"]["errors"]["aborted"] >= 3
    hit = [sample for sample in samples_of(done.run, cell["id"]) if sample["error"]]
    assert {(sample["status"], sample["error"]) for sample in hit} == {(row.status, row.error)}
    check_whole(done.run)
    check_next(workplace, shared_mock(*PROMPT))


@pytest.mark.parametrize("row", rows("harness", "sigint_in_second_cell"))
def test_the_second_of_two_cells_keeps_the_first(
    row: Row, workplace: Workplace, mock: StartMock
) -> None:
    url = mock(*PROMPT)
    process = workplace.start(
        "load", "--url", url, "--profile", "closed", "--level", "1,2", "--json",
        *("--warmup", "0", "--duration", "2", "--output-tokens", "8"),
    )  # fmt: skip
    second = "runs/*/cells/*-c2-1/samples.jsonl"
    workplace.wait_for(lambda: any(path.stat().st_size for path in workplace.path.glob(second)))
    [run] = workplace.runs
    kept = msgspec.json.decode((run / "measurements.json").read_bytes(), type=Measurements)
    assert [cell.id for cell in kept.cells] == ["url-closed-c1-1"]  # written before the next began
    process.send_signal(signal.SIGINT)
    done = workplace.finish(process)
    check_row(row, workplace, done)
    assert [cell["id"] for cell in done.cells] == ["url-closed-c1-1", "url-closed-c2-1"]
    assert done.cells[0]["window_s"] == pytest.approx(2.0)
    check_next(workplace, url)


@pytest.mark.parametrize("row", rows("harness", "sigint_twice"))
def test_impatience_is_130_too(
    row: Row, workplace: Workplace, mock: StartMock, shared_mock: StartMock
) -> None:
    """Ctrl-C twice does not wait for the answers under way."""
    url = mock("--fault=stall", *PROMPT)
    process = workplace.start("load", "--url", url, *LOAD, "--warmup", "0", "--duration", "60")
    cell = "runs/*/cells/*/samples.jsonl"
    workplace.wait_for(lambda: list(workplace.path.glob(cell)))
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    check_row(row, workplace, workplace.finish(process))
    check_whole(workplace.runs[0])
    check_next(workplace, shared_mock(*PROMPT))


@pytest.mark.parametrize("row", rows("harness", "sigint_while_loading"))
def test_while_a_server_loads(row: Row, workplace: Workplace, shared_mock: StartMock) -> None:
    workplace.build("slow", program="import time; print('loading', flush=True); time.sleep(600)")
    process = workplace.start("load", "--server", "slow", *LOAD, "--json")
    log = "runs/*/servers/slow/server.log"
    workplace.wait_for(
        lambda: any("loading" in path.read_text() for path in workplace.path.glob(log))
    )
    process.send_signal(signal.SIGINT)
    done = workplace.finish(process)
    check_row(row, workplace, done)
    assert done.cells == []
    assert check_whole(done.run).caveats[0].code == "interrupted"
    check_next(workplace, shared_mock(*PROMPT))


@pytest.mark.parametrize("row", rows("harness", "sigterm_with_own_server"))
def test_a_launched_server_is_ended_too(
    row: Row, workplace: Workplace, shared_mock: StartMock
) -> None:
    workplace.build("own", *PROMPT, f"--truth={workplace.path / 'truth.jsonl'}")
    process = workplace.start("load", "--server", "own", *LOAD, "--duration", "60", "--json")
    workplace.wait_for(driving(workplace))
    assert len(workplace.processes()) == 5  # harness, driver, guard (two), server
    process.send_signal(signal.SIGTERM)
    done = workplace.finish(process)
    check_row(row, workplace, done)
    assert done.cells[0]["server"]["memory_peak_gib"] > 0
    check_next(workplace, shared_mock(*PROMPT))


@pytest.mark.parametrize("row", rows("harness", "sigkill_in_window"))
def test_kill_leaves_no_process_and_readable_samples(
    row: Row, workplace: Workplace, shared_mock: StartMock
) -> None:
    truth = workplace.path / "truth.jsonl"
    workplace.build("own", *PROMPT, f"--truth={truth}")
    process = workplace.start("load", "--server", "own", *LOAD, "--duration", "60", "--json")
    workplace.wait_for(driving(workplace))
    process.kill()
    process.communicate()
    assert process.returncode == row.code
    workplace.wait_for(lambda: not workplace.processes(), 60)
    assert len(samples(workplace)) >= 5
    [run] = workplace.runs
    found = msgspec.json.decode((run / "measurements.json").read_bytes(), type=Measurements)
    assert found.cells == []
    check_kept(samples_of(run, "own-closed-c2-1"), truth)  # by the driver, which has outlived it
    report = workplace.inside("report", str(run))
    assert report.code == 0, report.err
    found = msgspec.json.decode((run / "measurements.json").read_bytes(), type=Measurements)
    assert [cell.id for cell in found.cells] == ["own-closed-c2-1"]
    assert "2 streams" in (run / "report.html").read_text()
    [cell] = json.loads((run / "measurements.json").read_text())["cells"]
    check_numbers(run, cell)
    check_next(workplace, shared_mock(*PROMPT))


@pytest.mark.parametrize("row", rows("harness", "sigkill_while_loading"))
def test_kill_before_anything_was_driven(
    row: Row, workplace: Workplace, shared_mock: StartMock
) -> None:
    """The driver that waits for its plan goes too."""
    workplace.build("slow", program="import time; time.sleep(600)")
    process = workplace.start("load", "--server", "slow", *LOAD)
    workplace.wait_for(lambda: len(workplace.processes()) == 5)
    process.kill()
    process.communicate()
    assert process.returncode == row.code
    workplace.wait_for(lambda: not workplace.processes(), 60)
    check_next(workplace, shared_mock(*PROMPT))


@pytest.mark.parametrize("row", rows("harness", "resumed_beside"))
def test_a_run_that_still_runs_is_not_gone_on_with(
    row: Row, workplace: Workplace, mock: StartMock
) -> None:
    url = mock(*PROMPT, f"--truth={workplace.path / 'truth.jsonl'}")
    process = workplace.start("load", "--url", url, *LOAD, "--duration", "60", "--json")
    workplace.wait_for(driving(workplace))
    [run] = workplace.runs
    check_row(row, workplace, workplace.inside("load", "--resume", str(run), "--quiet"))
    process.send_signal(signal.SIGINT)
    done = workplace.finish(process)
    assert done.code == 130, done.err
    assert done.cells[0]["requests"]["ok"] >= 5
    check_kept(samples_of(done.run, done.cells[0]["id"]), workplace.path / "truth.jsonl")
    check_numbers(done.run, done.cells[0])
    check_next(workplace, url)


@pytest.mark.parametrize("row", rows("harness", "terminal_closed"))
def test_a_closed_terminal(row: Row, workplace: Workplace, mock: StartMock) -> None:
    """Its end is told by SIGHUP, several times, and nothing can be written to it any more."""
    url = mock(*PROMPT)
    ours, theirs = pty.openpty()
    argv = [sys.executable, "-m", "harness", "load", "--url", url, *LOAD, "--duration", "60"]
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *argv],
        cwd=workplace.path,
        env=os.environ | {"TERM": "xterm", "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        deadline = time.monotonic() + 30
        while not driving(workplace)():
            assert time.monotonic() < deadline
            os.read(ours, 65536)  # a full terminal would hold the writer up
        [command] = [
            pid for pid in workplace.processes() if "load" in psutil.Process(pid).cmdline()[:4]
        ]
        os.close(ours)
        for _ in range(2):  # as a shell does that dies with its terminal
            os.kill(command, signal.SIGHUP)
        assert process.wait(60) == row.code
    finally:
        process.kill()
        process.wait()
    workplace.wait_for(lambda: not workplace.processes(), 60)
    [cell] = check_whole(workplace.runs[0]).cells
    assert cell.requests.ok >= 5
    assert re.search(row.says, (workplace.runs[0] / "report.md").read_text())
    check_next(workplace, url)
