"""`harness compare --interleave` end to end, with the mock in the builds' stead."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from loadprofiles.records import read_samples

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Workplace

COMPARE = (
    *("compare", "base", "slower", "--interleave", "--suite", "quiz.toml", "--warmup", "2"),
    *("--repeats", "1", "--requests", "20", "--output-tokens", "6", "--prompt-tokens", "16"),
    "--allow-different",
)


@pytest.fixture
def place(workplace: Workplace) -> Workplace:
    """A workplace with two builds; the first token of one takes a fifth longer."""
    rows = [{"id": f"q{n}", "input": f"Case {n}?", "expected": "yes"} for n in range(6)]
    (workplace.path / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (workplace.path / "quiz.toml").write_text(
        'name = "quiz"\n[domain]\nitems = "items.jsonl"\nmax_tokens = 4\n'
        '[domain.grader]\nkind = "exact"\n'
    )
    for name, ttft_ms in (("base", 100), ("slower", 120)):
        workplace.build(name, "--engine=vllm", f"--ttft-ms={ttft_ms}", "--itl-ms=2", serves="mock")
    return workplace


def cell(run: Path, build: str) -> Path:
    return run / f"load/cells/{build}-closed-c1-1"


def prompts(folder: Path) -> list[str]:
    return [
        json.loads(line)["prompt"]
        for line in (folder / "bodies.jsonl").read_text().split("\n")[:-1]
    ]


def test_a_fifth_is_found_by_asking_in_turns(place: Workplace) -> None:
    done = place.harness(*COMPARE, "--json")
    assert done.code in (0, 4), done.err
    found: dict[str, Any] = done.json
    [run] = place.runs
    [row] = found["pairs"]
    assert (row["build"], row["profile"], row["level"]) == ("slower", "closed", {"concurrency": 1})
    ttft = row["ratios"]["ttft_ms"]
    low, high = ttft["ci95"]
    assert ttft["pairs"] == 20
    assert 1.02 < low < ttft["ratio"] < high  # of a busy machine, too
    assert ttft["ratio"] == pytest.approx(1.2, abs=0.08)  # what a socket takes is on top of both
    samples = [
        [one for one in read_samples(cell(run, build)) if one.phase == "measured"]
        for build in ("base", "slower")
    ]
    times = sorted((one.sent_ns or 0, one.done_ns or 0) for part in samples for one in part)
    assert all(done_ns <= sent_ns for (_, done_ns), (sent_ns, _) in pairwise(times))
    assert prompts(cell(run, "base")) == prompts(cell(run, "slower"))
    assert not (run / "load/interleaved").exists()
    assert "one_start" in [caveat["code"] for caveat in found["caveats"]]
    numbers = json.loads((run / "load/measurements.json").read_text())
    for one in numbers["cells"]:
        alone = 1000 / one["metrics"]["e2e_ms"]["mean"]
        assert one["achieved_rate"] == pytest.approx(alone, rel=0.3)  # of its own turns
        assert one["in_flight_mean"] == pytest.approx(1, abs=0.2)
        assert "interleaved" in [caveat["code"] for caveat in one["client"]["caveats"]]
    assert len(json.loads((run / "load/manifest.json").read_text())["visits"]) == 2
    assert "request by request against base" in (run / "report.md").read_text()
    assert "Request by request" in (run / "report.html").read_text()
    before = (run / "comparison.json").read_bytes()
    again = place.inside("report", str(run), "--format", "json")
    assert again.code == 0, again.err
    assert (run / "comparison.json").read_bytes() == before


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (("--level", "1,8"), "--interleave: with more than one stream"),
        (("--profile", "steady"), "--interleave: steady sends requests when they are due"),
        (("--profile", "closed-think"), "--interleave: closed-think has sessions or think time"),
    ],
)
def test_what_cannot_be_interleaved_is_said_at_once(
    place: Workplace, flags: tuple[str, ...], text: str
) -> None:
    done = place.inside("compare", "base", "slower", "--interleave", "--suite", "quiz.toml", *flags)
    assert (done.code, done.out) == (2, "")
    assert text in done.err
    assert not place.runs


def test_the_plan_says_so(place: Workplace) -> None:
    done = place.inside(*COMPARE, "--dry-run")
    assert done.code == 0, done.err
    assert "2 server starts: base slower" in done.out
    assert "2 load cells" in done.out
    assert "asked by turns, request by request" in done.out
