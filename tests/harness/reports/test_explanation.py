"""`harness explain` on made-up runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import msgspec
import pytest

import harness
from harness.cli import run as cli
from harness.explaining import NAMES
from harness.explaining.explanation import Explanation

if TYPE_CHECKING:
    from harness.rundir import RunFolder

SCHEMA = Path(harness.__file__).parents[1] / "docs/schemas/explanation.json.schema.json"


@pytest.mark.parametrize("name", NAMES)
def test_the_command_prints_json_of_its_schema_and_markdown(
    runs: dict[str, RunFolder], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(runs["bursty"].path)
    assert cli(["explain", folder, "--like", name, "--json"]) == 0
    printed = capsys.readouterr().out
    schema = json.loads(SCHEMA.read_text())
    jsonschema.validate(json.loads(printed), schema)
    found = msgspec.json.decode(printed, type=Explanation)
    assert found.cells
    assert cli(["explain", folder, "--like", name]) == 0
    terminal = capsys.readouterr().out
    assert cli(["explain", folder, "--like", name, "--format", "markdown"]) == 0
    page = capsys.readouterr().out
    for metric in found.cells[0].metrics:
        assert metric.name in terminal
        assert f"`{metric.name}`" in page
