"""Run folders of this and of earlier harnesses stay readable, in every format.

tests/fixtures/runs holds a few tiny ones, made with the mock: `schema-1-*` when schema 1 was given
out, those with a commit in their name by that commit. They are never made again: what cannot read
them breaks users' folders. What their numbers are is held by test_kept_numbers.py.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from harness.cli import run as cli
from harness.evidence.folders import kind_of
from harness.explaining import NAMES
from harness.explaining.explain import explain
from harness.reports.kinds import package_of
from harness.rundir import RunFolder

FOLDER = Path(__file__).parents[2] / "fixtures" / "runs"
RUNS = sorted(path.name for path in FOLDER.iterdir())


@pytest.fixture
def kept(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A copy, since `harness report` writes numbers that differ."""
    copy = tmp_path / request.getfixturevalue("name")
    shutil.copytree(FOLDER / copy.name, copy)
    return copy


@pytest.mark.parametrize("name", RUNS)
def test_every_format_of_every_run(
    name: str, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli(["report", str(kept), "--format", "json"]) == 0
    json.loads(capsys.readouterr().out)
    run = RunFolder.open(kept)
    package = package_of(kind_of(run))
    assert {"html", "markdown", "csv", "json", "junit"} <= set(package.NAMES), name
    for format_ in package.NAMES:
        text = package.load_report(format_).render(run)
        assert len(text) > 300, format_
        if format_ == "junit":
            assert int(ET.fromstring(text).get("tests", "0")) > 0  # noqa: S314 - our own
    assert cli(["report", str(kept), "--format", "markdown"]) == 0
    assert capsys.readouterr().err == "", "once the numbers are written, they stay"


@pytest.mark.parametrize("name", [name for name in RUNS if "load" in name])
def test_their_numbers_are_what_they_were(
    name: str, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = json.loads((kept / "measurements.json").read_text())
    assert cli(["report", str(kept), "--format", "json"]) == 0
    after = json.loads(capsys.readouterr().out)
    ids = [cell["id"] for cell in before["cells"]]
    assert [cell["id"] for cell in after["cells"]] == ids, name
    for old, new in zip(before["cells"], after["cells"], strict=True):
        assert new["requests"] == old["requests"]
        assert _shared(new["metrics"], old["metrics"], "ttft_ms", "itl_ms", "e2e_ms")
        assert new["metrics"]["aggregate_tps"] == pytest.approx(old["metrics"]["aggregate_tps"])


def _shared(new: dict[str, Any], old: dict[str, Any], *names: str) -> bool:
    statistics = ("mean", "p50", "max", "n")
    return all(
        new[name][statistic] == pytest.approx(old[name][statistic])
        for name in names
        for statistic in statistics
    )


@pytest.mark.parametrize("name", [name for name in RUNS if "eval" not in name])
def test_they_can_be_explained(name: str, kept: Path) -> None:
    for like in NAMES:
        found = explain(RunFolder.open(kept), like)
        assert found.cells, name
        assert all(cell.answered for cell in found.cells)
