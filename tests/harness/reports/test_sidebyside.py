"""Builds of one load run side by side, as tables and sentences."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from harness.reports import sidebyside
from harness.reports.sheets import print_sheet
from tests.harness.comparing.side import compared, held

if TYPE_CHECKING:
    from pathlib import Path


def test_the_tables_have_values_ratios_and_starts(tmp_path: Path) -> None:
    level, curve, servers = sidebyside.sheets(held(tmp_path, {1: 1.5}))
    assert level.title == "Side by side at 1 stream"
    assert level.columns == ("", "fp16", "awq")
    rows = {row[0]: row[1:] for row in level.rows}
    base, awq = rows["ITL p50, ms"]
    assert base.startswith("5.31 (")
    assert "▼ ×1.50 (1.4" in awq
    assert rows["tokens/s in all"][1].split(" ")[1] == "▼"
    assert rows["TTFT per 1,000 prompt tokens, ms"][0].startswith("40.0 (")
    assert curve.columns[0] == "Prompt tokens"
    assert [row[0] for row in curve.rows] == ["16", "256", "1,500"]
    assert "▼ ×1.50" in curve.rows[0][2]
    told = {row[0]: row[1:] for row in servers.rows}
    assert told["First token after the start, s"][0] == "24.5 (23.0–26.0, 4 times)"
    assert told["Peak memory (RSS), GiB"][0].startswith("1.00")
    assert told["Engine"] == ("vllm 0.32.0", "vllm 0.32.0")


def test_a_table_a_level(tmp_path: Path) -> None:
    titles = [one.title for one in sidebyside.sheets(held(tmp_path, {8: 0.9, 1: 1.5}))]
    assert titles[:2] == ["Side by side at 1 stream", "Side by side at 8 streams"]


def test_the_line_is_told_with_how_far_it_is_off(tmp_path: Path) -> None:
    found = held(tmp_path, {1: 1.5})
    assert sidebyside.line_of(found, "fp16") == pytest.approx((10, 0.04), rel=0.02)
    text = sidebyside.line_told(found)
    assert "The most that it is off from one of them: fp16 " in text
    assert "bends" not in text
    assert sidebyside.line_told(held(tmp_path, {8: 1.5})) == ""


def test_the_work_is_told_also_where_it_is_the_same(tmp_path: Path) -> None:
    [*_, text] = sidebyside.told(held(tmp_path, {1: 1.5}))
    assert text == (
        "awq against fp16, 336 pairs: the same prompts, as many prompt tokens counted in 336 of "
        "336, answers of the same length in 336, ended alike in 336, the same text in 280 of 336."
    )
    other = compared(prompts="others", prompt_tokens={"1": 84}, shorter=4, longer=2)
    [*_, text] = sidebyside.told(held(tmp_path, {1: 1.5}, outputs=other))
    assert text.startswith(
        "awq against fp16, 336 pairs: OTHER prompts, as many prompt tokens counted in 0 of 336, "
        "answers of the same length in 312, "
    )


def test_a_narrow_terminal_cuts_no_number(tmp_path: Path) -> None:
    out = io.StringIO()
    console = Console(file=out, width=60, color_system=None)
    for sheet in sidebyside.sheets(held(tmp_path, {1: 1.5})):
        print_sheet(sheet, console)
    assert "…" not in out.getvalue()
    assert max(map(len, out.getvalue().splitlines())) <= 60
