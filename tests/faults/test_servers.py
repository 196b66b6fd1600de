"""A server of ours that is killed: while it loads, in the warm-up, in mid-stream, between cells."""

from __future__ import annotations

import os
import re
import signal
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.faults.after import (
    PATH,
    check_kept,
    check_next,
    check_numbers,
    lines_of,
    samples_of,
)
from tests.faults.memory import little_memory
from tests.faults.table import Row, rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import StartMock
    from tests.e2e.conftest import Done, Workplace

SERVER = """
import os, runpy, signal, sys, time
from pathlib import Path
hoard = []
signal.signal(signal.SIGUSR1, lambda *_: hoard.append(b"x" * (256 << 20)))
Path("server.pid").write_text(str(os.getpid()))
if "--loads" in sys.argv:
    print("loading", flush=True)
    time.sleep(600)
at = sys.argv.index("--model")
port = next(word for word in sys.argv[at:] if word.startswith("--port="))
sys.argv = ["mock", port, *sys.argv[1:at]]
runpy.run_module("launchers.mock", run_name="__main__")
"""
FIRST, SECOND = "victim-closed-c1-1", "victim-closed-c2-1"


def moments(workplace: Workplace) -> dict[str, Callable[[], bool]]:
    """What tells that the moment has come."""

    def measured(phase: str, count: int) -> bool:
        files = list(workplace.path.glob(f"runs/*/cells/{FIRST}/samples.jsonl"))
        return bool(files) and sum(s["phase"] == phase for s in lines_of(files[0])) >= count

    def kept() -> bool:
        return any(FIRST in path.read_text() for path in workplace.path.glob("runs/*/measurem*"))

    return {
        "loading": (workplace.path / "server.pid").is_file,
        "in_warm_up": lambda: measured("warmup", 2),
        "in_mid_stream": lambda: measured("measured", 3),
        "between_cells": kept,
    }


ASKED = {
    "loading": ("--requests", "4"),
    "in_warm_up": ("--warmup", "500", "--requests", "4"),
    "in_mid_stream": ("--warmup", "1", "--duration", "60"),
    "between_cells": ("--warmup", "1", "--requests", "4"),
}


@pytest.mark.parametrize("row", rows("servers"))
def test_servers(row: Row, workplace: Workplace, shared_mock: StartMock) -> None:
    how, when = row.name.split("-")
    truth, pid = workplace.path / "truth.jsonl", workplace.path / "server.pid"
    timing = ("--ttft-ms=10", "--itl-ms=5", f"--truth={truth}")
    workplace.build("victim", *timing, *(["--loads"] * (when == "loading")), program=SERVER)
    with ExitStack() as stack:
        limited = stack.enter_context(little_memory()) if how == "memory" else None

        def strike() -> None:
            workplace.wait_for(moments(workplace)[when], 100, 0.02)
            victim = int(pid.read_text())
            if limited is not None:
                limited(victim)
                os.kill(victim, signal.SIGUSR1)
            else:
                os.kill(victim, signal.SIGTERM if how == "term" else signal.SIGKILL)

        thread = threading.Thread(target=strike)
        thread.start()
        asked = ("--profile", "closed", "--level", "1,2", *ASKED[when], "--output-tokens", "40")
        done = workplace.inside("load", "--server", "victim", *asked, "--json", environment=PATH)
        thread.join()
    assert done.code == row.code, done.err
    [problem] = done.json["caveats"]
    report = (done.run / "report.md").read_text().replace("\\", "")
    for text in (done.err, problem["text"], report):
        assert re.search(row.says, text)
    check_cells(when, done, truth)
    check_next(workplace, shared_mock("--ttft-ms=10", "--itl-ms=5"))


def check_cells(when: str, done: Done, truth: Path) -> None:
    """What had been answered by then is there and counted, and nothing else."""
    if when == "loading":
        assert done.cells == []
        return
    first = done.cells[0]
    assert first["id"] == FIRST
    measured = check_numbers(done.run, first)
    samples = [one for cell in done.cells for one in samples_of(done.run, cell["id"])]
    check_kept(samples, truth)
    hit = {sample["error"] for sample in samples if sample["error"]}
    assert hit <= {"truncated", "reset", "connect", "aborted"}
    codes = {caveat["code"] for caveat in first["client"]["caveats"]}
    if when == "in_warm_up":
        assert measured == []
        assert sum(sample["error"] is None for sample in samples) >= 2
    elif when == "in_mid_stream":
        assert first["requests"]["ok"] >= 3
        assert "truncated" in hit
        assert first["window_s"] < 60
    else:
        assert first["requests"]["ok"] == first["requests"]["planned"] == 4
        assert "interrupted" not in codes
