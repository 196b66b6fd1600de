"""`harness explain` on made-up runs."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import jsonschema
import msgspec
import pytest

import harness
from harness.cli import run as cli
from harness.explaining import NAMES
from harness.explaining.explain import explain
from harness.explaining.explanation import Explanation
from harness.explaining.shown import markdown
from harness.rundir import RunFolder

RUN = Path(__file__).parents[2] / "fixtures" / "runs" / "schema-1-load"
SCHEMA = Path(harness.__file__).parents[1] / "docs/schemas/explanation.json.schema.json"


@pytest.mark.parametrize("name", NAMES)
def test_the_command_prints_json_of_its_schema_and_markdown(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(RUN)
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


@pytest.mark.parametrize("name", NAMES)
def test_no_run_is_too_odd_to_explain(runs: dict[str, RunFolder], name: str) -> None:
    """Without answers, with stamps of nought, without cells or their files; nor does it warn."""
    for kind, run in runs.items():
        found = explain(run, name)
        assert len(found.cells) == len(run.read_measurements().cells), kind
        assert markdown(found)
        for cell in found.cells:
            numbers = [value for one in cell.metrics for value in one.theirs.values()]
            assert not any(value is not None and math.isnan(value) for value in numbers), kind


def test_what_could_not_be_read_is_said(tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(RUN, copy)
    for path in copy.glob("cells/*/samples.jsonl"):
        path.unlink()
    found = explain(RunFolder.open(copy), "vllm")
    assert all("samples.jsonl" in cell.unknown[0] for cell in found.cells)
    assert "samples.jsonl" in markdown(found)
