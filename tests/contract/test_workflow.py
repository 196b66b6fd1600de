"""The workflow that docs/ offers: well-formed, and each command in it is one that there is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.cli import build_app

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "github-actions.yml").read_text()
PAGE = (ROOT / "docs" / "ci.md").read_text()


def commands(text: str) -> list[str]:
    """Every line that begins with `harness `, without what a shell adds."""
    lines = [line.strip() for line in text.splitlines()]
    found = [line.partition(" || ")[0].partition(" #")[0] for line in lines]
    return [line.strip() for line in found if re.match(r"harness [a-z]", line)]


def steps() -> list[dict[str, Any]]:
    workflow = yaml.safe_load(TEXT)
    assert {"pull_request", "workflow_dispatch"} <= set(workflow[True])  # YAML 1.1 reads `on` so
    return list(workflow["jobs"]["gate"]["steps"])


def test_its_steps_are_what_github_runs() -> None:
    for step in steps():
        assert ("uses" in step) != ("run" in step)
        assert set(step) <= {"name", "uses", "run", "with", "if", "env", "id"}
        if "uses" in step:
            assert re.fullmatch(r"[\w./-]+@v\d+", step["uses"])
    [gate] = [step for step in steps() if step.get("name") == "Gate"]
    assert "--junit gate.xml" in gate["run"]
    assert 'exit "$code"' in gate["run"]


def test_there_is_something_to_parse() -> None:
    assert len(commands("\n".join(step.get("run", "") for step in steps()))) == 3
    assert len(commands(PAGE)) >= 5


@pytest.mark.parametrize("line", commands(TEXT) + commands(PAGE))
def test_each_command_is_one_that_there_is(line: str) -> None:
    argv = shlex.split(line.replace("$", ""))[1:]
    if argv[:1] == ["eval"]:
        pytest.skip("its default command is put in place as it runs")
    command, _, rest = build_app().parse_args(argv, print_error=False, exit_on_error=False)[:3]
    assert callable(command)
    assert not rest
