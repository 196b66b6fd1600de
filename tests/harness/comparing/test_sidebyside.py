"""The builds of one load run against the first of them, with numbers of our choice."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from harness.comparing.sidebyside import side_by_side
from harness.measuring.measurement import measurements
from harness.rundir import RunFolder
from tests.harness.comparing.made import cell, info
from tests.harness.comparing.side import STEPS, compared, held

if TYPE_CHECKING:
    from pathlib import Path


def test_slower_at_one_stream_says_so_and_what_finds_out_from_where_on_it_pays(
    tmp_path: Path,
) -> None:
    found = held(tmp_path, {1: 1.12})
    first, second = found.sentences
    assert first.startswith("awq is slower than fp16 at 1 stream (ITL p50 ratio 1.1")
    assert "; TTFT p50 ratio 1.1" in first
    assert second == (
        "From how many streams on awq pays is not measured here: harness load --profile batch1 "
        "--server fp16,awq --level 1,2,4,8,16,32,64 --duration 20 --order mirrored --repeats 4"
    )
    [row] = [one for one in found.load if one.build == "awq"]
    low, high = row.against["itl_p50_ms"].ratio_ci95 or (0, 0)
    assert 1 < low < 1.12 < high < 1.2


def test_faster_and_alike_are_told_so(tmp_path: Path) -> None:
    assert held(tmp_path, {1: 0.5}).sentences[0].startswith("awq is faster than fp16 at 1 stream (")
    alike = held(tmp_path, {1: 1.0}).sentences
    assert alike[0].startswith("awq is not shown to be faster or slower than fp16 at 1 stream (")
    assert alike[1].startswith("What more streams change is not measured here: harness load")


def test_with_levels_the_break_even_is_told_with_its_interval(tmp_path: Path) -> None:
    # On a straight line in the logarithms: ln ratio 0.2 at 2 and −0.2 at 8, so 1 at 4.
    found = held(tmp_path, {1: 1.3, 2: math.exp(0.2), 8: math.exp(-0.2), 32: 0.7})
    first, second = found.sentences
    assert first.startswith("awq is slower than fp16 at 1 stream")
    assert second.startswith("From about ")
    assert "streams on (ITL p50: measured between 2 and 8, on a straight line" in second
    assert second.endswith(") awq is faster than fp16.")
    [one] = [one for one in found.crossovers if one.metric == "itl_p50_ms"]
    low, high = one.line_ci95 or (0, 0)
    assert low < 4 < high


def test_never_faster_is_told_too(tmp_path: Path) -> None:
    found = held(tmp_path, {1: 1.3, 8: 1.2, 32: 1.2})
    assert found.sentences[1].startswith(
        "By ITL p50: no crossing within 1–32 streams: fp16 is faster at every level."
    )


def test_ttft_by_prompt_length_and_its_line_have_differences_with_intervals(
    tmp_path: Path,
) -> None:
    found = held(tmp_path, {1: 1.5})
    rows = {(one.build, one.level["prompt_tokens"]): one for one in found.prefill}
    assert sorted(tokens for build, tokens in rows if build == "awq") == list(STEPS)
    for n in STEPS:
        value = rows["fp16", n].metrics["ttft_p50_ms"].value
        assert value == pytest.approx(10 + 40 * n / 1000, rel=0.03)
        low, high = rows["awq", n].against["ttft_p50_ms"].ratio_ci95 or (0, 0)
        assert low < 1.5 < high
    [row] = [one for one in found.load if one.build == "awq"]
    for name in ("prefill_fixed_ms", "prefill_per_1000_ms"):
        assert row.against[name].ratio == pytest.approx(1.5, rel=0.03)
        assert row.against[name].side == "worse"


def test_a_start_s_times_have_all_starts(tmp_path: Path) -> None:
    [base, _] = held(tmp_path, {1: 1.1}).servers
    assert base.first_token_s is not None
    assert base.first_token_s.repeats == [23.0, 24.0, 25.0, 26.0]
    assert base.memory_peak_gib is not None


def test_engines_differ_which_is_said_and_not_refused(tmp_path: Path) -> None:
    [note] = [one for one in held(tmp_path, {1: 1.1}).notes if one.code == "unlike"]
    assert "engine: fp16 vllm, awq llama.cpp" in note.text


@pytest.mark.parametrize(
    ("changes", "code", "text"),
    [
        (
            {"prompt_tokens": {"1": 84}},
            "prompt_tokens_differ",
            "awq counted 1 prompt token more than fp16 in all 336 pairs: awq adds one of its own",
        ),
        (
            {"prompt_tokens": {"-1": 84}},
            "prompt_tokens_differ",
            "awq counted 1 prompt token less than fp16 in all 336 pairs: fp16 adds one",
        ),
        (
            {"prompt_tokens": {"-3": 4, "0": 50, "12": 30}},
            "prompt_tokens_differ",
            "awq counted from -3 to +12 prompt tokens more than fp16, and as many in 200 of 336",
        ),
        (
            {"shorter": 31, "length_ratio": 0.9, "finish_reasons": {"stop, length": 31}},
            "answers_differ",
            "awq's answers are shorter than fp16's in 124 and longer in 0 of 336 pairs (90.0% of",
        ),
        ({"prompts": "others"}, "prompts_differ", "awq was sent other prompts than fp16"),
    ],
)
def test_other_work_is_a_caveat_that_names_builds_and_numbers(
    tmp_path: Path, changes: dict[str, Any], code: str, text: str
) -> None:
    found = held(tmp_path, {1: 1.1}, outputs=compared(**changes))
    [note] = [one for one in found.notes if one.code == code]
    assert note.text.startswith(text)


def test_the_same_work_has_no_such_caveat(tmp_path: Path) -> None:
    found = held(tmp_path, {1: 1.1})
    codes = {one.code for one in found.notes}
    assert not codes & {"prompt_tokens_differ", "answers_differ", "prompts_differ"}
    [work] = found.work
    assert (work.pairs, work.identical, work.prompts) == (336, 280, "same")


def test_several_tokens_a_chunk_make_time_per_token_decide(tmp_path: Path) -> None:
    found = held(tmp_path, {1: 1.5}, awq={"tokens_per_chunk": 3.9, "token_source": "chunks"})
    notes = {one.code: one.text for one in found.notes}
    assert "(tokens a chunk: awq 3.90)" in notes["chunks_differ"]
    assert notes["tokens_not_counted"].startswith("awq did not count the tokens")
    assert found.sentences[0].startswith("awq is slower than fp16 at 1 stream (TPOT p50 ratio 1.5")
    alike = {one.code for one in held(tmp_path, {1: 1.5}).notes}
    assert not alike & {"chunks_differ", "tokens_not_counted"}


def test_once_measured_has_no_interval_of_runs_and_says_so(tmp_path: Path) -> None:
    found = held(tmp_path, {1: 1.1}, repeats=1)
    assert "one_run" in {one.code for one in found.notes}


def test_nothing_is_held_where_nobody_asked_or_there_is_one_build(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "y")
    run.write_manifest({})
    numbers = measurements(info("y"), [cell("fp16", 1, 1), cell("awq", 1, 1)], 2, [])
    assert side_by_side(run, numbers) is None
    run.write_manifest({"side_by_side": {"baseline": "fp16"}})
    assert side_by_side(run, numbers) is not None
    assert side_by_side(run, msgspec.structs.replace(numbers, cells=numbers.cells[:1])) is None
    assert side_by_side(run, msgspec.structs.replace(numbers, cells=[])) is None
