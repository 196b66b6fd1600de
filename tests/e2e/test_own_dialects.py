"""Each server is asked in its own dialect; TGI and SGLang brought up as the mock in their stead."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import launchers
from loadprofiles.records import PLAN_FILE

if TYPE_CHECKING:
    from tests.e2e.conftest import Done, Workplace

STAND_IN = """
import os, sys
at = next(n for n, word in enumerate(sys.argv) if word.startswith("--model"))
words = iter(sys.argv[at:])
port = next(word for word in words if word.startswith("--port")).partition("=")[2] or next(words)
key = ["--api-key", os.environ["API_KEY"]] if "API_KEY" in os.environ else []
mock = ["-m", "launchers.mock", "--port", port, *key, *sys.argv[1:at]]
os.execv(sys.executable, [sys.executable, *mock])
"""
NAMED = """
import sys
at = next(n for n, word in enumerate(sys.argv) if word.startswith("--model-id="))
port = next(word for word in sys.argv if word.startswith("--port="))
from launchers.mock.__main__ import main
from launchers.mock.native import TGI_INFO
name = TGI_INFO["model_id"] = sys.argv[at].partition("=")[2]
for module in [*sys.modules.values()]:
    if hasattr(module, "MODEL"):
        module.MODEL = name
sys.argv[1:] = [port, *sys.argv[1:at]]
sys.exit(main())
"""
"""Names the model as TGI does: by what it was started with."""
DEMO = Path(launchers.__file__).parent / "models" / "demo-fp16"
FAST = ("--ttft-ms=3", "--itl-ms=1")
CLOSED = ("--profile", "closed", "--level", "1", "--requests", "6", "--output-tokens", "4")


def build(workplace: Workplace, engine: str, name: str = "") -> None:
    options = ("--engine", engine, *FAST) if engine != "vllm" else FAST
    more = f'engine = "{engine}"'
    workplace.build(name or engine, *options, program=STAND_IN, more=more, serves="mock")


def plan(done: Done, cell: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((done.run / "cells" / cell["id"] / PLAN_FILE).read_text())
    return found


def test_a_tgi_that_is_brought_up_is_asked_in_its_own_dialect(workplace: Workplace) -> None:
    build(workplace, "tgi")
    shell = {"API_KEY": "of the shell, which would lock us out"}
    done = workplace.load("--server", "tgi", *CLOSED, environment=shell)
    assert done.went_well, done.err
    [cell] = done.cells
    assert (cell["engine"], cell["engine_version"]) == ("tgi", "0-mock")
    assert (cell["requests"]["ok"], cell["output_tokens"]) == (6, 24)
    assert cell["token_source"] == "server"
    told = plan(done, cell)
    assert (told["dialect"], told["path"]) == ("tgi", "/generate_stream")
    manifest = json.loads((done.run / "manifest.json").read_text())
    assert manifest["request"]["dialect"] == "openai-completions"
    assert manifest["request"]["dialects"] == {"tgi": "tgi"}
    assert workplace.processes() == []
    other = workplace.load("--server", "tgi", "--dialect", "openai-completions", *CLOSED)
    assert other.went_well, other.err
    assert plan(other, other.cells[0])["path"] == "/v1/completions"
    assert other.cells[0]["output_tokens"] == 24


def test_a_tgi_that_is_brought_up_is_graded(workplace: Workplace) -> None:
    options = ("--engine", "tgi", "--tokenizer", str(DEMO), "--ttft-ms=0", "--itl-ms=0")
    workplace.build("tgi", *options, program=NAMED, more='engine = "tgi"', serves="mine")
    shutil.copy(DEMO / "tokenizer.json", workplace.path / "mine")
    asked = ("--server", "tgi", "--suite", "domain", "--limit", "4", "--json")
    done = workplace.harness("eval", *asked)
    assert done.code == 0, done.err
    assert done.json["probe"]["routes"] == ["native", "generative"]
    assert done.json["server"]["model"] == str(workplace.path / "mine")
    assert done.json["suites"][0]["errors"] == 0
    assert workplace.processes() == []


def test_several_engines_in_one_run(workplace: Workplace) -> None:
    for engine in ("vllm", "tgi", "sglang"):
        build(workplace, engine)
    done = workplace.load("--server", "vllm,tgi,sglang", *CLOSED, "--repeats", "1")
    assert done.went_well, done.err
    asked = {cell["build"]: plan(done, cell)["dialect"] for cell in done.cells}
    usual = "openai-completions"
    assert asked == {"vllm": usual, "tgi": "tgi", "sglang": usual}
    assert {cell["build"]: cell["output_tokens"] for cell in done.cells} == dict.fromkeys(asked, 24)
    sglang = next(cell for cell in done.cells if cell["build"] == "sglang")
    assert (sglang["engine_version"], sglang["server"]["kv_cache_tokens"]) == ("0.5-mock", 1 << 20)
    assert "tgi" in (done.run / "report.html").read_text()


@pytest.mark.parametrize(
    ("argv", "texts"),
    [
        (["--server", "vllm,tgi", "--dialect", "tgi"], ["vllm is served by vllm", "openai-chat"]),
        (["--server", "tgi", "--dialect", "llamacpp"], ["tgi is served by tgi", "tgi in tgi"]),
        (
            ["--server", "vllm,tgi", "--interleave"],
            ["vllm in openai-completions, tgi in tgi", "--dialect openai-completions"],
        ),
        (["--server", "tgi", "--ignore-eos"], ["--ignore-eos", "dialect tgi"]),
    ],
)
def test_what_cannot_be(workplace: Workplace, argv: list[str], texts: list[str]) -> None:
    for engine in ("vllm", "tgi"):
        build(workplace, engine)
    done = workplace.inside("load", *argv, *CLOSED, "--json")
    assert done.code == 2
    for text in texts:
        assert text in done.err
    assert workplace.runs == []
