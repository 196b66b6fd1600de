"""Interrupts: what was measured is kept, the reports are whole, and no process is left."""

from __future__ import annotations

import json
import os
import pty
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

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from loadprofiles.records import Sample
    from tests.conftest import StartMock
    from tests.e2e.conftest import Workplace

PROMPT = ("--ttft-ms=10", "--itl-ms=5")
LOAD = ("--profile", "closed", "--level", "2", "--output-tokens", "8")


def samples(workplace: Workplace) -> list[Sample]:
    """All samples so far of the one run's only cell."""
    cells = list(workplace.path.glob("runs/*/cells/*"))
    return list(read_samples(cells[0])) if cells and (cells[0] / "samples.jsonl").exists() else []


def driving(workplace: Workplace, phase: str = "measured", count: int = 5) -> Callable[[], bool]:
    return lambda: sum(sample.phase == phase for sample in samples(workplace)) >= count


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_in_the_window(workplace: Workplace, mock: StartMock, number: signal.Signals) -> None:
    url = mock(*PROMPT)
    process = workplace.start("load", "--url", url, *LOAD, "--duration", "60", "--json")
    workplace.wait_for(driving(workplace))
    os.killpg(process.pid, number)  # a terminal tells the whole group
    done = workplace.finish(process, 30)
    assert done.code == 130
    assert "harness: interrupted: 1 of 1 cells have numbers" in done.err
    [cell] = done.cells
    assert cell["requests"]["ok"] >= 5
    assert cell["requests"]["failed"] == 0
    assert cell["metrics"]["ttft_ms"]["p50"] > 9
    assert 0 < cell["window_s"] < 30
    assert "interrupted" in {caveat["code"] for caveat in cell["client"]["caveats"]}
    assert done.json["valid"] is False
    assert check_whole(done.run).cells[0].id == cell["id"]
    assert workplace.processes() == []
    again = workplace.harness("report", str(done.run), "--format", "json")
    assert again.code == 0
    assert again.out == done.out


def test_in_the_warm_up(workplace: Workplace, mock: StartMock) -> None:
    url = mock("--ttft-ms=200", "--itl-ms=5")
    argv = ("--url", url, *LOAD, "--warmup", "500", "--duration", "60", "--json")
    process = workplace.start("load", *argv)
    workplace.wait_for(driving(workplace, "warmup", 2))
    process.send_signal(signal.SIGINT)
    done = workplace.finish(process, 30)
    assert done.code == 130
    [cell] = done.cells
    assert cell["requests"]["ok"] == cell["requests"]["sent"] == 0
    assert cell["metrics"]["ttft_ms"]["n"] == 0
    check_whole(done.run)
    assert workplace.processes() == []


def test_in_the_drain(workplace: Workplace, mock: StartMock) -> None:
    url = mock("--fault=stall:0.5", *PROMPT)
    process = workplace.start(
        "load", "--url", url, "--json",
        *("--profile", "steady", "--rate", "20", "--duration", "1", "--warmup", "0"),
        *("--output-tokens", "8"),
    )  # fmt: skip
    workplace.wait_for(driving(workplace, count=3))
    time.sleep(2.5)  # the window is long over; the stalled half is waited for
    process.send_signal(signal.SIGINT)
    done = workplace.finish(process, 30)
    assert done.code == 130
    [cell] = done.cells
    assert cell["window_s"] == pytest.approx(1.0)
    assert cell["requests"]["ok"] + cell["requests"]["failed"] == cell["requests"]["planned"]
    assert cell["requests"]["ok"] >= 3
    assert cell["requests"]["errors"]["aborted"] >= 3
    check_whole(done.run)
    assert workplace.processes() == []


