"""`harness report` of one and of several runs."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from harness.cli import run as cli
from harness.reports import NAMES

FOLDER = Path(__file__).parents[2] / "fixtures" / "runs"


@pytest.fixture
def two(tmp_path: Path) -> list[str]:
    """Copies, since `harness report` may write into a folder."""
    found = [tmp_path / "schema-1-load-open", tmp_path / "schema-1-load"]
    for copy in found:
        shutil.copytree(FOLDER / copy.name, copy)
    return list(map(str, found))


def printed(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert cli(["report", *argv]) == 0
    return capsys.readouterr().out


def test_csv_of_several_is_one_table(two: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    alone = [printed(capsys, run, "--format", "csv").splitlines() for run in two]
    together = printed(capsys, *two, "--format", "csv").splitlines()
    assert together == [*alone[0], *alone[1][1:]]
    assert len(list(csv.DictReader(together))) == len(together) - 1


def test_json_of_several_is_a_list(two: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    alone = [json.loads(printed(capsys, run, "--format", "json")) for run in two]
    assert json.loads(printed(capsys, *two, "--format", "json")) == alone


def test_junit_of_several_is_one_document(
    two: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    alone = [
        ET.fromstring(printed(capsys, run, "--format", "junit"))  # noqa: S314 - our own
        for run in two
    ]
    whole = ET.fromstring(printed(capsys, *two, "--format", "junit"))  # noqa: S314 - our own
    assert len(whole) == sum(map(len, alone))
    for name in ("tests", "failures", "errors", "skipped"):
        assert int(whole.get(name, "")) == sum(int(root.get(name, "")) for root in alone)
    assert len({suite.get("name") for suite in whole}) == len(whole), "whose run each is"


def test_vllm_of_several_is_an_object_a_line(
    two: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(capsys, *two, "--format", "vllm").splitlines()
    assert lines == [
        line for run in two for line in printed(capsys, run, "--format", "vllm").splitlines()
    ]
    assert len({json.loads(line)["harness_cell"] for line in lines}) > 1


def test_into_a_folder_each_run_gets_a_file_and_of_vllm_each_cell(
    two: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    told = printed(capsys, *two, "--format", "markdown", "--out", str(out)).split()
    assert sorted(told) == sorted(str(path) for path in out.iterdir())
    assert {path.name for path in out.iterdir()} == {"schema-1-load-open.md", "schema-1-load.md"}
    printed(capsys, two[1], "--format", "vllm", "--out", str(out))
    assert len(list(out.glob("*.json"))) == 2
    for path in out.glob("*.json"):
        assert json.loads(path.read_text())["num_prompts"] > 0


def test_pages_of_several_go_into_their_folders(
    two: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = printed(capsys, *two).split()
    assert told == [f"{run}/report.html" for run in two]
    assert cli(["report", *two, "--out", str(tmp_path / "x.html")]) == 2
    assert "2 runs make 2 pages" in capsys.readouterr().err
    assert not (tmp_path / "x.html").exists()


def test_the_suffix_of_vllm_is_not_taken_for_json(
    two: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed(capsys, two[0], "--out", str(tmp_path / "a.vllm.json"))
    first = (tmp_path / "a.vllm.json").read_text().splitlines()[0]
    assert "ttfts" in json.loads(first)
    printed(capsys, two[0], "--out", str(tmp_path / "a.json"))
    assert "cells" in json.loads((tmp_path / "a.json").read_text())


@pytest.mark.parametrize("kind", ["rehearsal", "../x"])
def test_an_unknown_kind_is_bad_input(
    two: list[str], kind: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "schema-1-load-open" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "kind": kind}))
    for name in NAMES:
        assert cli(["report", two[0], "--format", name]) == 2
        assert "has no reports here" in capsys.readouterr().err
