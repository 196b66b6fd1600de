"""A sweep in every format: its table, its knee, its curve."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec
import pytest

from benchmarks.made.load import closed_run
from harness.measuring.sweep import Knee, Sweep, SweepLevel
from harness.reports import load_report, sweeps
from tests.harness.reports.conftest import HOSTILE

if TYPE_CHECKING:
    from pathlib import Path

    from harness.rundir import RunFolder

LEVELS = [(1.0, 100.0, 0.0), (8.0, 700.0, 0.0), (32.0, 900.0, 0.4), (64.0, 500.0, 0.0)]
CORNER = Sweep(
    build="awq",
    profile="closed",
    level="concurrency",
    unit="tok/s",
    levels=[
        SweepLevel(
            level=level, offered_rate=1, answered_rate=1, throughput=throughput, se=10,
            in_flight=level, steady="steady", cut_share=cut, stable=True,
            fitted=throughput, used=level < 64,
        )
        for level, throughput, cut in LEVELS
    ],
    ended="saturated",
    text="throughput grows no more",
    plateau=900.0,
    plateau_ci95=(880.0, 920.0),
    knee=Knee(level=10.0, ci95=(9.0, 11.5), kind="corner"),
    near=9.2,
    near_ci95=(8.5, 10.0),
    notes=["Throughput falls again at 64 streams: not used for the plateau."],
)  # fmt: skip
QUEUE = msgspec.structs.replace(
    CORNER, level="rate", unit="req/s", near=None, knee=Knee(level=9, ci95=(8, 10), kind="queue")
)
NONE = msgspec.structs.replace(CORNER, knee=None, ended="under way", text="the next level is 9")


@pytest.fixture
def swept(tmp_path: Path) -> RunFolder:
    """A run with a sweep and a limit."""
    run = closed_run(tmp_path, builds=("awq",))
    return with_sweep(run, CORNER)


def with_sweep(run: RunFolder, sweep: Sweep) -> RunFolder:
    run.write_measurements(msgspec.structs.replace(run.read_measurements(), sweeps=[sweep]))
    manifest = run.read_manifest()
    manifest["request"]["slo"] = "ttft_p95_ms<=40,error_rate<=1%"  # type: ignore[index]
    run.write_manifest({key: value for key, value in manifest.items() if key != "schema"})
    return run


def test_words() -> None:
    assert list(sweeps.sentences(CORNER)) == [
        (
            "awq: throughput grows up to 10.0 (9.00–11.5) streams, to 900 (880–920) tok/s at most; "
            "95 % of it from 9.20 (8.50–10.0) streams on."
        ),
        "The sweep ended since it was saturated: throughput grows no more.",
        CORNER.notes[0],
    ]
    assert "saturates at 9.00 (8.00–10.0) requests/s" in sweeps.headline(QUEUE)
    assert sweeps.headline(NONE) == "no knee was found."
    assert "The sweep did not end: the next level is 9." in list(sweeps.sentences(NONE))


def test_rows() -> None:
    found = list(sweeps.rows(CORNER))
    assert [row[0] for row in found] == ["1", "8", "32", "64"]
    assert [row[3] for row in found] == ["100", "700", "900", "(500)"]
    assert [row[-1] for row in found] == ["yes", "yes", "40.0 % cut", "yes"]
    assert all(len(row) == len(sweeps.header(CORNER)) for row in found)


@pytest.mark.parametrize("name", ["terminal", "markdown", "html"])
def test_every_format_for_people_has_it(swept: RunFolder, name: str) -> None:
    text = " ".join(load_report(name).render(swept).replace("\\", "").split())
    assert "throughput grows up to 10.0 (9.00–11.5) streams" in text
    assert "falls again at 64 streams" in text


def test_the_page_draws_the_curve_its_knee_and_the_limits(swept: RunFolder) -> None:
    page = load_report("html").render(swept)
    section = page[page.index('<h2 id="sweep"') : page.index('<h2 id="latency"')]
    assert section.count("<figure>") == 2, "throughput, and the one limit on a latency"
    curve, latency = section.split("<figure>")[1:]
    assert len(re.findall(r'class="dots', curve)) == 4
    assert curve.count('class="burst"') == latency.count('class="burst"') == 1
    assert "ttft_p95_ms&lt;=40" in latency
    assert latency.count('class="limit"') == 1


@pytest.mark.parametrize("sweep", [CORNER, QUEUE, NONE])
def test_a_charts_note_names_what_is_drawn(swept: RunFolder, sweep: Sweep) -> None:
    page = load_report("html").render(with_sweep(swept, sweep))
    section = page[page.index('<h2 id="sweep"') : page.index('<h2 id="latency"')]
    for figure in section.split("<figure>")[1:]:
        assert ("shade" in figure) == ('class="burst"' in figure)
        assert ("dashed" in figure) == (" dash" in figure)


def test_names_do_nothing(swept: RunFolder) -> None:
    run = with_sweep(swept, msgspec.structs.replace(CORNER, build="awq", notes=[HOSTILE]))
    assert "<script>alert(1)" not in load_report("html").render(run)
    assert "\x1b" not in load_report("terminal").render(run)