def test_the_second_of_two_cells_keeps_the_first(workplace: Workplace, mock: StartMock) -> None:
    process = workplace.start(
        "load", "--url", mock(*PROMPT), "--profile", "closed", "--level", "1,2", "--json",
        *("--warmup", "0", "--duration", "2", "--output-tokens", "8"),
    )  # fmt: skip
    second = "runs/*/cells/*-c2-1/samples.jsonl"
    workplace.wait_for(lambda: any(path.stat().st_size for path in workplace.path.glob(second)))
    [run] = workplace.runs
    kept = msgspec.json.decode((run / "measurements.json").read_bytes(), type=Measurements)
    assert [cell.id for cell in kept.cells] == ["url-closed-c1-1"]  # written before the next began
    process.send_signal(signal.SIGINT)
    done = workplace.finish(process, 30)
    assert done.code == 130
    assert [cell["id"] for cell in done.cells] == ["url-closed-c1-1", "url-closed-c2-1"]
    assert done.cells[0]["window_s"] == pytest.approx(2.0)


def test_impatience_is_130_too(workplace: Workplace, mock: StartMock) -> None:
    """Ctrl-C twice does not wait for the answers under way."""
    url = mock("--fault=stall", *PROMPT)
    process = workplace.start("load", "--url", url, *LOAD, "--warmup", "0", "--duration", "60")
    cell = "runs/*/cells/*/samples.jsonl"
    workplace.wait_for(lambda: list(workplace.path.glob(cell)))
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    done = workplace.finish(process, 30)
    assert done.code == 130, done.err
    check_whole(workplace.runs[0])
    assert workplace.processes() == []


def test_while_a_server_loads(workplace: Workplace) -> None:
    workplace.build("slow", program="import time; print('loading', flush=True); time.sleep(600)")
    process = workplace.start("load", "--server", "slow", *LOAD, "--json")
    log = "runs/*/servers/slow/server.log"
    workplace.wait_for(
        lambda: any("loading" in path.read_text() for path in workplace.path.glob(log))
    )
    process.send_signal(signal.SIGINT)
    done = workplace.finish(process, 30)
    assert done.code == 130
    assert done.cells == []
    assert check_whole(done.run).caveats[0].code == "interrupted"
    assert workplace.processes() == []


def test_a_launched_server_is_ended_too(workplace: Workplace) -> None:
    workplace.build("own", *PROMPT)
    process = workplace.start("load", "--server", "own", *LOAD, "--duration", "60", "--json")
    workplace.wait_for(driving(workplace))
    assert len(workplace.processes()) == 5  # harness, driver, guard (two), server
    process.send_signal(signal.SIGTERM)
    done = workplace.finish(process, 30)
    assert done.code == 130
    assert done.cells[0]["server"]["memory_peak_gib"] > 0
    assert workplace.processes() == []


def test_kill_leaves_no_process_and_readable_samples(workplace: Workplace) -> None:
    workplace.build("own", *PROMPT)
    process = workplace.start("load", "--server", "own", *LOAD, "--duration", "60", "--json")
    workplace.wait_for(driving(workplace))
    process.kill()
    process.communicate()
    workplace.wait_for(lambda: not workplace.processes(), 15)
    assert len(samples(workplace)) >= 5
    [run] = workplace.runs
    found = msgspec.json.decode((run / "measurements.json").read_bytes(), type=Measurements)
    assert found.cells == []
    report = workplace.harness("report", str(run))
    assert report.code == 0, report.err
    found = msgspec.json.decode((run / "measurements.json").read_bytes(), type=Measurements)
    assert [cell.id for cell in found.cells] == ["own-closed-c2-1"]
    assert "2 streams" in (run / "report.html").read_text()


def test_kill_before_anything_was_driven(workplace: Workplace) -> None:
    """The driver that waits for its plan goes too."""
    workplace.build("slow", program="import time; time.sleep(600)")
    process = workplace.start("load", "--server", "slow", *LOAD)
    workplace.wait_for(lambda: len(workplace.processes()) == 5)
    process.kill()
    process.communicate()
    workplace.wait_for(lambda: not workplace.processes(), 15)


def test_a_closed_terminal(workplace: Workplace, mock: StartMock) -> None:
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
        assert process.wait(30) == 130
    finally:
        process.kill()
        process.wait()
    workplace.wait_for(lambda: not workplace.processes(), 15)
    assert len(check_whole(workplace.runs[0]).cells) == 1
