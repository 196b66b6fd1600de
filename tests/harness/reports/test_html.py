"""The page: self-contained, inert, small, and drawn without an error."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import shutil
import subprocess
import weakref
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from harness.reports import cells, charts, html, load_report
from harness.rundir import RunFolder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
VOID = {"meta", "link", "br", "wbr", "img", "input", "hr"}


class Page(HTMLParser):
    """Elements, attributes and text of a page; fails on elements that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif self.open and self.open[-1] != "style":
            self.text.append(data)

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.text))

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.scripts[0])
        return found


@functools.cache
def html_in(folder: Path) -> str:
    return load_report("html").render(RunFolder(folder))


def page_of(run: RunFolder) -> Page:
    return Page(html_in(run.path))


KINDS = ("bursty", "invalid", "closed-4x4", "repeats", "all-failed", "empty-cell", "no-cells")


@pytest.mark.parametrize("kind", KINDS)
def test_page_is_whole_and_loads_nothing(runs: dict[str, RunFolder], kind: str) -> None:
    page = page_of(runs[kind])
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == 3
    assert not set(tags) & {"img", "iframe", "object", "embed", "base", "form"}
    for _, attributes in page.elements:
        for name in ("src", "href", "action", "srcset", "poster"):
            assert (attributes.get(name) or "data:").startswith("data:")
        assert not [name for name in attributes if name.startswith("on")]
    policy = [a["content"] for t, a in page.elements if t == "meta" and "http-equiv" in a]
    assert (policy[0] or "").startswith("default-src 'none';")
    assert not re.search(r"@import|url\(", html_in(runs[kind].path))


def test_hostile_names_are_text(hostile: RunFolder) -> None:
    page = page_of(hostile)
    assert [tag for tag, _ in page.elements].count("script") == 3
    assert "</script><script>alert(1)</script>\\x1b[31m" in page.words
    assert page.data["builds"][0].startswith("</script>")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\u202a-\u202e]", html_in(hostile.path))


def test_invalid_run_says_so_first(runs: dict[str, RunFolder]) -> None:
    page = page_of(runs["invalid"])
    assert [a for _, a in page.elements if a.get("role") == "alert"]
    assert page.words.index("do not use these numbers") < page.words.index("Latency")
    assert "role" not in str([a for _, a in page_of(runs["bursty"]).elements if "alert" in str(a)])


def test_page_names_what_is_needed_to_repeat_it(runs: dict[str, RunFolder]) -> None:
    words = page_of(runs["closed-4x4"]).words
    for text in (
        "harness load --profile closed --server fp16,gptq,awq,nf4",
        "0f5ee0c1d2",
        "AMD EPYC 9V74",
        "CPUWNA16LinearKernel",
        "--max-model-len 2048",
        "docs/method.md",
        "131072",
        "27.4",
    ):
        assert text in words


def test_bursts_are_where_the_profile_puts_them(runs: dict[str, RunFolder]) -> None:
    page = page_of(runs["bursty"])
    (chart,) = page.data["over_time"].values()
    assert chart["bursts"] == [[4, 6], [14, 16], [24, 26]]
    inside = [
        rate
        for t, rate in zip(chart["t"], chart["arrivals"], strict=True)
        if any(a <= t < b for a, b in chart["bursts"])
    ]
    assert sum(inside) / len(inside) > 3 * sum(chart["arrivals"]) / len(chart["arrivals"]) / 2
    assert sum(chart["planned"]) * chart["bin_s"] == pytest.approx(300, rel=0.01)
    assert sum(chart["arrivals"]) * chart["bin_s"] == pytest.approx(302, abs=1)


def test_the_plan_is_the_schedules_where_the_window_ended_early(
    runs: dict[str, RunFolder],
) -> None:
    (cell,) = runs["bursty"].read_measurements().cells
    whole = cells.read_cell(runs["bursty"], cell.id)
    assert whole.drive is not None
    assert whole.plan is not None
    start = whole.drive.window_start_ns
    early = dataclasses.replace(
        whole, drive=msgspec.structs.replace(whole.drive, window_end_ns=start + 9 * 10**9)
    )
    arrival = runs["bursty"].read_manifest()["profile"]["arrival"]  # type: ignore[index]
    by_requests = dataclasses.replace(
        early, plan=msgspec.structs.replace(whole.plan, duration_ns=30 * 10**9)
    )
    for records, profile in (
        (early, {"arrival": arrival, "duration_s": 30.0}),
        (by_requests, {"arrival": arrival, "duration_s": None}),
    ):
        chart = charts.over_time(cell, records, profile, most=2000)
        assert chart is not None
        planned = {rate for t, rate in zip(chart["t"], chart["planned"], strict=True) if 4 <= t < 6}
        assert planned == {30.0}  # 10/s over 30 s: 30/s in each burst and 5/s between them
        assert {rate for t, rate in zip(chart["t"], chart["planned"], strict=True) if t < 4} == {5}
        assert not any(rate for t, rate in zip(chart["t"], chart["planned"], strict=True) if t >= 9)
    unknown = dataclasses.replace(early, plan=None)
    chart = charts.over_time(cell, unknown, {"arrival": arrival}, most=2000)
    assert chart is not None
    assert chart["planned"] is None


