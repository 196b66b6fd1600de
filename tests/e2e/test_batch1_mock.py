"""`harness load` of several builds at one stream, with mocks of known timing in their stead."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Workplace

SHORT = (
    *("--profile", "batch1", "--requests", "14", "--warmup", "2", "--output-tokens", "6"),
    "--quiet",
)


@pytest.fixture
def place(workplace: Workplace) -> Workplace:
    """A workplace with two builds, one of which is slower to its first token."""
    for name, ttft_ms in (("base", 40), ("slower", 52)):
        workplace.build(name, "--engine=vllm", f"--ttft-ms={ttft_ms}", "--itl-ms=2", serves="mock")
    return workplace


def manifest(place: Workplace) -> dict[str, Any]:
    [run] = place.runs
    return json.loads((run / "manifest.json").read_text())


def test_two_builds_take_mirrored_turns(place: Workplace) -> None:
    done = place.load("--server", "base,slower", *SHORT, "--repeats", "2")
    assert done.went_well, done.err
    visits = [(one["build"], one["visit"]) for one in manifest(place)["visits"]]
    assert visits == [("base", 1), ("slower", 1), ("slower", 2), ("base", 2)]
    assert manifest(place)["request"]["order"] == "mirrored"
    assert len(done.cells) == 4
    held = done.json["side_by_side"]
    assert (held["baseline"], held["builds"]) == ("base", ["base", "slower"])
    # What was told of known timing: 12 ms more to the first token, the same between tokens.
    [row] = [one for one in held["load"] if one["build"] == "slower"]
    assert row["against"]["ttft_p50_ms"]["ratio"] == pytest.approx(52 / 40, abs=0.1)
    assert row["against"]["itl_p50_ms"]["ratio"] == pytest.approx(1, abs=0.1)
    assert [one["level"]["prompt_tokens"] for one in held["prefill"]][:7] == [
        *(16, 64, 128, 256, 512, 1024, 1500)
    ]
    [work] = held["work"]
    assert (work["prompts"], work["pairs"], work["shorter"], work["longer"]) == ("same", 28, 0, 0)
    assert work["prompt_tokens"] == {"0": 28}
    assert [len(one["first_token_s"]["repeats"]) for one in held["servers"]] == [2, 2]
    [run] = place.runs
    again = place.harness("report", str(run), "--format", "json")
    assert again.json == done.json
    assert "anew" not in again.err
    shown = place.harness("report", str(run), "--format", "terminal").out
    for text in (shown, (run / "report.md").read_text(), (run / "report.html").read_text()):
        for words in (
            "Side by side at 1 stream",
            "TTFT p50 by prompt length, ms",
            "First token after the start, s",
            "28 pairs: the same prompts, as many prompt tokens counted in 28 of 28",
        ):
            assert words in text
        assert "slower" in text
    assert "<b>TTFT p50 by prompt length</b>" in (run / "report.html").read_text()


def test_interleaved_both_are_up_at_once(place: Workplace) -> None:
    done = place.load("--server", "base,slower", *SHORT, "--interleave", "--repeats", "1")
    assert done.went_well, done.err
    assert [cell["interleaved_with"] for cell in done.cells] == [["slower"], ["base"]]
    assert [cell["requests"]["ok"] for cell in done.cells] == [14, 14]
    assert len(manifest(place)["visits"]) == 2
    assert place.processes() == []
    [pair] = done.json["side_by_side"]["pairs"]
    assert pair["ratios"]["ttft_ms"]["pairs"] == 14
    assert pair["ratios"]["ttft_ms"]["ratio"] == pytest.approx(52 / 40, abs=0.1)
    first = done.json["side_by_side"]["sentences"][0]
    assert "(TPOT by 14 pairs ratio " in first
    assert "; TTFT ratio 1." in first
    assert "one_start" in [note["code"] for note in done.json["side_by_side"]["notes"]]


@pytest.mark.calibration
def test_the_break_even_s_interval_holds_the_truth(workplace: Workplace) -> None:
    """With n answers at once a step takes 8 + 4 n ms with one build and 24 ms with the other."""
    workplace.build("light", "--step-ms=8", "--step-per-answer-ms=4", serves="mock")
    workplace.build("batcher", "--step-ms=24", serves="mock")
    done = workplace.load(
        *("--server", "light,batcher", "--profile", "batch1", "--level", "1,3,6", "--repeats", "2"),
        *("--order", "mirrored", "--requests", "14", "--warmup", "2", "--output-tokens", "12"),
        "--quiet",
    )
    assert done.went_well, done.err
    held = done.json["side_by_side"]
    [one] = [one for one in held["crossovers"] if one["metric"] == "itl_p50_ms"]
    assert (one["below"], one["above"]) == ("light", "batcher")
    low, high = one["ci95"]
    assert low <= 4 <= high
    assert (low, high) == (3, 6)
    assert 3 < one["level"] < 5
    first, second = held["sentences"]
    assert first.startswith("batcher is slower than light at 1 stream (ITL p50 ratio ")
    assert second.startswith("From about ")
    assert "measured between 3 and 6" in second
    assert second.endswith("batcher is faster than light.")
