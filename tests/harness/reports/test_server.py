"""The server's side as reports tell it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import msgspec
import pytest

from harness.measuring.measure import CellFacts
from harness.measuring.remeasure import remeasure, write_facts
from harness.reports import load_report, server, server_line
from harness.reports.cells import read_cell
from harness.reports.page.material import gather
from harness.rundir import RunFolder
from launchers.telemetry.records import TELEMETRY_FILE
from tests.harness.telemetry import at, page, reading

if TYPE_CHECKING:
    from pathlib import Path

    from harness.measuring.measurement import CellMeasurement
    from harness.reports.server_line import ServerLine


@pytest.fixture
def watched(runs: dict[str, RunFolder]) -> RunFolder:
    return runs["watched"]


_FACTS = ("id", "build", "engine", "engine_version", "model", "profile", "repeat", "level")


def cell_of(run: RunFolder) -> CellMeasurement:
    return run.read_measurements().cells[0]


def line(*pages: tuple[float, dict[str, float]], most: int = 100) -> ServerLine | None:
    looks = [reading(second, engine=page(second, **fields)) for second, fields in pages]
    return server_line.server_line(looks, [0.0, 5.0, 10.0], at(0), most=most)


def test_rows_have_a_text_for_each_head(watched: RunFolder) -> None:
    cell = cell_of(watched)
    for header, rows in (
        (server.USE_HEADER, server.rows_of_use(cell)),
        (server.COUNT_HEADER, server.rows_of_counts(cell)),
        (server.TTFT_HEADER, server.rows_of_ttft(cell)),
        (server.TIME_HEADER, server.rows_of_time(cell)),
    ):
        [row] = rows
        assert len(row) == len(header)
    [use] = server.rows_of_use(cell)
    told = dict(zip(server.USE_HEADER, use, strict=True))
    assert told["Memory, GiB"] == "7.00"
    assert told["KV cache, peak"] == "98.0 %"
    assert told["Preempted"] == "2"
    assert told["Prefix hits"] == "25.0 %"
    assert told["CPU cores"] == "3.00"
    assert told["Power, W"] == "250"
    [ttft] = server.rows_of_ttft(cell)
    assert ttft[0] == "12.0"
    assert ttft[2] == "≤ 50.0"


def test_what_is_worth_a_line_is_in_terminal_and_markdown(watched: RunFolder) -> None:
    for name in ("terminal", "markdown"):
        text = load_report(name).render(watched)
        assert "KV cache up to 98.0 %, preemptions: 2, of a request's time queue" in text
    markdown = load_report("markdown").render(watched)
    assert "### The server’s side" in markdown
    assert "### Where a request’s time went" in markdown


def test_a_server_that_nobody_saw_has_no_table(runs: dict[str, RunFolder]) -> None:
    assert server.rows_of_use(cell_of(runs["one-level"])) == []
    assert "The server’s side" not in load_report("markdown").render(runs["one-level"])
    assert "The server’s side" not in load_report("html").render(runs["one-level"])


def test_the_page_draws_the_server_and_marks_what_hurt(watched: RunFolder) -> None:
    text = load_report("html").render(watched)
    for title in ("Requests in the engine", "KV cache in use", "Server’s memory", "Power of its"):
        assert text.count(f"<b>{title}") == 1
    assert "red lines: 2 preemptions" in text
    assert text.count('class="bar lost"') == 2  # above the queue, and above the cache
    assert text.count('<rect class="full"') == 1
    assert "shaded: more than 95 %" in text


def test_the_table_of_the_server_over_time_has_the_peaks(watched: RunFolder) -> None:
    [traffic] = gather(watched).traffic
    [seen] = traffic.seen.values()
    assert seen.server is not None
    assert max(row[1] or 0 for _, row in seen.server.rows) == 3
    assert sum(row[5] or 0 for _, row in seen.server.rows) == 2
    assert {row[4] for _, row in seen.server.rows} <= {250.0, None}


def test_points_outside_of_the_window_are_not_drawn() -> None:
    found = line(
        (-1, {"running": 9}), (2, {"running": 1}), (7, {"running": 4}), (11, {"running": 9})
    )
    assert found is not None
    assert found.running == [(2, 1), (7, 4)]
    assert [row[0] for _, row in found.rows] == [1, 4]
    assert line((-1, {"running": 9})) is None


def test_stretches_of_a_full_cache_are_from_look_to_look() -> None:
    uses = (0.5, 0.96, 0.99, 0.5, 1.0, 0.2)
    found = line(*((second, {"kv_cache_use": use}) for second, use in enumerate(uses)))
    assert found is not None
    assert found.full == [(1, 2), (4, 4)]


def test_of_many_points_the_largest_stand_for_their_neighbours() -> None:
    found = line(*((n / 10, {"waiting": n % 7}) for n in range(90)), most=10)
    assert found is not None
    assert len(found.waiting) == 10
    assert max(value for _, value in found.waiting) == 6


def test_a_damaged_file_of_telemetry_costs_a_caveat_and_no_more(
    watched: RunFolder, tmp_path: Path
) -> None:
    run = RunFolder(shutil.copytree(watched.path, tmp_path / "run"))
    before = cell_of(run)
    file = run.path / "cells" / before.id / TELEMETRY_FILE
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*lines[:3], "{}\n", *lines[3:]]))
    facts = {name: getattr(before, name) for name in _FACTS}
    write_facts(file.parent, CellFacts(**facts))
    [cell] = remeasure(run).cells
    assert cell.metrics == before.metrics
    assert cell.client.valid == before.client.valid
    assert [c.code for c in cell.client.caveats if "telemetry" in c.code] == ["telemetry_damaged"]
    [problem] = read_cell(run, cell.id).problems
    assert TELEMETRY_FILE in problem
    file.write_text("".join(lines) + lines[0][:40])  # as a kill leaves it
    server = remeasure(run).cells[0].server
    assert server == msgspec.structs.replace(before.server, kv_cache_tokens=None)
