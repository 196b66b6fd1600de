"""What a machine does to a run: disks, folders, clocks, limits."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tests.faults.after import (
    EXCUSED,
    PATH,
    check_kept,
    check_next,
    check_numbers,
    lines_of,
    samples_of,
)
from tests.faults.apart import once, run_apart
from tests.faults.table import Row, rows

if TYPE_CHECKING:
    from tests.conftest import StartMock
    from tests.e2e.conftest import Workplace

TIMING = ("--ttft-ms=10", "--itl-ms=5")
ASKED = ("--profile", "closed", "--level", "2", "--warmup", "1", "--output-tokens", "6", "--json")
CELL = "url-closed-c2-1"
MEASURES = "test -s disk/*/cells/*/samples.jsonl"
MOUNTS = {
    "full_at_start": "mount -t tmpfs -o size=8k none disk; cat /dev/zero > disk/filler || true",
    "full_in_mid_run": "mount -t tmpfs -o size=4m none disk; "
    + once(MEASURES, "cat /dev/zero > disk/filler"),
    "read_only_at_start": "mount -t tmpfs -o ro none disk",
    "read_only_in_mid_run": "mount -t tmpfs none disk; "
    + once(MEASURES, "mount --bind disk/* disk/*; mount -o remount,bind,ro disk/*"),
}


@pytest.mark.parametrize("row", rows("machine", "full_at_start", "read_only_at_start"))
def test_a_disk_at_start(row: Row, workplace: Workplace, shared_mock: StartMock) -> None:
    (workplace.path / "disk").mkdir()
    url = shared_mock(*TIMING)
    done = run_apart(workplace, MOUNTS[row.name], "", "load", "--url", url, *ASKED, "--out", "disk")
    assert (done.code, done.out) == (row.code, "")
    assert re.search(row.says, done.err)
    assert "--out DIR" in done.err
    check_next(workplace, url)


@pytest.mark.parametrize("row", rows("machine", "full_in_mid_run", "read_only_in_mid_run"))
def test_a_disk(row: Row, workplace: Workplace, mock: StartMock) -> None:
    """The samples are there as far as the disk took them, and with room the run goes on."""
    (workplace.path / "disk").mkdir()
    truth = workplace.path / "truth.jsonl"
    url = mock(*TIMING, f"--truth={truth}")
    asked = ("load", "--url", url, *ASKED, "--duration", "2", "--out", "disk")
    done = run_apart(workplace, MOUNTS[row.name], "rm -f disk/filler; cp -a disk kept", *asked)
    assert done.code == row.code, done.err
    assert re.search(row.says, done.err)
    [run] = (workplace.path / "kept").iterdir()
    samples = samples_of(run, CELL)
    ended = {(one["error"], one["phase"]) for one in samples}
    assert (None, "measured") in ended or (None, "warmup") in ended
    assert {error for error, _ in ended - {("aborted", "cooldown")}} == {None}
    assert {one["request_id"] for one in samples} <= {one["request_id"] for one in lines_of(truth)}
    if row.name == "read_only_in_mid_run":  # who has a file open may still write it
        check_kept(samples, truth)
    assert json.loads((run / "measurements.json").read_text())["cells"] == []
    resumed = workplace.inside("load", "--resume", str(run), "--json", environment=PATH)
    [cell] = resumed.cells
    assert cell["requests"]["ok"] > 0, resumed.err
    check_numbers(run, cell)
    assert workplace.processes() == []


@pytest.mark.parametrize("row", rows("machine", "removed_in_mid_run", "clock_step"))
def test_in_mid_run(row: Row, workplace: Workplace, shared_mock: StartMock) -> None:
    patch = workplace.path / "patch"
    patch.mkdir()
    (patch / "sitecustomize.py").write_text(STEPS.format(str(patch / "now")))

    def strike() -> None:
        files = f"runs/*/cells/{CELL}/samples.jsonl"
        workplace.wait_for(lambda: any(map(lines_of, workplace.path.glob(files))), 100, 0.02)
        if row.name == "clock_step":
            (patch / "now").touch()
        else:
            shutil.rmtree(workplace.runs[0])

    url = shared_mock(*TIMING)
    thread = threading.Thread(target=strike)
    thread.start()
    environment = {"PYTHONPATH": f"{patch}:{PATH['PYTHONPATH']}"}
    asked = ("load", "--url", url, *ASKED, "--duration", "3")
    done = workplace.inside(*asked, environment=environment)
    thread.join()
    if row.name == "clock_step":
        [cell] = done.cells
        caveats = cell["client"]["caveats"]
        invalid = {one["code"] for one in caveats if one["invalidates"]}
        assert invalid <= EXCUSED | {"run_delay", "cpu_busy"}, caveats  # by user stamps it counts
        assert done.code == (4 if invalid else row.code)
        assert re.search(row.says, (done.run / "report.md").read_text())
        measured = check_numbers(done.run, cell)
        assert {sample["error"] for sample in measured} == {row.error}
        assert {sample["clock"] for sample in measured} == {"kernel", "user"}
        assert cell["window_s"] == pytest.approx(3)
        assert cell["metrics"]["e2e_ms"]["max"] < 60_000
    else:
        assert done.code == row.code, done.err
        assert re.search(row.says, done.err)
    check_next(workplace, url)


@pytest.mark.parametrize("row", rows("machine", "client_out_of_descriptors"))
def test_a_client_without_descriptors(
    row: Row, workplace: Workplace, shared_mock: StartMock
) -> None:
    """Before anything starts, and the level that is named works."""
    url = shared_mock(*TIMING)

    def limited(level: int) -> subprocess.CompletedProcess[str]:
        argv = ("--url", url, "--profile", "closed", "--level", str(level), "--requests", "40")
        more = ("--warmup", "0", "--output-tokens", "6", "--json")
        command = ("prlimit", "--nofile=100:100", sys.executable, "-m", "harness", "load")
        return subprocess.run(
            [*command, *argv, *more],
            cwd=workplace.path,
            env=os.environ | PATH,
            capture_output=True,
            text=True,
            check=False,
        )

    done = limited(37)
    assert (done.returncode, done.stdout) == (row.code, "")
    assert row.says in " ".join(done.stderr.split())
    assert workplace.runs == []
    done = limited(36)
    [cell] = json.loads(done.stdout)["cells"]
    assert cell["requests"]["ok"] == 40, done.stderr
    check_numbers(workplace.runs[0], cell)
    assert workplace.processes() == []


@pytest.mark.parametrize("row", rows("machine", "server_out_of_descriptors"))
def test_a_server_without_descriptors(
    row: Row, workplace: Workplace, shared_mock: StartMock
) -> None:
    """Whom it does not accept waits in the kernel; the others are answered."""
    truth = workplace.path / "truth.jsonl"
    limited = ("prlimit", "--nofile=16:16", sys.executable, "-m", "launchers.mock")
    with subprocess.Popen(
        [*limited, *TIMING, f"--truth={truth}"],
        env=os.environ | PATH,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        asked = ("--profile", "closed", "--level", "16", "--duration", "2", "--warmup", "0")
        done = workplace.inside(
            *("load", "--url", url, *asked, "--output-tokens", "6", "--timeout", "1.5", "--json"),
            environment=PATH,
        )
        server.kill()
    assert done.code == row.code, done.err
    [cell] = done.cells
    measured = check_numbers(done.run, cell)
    check_kept(samples_of(done.run, cell["id"]), truth)
    hits = {(sample["status"], sample["error"]) for sample in measured if sample["error"]}
    assert hits == {(row.status, row.error)}
    assert cell["requests"]["ok"] > 10
    assert re.search(row.says, (done.run / "report.md").read_text())
    check_next(workplace, shared_mock(*TIMING))


STEPS = """
import os, time
read = time.clock_gettime_ns
def stepped(clock):
    late = clock == time.CLOCK_REALTIME and os.path.exists({0!r})
    return read(clock) + 3600 * 10**9 * late
time.clock_gettime_ns = stepped
"""
