"""The page: self-contained, inert, small, and readable by all."""

from __future__ import annotations

import base64
import dataclasses
import functools
import hashlib
import itertools
import json
import re
import weakref
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from benchmarks.made.comparison import comparison_run
from harness.comparing.record import read_comparison
from harness.reports import cells, charts, figures, load_report
from harness.reports.page import builds, frame, material, provenance
from harness.reports.page.material import gather
from harness.rundir import RunFolder
from tests.harness.reports.page.composites import HOSTILE, gate_run
from tests.harness.reports.page.reading import Page

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@functools.cache
def html_in(folder: Path) -> str:
    return load_report("html").render(RunFolder(folder))


def page_of(run: RunFolder) -> Page:
    return Page(html_in(run.path))


def chart_of(run: RunFolder) -> charts.Chart:
    """What is drawn of a run's only cell over time."""
    [traffic] = gather(run).traffic
    [seen] = traffic.seen.values()
    assert seen.over_time is not None
    return seen.over_time


def distributions_of(run: RunFolder) -> list[charts.Chart]:
    [traffic] = gather(run).traffic
    values = {name: seen.values for name, seen in traffic.seen.items()}
    return charts.distributions(traffic.measurements, values)


@pytest.fixture(scope="module")
def composites(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    """A comparison and a gate; read only."""
    few = {"builds": ("fp16", "awq", "nf4"), "levels": (1, 8), "window_s": 1}
    return {
        "compare": comparison_run(tmp_path_factory.mktemp("compare"), **few),
        "gate": gate_run(tmp_path_factory.mktemp("gate")),
        "evil": gate_run(tmp_path_factory.mktemp("evil"), evil=HOSTILE),
    }


KINDS = (
    "bursty", "invalid", "closed-4x4", "repeats", "one-level", "all-failed", "empty-cell",
    "no-cells", "compare", "gate", "evil",
)  # fmt: skip


@pytest.fixture
def page(request: pytest.FixtureRequest, runs: dict[str, RunFolder],
         composites: dict[str, RunFolder]) -> Page:  # fmt: skip
    return page_of((runs | composites)[request.param])


every = pytest.mark.parametrize("page", KINDS, indirect=True)


@every
def test_page_is_whole_and_may_reach_nothing(page: Page) -> None:
    assert not page.tags("img", "iframe", "object", "embed", "base")
    for _, attributes in page.elements:
        for name in ("src", "action", "srcset", "poster", "xlink:href"):
            assert name not in attributes
        assert (attributes.get("href") or "#").startswith(("data:,", "#"))
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
    [policy] = [a["content"] or "" for a in page.tags("meta") if "http-equiv" in a]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "http" not in policy
    [style], script = page.inline["style"], page.inline["script"][-1]
    for text, name in ((style, "style-src"), (script, "script-src")):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{name} 'sha256-{digest}'" in policy
    assert not re.search(r"@import|url\(", style)
    assert len(page.tags("script")) == 1 + bool(page.tags("ol"))


@every
def test_page_can_be_read_by_those_who_cannot_see_it(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert all("scope" in head for head in page.tags("th"))
    names = {a["id"] for _, a in page.elements if "id" in a}
    assert len(names) == len([a for _, a in page.elements if "id" in a])
    for svg in page.tags("svg"):
        if svg.get("role") == "img":
            told = (svg.get("aria-labelledby") or "").split()
            assert svg.get("aria-label") or (told and set(told) <= names)
        else:
            assert svg.get("class") in {"plot", "strip axis"}
    assert all("aria-label" in a and a["tabindex"] == "0" for a in page.tags("div")
               if a.get("class") == "scroll")  # fmt: skip
    assert {a["href"] for a in page.tags("a")} <= {f"#{name}" for name in names}


@pytest.mark.parametrize("kind", ["compare", "gate"])
def test_the_same_folder_gives_the_same_bytes(composites: dict[str, RunFolder], kind: str) -> None:
    assert load_report("html").render(composites[kind]) == html_in(composites[kind].path)


def test_hostile_names_are_text(hostile: RunFolder) -> None:
    page = page_of(hostile)
    assert len(page.tags("script")) == 1
    assert "</script><script>alert(1)</script>\\x1b[31m" in page.words
    assert not re.search(r"[\x00-\x08\x0b-\x1f\u202a-\u202e]", html_in(hostile.path))


def test_hostile_prompts_and_answers_are_text(composites: dict[str, RunFolder]) -> None:
    page, text = page_of(composites["evil"]), html_in(composites["evil"].path)
    assert len(page.tags("script")) == 2
    assert not page.tags("img")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\u2028\u2029\u202a-\u202e]", text)
    shown = page.flips
    assert "<img src=x onerror=alert(2)>" in shown["items"][0][3]
    assert "javascript:alert(3)" in shown["flips"][0][4]
    assert "\\u202e" in shown["categories"][0]
    assert "<" not in page.inline["script"][0]


def test_invalid_run_says_so_first(runs: dict[str, RunFolder]) -> None:
    page = page_of(runs["invalid"])
    assert [a for _, a in page.elements if a.get("role") == "alert"]
    assert page.words.index("do not use these numbers") < page.words.index("Percentiles")
    assert "role" not in str([a for _, a in page_of(runs["bursty"]).elements if "alert" in str(a)])


def test_a_comparison_begins_with_its_recommendation(composites: dict[str, RunFolder]) -> None:
    advice = read_comparison(composites["compare"]).recommendation
    assert advice.build == "awq"
    words = page_of(composites["compare"]).words
    order = [
        "awq, nf4 against fp16 PASS", f"Ship awq: {advice.preferred_by}", advice.reasons[0],
        "Builds side by side", "Limits", "What is gained for what",
        "nf4 is dominated by", "All metrics of all levels", "Latency against throughput",
        "Share of the values", "end of the measured window", "A score’s own interval",
        "Right by one build", "The command that repeats it", "harness compare fp16 awq nf4",
    ]  # fmt: skip
    places = [words.index(text) for text in order]
    assert places == sorted(places)


def test_numbers_side_by_side_are_the_comparisons(composites: dict[str, RunFolder]) -> None:
    found = read_comparison(composites["compare"])
    lines = {(line.name, line.where): line.cells for line in builds.glance(found)}
    [awq] = [row for row in found.load if row.build == "awq" and row.level == {"concurrency": 8.0}]
    speed, ratio = awq.metrics["aggregate_tps"], awq.against["aggregate_tps"]
    cell = lines["tokens/s in all", "at 8 streams"][1]
    assert cell.text == figures.figure(speed.value)
    assert speed.ci95 is not None
    assert cell.spread == "–".join(map(figures.figure, speed.ci95))
    assert ratio.ratio is not None
    assert cell.change == f"{100 * (ratio.ratio - 1):+.1f} %".replace("-", "−")
    assert cell.side == "good"
    graded = lines["domain", "accuracy"]
    assert [cell.verdict for cell in graded] == [None, "INCONCLUSIVE", "FAIL"]
    assert graded[0].text == "90.0 %"
    assert [graded[2].change[0], graded[2].side] == ["−", "bad"]
    assert lines["text", "perplexity"][2].side == "bad"  # more is worse
    told = msgspec.structs.replace(found.servers[0], scheme="4-bit, group 128", kernel="K")
    rows = builds.glance(msgspec.structs.replace(found, servers=[told]))
    own = {line.name: line.cells[found.builds.index(told.build)].text for line in rows}
    assert (own["Quantization"], own["Kernel"]) == ("4-bit, group 128", "K")


def test_a_build_has_one_colour_in_all_sections(composites: dict[str, RunFolder]) -> None:
    found = gather(composites["compare"])
    assert found.builds == ["fp16", "awq", "nf4"]
    assert [traffic.builds for traffic in found.traffic] == [found.builds]


def test_a_gate_begins_with_the_rule_that_fails_and_the_category(
    composites: dict[str, RunFolder],
) -> None:
    words = page_of(composites["gate"]).words
    assert words.index("damaged against fp16 FAIL") < words.index(
        "retained(domain) >= 0.95 is broken: 72 % retained; velocity lost most, 31 points"
    )
    assert words.index("velocity lost most") < words.index("Rules")
    assert "run the stage load" in words


def test_page_names_what_is_needed_to_repeat_it(runs: dict[str, RunFolder]) -> None:
    words = page_of(runs["closed-4x4"]).words
    for text in (
        "harness load --profile closed --server fp16,gptq,awq,nf4",
        "0f5ee0c1d2",
        "AMD EPYC 9V74",
        "awq (4-bit, group 128, asym, CPUWNA16LinearKernel)",
        "weights are",
        "--max-model-len 2048",
        "docs/method.md",
        "131072",
        "27.4",
    ):
        assert text in words


def test_bursts_are_where_the_profile_puts_them(runs: dict[str, RunFolder]) -> None:
    chart = chart_of(runs["bursty"])
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
        records = cells.read_drawn(run, cell_id)
        read.append(weakref.ref(records))
        return records

    monkeypatch.setattr(material, "read_drawn", read_cell)
    load_report("html").render(runs["one-build"])
    assert len(read) == 4


def test_only_an_open_loop_is_judged_steady(
    runs: dict[str, RunFolder],
) -> None:
    ends = r"<td[^>]*>([^<]*)</td><td[^>]*>yes</td></tr>"
    closed, opened = (
        html_in(runs[name].path).partition('id="throughput"')[2].partition("</table>")[0]
        for name in ("closed-4x4", "bursty")
    )
    assert re.findall(ends, closed) == ["1.93"] * 16  # GiB: whether it is valid follows
    assert "Steady" not in closed
    assert re.findall(ends, opened) == ["yes"]
    assert "Steady" in opened


def test_failures_are_marked_and_in_no_latency(runs: dict[str, RunFolder]) -> None:
    cell = runs["invalid"].read_measurements().cells[0]
    chart = chart_of(runs["invalid"])
    assert chart["failed_n"] == cell.requests.failed == 34
    assert chart["ttft_n"] == cell.requests.ok == 268
    assert distributions_of(runs["invalid"])[0]["panels"][0]["lines"][0]["n"] == 268
    assert "out of memory" in page_of(runs["all-failed"]).words


def test_distributions_agree_with_the_percentiles(runs: dict[str, RunFolder]) -> None:
    cell = runs["bursty"].read_measurements().cells[0]
    ttft, itl = (group["panels"][0] for group in distributions_of(runs["bursty"]))
    for panel, stat in ((ttft, cell.metrics.ttft_due_ms), (itl, cell.metrics.itl_ms)):
        assert stat.p50 is not None
        below = [y for x, y in zip(panel["x"], panel["lines"][0]["y"], strict=True) if x < stat.p50]
        assert below[-1] <= 51
        assert panel["lines"][0]["n"] == stat.n


def test_levels_and_builds_are_lines_and_panels(runs: dict[str, RunFolder]) -> None:
    assert [len(group["panels"]) for group in distributions_of(runs["closed-4x4"])] == [4, 4]
    one = distributions_of(runs["one-build"])[0]["panels"]
    assert [[line["name"] for line in panel["lines"]] for panel in one] == [
        ["1 stream", "8 streams", "32 streams", "64 streams"]
    ]


def test_ten_thousand_requests_stay_under_a_megabyte(
    make_bursty: Callable[..., RunFolder], tmp_path: Path
) -> None:
    run = make_bursty(tmp_path, rate=100, window_s=100)
    text = load_report("html").render(run)
    chart = chart_of(run)
    assert chart["ttft_n"] > 9_000
    assert all(len(value) <= 2_000 for value in chart.values() if isinstance(value, list))
    cell = run.read_measurements().cells[0]
    assert max(chart["ttft_ms"]) == pytest.approx(cell.metrics.ttft_due_ms.max, rel=1e-3)
    assert len(text) < 400_000


def test_json_cannot_end_its_script() -> None:
    text = frame.script_json({"a": "</script><!--\u2028&"})
    assert not re.search("[<>&\u2028]", text)
    assert json.loads(text) == {"a": "</script><!--\u2028&"}


def test_facts_shared_by_all_builds_stand_once() -> None:
    table = provenance.server_table({"a": {"x": 1, "engine": "v"}, "b": {"x": 2, "engine": "v"}})
    assert table["builds"] == ["a", "b"]
    assert table["rows"] == [{"name": "engine", "values": ["v", "v"], "same": "v"}]
    assert table["more"] == [{"name": "x", "values": ["1", "2"], "same": None}]
