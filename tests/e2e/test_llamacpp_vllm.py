"""One model on two engines: the demo model's 16-bit weights on vLLM and on llama.cpp."""

from __future__ import annotations

import shutil
import tomllib
from typing import TYPE_CHECKING

import httpx
import pytest

from evals.transactions import generate
from launchers.build import Build
from launchers.environments import installed
from launchers.launch import launch
from launchers.model import builtin_builds

if TYPE_CHECKING:
    from pathlib import Path

    from launchers.server import Server

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        installed("llama.cpp") is None and shutil.which("llama-server") is None,
        reason="llama.cpp is missing: run `harness engines install llama.cpp`",
    ),
]
QUESTIONS = 140


def answers(server: Server) -> list[tuple[str, int]]:
    """What is written, greedily, and how many tokens the question has."""
    told = []
    with httpx.Client(base_url=server.base_url, timeout=60) as client:
        for question in generate(5, QUESTIONS, "eval"):
            body = {"model": server.model, "prompt": question.prompt, "max_tokens": 1}
            page = client.post("/completions", json=body | {"temperature": 0}).json()
            told.append((page["choices"][0]["text"], page["usage"]["prompt_tokens"]))
    return told


def test_both_count_the_same_tokens_and_answer_the_same(fp16: Server, tmp_path: Path) -> None:
    path = builtin_builds()["llamacpp-f16"]
    build = Build.model_validate(tomllib.loads(path.read_text()) | {"device": "cpu"})
    with launch(build, tmp_path, base_dir=path.parent, on_line=lambda _: None) as running:
        ours = answers(running.server)
    theirs = answers(fp16)
    assert [count for _, count in ours] == [count for _, count in theirs]
    same = sum(a == b for (a, _), (b, _) in zip(ours, theirs, strict=True))
    assert same >= QUESTIONS - 1, "but for a near tie"
