"""Scores and changed answers as the page has them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from benchmarks.made.comparison import quality_run
from benchmarks.made.evaluation import MadeRun, answers
from harness.quality.evaluate import evaluate
from harness.quality.record import write_evaluation
from harness.reports import load_report
from harness.reports.page import flips, quality
from harness.reports.page.flips import browser
from harness.reports.page.material import gather
from harness.reports.page.quality import tables
from tests.harness.reports.page.reading import Page

if TYPE_CHECKING:
    from pathlib import Path

    from harness.reports.page.flips import Browser
    from harness.rundir import RunFolder

N = 200


def right(*wrong: int) -> list[bool]:
    return [number not in wrong for number in range(N)]


def graded(run: MadeRun) -> RunFolder:
    folder = run.folder()
    write_evaluation(folder, evaluate(folder))
    return folder


def browsed(folder: RunFolder) -> Browser:
    found = browser(gather(folder))
    assert found is not None
    return found


@pytest.fixture
def made(tmp_path: Path) -> RunFolder:
    """GPTQ lost 20 answers of category b and gained one of category a against FP16."""
    run = MadeRun(tmp_path, baseline="fp16")
    run.add("fp16", answers(right(0)))
    run.add("gptq", answers(right(*range(1, 41, 2))))
    return graded(run)


def test_baseline_and_build_stand_in_every_part(made: RunFolder) -> None:
    [table] = tables(gather(made))
    assert table.baseline == "fp16"
    shown = {
        group.label: [(row.build, row.score, row.difference) for row in group.rows]
        for group in (*table.whole, *table.parts)
    }
    assert shown["all"] == [("fp16", "99.5 %", ""), ("gptq", "90.0 %", "−9.50")]
    assert shown["b"] == [("fp16", "100.0 %", ""), ("gptq", "80.0 %", "−20.00")]
    assert [row.regressed for group in table.parts for row in group.rows] == [
        False, False, False, True,
    ]  # fmt: skip


def test_of_many_parts_those_that_lost_stand_open(
    made: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    [table] = tables(gather(made))
    assert table.open
    monkeypatch.setattr(quality, "FEW", 3)
    assert not table.open
    assert [group.label for group in table.lost] == ["b"]
    page = Page(load_report("html").render(made))
    assert page.words.index("Against fp16") < page.words.index("▼ lost")
    assert page.words.index("▼ lost") < page.words.index("by task and category: all 2 parts")


def test_marks_stand_where_the_axis_has_them(made: RunFolder) -> None:
    [table] = tables(gather(made))
    [b] = [group for group in table.parts if group.label == "b"]
    low, high = (float(text) for text in re.findall(r">(\d+)<", table.score_axis)[::2])
    assert (low, high) == (70, 100)
    [place] = re.findall(r'class="dots [^"]*" d="M(\d+)', b.rows[1].strip)
    assert int(place) == round(1000 * (80 - low) / (high - low))
    # nothing changed is in the middle, and 20 points lost are left of it
    assert b.rows[1].difference_strip is not None
    assert "M500 0V100" in b.rows[1].difference_strip
    [place] = re.findall(r'class="dots [^"]*" d="M(\d+)', b.rows[1].difference_strip)
    assert int(place) < 500


def test_a_category_of_wild_texts_does_not_flatten_the_picture(tmp_path: Path) -> None:
    run = MadeRun(tmp_path, builds=["gptq"], suites=["text"])
    windows = answers(right(), metric="perplexity", weight=100.0)
    for number, window in enumerate(windows):
        window.score, window.category = 70.0 + number % 5, "calm"
    for window, score in zip(windows, (60.0, 400.0, 70.0), strict=False):
        window.score, window.category = score, "wild"
    folder = graded(run.add("gptq", windows, suite="text"))
    [table] = tables(gather(folder))
    [wild] = [group.rows[0] for group in table.parts if group.label == "wild"]
    last = float(re.findall(r">([\d.]+)<", table.score_axis)[-1])
    assert last < 2 * float(wild.score.replace(",", ""))
    assert float(wild.spread.partition("–")[2].replace(",", "")) > last


def test_every_flip_is_told_with_prompt_and_both_answers(made: RunFolder) -> None:
    found = browsed(made)
    assert (found.found, found.shown) == (21, 21)
    assert found.counts == [("domain", "gptq", "fp16", 20, 1)]
    assert not found.ties
    data = found.data
    rows = [(data["items"][item], lost, ours) for item, _, lost, _, ours, _ in data["flips"]]
    assert sum(lost for _, lost, _ in rows) == 20
    assert [lost for _, lost, _ in rows] == [1] * 20 + [0]
    item, _, ours = rows[0]
    assert item[2:6] == ["item-0001", "Question 1?", "yes", "yes"]
    assert ours == "no"
    assert data["categories"][item[1]] == "b"


def test_near_ties_are_told_from_confident_flips(tmp_path: Path) -> None:
    folder = quality_run(tmp_path, ("fp16", "damaged"))
    found = browsed(folder)
    assert found.ties
    near = sum(tie == 1 for _, _, _, tie, _, _ in found.data["flips"])
    [against] = [
        suite.baseline.flips
        for run in gather(folder).evidence.quality
        for one in run.evaluations
        for suite in one.suites
        if suite.baseline and suite.baseline.flips
    ]
    assert near == against.near_tie
    assert found.found == against.lost + against.gained
    assert 0 < near < found.found


def test_what_all_prompts_begin_with_is_kept_once(tmp_path: Path) -> None:
    start = "An example, worked through.\n" * 20
    data = browsed(quality_run(tmp_path, ("fp16", "damaged"), prompt=start)).data
    assert data["starts"] == [start]
    assert all(item[3].startswith("Card ") for item in data["items"])


def test_beyond_the_budget_some_of_everything_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = quality_run(tmp_path, ("fp16", "awq", "damaged"), items=2000)
    everything = browsed(folder)
    monkeypatch.setattr(flips, "BUDGET", 12_000)
    found = browsed(folder)
    assert 20 < found.shown < everything.found == found.found
    assert found.counts == everything.counts
    assert set(found.data["builds"]) == {"awq", "damaged"}
    assert found.data["categories"] == everything.data["categories"]
    kept = {(build, lost) for _, build, lost, _, _, _ in found.data["flips"]}
    assert len(kept) == 4


def test_items_that_one_side_has_no_answer_to_are_no_flips(tmp_path: Path) -> None:
    run = MadeRun(tmp_path, baseline="fp16")
    run.add("fp16", answers(right()))
    ours = answers(right(1, 2, 3))
    ours[1].outcome = "error"
    run.add("gptq", [one for one in ours if one.item != "item-0002"])
    assert browsed(graded(run)).found == 1


def test_thousands_of_flips_leave_the_page_below_two_megabytes(tmp_path: Path) -> None:
    start = "A worked example of a card that was used many times.\n" * 20
    folder = quality_run(tmp_path, ("fp16", "damaged"), items=5_000, prompt=start)
    page = load_report("html").render(folder)
    found = browsed(folder)
    assert found.found > 1_200
    assert found.shown == found.found
    assert len(page.encode()) < 700_000


def test_the_baseline_has_the_first_colour_everywhere(made: RunFolder) -> None:
    material = gather(made)
    assert material.builds == ["fp16", "gptq"]
    [table] = tables(material)
    assert [row.colour for row in table.whole[0].rows] == [0, 1]
