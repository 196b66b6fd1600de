"""The examples of docs/examples: read, valid by the schema, and each command in them is one."""

from __future__ import annotations

import re
import shlex
import shutil
import tomllib
from pathlib import Path

import jsonschema
import pytest
import yaml

from evals.suite import builtin_suites
from harness.cli import build_app
from harness.cli.eval import evaluate
from harness.config import (
    find_build,
    find_profile,
    find_rules,
    find_suite,
    is_build,
    load_config,
)
from harness.configschema import json_schema
from launchers.engines import StartRequest, load_engine
from launchers.model import resolve_model

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
FILES = sorted(EXAMPLES.glob("*/harness.toml"))
WORKFLOW = EXAMPLES / "ci" / "gate.yml"


def commands(path: Path) -> list[str]:
    """Every command line: of a comment, or of a workflow's step."""
    lines = path.read_text().splitlines()
    shown = r"# {3}(?=harness )" if path.suffix == ".toml" else r" +(?=harness )"
    found = [line.partition(" || ")[0] for line in lines if re.match(shown, line)]
    return [line.lstrip("# ") for line in found]


def names(path: Path) -> str:
    return path.parent.name


def test_there_are_some() -> None:
    examples = {"builds", "calibration", "ci", "engines", "fleet", "one-gpu"}
    assert {names(path) for path in FILES} == examples
    assert len(commands(WORKFLOW)) >= 3


@pytest.mark.parametrize("path", FILES, ids=names)
def test_each_is_read(path: Path) -> None:
    jsonschema.validate(tomllib.loads(path.read_text()), json_schema())
    config = load_config(path)
    known = builtin_suites().keys() | config.suites.keys()
    for name, rules in config.rules.items():
        assert find_rules(name, config)[0] == rules
        for stage in rules.stages:
            if stage.profile is not None:
                find_profile(stage.profile, config)
            assert stage.suite is None or stage.suite in known
    assert config.builds or config.servers


@pytest.mark.parametrize("path", [*FILES, WORKFLOW], ids=lambda path: f"{names(path)}-{path.name}")
def test_each_command_is_one_that_there_is(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    config = load_config()
    found = commands(path)
    assert found
    for line in found:
        app = build_app()
        app["eval"].default(evaluate)
        command, bound, *_ = app.parse_args(
            shlex.split(line)[1:], print_error=False, exit_on_error=False
        )
        assert callable(command), line
        said = bound.arguments
        listed = [*said.get("names", ()), *str(said.get("server") or "").split(",")]
        listed += [said.get("candidate"), said.get("baseline")]
        for name in filter(None, listed):
            assert is_build(name, config), line
        for name in filter(None, str(said.get("suite") or "").split(",")):
            find_suite(name, config)
        if said.get("profile"):
            find_profile(said["profile"], config)
        if said.get("rules"):
            find_rules(said["rules"], config)


def test_the_workflow_is_what_github_runs() -> None:
    workflow = yaml.safe_load(WORKFLOW.read_text())
    for step in workflow["jobs"]["gate"]["steps"]:
        assert ("uses" in step) != ("run" in step)
    text = WORKFLOW.read_text()
    assert 'exit "$code"' in text
    assert "GITHUB_STEP_SUMMARY" in text


COMMANDS = {
    "one-gpu/fp16": "serve mistralai/Mistral-7B-Instruct-v0.3 --max-model-len=8192 "
    "--dtype=bfloat16 --gpu-memory-utilization=0.9",
    "one-gpu/gptq": "serve FOLDER/mistral-gptq --max-model-len=8192 --dtype=bfloat16 "
    "--gpu-memory-utilization=0.9",
    "one-gpu/awq": "serve FOLDER/mistral-awq --max-model-len=8192 --dtype=bfloat16 "
    "--gpu-memory-utilization=0.9",
    "one-gpu/nf4": "serve mistralai/Mistral-7B-Instruct-v0.3 --max-model-len=8192 "
    "--dtype=bfloat16 --gpu-memory-utilization=0.9 --quantization=bitsandbytes",
    "builds/w8a8": "serve FOLDER/llama-8b-w8a8 --max-model-len=8192",
    "builds/fp8": "serve FOLDER/llama-8b-fp8 --max-model-len=8192",
    "builds/fp8-loaded": "serve FOLDER/llama-8b --max-model-len=8192 --quantization=fp8",
    "builds/llm-int8": "serve FOLDER/llama-8b-bnb-int8 --max-model-len=8192",
    "builds/gptq": "serve FOLDER/llama-8b-gptq --max-model-len=8192",
    "builds/awq-hub": "serve organisation/llama-8b-awq --max-model-len=8192 --revision=main",
}
"""Of vLLM on a GPU, without what the harness gives every server."""
CHECKPOINTS = {
    "mistral-gptq": "gptqmodel", "mistral-awq": "autoawq", "llama-8b-w8a8": "ct-w8a8",
    "llama-8b-fp8": "ct-fp8", "llama-8b": "bf16", "llama-8b-bnb-int8": "bnb-int8",
    "llama-8b-gptq": "autogptq",
}  # fmt: skip
OURS = ("--host=", "--port=", "--served-model-name=", "--generation-config=", "--disable-uvicorn")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_line_of_each_build(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a checkpoint of that layout in its place."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    layouts = Path(__file__).parents[1] / "launchers" / "checkpoints"
    for folder, layout in CHECKPOINTS.items():
        shutil.copytree(layouts / layout, tmp_path / "models" / folder)
    vllm = tmp_path / "vllm"
    vllm.write_text("#!/bin/sh\n")
    vllm.chmod(0o755)
    example, _, own = name.partition("/")
    build, _ = find_build(own, load_config(EXAMPLES / example / "harness.toml"))
    build = build.model_copy(update={"command": [str(vllm)], "device": "cuda"})
    source = resolve_model(build, tmp_path)
    request = StartRequest(build=build, source=source, port=1, on_line=lambda _: None)
    argv = load_engine("vllm").start(request).argv[1:]
    shown = [word for word in argv if not word.startswith(OURS)]
    assert " ".join(shown).replace(str(tmp_path / "models"), "FOLDER") == COMMANDS[name]


def test_no_build_is_left_out() -> None:
    for example in ("one-gpu", "builds"):
        config = load_config(EXAMPLES / example / "harness.toml")
        assert {f"{example}/{name}" for name in config.builds} <= COMMANDS.keys()
