"""Reports of a comparison."""

from __future__ import annotations

import csv
import io
import json
import re
from importlib import import_module
from itertools import product
from pkgutil import iter_modules
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import msgspec
import pytest
from rich.console import Console

from harness.comparing.compare import compare
from harness.comparing.record import write_comparison
from harness.measuring.measurement import Caveat
from harness.reports import comparison
from harness.reports.comparison.terminal import print_comparison
from harness.rundir import RunFolder
from tests.harness.comparing.made import (
    LEVELS,
    cell,
    evidence,
    graded,
    info,
    load,
    part,
    perplexity,
    suite,
)

if TYPE_CHECKING:
    from pathlib import Path

NASTY = "a<b>\x1b[31m|`x`"


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    cells = [
        cell(build, level, n, slow * (1 + 0.01 * ((n * len(build) + level) % 3)))
        for n, (build, slow), level in product(
            (1, 2), (("fp16", 1.0), ("awq", 0.7), ("gptq", 1.3)), LEVELS
        )
    ]
    quality = graded(
        {
            "fp16": [suite(None), perplexity(None)],
            "awq": [suite(-0.002), perplexity(0.03)],
            "gptq": [
                suite(-0.06, categories={"velocity": part(-0.06, 0.019)}, regressed=["velocity"]),
                perplexity(0.01),
            ],
        }
    )
    found = compare(
        evidence(load(cells), quality), baseline="fp16", limits="ttft_p95_ms@c8<=90",
        prices={"": 1.5}, run=info("compare"),
    )  # fmt: skip
    found = msgspec.structs.replace(found, caveats=[Caveat("x", NASTY)])
    run = RunFolder(tmp_path)
    run.write_manifest({"kind": "comparison", "run": info("compare"), "parts": []})
    write_comparison(run, found)
    return run


@pytest.mark.parametrize("name", ["terminal", "markdown"])
def test_what_weights_and_kernel_a_build_has(name: str, folder: RunFolder) -> None:
    text = " ".join(comparison.load_report(name).render(folder).split())
    assert text.count("4-bit, group 128, K") == 3


def render(folder: RunFolder, name: str) -> str:
    return comparison.load_report(name).render(folder)


def test_the_names_are_those_of_the_modules() -> None:
    package = "harness.reports.comparison"
    modules = [one.name for one in iter_modules(comparison.__path__)]
    there = [n for n in modules if hasattr(import_module(f"{package}.{n}"), "REPORT")]
    assert sorted(there) == list(comparison.NAMES)
    assert {comparison.load_report(name).suffix for name in there} == {
        ".csv", ".html", ".json", ".xml", ".md", ".txt",
    }  # fmt: skip


def test_the_terminal_fits_100_columns_and_begins_with_the_recommendation(
    folder: RunFolder,
) -> None:
    text = render(folder, "terminal")
    assert text.startswith("Ship awq: the least cost per token\n")
    assert max(map(len, text.splitlines())) <= 100
    assert "do not ship gptq: domain: −6.0 points (95 % −7.0 to −5.0); category velocity" in text
    line = next(line for line in text.splitlines() if "▲ ×0.70" in line)
    assert line.count("▲ ×0.70") == 4
    assert line.count("▲ ×1.43") == 2
    assert "▼ ×1.30" in text
    assert "velocity −6.00" in text
    words = " ".join(text.split())
    assert re.search(
        r"awq, closed: e2e p50,[^:]*: no crossing within 1–64 streams: awq is faster at every",
        words,
    )
    assert "Pareto front: " in text
    assert "\x1b" not in text


def test_a_narrow_terminal_goes_without_columns_and_cuts_no_number(folder: RunFolder) -> None:
    out = io.StringIO()
    print_comparison(folder, Console(file=out, width=80, highlight=False))
    text = out.getvalue()
    assert "per seq." in text
    line = next(line for line in text.splitlines() if "▲ ×0.70" in line)
    assert line.count("▲ ×0.70") == 3
    assert line.count("▲ ×1.43") == 2


def test_markdown_has_the_tables_and_nothing_that_acts(folder: RunFolder) -> None:
    text = render(folder, "markdown")
    assert text.startswith("## awq, gptq against fp16\n\n> [!TIP]\n> **Ship awq")
    assert "| `closed` | c8 | `awq` | " in text
    assert "<br>▲ ×0.70 [" in text
    assert "<b>" not in text
    assert "\x1b" not in text
    assert "Run again: `harness compare fp16 awq`" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in rows if "`closed`" in line} == {10}


def test_csv_has_a_row_a_number(folder: RunFolder) -> None:
    rows = list(csv.DictReader(io.StringIO(render(folder, "csv"))))
    assert {row["kind"] for row in rows} == {"load", "quality", "server"}
    [one] = [
        row
        for row in rows
        if (row["build"], row["level_or_part"], row["metric"]) == ("awq", "c8", "e2e_p50_ms")
    ]
    assert float(one["ratio_low"]) < float(one["ratio"]) < float(one["ratio_high"])
    assert one["finding"] == "better"
    assert len(one["repeats"].split()) == 2
    assert [r["value"] for r in rows if r["level_or_part"] == "velocity"] == ["0.8400000000000001"]


def test_junit_has_a_case_a_limit(folder: RunFolder) -> None:
    root = ET.fromstring(render(folder, "junit"))  # noqa: S314 - our own
    assert {one.get("name") for one in root} == {"fp16", "awq", "gptq"}
    failed = {c.get("classname") for c in root.iter("testcase") if c.find("failure") is not None}
    assert failed == {"gptq"}


def test_json_and_the_page_are_of_the_same_numbers(folder: RunFolder) -> None:
    assert json.loads(render(folder, "json"))["recommendation"]["build"] == "awq"
    assert comparison.write_reports(folder) == []
    assert "ship awq" in (folder.path / "report.html").read_text().lower()
    assert (folder.path / "report.md").read_text() == render(folder, "markdown")
