"""`harness eval` of a server that lies: invalid, exit 4, the lie is named, nothing is scored."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.lies import mock
from benchmarks.lies_graded import TOKENIZER

if TYPE_CHECKING:
    from pathlib import Path

INVALID = 4


def evaluate(folder: Path, *lies: str) -> tuple[int, dict[str, Any]]:
    with mock("--max-model-len", "2048", *(f"--lie={lie}" for lie in lies)) as url:
        command = [
            sys.executable, "-m", "harness", "eval", "--url", url, "--model", "mock", "--suite",
            "perplexity", "--limit", "8", "--tokenizer", str(TOKENIZER), "--json", "--out",
            str(folder / "run"),
        ]  # fmt: skip
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    told: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, told


def test_an_honest_server_is_graded(tmp_path: Path) -> None:
    code, told = evaluate(tmp_path)
    assert (code, told["valid"], told["caveats"]) == (0, True, [])
    (suite,) = told["suites"]
    assert suite["route"] == "echo"
    assert suite["score"] > 1


@pytest.mark.parametrize(
    ("lie", "name"),
    [
        ("no_echo", "wrong_length"),
        ("shift", "contradiction"),
        ("other_model_silent", "known_answer"),
        ("drift:100", "drift"),
    ],
)
def test_a_liar_is_not(tmp_path: Path, lie: str, name: str) -> None:
    code, told = evaluate(tmp_path, lie)
    assert (code, told["valid"]) == (INVALID, False)
    assert name in {caveat["code"] for caveat in told["caveats"]}, told["caveats"]
