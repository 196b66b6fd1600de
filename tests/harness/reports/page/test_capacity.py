"""A search on the page: each chart draws the numbers of `capacity.json`."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import pytest

from harness.measuring.slo import observed, parse_slo
from harness.reports.figures import figure
from harness.reports.page import capacity, prediction, sizing, verdict
from harness.reports.page.frame import render, render_sizing
from harness.reports.page.material import gather
from harness.reports.page.svg import FULL, Pen
from harness.rundir import RunFolder
from harness.sizing.supply import held_value
from harness.sizing.wording import replicas_of
from tests.harness.reports.page.reading import Page
from tests.harness.reports.searched import HARMFUL, of_two_builds, search_run

if TYPE_CHECKING:
    from pathlib import Path

    from harness.capacity.result import Capacity
    from harness.reports.page.material import Material
    from harness.reports.page.panels import Panel


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return search_run(tmp_path_factory.mktemp("search"))


@pytest.fixture(scope="module")
def material(run: RunFolder) -> Material:
    return gather(run)


@pytest.fixture(scope="module")
def found(material: Material) -> Capacity:
    assert material.capacity is not None
    return material.capacity


def told(panel: Panel) -> list[str]:
    """What the dots of a chart say of themselves."""
    return re.findall(r'<path class="dots [^>]*><title>([^<]*)</title>', str(panel.svg))


def heights(panel: Panel, kind: str) -> list[int]:
    """The heights of a chart's level lines of a class, from the top in parts of `FULL`."""
    lines = re.findall(rf'<path class="{kind}" d="M\d+ (\d+) \d+ (\d+)"', str(panel.svg))
    assert all(first == last for first, last in lines)
    return [int(first) for first, _ in lines]


def test_each_limit_has_its_probes_and_each_latency_its_curve(
    material: Material, found: Capacity
) -> None:
    [one] = capacity.sections(Pen(), found, material.evidence.load[0])
    shares, curve, errors = one.panels
    assert [panel.title for panel in one.panels] == [
        "Broke ttft_due_p95_ms<=100", "ttft_due_p95_ms<=100", "Broke error_rate<=1%",
    ]  # fmt: skip
    sent = [probe for probe in found.probes if probe.rate is not None]
    assert len(told(shares)) == len(told(errors)) == len(sent) >= 5
    for probe, text in zip(sent, told(shares), strict=True):
        broken = figure(100 * probe.limits[0].broken)
        assert text.startswith(f"{probe.rate:g}/s: {broken} % of {probe.requests:,}")
        assert text.endswith("ended early") == probe.ended_early
    assert "5.00 %" in shares.note
    [limit] = parse_slo(found.slo).limits[:1]
    cells = {cell.id: cell for cell in material.evidence.load[0].measurements.cells}
    for probe in sent:
        value = (observed if probe.ended_early else held_value)(limit, cells[probe.cell])
        assert f"{probe.rate:g}: {figure(value)} ms" in told(curve)
    for panel in one.panels:
        assert str(panel.svg).count('class="burst"') == 1, "the interval is shaded"
        assert len(heights(panel, "limit")) == 1
    assert len(one.probes.rows) == len(found.probes)


def test_a_share_lies_below_the_line_where_the_limit_held(
    material: Material, found: Capacity
) -> None:
    [one] = capacity.sections(Pen(), found, material.evidence.load[0])
    [line] = heights(one.panels[0], "limit")
    places = re.findall(
        r'<path class="dots [^"]*" d="M\d+ (\d+)h0"><title>', str(one.panels[0].svg)
    )
    sent = [probe for probe in found.probes if probe.rate is not None]
    for place, probe in zip(places, sent, strict=True):
        assert (int(place) >= line) == probe.met


def test_failures_reach_the_upper_edge_but_not_what_an_early_end_cut_off(
    material: Material, found: Capacity
) -> None:
    [build] = found.builds
    load, last = material.evidence.load[0], build.probes[-1]
    cells = []
    for cell in load.measurements.cells:
        stat = cell.metrics.ttft_due_ms
        bad = msgspec.structs.replace(stat, p95=None, n_infinite=99)
        failed = msgspec.structs.replace(
            cell, metrics_with_failures={"ttft_due_ms": bad, "e2e_ms": bad}, stable=True
        )
        cells.append(failed if cell.id == last.cell else cell)
    run = replace(load, measurements=msgspec.structs.replace(load.measurements, cells=cells))

    def curve(*, early: bool) -> Panel:
        ended = msgspec.structs.replace(last, ended_early=early)
        changed = msgspec.structs.replace(build, probes=[*build.probes[:-1], ended])
        other = msgspec.structs.replace(found, builds=[changed])
        return capacity.sections(Pen(), other, run)[0].panels[1]

    assert f"{last.rate:g}: ∞ ms" in told(curve(early=False))
    assert "at the upper edge: beyond it" in curve(early=False).note
    assert not any("∞" in text for text in told(curve(early=True)))