def test_one_gap_in_two_thousand_is_drawn(runs: dict[str, RunFolder]) -> None:
    measurements = runs["bursty"].read_measurements()
    (cell,) = measurements.cells
    gaps = np.zeros(2000)
    gaps[7] = 3.0
    values = charts.Values(ttft_ms=np.array([-1.0]), itl_ms=gaps, gaps=2000)
    ttft, itl = charts.distributions(measurements, {cell.id: values})
    assert ttft["panels"] == [{"title": "awq", "x": [], "lines": []}]
    (line,) = itl["panels"][0]["lines"]
    assert line["y"][0] == pytest.approx(99.95)
    assert line["y"][-1] == 100


def test_one_cell_at_a_time_is_in_memory(
    runs: dict[str, RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[weakref.ref[cells.CellRecords]] = []

    def read_cell(run: RunFolder, cell_id: str) -> cells.CellRecords:
        assert not [one for one in read if one() is not None]
        records = cells.read_cell(run, cell_id)
        read.append(weakref.ref(records))
        return records

    monkeypatch.setattr(html, "read_cell", read_cell)
    html.REPORT.render(runs["one-build"])
    assert len(read) == 4


def test_only_an_open_loop_is_judged_steady(
    runs: dict[str, RunFolder],
) -> None:
    ends = r"<td[^>]*>([^<]*)</td><td[^>]*>yes</td></tr>"
    part = html_in(runs["closed-4x4"].path).partition('id="throughput"')[2]
    assert re.findall(ends, part.partition("</table>")[0]) == ["–"] * 16
    part = html_in(runs["bursty"].path).partition('id="throughput"')[2]
    assert re.findall(ends, part.partition("</table>")[0]) == ["yes"]


def test_failures_are_marked_and_in_no_latency(runs: dict[str, RunFolder]) -> None:
    cell = runs["invalid"].read_measurements().cells[0]
    page = page_of(runs["invalid"])
    (chart,) = page.data["over_time"].values()
    assert chart["failed_n"] == cell.requests.failed == 34
    assert chart["ttft_n"] == cell.requests.ok == 268
    assert page.data["distributions"][0]["panels"][0]["lines"][0]["n"] == 268
    assert "http_500 36" not in page.words
    assert "out of memory" in page_of(runs["all-failed"]).words


def test_distributions_agree_with_the_percentiles(runs: dict[str, RunFolder]) -> None:
    cell = runs["bursty"].read_measurements().cells[0]
    ttft, itl = (group["panels"][0] for group in page_of(runs["bursty"]).data["distributions"])
    for panel, stat in ((ttft, cell.metrics.ttft_due_ms), (itl, cell.metrics.itl_ms)):
        assert stat.p50 is not None
        below = [y for x, y in zip(panel["x"], panel["lines"][0]["y"], strict=True) if x < stat.p50]
        assert below[-1] <= 51
        assert panel["lines"][0]["n"] == stat.n


def test_levels_and_builds_are_lines_and_panels(runs: dict[str, RunFolder]) -> None:
    data = page_of(runs["closed-4x4"]).data
    assert data["by_level"]["ticks"] == ["1", "8", "32", "64"]
    assert [len(panel["lines"]) for panel in data["by_level"]["panels"]] == [8, 8, 8, 4]
    assert [len(group["panels"]) for group in data["distributions"]] == [4, 4]
    assert page_of(runs["one-level"]).data["by_level"] is None
    one = page_of(runs["one-build"]).data["distributions"][0]["panels"]
    assert [[line["name"] for line in panel["lines"]] for panel in one] == [
        ["1 stream", "8 streams", "32 streams", "64 streams"]
    ]


def test_ten_thousand_requests_stay_under_a_megabyte(
    make_bursty: Callable[..., RunFolder], tmp_path: Path
) -> None:
    run = make_bursty(tmp_path, rate=100, window_s=100)
    text = load_report("html").render(run)
    (chart,) = Page(text).data["over_time"].values()
    assert chart["ttft_n"] > 9_000
    assert all(len(value) <= 2_000 for value in chart.values() if isinstance(value, list))
    cell = run.read_measurements().cells[0]
    assert max(chart["ttft_ms"]) == pytest.approx(cell.metrics.ttft_due_ms.max, rel=1e-3)
    assert len(text) < 400_000


def test_json_cannot_end_its_script() -> None:
    text = html._script_json({"a": "</script><!--\u2028&"})
    assert not re.search("[<>&\u2028]", text)
    assert json.loads(text) == {"a": "</script><!--\u2028&"}


def test_facts_shared_by_all_builds_stand_once() -> None:
    table = html.server_table({"a": {"x": 1, "engine": "v"}, "b": {"x": 2, "engine": "v"}})
    assert table["builds"] == ["a", "b"]
    assert table["rows"] == [{"name": "engine", "values": ["v", "v"], "same": "v"}]
    assert table["more"] == [{"name": "x", "values": ["1", "2"], "same": None}]


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize(
    "kind", ["bursty", "closed-4x4", "all-failed", "no-cells", "zeros", "hostile"]
)
def test_a_browser_draws_it_without_an_error(
    runs: dict[str, RunFolder], hostile: RunFolder, tmp_path: Path, kind: str
) -> None:
    run = hostile if kind == "hostile" else runs[kind]
    page = tmp_path / "report.html"
    page.write_text(html_in(run.path), encoding="utf-8")
    assert CHROMIUM is not None
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", "--enable-logging=stderr", "--v=0",
            f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=2000",
            "--dump-dom", page.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr
    charts_shown = {"bursty": 6, "closed-4x4": 4 + 8 + 4, "all-failed": 4, "no-cells": 0}
    assert done.stdout.count("<canvas") == charts_shown.get(kind, 6)
