"""Curves: one point a build and level, with its interval."""

from __future__ import annotations

import itertools
import statistics
from typing import TYPE_CHECKING

import pytest

from benchmarks.made.comparison import comparison_run
from harness.reports.page import curves, repeats
from harness.reports.page.material import gather
from harness.reports.page.svg import Pen

if TYPE_CHECKING:
    from pathlib import Path

    from harness.reports.page.panels import Panel
    from harness.rundir import RunFolder


def by_level_of(run: RunFolder) -> list[Panel]:
    [traffic] = gather(run).traffic
    return curves.by_level(Pen(), traffic, repeats.spots(traffic, None))


def bars(panel: Panel) -> int:
    return str(panel.svg).count('class="bar ')


def test_against_the_level_there_is_a_line_a_build_and_percentile(
    runs: dict[str, RunFolder],
) -> None:
    found = by_level_of(runs["closed-4x4"])
    assert [str(one.svg).count('class="line') for one in found] == [8, 8, 8, 4]
    assert all(f">{level}</text>" in str(found[0].svg) for level in (1, 8, 32, 64))
    assert by_level_of(runs["one-level"]) == []


def test_what_was_measured_once_has_its_requests_intervals(runs: dict[str, RunFolder]) -> None:
    found = by_level_of(runs["closed-4x4"])
    assert all(bars(panel) > 4 for panel in found[:3])
    assert bars(found[3]) == 0  # of a speed in all there is one number


def test_repeats_give_intervals_in_all_curves(runs: dict[str, RunFolder]) -> None:
    [traffic] = gather(runs["repeats"]).traffic
    spots = repeats.spots(traffic, None)
    for at, name in itertools.product(spots, ("ttft_p50_ms", "itl_p95_ms", "aggregate_tps")):
        one = spots[at][name]
        assert len(one.repeats) == 3
        known = [value for value in one.repeats if value is not None]
        assert one.value == pytest.approx(statistics.geometric_mean(known))
        if one.few:  # of too few answers in a cell
            assert one.ci95 is None
            assert name.endswith("_p95_ms")
        else:
            assert one.ci95 is not None
            assert one.ci95[0] < one.value < one.ci95[1]
    for panel in by_level_of(runs["repeats"]):
        drawn = str(panel.svg).count('class="dots ')
        assert 0 < bars(panel) <= drawn  # none at a p95 of few answers
    for panel in curves.trade(Pen(), traffic, spots):
        assert 4 <= bars(panel) <= 2 * 4  # of two builds at two levels, in both directions


def test_a_comparisons_curves_have_its_own_numbers(tmp_path: Path) -> None:
    run = comparison_run(tmp_path, builds=("fp16", "awq"), levels=(1, 8), window_s=1, items=40)
    material = gather(run)
    [traffic] = material.traffic
    told, own = (repeats.spots(traffic, one) for one in (material.comparison, None))
    assert told.keys() == own.keys()
    for at, metrics in own.items():
        for name, one in metrics.items():
            other = told[at][name]
            assert one.value == (other.value and pytest.approx(other.value))
            assert one.ci95 == (other.ci95 and pytest.approx(other.ci95))


def test_a_wide_interval_does_not_flatten_the_lines() -> None:
    assert curves._reached([(10, (1, 1e6)), (20, None)]) == [10, 20, 4, 50]
    assert curves._reached([]) == []