def test_bars_are_as_long_as_the_rates(found: Capacity) -> None:
    bars = capacity.bars(found)
    [row] = bars.rows
    ends = [int(x) for x in re.findall(r"M0 50H(\d+)", str(row.picture))]
    assert found.saturation is not None
    assert found.max_rate is not None
    served, rate = ends
    assert served / rate == pytest.approx(found.saturation.rate / found.max_rate, rel=0.01)
    low, high = found.max_rate_ci95 or (0.0, 0.0)
    assert (row.rate, row.spread) == (figure(found.max_rate), f"{figure(low)}–{figure(high)}")
    assert row.most == figure(found.saturation.rate)
    [spread] = re.findall(r'class="bar spread c0" d="M(\d+) 50H(\d+)"', str(row.picture))
    assert int(spread[0]) < rate < int(spread[1]) <= FULL


def test_a_build_without_a_rate_says_why(found: Capacity) -> None:
    none = msgspec.structs.replace(
        found.builds[0], outcome="not_reached_by_client", max_rate=None, max_rate_ci95=None
    )
    [row] = capacity.bars(msgspec.structs.replace(found, builds=[none])).rows
    assert (row.rate, row.spread) == ("not reached by client", "")


def test_replicas_over_the_day_and_month_by_month(found: Capacity) -> None:
    assert found.sizing is not None
    [one] = found.sizing.builds
    assert one.day is not None
    day, months = sizing.section(Pen(), found.sizing).panels
    path = re.search(r'<path class="line c0" d="([^"]*)" data-name="url"', str(day.svg))
    assert path is not None
    changes = sum(a != b for a, b in zip(one.day.replicas, one.day.replicas[1:], strict=False))
    assert path[1].count("V") == 1 + changes == 3
    assert path[1].endswith(f"H{FULL}"), "the day is as wide as the chart"
    [fixed] = heights(day, "line c0 dash")
    tops = [int(y) for y in re.findall(r"V(\d+)", path[1])]
    assert min(tops) == fixed, "the busiest window takes the whole fleet"
    assert "hours" in str(day.svg)
    counts = {fleet.replicas for fleet in one.fleets}
    drawn = re.search(r'<path class="line c0" d="([^"]*)"', str(months.svg))
    assert drawn is not None
    assert drawn[1].count("V") == len(counts) > 1


def test_many_windows_are_drawn_as_few_and_the_peak_stays(found: Capacity) -> None:
    assert found.sizing is not None
    [one] = found.sizing.builds
    assert one.day is not None
    replicas = [3] * 5000
    replicas[4321] = 9
    many = msgspec.structs.replace(
        one, day=msgspec.structs.replace(one.day, window_s=60.0, replicas=replicas)
    )
    edges, values = sizing._windows(many)
    assert len(values) + 1 == len(edges) <= 481
    assert max(values) == 9
    assert edges[-1] == pytest.approx(5000 / 60)


def test_predicted_against_measured(found: Capacity) -> None:
    assert found.prediction is not None
    [one] = prediction.sections(Pen(), [found.prediction, None])
    [scatter] = one.panels
    latencies = [h for h in found.prediction.held_out if h.metric.endswith("_ms")]
    assert len(told(scatter)) == len(latencies) > 0
    for held, text in zip(latencies, told(scatter), strict=True):
        assert text == (
            f"{held.level:g}/s: {held.metric} predicted {figure(held.predicted)}, measured "
            f"{figure(held.measured)}"
        )
    assert str(scatter.svg).count("end-of-window") == 2, "a band of 15 % to either side"
    table, fleets = one.sheets
    assert len(table.rows) == len(found.prediction.held_out)
    assert len(fleets.rows) == 2


