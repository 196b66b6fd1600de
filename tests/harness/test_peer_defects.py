"""What other load tools get wrong, tried on us. docs/method.md lists where each is tried."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from harness.measuring.measure import CellFacts, measure
from harness.measuring.samples import Samples
from harness.measuring.slo import parse_slo
from loadprofiles.records import read_drive_report, read_plan, read_samples
from tests.harness.cells import MS, T0, S, answer, measured

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.measuring.measurement import CellMeasurement
    from loadprofiles.records import Sample
    from tests.conftest import MakeCell, StartMock

    RunDriver = Callable[[Path], subprocess.CompletedProcess[str]]

ROOT = Path(__file__).parents[2]


def cell_of(folder: Path) -> CellMeasurement:
    """Measure a folder that the driver has filled."""
    plan = read_plan(folder)
    facts = CellFacts(
        id="a", build="a", engine="mock", engine_version=None, model="mock", profile="p",
        repeat=1, level={"rate": 1.0} if plan.mode == "open" else {"concurrency": 1.0},
    )  # fmt: skip
    return measure(facts, plan, read_samples(folder), read_drive_report(folder))


# --- what is timed -----------------------------------------------------------------------------


def test_a_freeze_of_every_stream_is_seen_where_others_interpolate_it_away(
    make_cell: MakeCell, run_driver: RunDriver
) -> None:
    """GuideLLM keeps a request's first and last stamp; its ITL max beside a 1-s freeze: 30 ms."""
    command = [sys.executable, "-m", "launchers.mock", "--ttft-ms=30", "--itl-ms=10"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        folder = make_cell(url, mode="closed", streams=8, duration_ns=4 * S, warmup=8, tokens=100)

        def freeze() -> None:
            """Once all streams speak."""
            file = folder / "samples.jsonl"
            while not file.exists() or not file.stat().st_size:
                time.sleep(0.02)
            time.sleep(2.2)  # beyond the second of a stream that waited for the others
            os.kill(server.pid, signal.SIGSTOP)
            time.sleep(1)
            os.kill(server.pid, signal.SIGCONT)

        thread = threading.Thread(target=freeze)
        thread.start()
        try:
            run_driver(folder)
        finally:
            thread.join()
            server.kill()
    found = cell_of(folder)
    assert found.stalls is not None
    assert found.stalls.count >= 6
    assert found.stalls.at_once >= 6
    assert found.stalls.longest_ms > 950
    assert found.metrics.itl_ms.max is not None
    assert found.metrics.itl_ms.max > 950
    assert found.stalls.frozen_share > 0.02


def test_a_role_only_chunk_is_no_first_token(
    mock: StartMock, make_cell: MakeCell, run_driver: RunDriver
) -> None:
    """vLLM's client takes any chunk with choices; the mock sends the role at once."""
    url = mock("--ttft-ms=150", "--itl-ms=5")
    folder = make_cell(
        url, mode="closed", streams=2, requests=6, warmup=2, tokens=4, dialect="openai-chat",
        path="/v1/chat/completions",
    )  # fmt: skip
    run_driver(folder)
    ttft = cell_of(folder).metrics.ttft_ms
    assert ttft.n == 6
    assert ttft.p50 is not None
    assert ttft.p50 >= 149


def test_an_answer_of_one_token_has_a_ttft_and_no_tpot() -> None:
    """inference-perf gives it no TTFT; vLLM's goodput takes its TPOT for 0."""
    found = measured([answer(n, 0.1 * n, 50, ()) for n in range(10)], 1).metrics
    assert (found.ttft_ms.n, found.ttft_ms.p50) == (10, 50)
    assert (found.tpot_ms.n, found.itl_ms.n) == (0, 0)


def test_tpot_leaves_the_first_token_out() -> None:
    """GuideLLM divides all of the time by n."""
    assert measured([answer(0, 0, 1000, [10] * 9)], 2).metrics.tpot_ms.mean == 10


def test_gaps_are_pooled_and_not_averaged_for_each_request() -> None:
    """GuideLLM, genai-bench and AIPerf report a mean for each request."""
    one, other = [10.0] * 99 + [500.0], [10.0] * 100
    found = measured([answer(0, 0, 50, one), answer(1, 0.01, 50, other)], 3).metrics.itl_ms
    assert (found.n, found.max) == (200, 500)
    assert found.p99 == pytest.approx(10)
    assert found.mean == pytest.approx((199 * 10 + 500) / 200)


def test_no_digit_is_rounded_away() -> None:
    """Locust keeps two digits: P50 = P99 = 2100 ms."""
    ttfts = 2000 + np.random.default_rng(1).uniform(0, 100, 1000)
    found = measured([answer(n, 0.01 * n, ttft) for n, ttft in enumerate(ttfts)], 10)
    for name, share in (("p50", 50), ("p95", 95), ("p99", 99)):
        expected = float(np.percentile(np.round(ttfts * MS) / MS, share))
        assert getattr(found.metrics.ttft_ms, name) == pytest.approx(expected, abs=1e-9)


# --- what is counted ---------------------------------------------------------------------------


def two_waves(streams: int) -> list[Sample]:
    """A fresh server with all streams in step, twice: 1 s of waiting, 1 s of 100 tokens."""
    return [
        answer(2 * n + wave, 2.0 * wave, 1000, [10] * 99) for n in range(streams) for wave in (0, 1)
    ]


def test_tokens_are_credited_when_they_came_and_not_when_their_request_ended() -> None:
    """evalscope's rate was twice the truth in a run of two waves: 23,473 for 12,018 tok/s."""
    streams = 16
    found = measured(two_waves(streams), 4, streams=streams).metrics
    assert found.aggregate_tps == pytest.approx(streams * 200 / 4, rel=0.01)
    ends_late = measured(two_waves(streams), 3.5, streams=streams).metrics
    made = streams * (100 + 50)
    assert ends_late.aggregate_tps == pytest.approx(made / 3.5, rel=0.02)


def test_the_first_wave_of_a_closed_loop_is_no_steady_state() -> None:
    """Its TTFT is that of a storm; a tool that averages over it has a p99 without meaning."""
    storm = [answer(n, 0.0, 400 + 10 * n, [10] * 19) for n in range(64)]
    free = [one.done_ns for one in storm]
    later: list[Sample] = []
    while (at := min(t for t in free if t is not None)) < T0 + 20 * S:
        one = answer(64 + len(later), (at - T0) / S, 50, [10] * 19)
        later.append(one)
        free[free.index(at)] = one.done_ns
    found = measured([*storm, *later], 20, streams=64)
    assert found.steady is not None
    assert found.steady.part is not None
    assert found.steady.part.ttft_ms.max == 50
    assert found.metrics.ttft_ms.max is not None
    assert found.metrics.ttft_ms.max > 1000


def test_concurrency_never_exceeds_what_is_open() -> None:
    """vLLM and SGLang count all that touch a second: "peak concurrent requests" = twice the cap."""
    streams, samples = 64, []
    for turn in range(10):
        for stream in range(streams):
            one = answer(len(samples), 0.4 * turn, 100, [10] * 30)
            samples.append(msgspec.structs.replace(one, done_ns=one.due_ns + 400 * MS, body=stream))
    found = measured(samples, 4, streams=streams)
    assert found.in_flight_peak == streams
    assert found.in_flight_mean == pytest.approx(streams)


def test_tokens_are_tokens_and_not_chunks_nor_what_was_asked_for() -> None:
    """vLLM's peak rate counts chunks; SGLang takes the length asked for; LLMPerf counts events."""
    samples = [
        answer(n, 0.1 * n, 50, [40] * 9, output_tokens=40, planned_output_tokens=500)
        for n in range(10)
    ]
    found = measured(samples, 2)
    assert (found.output_tokens, found.tokens_per_chunk) == (400, 4.0)
    assert found.metrics.aggregate_tps == pytest.approx(400 / 2)
    assert found.metrics.tpot_ms.p50 == pytest.approx(10)


def test_what_was_cut_off_does_not_vanish() -> None:
    """genai-bench kills what is in flight at the end: its long answers are in no number."""
    whole = [answer(n, 0.1 * n) for n in range(90)]
    nothing = {"first_ns": None, "last_ns": None, "chunk_ns": [], "output_tokens": None}
    cut = [answer(90 + n, 9 + 0.1 * n, error="aborted", **nothing) for n in range(10)]
    found = measured([*whole, *cut], 10)
    assert (found.requests.planned, found.requests.ok, found.requests.failed) == (100, 90, 10)
    assert found.metrics_with_failures["e2e_ms"].n_infinite == 10
    assert found.metrics_with_failures["e2e_ms"].p95 is None
    assert not found.client.valid  # more than 5 % of the requests


# --- what overload does ------------------------------------------------------------------------


def test_no_arrival_is_skipped_or_moved_while_the_server_is_too_slow(
    mock: StartMock, make_cell: MakeCell, run_driver: RunDriver
) -> None:
    """AIPerf skips ticks without a free slot and stamps the rest late: 2.1 s for a true 7.1 s."""
    answer_s, slots = 0.05 + 9 * 0.01, 2
    url = mock("--ttft-ms=50", "--itl-ms=10", f"--slots={slots}")
    gap_s = answer_s / slots / 1.5  # half as much again as it can do
    due = [round(n * gap_s * S) for n in range(100)]
    folder = make_cell(
        url, mode="open", due_ns=due, duration_ns=due[-1] + 1, warmup=2, tokens=10, drain_s=20
    )
    run_driver(folder)
    samples = Samples.of(read_samples(folder)).measured
    start = read_drive_report(folder).window_start_ns
    assert (samples.column("due_ns") - start).tolist() == due
    late_ms = (samples.column("sent_ns") - samples.column("due_ns")) / MS
    assert np.median(late_ms) < 20
    # one server of `slots` places: the n-th waits for what lies before it
    backlog_s = 100 * (answer_s / slots - gap_s)
    waited_s = (samples.column("first_ns") - samples.column("due_ns")) / S - 0.05
    assert waited_s.max() == pytest.approx(backlog_s, rel=0.15)
    found = cell_of(folder)
    assert not found.stable
    assert found.metrics.ttft_due_ms.unstable  # no percentile of a wait that has no end
    assert found.achieved_rate == pytest.approx(found.offered_rate, rel=0.1)


def test_goodput_is_of_all_that_were_due() -> None:
    """servebench under overload: "100 % in SLO", "Health: excellent"."""
    samples = [answer(n, 0.1 * n, 100 + 50 * n) for n in range(100)]
    found = measured(samples, 10, slo=parse_slo("ttft_due_ms<=600"))
    assert found.offered_rate == 10
    assert found.metrics.goodput == pytest.approx(11 / 10)


def test_an_overloaded_client_is_flagged_and_does_not_report_a_median_gap_of_nought() -> None:
    """Events that a late client reads together have one stamp: everyone's median ITL is 0."""
    gaps = ([0.0] * 6 + [70.0]) * 4
    lags = [3000, 9000, 5000, 8000, 2000, 6000, 7000, 4000] * 3 + [5000] * 5
    samples = [answer(n, 0.1 * n, 50, gaps, lag_us=lags) for n in range(100)]
    found = measured(samples, 10)
    assert found.metrics.itl_ms.p50 == 0
    assert not found.client.valid
    [caveat] = [one for one in found.client.caveats if one.code == "itl_smeared"]
    assert caveat.invalidates


# --- connections -------------------------------------------------------------------------------


def test_connections_are_kept(mock: StartMock, make_cell: MakeCell, run_driver: RunDriver) -> None:
    """genai-bench and GuideLLM open one for each request; its cost is in their TTFT."""
    url = mock("--ttft-ms=5", "--itl-ms=2")
    folder = make_cell(url, mode="closed", streams=4, requests=80, warmup=4, tokens=4)
    run_driver(folder)
    assert read_drive_report(folder).connections <= 8
    measured_ones = Samples.of(read_samples(folder)).measured
    assert len(measured_ones) == 80  # and none too many
    assert not measured_ones.has("connect_ns").any()


# --- the list ----------------------------------------------------------------------------------


def test_every_defect_of_the_list_has_a_test_that_exists() -> None:
    text = (ROOT / "docs" / "method.md").read_text()
    section = text.partition("### What other tools get wrong")[2].partition("\n### ")[0]
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", section)
    assert len(named) > 25
    for path, name in named:
        assert f"def {name}(" in (ROOT / path).read_text(), f"{path}::{name}"
