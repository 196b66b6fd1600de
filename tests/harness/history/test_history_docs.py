"""The lines of docs/history.md that read the plain files do what they say."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

from harness.cli import run
from tests.harness.evidence.runs import a_cell, load_run

PAGE = Path(__file__).parents[3] / "docs" / "history.md"


LINES = re.findall(r"^(duckdb|python3) -c ([\"'])(.*)\2$", PAGE.read_text(), re.MULTILINE)
DUCKDB = [line for program, _, line in LINES if program == "duckdb"]
PYTHON = [line for program, _, line in LINES if program == "python3"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with runs and figures.csv."""
    for night, value in enumerate((50.5, 52.5), start=1):
        started = f"2026-11-0{night}T00:00:00+00:00"
        cells = [a_cell(ttft_p50_ms=value), a_cell("fp16", ttft_p50_ms=40, concurrency=1)]
        load_run(tmp_path / "runs" / f"r{night}", cells, started=started)
    monkeypatch.chdir(tmp_path)
    with contextlib.redirect_stdout(io.StringIO()):
        assert run(["history", "--format", "csv", "--out", "figures.csv"]) == 0


def printed(code: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code, {})  # noqa: S102 - the page's own lines
    return out.getvalue()


@pytest.mark.usefixtures("project")
def test_python_alone_reads_the_run_folders() -> None:
    [line] = [line for line in PYTHON if "json.loads" in line]
    rows = [row.split("\t") for row in printed(line).splitlines()]
    assert [row[1] for row in rows] == ["awq", "fp16", "awq", "fp16"]
    assert [row[4] for row in rows] == ["50.5", "40", "52.5", "40"]
    assert rows[3][0].startswith("2026-11-02")


@pytest.mark.usefixtures("project")
def test_polars_reads_the_figures() -> None:
    pytest.importorskip("polars")
    [line] = [line for line in PYTHON if "polars" in line]
    text = printed(line)
    assert "51.5" in text
    assert "fp16" in text


@pytest.mark.usefixtures("project")
def test_duckdb_reads_both() -> None:
    duckdb: Any = pytest.importorskip("duckdb")
    flat, direct = DUCKDB
    assert duckdb.sql(flat).fetchall() == [("awq", 8.0, 51.5, 2), ("fp16", 1.0, 40.0, 2)]
    rows = duckdb.sql(direct).fetchall()
    assert [(row[1], row[3]) for row in rows] == [
        ("awq", 50.5), ("fp16", 40.0), ("awq", 52.5), ("fp16", 40.0),
    ]  # fmt: skip


def test_the_commands_of_the_page_are_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    commands = re.findall(r"^harness (history.*?)(?: +#.*)?$", PAGE.read_text(), re.MULTILINE)
    assert len(commands) >= 6
    for command in commands:
        assert run(command.split()) == 0, capsys.readouterr().err
    assert (tmp_path / "history.html").is_file()