def test_several_builds_are_on_one_page_and_their_names_do_nothing(
    run: RunFolder, tmp_path: Path
) -> None:
    copy = RunFolder(shutil.copytree(run.path, tmp_path / "two"))
    both = of_two_builds(copy)
    text = render(copy)
    page = Page(text)
    assert HARMFUL in page.words
    assert "<b>b&w" not in text
    names = {one.get("id") for one in page.tags("h2", "details")}
    assert {"capacity", "sizing", "prediction", "probes", "validity"} <= names
    assert page.words.count("Broke ttft_due_p95_ms<=100") >= 2
    assert len(capacity.bars(both).rows) == 2
    assert Page(render(run)).words.count("Broke ttft_due_p95_ms<=100") < page.words.count(
        "Broke ttft_due_p95_ms<=100"
    )


def test_the_answer_stands_first(run: RunFolder, found: Capacity) -> None:
    words = Page(render(run)).words
    first = words.partition("Most served")[0]
    assert f"The limits hold up to {found.max_rate:.4g} requests/s" in first
    assert f" {replicas_of(found.sizing.builds[0].fleets[-1])} replicas" in first
    assert "USD" in first
    assert "What could not be told" in first
    assert "Energy a token" in first


def test_of_several_builds_the_one_that_takes_the_least_stands_first(
    run: RunFolder, tmp_path: Path
) -> None:
    copy = RunFolder(shutil.copytree(run.path, tmp_path / "two"))
    both = of_two_builds(copy)
    assert both.sizing is not None
    head = verdict.head(gather(copy))
    assert head.sentence == both.sizing.text
    assert head.sentence.startswith("url takes the least: USD ")
    assert head.points[:2] == [f"{one.build}: {one.text}" for one in both.builds]
    assert head.sentence not in head.points
    unpriced = msgspec.structs.replace(both.sizing, cheapest=None, text="None takes the least.")
    head = verdict.head(
        replace(gather(copy), capacity=msgspec.structs.replace(both, sizing=unpriced))
    )
    assert (head.sentence or "").startswith("url: The limits hold up to ")
    assert head.points[-1] == "None takes the least."


def test_invalid_probes_are_told_and_the_answer_stays_valid(material: Material) -> None:
    load = material.evidence.load[0]

    def shown(*valid: bool) -> Material:
        cells = [
            msgspec.structs.replace(cell, client=msgspec.structs.replace(cell.client, valid=good))
            for cell, good in zip(load.measurements.cells, valid, strict=False)
        ]
        numbers = msgspec.structs.replace(load.measurements, cells=cells, valid=all(valid))
        run = replace(load, measurements=numbers)
        return replace(material, evidence=replace(material.evidence, load=[run]))

    assert verdict.validity(shown(True, True, True)) == "All 3 probes are valid."
    other = shown(True, False, True)
    assert other.valid
    assert verdict.validity(other).startswith("1 of 3 probes are invalid")


def test_where_the_client_was_always_too_slow_nothing_is_drawn_and_nothing_valid(
    material: Material, found: Capacity
) -> None:
    slow = [
        probe if probe.rate is None else msgspec.structs.replace(probe, met=None, limits=[])
        for probe in found.probes
    ]
    [build] = found.builds
    none = msgspec.structs.replace(
        build, probes=slow, max_rate=None, max_rate_ci95=None, outcome="not_reached_by_client"
    )
    other = msgspec.structs.replace(found, builds=[none])
    [one] = capacity.sections(Pen(), other, material.evidence.load[0])
    assert one.panels == []
    assert len(one.probes.rows) == len(found.probes)
    assert not replace(material, capacity=other).valid
    beside = msgspec.structs.replace(found, builds=[build, none])
    assert not replace(material, capacity=beside).valid, "of two builds one has no answer"
    assert replace(material, capacity=found).valid


def test_a_sizing_of_finished_runs_is_a_page_of_its_own(found: Capacity) -> None:
    assert found.sizing is not None
    [one] = found.sizing.builds
    harmful = msgspec.structs.replace(one, build=HARMFUL)
    text = render_sizing(msgspec.structs.replace(found.sizing, builds=[one, harmful]))
    page = Page(text)
    assert "<b>b&w" not in text
    assert HARMFUL in page.words
    assert "Replicas over the trace" in page.words
    assert "Predicted against measured" in page.words
    assert figure(found.max_rate) in page.words
