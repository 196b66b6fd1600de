"""The examples of docs/examples: read, valid by the schema, and each command in them is one."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import jsonschema
import pytest
import yaml

from evals.suite import builtin_suites
from harness.cli import build_app
from harness.cli.eval import evaluate
from harness.config import find_profile, find_rules, find_suite, is_build, load_config
from harness.configschema import json_schema

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
FILES = sorted(EXAMPLES.glob("*/harness.toml"))
WORKFLOW = EXAMPLES / "ci" / "gate.yml"


def commands(path: Path) -> list[str]:
    """Every command line: of a comment, or of a workflow's step."""
    lines = path.read_text().splitlines()
    shown = r"# {3}(?=harness )" if path.suffix == ".toml" else r" +(?=harness )"
    found = [line.partition(" || ")[0] for line in lines if re.match(shown, line)]
    found = [line.lstrip("# ") for line in found]
    return [line for line in found if not line.startswith("harness quantize")]


def names(path: Path) -> str:
    return path.parent.name


def test_there_are_some() -> None:
    assert {names(path) for path in FILES} == {"builds", "ci", "fleet", "one-gpu"}
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
