"""The driver's process from outside: real ones, and stand-ins that misbehave."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

import psutil
import pytest

import harness.load.child
from harness.errors import InvalidRunError
from harness.load.child import Driver
from loadprofiles.records import read_drive_report, read_samples

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from loadprofiles.records import Progress
    from tests.conftest import MakeCell, StartMock

LINE = (
    '{"phase":"measured","elapsed_s":1.0,"left_s":null,"sent":7,"ok":6,"failed":1,"in_flight":0,'
    '"chunks_per_s":1.0,"ttft_p50_ms":null,"ttft_p95_ms":null}'
)
HEAD = "import os, sys, time, pathlib; folder = pathlib.Path(sys.stdin.readline().strip())\n"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver finds the packages also where they are not installed."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let a program be the driver."""

    def become(program: str) -> None:
        monkeypatch.setattr(harness.load.child, "COMMAND", (sys.executable, "-c", HEAD + program))

    return become


def ignore(_: Progress) -> None:
    pass


def yes() -> bool:
    return True


def interrupt_soon(after_s: float = 0.5) -> None:
    """Ctrl-C for this process, a little later."""
    threading.Timer(after_s, os.kill, (os.getpid(), signal.SIGINT)).start()


def test_a_cell_from_plan_to_samples(mock: StartMock, make_cell: MakeCell) -> None:
    url = mock("--ttft-ms", "10", "--itl-ms", "5")
    folder = make_cell(url, mode="closed", streams=2, duration_ns=2_500_000_000)
    heard: list[Progress] = []
    with Driver(folder) as driver:
        driver.drive(heard.append, yes)
    report = read_drive_report(folder)
    assert report.ended == "done"
    assert len(list(read_samples(folder))) == report.samples > 10
    assert heard[-1].phase == "done"
    assert {"measured", "done"} <= {progress.phase for progress in heard}
    assert (folder / "drive.log").read_text() == ""


def test_it_is_stopped_when_it_is_no_longer_wanted(mock: StartMock, make_cell: MakeCell) -> None:
    url = mock("--ttft-ms", "10", "--itl-ms", "5")
    folder = make_cell(url, mode="closed", streams=2, duration_ns=60_000_000_000)
    heard: list[Progress] = []
    with Driver(folder) as driver:
        driver.drive(heard.append, lambda: not any(p.phase == "measured" for p in heard))
    assert read_drive_report(folder).ended == "interrupted"
    assert len(list(read_samples(folder))) > 5


def test_ctrl_c_comes_back_after_the_samples_are_written(
    mock: StartMock, make_cell: MakeCell
) -> None:
    url = mock("--ttft-ms", "10", "--itl-ms", "5")
    folder = make_cell(url, mode="closed", streams=2, duration_ns=60_000_000_000)
    heard: list[Progress] = []

    def hear(progress: Progress) -> None:
        if progress.phase == "measured" and not heard:
            interrupt_soon(0.1)
        heard.append(progress)

    with Driver(folder) as driver, pytest.raises(KeyboardInterrupt):
        driver.drive(hear, yes)
    assert read_drive_report(folder).ended == "interrupted"


def test_leaving_ends_a_driver_that_was_never_asked(tmp_path: Path) -> None:
    with Driver(tmp_path) as driver:
        pid = driver._process.pid
        assert psutil.pid_exists(pid)
    assert not psutil.pid_exists(pid)


def test_a_driver_that_dies_is_told_with_the_end_of_its_log(
    tmp_path: Path, stand_in: Callable[[str], None]
) -> None:
    stand_in("for i in range(40): print('line', i, file=sys.stderr)\nraise SystemExit(9)")
    with Driver(tmp_path) as driver, pytest.raises(InvalidRunError) as raised:
        driver.drive(ignore, yes)
    text = str(raised.value)
    assert "failed with exit status 9" in text
    assert str(tmp_path / "drive.log") in text
    assert "  line 39\n" in text
    assert "line 24\n" not in text


def test_one_that_was_killed_and_one_without_a_report(
    tmp_path: Path, stand_in: Callable[[str], None]
) -> None:
    stand_in("os.kill(os.getpid(), 9)")
    with Driver(tmp_path) as driver, pytest.raises(InvalidRunError, match="by SIGKILL") as raised:
        driver.drive(ignore, yes)
    assert raised.value.hint == "It had written no sample."
    stand_in("(folder / 'samples.jsonl').write_text('{}\\n'); os.kill(os.getpid(), 9)")
    with Driver(tmp_path) as driver, pytest.raises(InvalidRunError) as raised:
        driver.drive(ignore, yes)
    assert "are in the same folder, but this cell gets no numbers" in str(raised.value)
    stand_in("pass")
    with Driver(tmp_path) as driver, pytest.raises(InvalidRunError, match=r"status 0.*\(empty\)"):
        driver.drive(ignore, yes)


def test_lines_may_come_in_pieces(tmp_path: Path, stand_in: Callable[[str], None]) -> None:
    stand_in(
        f"text = {LINE!r}\n"
        "for part in (text[:50], text[50:] + '\\n' + text[:9], text[9:] + '\\n'):\n"
        "    os.write(1, part.encode()); time.sleep(0.3)\n"
        "(folder / 'drive.json').write_text('{}')"
    )
    heard: list[Progress] = []
    with Driver(tmp_path) as driver:
        driver.drive(heard.append, yes)
    assert [progress.sent for progress in heard] == [7, 7]


def test_one_that_is_silent_is_given_up(
    tmp_path: Path, stand_in: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(harness.load.child, "SILENCE_S", 0.5)
    stand_in("time.sleep(600)")
    with Driver(tmp_path) as driver, pytest.raises(InvalidRunError, match=r"said nothing for 0.5"):
        driver.drive(ignore, yes)


@pytest.mark.parametrize("interrupted", [False, True])
def test_one_that_does_not_stop_is_given_up(
    tmp_path: Path,
    stand_in: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    *,
    interrupted: bool,
) -> None:
    monkeypatch.setattr(harness.load.child, "STOP_S", 0.5)
    stand_in(f"while True:\n    print({LINE!r}, flush=True); time.sleep(0.1)")
    began = time.monotonic()
    with Driver(tmp_path) as driver:
        pid = driver._process.pid
        if interrupted:
            interrupt_soon()
            with pytest.raises(KeyboardInterrupt):
                driver.drive(ignore, yes)
        else:
            with pytest.raises(InvalidRunError, match="did not stop when asked to"):
                driver.drive(ignore, lambda: False)
    assert time.monotonic() - began < 20
    assert not psutil.pid_exists(pid)


def test_a_second_ctrl_c_is_not_made_to_wait(
    tmp_path: Path, stand_in: Callable[[str], None]
) -> None:
    stand_in(f"while True:\n    print({LINE!r}, flush=True); time.sleep(0.1)")
    interrupt_soon(0.5)
    interrupt_soon(1.0)
    began = time.monotonic()
    with Driver(tmp_path) as driver, pytest.raises(KeyboardInterrupt):
        driver.drive(ignore, yes)
    assert time.monotonic() - began < harness.load.child.STOP_S
