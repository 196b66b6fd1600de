from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.measuring.measure import WAITING, CellFacts, measure
from harness.measuring.measurement import CellMeasurement, Stat
from harness.measuring.server_stats import ServerUse
from harness.measuring.slo import parse_slo
from loadprofiles.records import DrivePlan, DriveReport, Sample

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

MS = 1_000_000
S = 1_000_000_000
T0 = 50 * S
"""Start of the window in these tests."""


def plan(**changes: object) -> DrivePlan:
    base = DrivePlan(
        host="127.0.0.1", port=1, path="/v1/completions", dialect="openai-completions",
        mode="closed", streams=1, warmup=0, drain_s=10.0, timeout_s=60.0, output_tokens=[4],
        duration_ns=10 * S,
    )  # fmt: skip
    return msgspec.structs.replace(base, **changes)


def report(samples: int, **changes: object) -> DriveReport:
    base = DriveReport(
        ended="done", window_start_ns=T0, window_end_ns=T0 + 10 * S, clock="kernel",
        wall_minus_monotonic_ns=0, clock_step_ns=0, cpu_s=1.0, run_delay_s=0.01, gc_collections=0,
        connections=1, samples=samples, versions={},
    )  # fmt: skip
    return msgspec.structs.replace(base, **changes)


def sample(
    seq: int = 0, at_ms: float = 0, gaps_ms: Sequence[float] = (10, 10, 30), **changes: object
) -> Sample:
    """Due at T0 + at_ms, sent 2 ms later, first chunk 100 ms after that, then the gaps."""
    due = T0 + int(at_ms * MS)
    gaps = [int(gap * MS) for gap in gaps_ms]
    first = due + 102 * MS
    base = Sample(
        seq=seq, body=seq, request_id=f"r{seq}", phase="measured", due_ns=due, submitted_ns=due,
        sent_ns=due + 2 * MS, first_ns=first, first_answer_ns=first, last_ns=first + sum(gaps),
        done_ns=first + sum(gaps) + MS, status=200, finish_reason="length", prompt_tokens=7,
        output_tokens=len(gaps) + 1, planned_output_tokens=len(gaps) + 1, chunk_ns=gaps,
        lag_us=[40] * (len(gaps) + 1),
    )  # fmt: skip
    return msgspec.structs.replace(base, **changes)


def failed(seq: int, error: str, at_ms: float = 0, **changes: object) -> Sample:
    return sample(
        seq, at_ms, (), first_ns=None, first_answer_ns=None, last_ns=None, output_tokens=None,
        prompt_tokens=None, lag_us=[], status=0, error=error, **changes,
    )  # fmt: skip


def dropped(seq: int, at_ms: float = 0) -> Sample:
    return failed(seq, "dropped", at_ms, submitted_ns=None, sent_ns=None, done_ns=None)


FACTS = CellFacts(
    id="awq-closed-c1-1", build="awq", engine="vllm", engine_version="0.32.0", model="m",
    profile="closed", repeat=1, level={"concurrency": 1},
)  # fmt: skip


def cell(
    samples: Sequence[Sample], slo: str | None = None, **plan_changes: object
) -> CellMeasurement:
    return measure(
        FACTS,
        plan(**plan_changes),
        samples,
        report(len(samples)),
        parse_slo(slo) if slo else None,
    )


# --- single values -----------------------------------------------------------------------------


def test_every_latency_of_one_request() -> None:
    metrics = cell([sample(first_answer_ns=T0 + 112 * MS)]).metrics
    assert metrics.ttft_ms.mean == 100.0
    assert metrics.ttft_due_ms.mean == 102.0
    assert metrics.ttfa_ms.mean == 110.0
    assert metrics.stall_ms.mean == 30.0
    assert metrics.tpot_ms.mean == pytest.approx(50 / 3)
    assert metrics.e2e_ms.mean == 152.0
    assert metrics.sequence_tps.mean == pytest.approx(4 / 0.150)
    assert metrics.decode_tps.mean == pytest.approx(60.0)
    assert metrics.itl_ms == Stat(
        mean=pytest.approx(50 / 3), p50=10.0, max=30.0, n=3, ci95={}
    )  # one request: nothing to resample


def test_tokens_without_text_count_in_tpot_and_in_the_speeds() -> None:
    # 4 chunks with text in 50 ms, then 6 tokens without, 10 ms apart
    first = T0 + 102 * MS
    silent = sample(output_tokens=10, silent_chunks=6, end_ns=first + 110 * MS)
    metrics = cell([silent]).metrics
    assert metrics.tpot_ms.mean == pytest.approx(110 / 9)
    assert metrics.sequence_tps.mean == pytest.approx(10 / 0.210)
    assert metrics.e2e_ms.mean == 152.0  # what a user sees ends with the last text
    # a finish reason alone is no token: the server's count says so
    told = sample(output_tokens=4, silent_chunks=1, end_ns=first + 51 * MS)
    assert cell([told]).metrics.tpot_ms.mean == pytest.approx(50 / 3)


def test_tpot_is_not_defined_where_all_chunks_came_together() -> None:
    metrics = cell([sample(gaps_ms=(0, 0, 0))]).metrics
    assert (metrics.tpot_ms.n, metrics.decode_tps.n) == (0, 0)


def test_tpot_takes_away_the_tokens_of_the_first_chunk() -> None:
    two_a_chunk = sample(gaps_ms=(20, 20, 20), output_tokens=8)
    metrics = cell([two_a_chunk]).metrics
    assert metrics.tpot_ms.mean == pytest.approx(60 / 6)
    assert cell([two_a_chunk]).tokens_per_chunk == 2.0


@pytest.mark.parametrize(
    "changes",
    [
        {"gaps_ms": (), "output_tokens": 1},
        {"gaps_ms": (), "output_tokens": 8},
        {"gaps_ms": (10,), "output_tokens": 1},
    ],
    ids=["one token", "one chunk", "fewer tokens than chunks"],
)
def test_tpot_is_undefined_where_no_decoding_shows(changes: dict[str, Any]) -> None:
    metrics = cell([sample(**changes), sample(1, 200)]).metrics
    assert metrics.tpot_ms.n == 1
    assert metrics.decode_tps.n == 1
    assert metrics.ttft_ms.n == 2


def test_itl_pools_all_gaps_and_stall_takes_each_requests_longest() -> None:
    metrics = cell([sample(0, 0, (1, 2, 3)), sample(1, 500, (4,)), sample(2, 900, ())]).metrics
    assert (metrics.itl_ms.n, metrics.itl_ms.mean, metrics.itl_ms.max) == (4, 2.5, 4.0)
    assert (metrics.stall_ms.n, metrics.stall_ms.mean) == (2, 3.5)


def test_p95_of_speed_is_the_slow_side() -> None:
    samples = [sample(n, 100 * n, (10 + n, 10 + n)) for n in range(40)]
    metrics = cell(samples).metrics
    assert metrics.decode_tps.p95 is not None
    assert metrics.decode_tps.p50 is not None
    assert metrics.decode_tps.p95 < metrics.decode_tps.p50
    assert metrics.tpot_ms.p95 == pytest.approx(47.05)
    assert metrics.decode_tps.p95 == pytest.approx(1000 / 47.05, rel=1e-3)


# --- population --------------------------------------------------------------------------------


def test_failures_are_counted_by_kind_and_never_mixed_into_latencies() -> None:
    samples = [
        sample(0), sample(1, 200), failed(2, "timeout"), failed(3, "http_429"), failed(4, "empty"),
        sample(5, 300, error="truncated"), failed(6, "connect", sent_ns=None), dropped(7),
        sample(0, 0, (500,), phase="warmup"), sample(0, 0, (500,), phase="cooldown"),
    ]  # fmt: skip
    got = cell(samples)
    counts = got.requests
    assert (counts.planned, counts.sent, counts.ok, counts.failed, counts.dropped) == (
        8,
        7,
        2,
        5,
        1,
    )
    assert counts.errors == {
        "timeout": 1, "connect": 1, "empty": 1, "http_429": 1, "truncated": 1,
    }  # fmt: skip
    assert (counts.truncated, counts.empty) == (1, 1)
    assert got.metrics.ttft_ms.n == 2
    assert got.metrics.itl_ms.max == 30.0
    assert (got.prompt_tokens, got.output_tokens) == (14, 8)


def test_with_failures_each_failure_and_each_drop_is_infinite() -> None:
    samples = [sample(n, 10 * n) for n in range(8)] + [failed(8, "timeout"), dropped(9)]
    got = cell(samples).metrics_with_failures
    assert set(got) == {"ttft_due_ms", "e2e_ms"}
    for stat in got.values():
        assert (stat.n, stat.n_infinite, stat.p90) == (10, 2, None)
    assert got["ttft_due_ms"].p50 == 102.0


@pytest.mark.parametrize(
    ("changes", "planned"),
    [
        ({"mode": "open", "streams": None, "due_ns": [0, S, 2 * S]}, 3),
        ({"requests": 25, "duration_ns": None}, 25),
        ({}, 1),
    ],
    ids=["open: the schedule", "closed: as many as asked", "closed: as many as there was time for"],
)
def test_planned(changes: dict[str, Any], planned: int) -> None:
    assert cell([sample()], **changes).requests.planned == planned


def test_tokens_are_the_chunks_where_one_server_did_not_count() -> None:
    assert cell([sample(), sample(1)]).token_source == "server"
    got = cell([sample(), sample(1, token_source="chunks", prompt_tokens=None)])
    assert (got.token_source, got.prompt_tokens) == ("chunks", None)


# --- the window --------------------------------------------------------------------------------


def test_throughput_is_what_arrived_within_the_window_whatever_its_phase() -> None:
    samples = [
        # chunks at -100, 0, 100 ms around the window's start: two of three inside
        sample(0, -202, (100, 100), phase="warmup"),
        sample(0, 1000, (10, 10, 30)),
        # chunks at 9902, 10002: one of two inside, three tokens each
        sample(1, 9800, (100,), output_tokens=6),
        sample(2, 2000, (10,), error="truncated"),
        sample(0, 10_500, (10,), phase="cooldown"),
    ]
    got = cell(samples)
    assert got.metrics.aggregate_tps == pytest.approx((2 + 4 + 3) / 10)
    assert got.metrics.request_rate == pytest.approx(2 / 10)  # the warm-up's and seq 0
    assert got.window_s == 10.0


def test_interleaved_builds_are_each_measured_over_their_own_turns() -> None:
    alone = [sample(n, 200 * n) for n in range(50)]
    by_turns = [sample(n, 400 * n) for n in range(25)]  # and as long for another build
    whole = measure(FACTS, plan(), alone, report(50))
    facts = dataclasses.replace(FACTS, interleaved_with=["fp16"])
    half = measure(facts, plan(), by_turns, report(25, elsewhere_s=5.0))
    assert (whole.window_s, half.window_s) == (10.0, 5.0)
    assert half.achieved_rate == whole.achieved_rate == 5.0
    assert half.in_flight_mean == pytest.approx(whole.in_flight_mean)
    for name in ("aggregate_tps", "request_rate"):
        assert getattr(half.metrics, name) == pytest.approx(getattr(whole.metrics, name))
    assert half.interleaved_with == ["fp16"]
    told = {caveat.code: caveat.text for caveat in half.client.caveats}
    assert told["interleaved"].startswith("fp16 was up at the same time")
    assert told.keys() - {caveat.code for caveat in whole.client.caveats} == {"interleaved"}
    assert half.steady is not None
    assert half.steady.reason == "builds took turns"


def test_rates_of_an_open_loop() -> None:
    offsets = [n * S for n in range(10)]
    late = sample(9, 9000, sent_ns=T0 + 10 * S + 1, first_ns=T0 + 11 * S, last_ns=T0 + 11 * S)
    samples = [sample(n, 1000 * n) for n in range(9)] + [late]
    got = cell(samples, mode="open", streams=None, due_ns=offsets)
    assert got.offered_rate == 1.0
    assert got.achieved_rate == 0.9
    assert got.metrics.request_rate == 0.9


def test_goodput_counts_over_every_arrival_due_in_the_window() -> None:
    samples = [
        sample(0), sample(1, 500, (10, 10, 31)), failed(2, "timeout"), dropped(3),
        sample(4, 10_000), sample(0, -500, phase="warmup"),
    ]  # fmt: skip
    assert cell(samples).metrics.goodput is None
    assert cell(samples, "error_rate<=1%").metrics.goodput is None  # no matter of one request
    assert cell(samples, "stall_ms<=30").metrics.goodput == pytest.approx(0.1)
    assert cell(samples, "stall_ms<=31").metrics.goodput == pytest.approx(0.2)
    assert cell(samples, "ttft_ms<=1").metrics.goodput == 0.0


def steady(streams: int, turns: int, measured: int) -> list[Sample]:
    """Streams that answer 4 tokens in 100 ms, over and over; the first `measured` count."""
    samples = []
    for turn in range(turns):
        for stream in range(streams):
            seq = len(samples)
            late_ms = 100 * stream / streams  # they are not in step
            phase = "measured" if seq < measured else "cooldown"
            one = sample(
                seq, 100 * turn + late_ms, (25, 25, 25), phase=phase, submitted_ns=None,
                request_id=f"{phase}{seq}",
            )  # fmt: skip
            due = one.due_ns
            samples.append(
                msgspec.structs.replace(
                    one, sent_ns=due, first_ns=due + 25 * MS, last_ns=due + 100 * MS,
                    done_ns=due + 100 * MS,
                )
            )  # fmt: skip
    return samples


def cut(samples: Sequence[Sample], at_ns: int) -> list[Sample]:
    """What is left of the samples when the driver ends at a moment."""
    left = []
    for one in samples:
        if one.due_ns >= at_ns:
            continue
        if one.done_ns is not None and one.done_ns <= at_ns:
            left.append(one)
            continue
        assert one.first_ns is not None
        seen = [at for at in range(4) if one.first_ns + 25 * MS * at < at_ns]
        left.append(
            msgspec.structs.replace(
                one, error="aborted", done_ns=at_ns, chunk_ns=[25 * MS] * max(0, len(seen) - 1),
                first_ns=one.first_ns if seen else None, output_tokens=len(seen),
                last_ns=one.first_ns + 25 * MS * seen[-1] if seen else None,
                token_source="chunks",
            )
        )  # fmt: skip
    return left


def test_a_closed_loop_of_n_requests_counts_all_that_the_server_did_in_the_window() -> None:
    everything = steady(streams=8, turns=10, measured=16)
    end = max(one.done_ns or 0 for one in everything if one.phase == "measured")
    samples = cut(everything, end)
    told = report(len(samples), window_end_ns=end)
    asked = plan(streams=8, requests=16, duration_ns=None)
    got = measure(FACTS, asked, samples, told, parse_slo("e2e_ms<=100"))
    window_s = (end - T0) / S
    made = sum(
        one.first_ns + 25 * MS * at < end
        for one in everything for at in range(4) if one.first_ns is not None
    )  # fmt: skip
    assert any(one.error == "aborted" for one in samples)
    assert got.metrics.aggregate_tps == pytest.approx(made / window_s)
    begun = sum(one.due_ns < end for one in everything)
    assert got.offered_rate == got.achieved_rate == pytest.approx(begun / window_s)
    assert got.metrics.goodput == pytest.approx(begun / window_s)  # every measured one was good


def test_what_a_ctrl_c_cut_off_counts_as_work_done_and_not_as_a_failure() -> None:
    samples = cut(steady(streams=8, turns=10, measured=80), T0 + 451 * MS)
    told = report(len(samples), window_end_ns=T0 + 451 * MS, ended="interrupted")
    got = measure(FACTS, plan(streams=8), samples, told)
    assert got.requests.errors["aborted"] > 0
    assert got.metrics_with_failures["e2e_ms"].n_infinite == 0
    whole = measure(FACTS, plan(streams=8), samples, report(len(samples), ended="stopped"))
    assert whole.metrics_with_failures["e2e_ms"].n_infinite == got.requests.errors["aborted"]
    tokens = sum(one.output_tokens or 0 for one in samples)
    assert got.metrics.aggregate_tps == pytest.approx(tokens / 0.451)


# --- a queue that grows ------------------------------------------------------------------------


def overloaded(rate: float, capacity: float) -> CellMeasurement:
    """Ten seconds of evenly spaced arrivals at one slot that serves `capacity` requests/s."""
    due_ms = [1000 * n / rate for n in range(int(rate * 10))]
    samples = []
    for seq, at_ms in enumerate(due_ms):
        waits_ms = max(0.0, 1000 * seq / capacity - at_ms)
        late = int(waits_ms * MS)
        one = sample(seq, at_ms)
        stamps = {
            name: getattr(one, name) + late
            for name in ("first_ns", "first_answer_ns", "last_ns", "done_ns")
        }
        samples.append(msgspec.structs.replace(one, **stamps))
    due_ns = [int(at_ms * MS) for at_ms in due_ms]
    return cell(samples, "ttft_ms<=1e9", mode="open", streams=None, due_ns=due_ns)


def test_a_cell_whose_queue_grows_has_no_percentiles_of_what_waits() -> None:
    got = overloaded(rate=20, capacity=9.5)
    assert not got.stable
    assert got.backlog_growth_rps == pytest.approx(10.5, rel=0.1)
    for name in WAITING:
        assert getattr(got.metrics, name) == Stat(n=200, unstable=True)
    for stat in got.metrics_with_failures.values():
        assert stat == Stat(n=200, unstable=True)
    for name in ("itl_ms", "stall_ms", "tpot_ms", "decode_tps"):
        assert getattr(got.metrics, name).p95 is not None, "what does not wait keeps its numbers"
    assert got.metrics.goodput is not None


def test_a_cell_that_keeps_up_has_all_percentiles() -> None:
    got = overloaded(rate=20, capacity=25)
    assert got.stable
    assert all(getattr(got.metrics, name).p95 is not None for name in WAITING)
    assert not any(getattr(got.metrics, name).unstable for name in WAITING)


# --- cells without numbers ---------------------------------------------------------------------


@pytest.mark.parametrize("samples", [[], [failed(0, "connect", sent_ns=None)], [dropped(0)]])
@pytest.mark.parametrize("mode", ["open", "closed"])
def test_a_cell_without_answers_has_no_numbers_and_is_invalid(
    samples: list[Sample], mode: str
) -> None:
    changes = {"mode": mode, "due_ns": [0]} if mode == "open" else {}
    got = cell(samples, "ttft_ms<=1", **changes)
    assert got.metrics.ttft_ms == Stat()
    assert got.metrics.itl_ms == Stat()
    assert (got.metrics.goodput, got.metrics.aggregate_tps) == (0.0, 0.0)
    assert (got.tokens_per_chunk, got.prompt_tokens, got.output_tokens) == (None, None, 0)
    assert got.stable
    assert not got.client.valid


def test_a_window_of_no_length() -> None:
    got = measure(FACTS, plan(), [sample()], report(1, window_end_ns=T0, ended="interrupted"), None)
    assert (got.window_s, got.metrics.aggregate_tps, got.in_flight_mean) == (0.0, 0.0, 0.0)


def test_a_measurement_survives_its_file() -> None:
    facts = msgspec.structs.replace(ServerUse(), memory_peak_gib=1.5, memory_kind="rss")
    got = measure(
        CellFacts(**{**FACTS.__dict__, "server": facts}),
        plan(),
        [sample(n, 300 * n) for n in range(30)] + [failed(30, "timeout")],
        report(31),
        parse_slo("ttft:500"),
    )
    assert msgspec.json.decode(msgspec.json.encode(got), type=CellMeasurement) == got
    assert got.server.memory_peak_gib == 1.5


# --- properties --------------------------------------------------------------------------------

requests = st.lists(
    st.builds(
        lambda at, gaps, error, sent: (at, gaps, error, sent),
        st.integers(0, 12_000),
        st.lists(st.integers(0, 50), max_size=6),
        st.sampled_from([None, None, None, "timeout", "http_500", "truncated", "dropped"]),
        st.sampled_from(["warmup", "measured", "measured", "cooldown"]),
    ),
    max_size=25,
)


def build(asked: list[tuple[int, list[int], str | None, str]]) -> list[Sample]:
    made = []
    for seq, (at, gaps, error, phase) in enumerate(asked):
        if error is None:
            made.append(sample(seq, at, gaps, phase=phase))
        elif error == "dropped":
            made.append(dropped(seq, at))
        else:
            made.append(failed(seq, error, at, phase=phase))
    return made


@settings(max_examples=40, deadline=None)
@given(requests)
def test_counts_add_up(asked: list[tuple[int, list[int], str | None, str]]) -> None:
    counts = cell(build(asked)).requests
    assert counts.sent == counts.ok + counts.failed
    assert sum(counts.errors.values()) == counts.failed
    assert counts.planned == counts.sent + counts.dropped


@settings(max_examples=25, deadline=None)
@given(requests, st.randoms(use_true_random=False))
def test_the_order_of_the_samples_does_not_matter(
    asked: list[tuple[int, list[int], str | None, str]], order: random.Random
) -> None:
    samples = build(asked)
    shuffled = list(samples)
    order.shuffle(shuffled)
    encode = msgspec.json.encode
    assert encode(cell(samples, "ttft:90")) == encode(cell(shuffled, "ttft:90"))


@settings(max_examples=25, deadline=None)
@given(requests, st.integers(-(10**15), 10**15))
def test_when_it_was_measured_does_not_matter(
    asked: list[tuple[int, list[int], str | None, str]], shift: int
) -> None:
    def moved(one: Sample) -> Sample:
        names = (
            "due_ns", "submitted_ns", "sent_ns", "first_ns", "first_answer_ns", "last_ns",
            "done_ns",
        )  # fmt: skip
        stamps = {name: getattr(one, name) for name in names}
        return msgspec.structs.replace(
            one, **{name: at + shift for name, at in stamps.items() if at is not None}
        )

    samples = build(asked)
    later = report(len(samples), window_start_ns=T0 + shift, window_end_ns=T0 + 10 * S + shift)
    assert measure(FACTS, plan(), [moved(one) for one in samples], later) == cell(samples)


def test_a_closed_loop_has_no_backlog() -> None:
    got = cell([sample(n, n) for n in range(60)])
    assert (got.backlog_growth_rps, got.stable) == (0.0, True)


def test_the_order_does_not_change_the_bootstrap_either() -> None:
    draw = np.random.default_rng(4)
    samples = [sample(n, 100 * n, draw.exponential(10, 20)) for n in range(60)]
    encode = msgspec.json.encode
    assert encode(cell(samples)) == encode(cell(samples[::-1]))


def whole(seq: int, sent_ms: float, took_ms: float, tokens: int | None) -> Sample:
    """An answer that came as one document."""
    sent = T0 + int(sent_ms * MS)
    last = sent + int(took_ms * MS)
    return sample(
        seq, sent_ms - 2, (), sent_ns=sent, first_ns=None, first_answer_ns=None, last_ns=last,
        end_ns=last, done_ns=last + MS, output_tokens=tokens, lag_us=[],
        token_source="chunks" if tokens is None else "server",
    )  # fmt: skip


def test_answers_in_one_document() -> None:
    """No TTFT, ITL or TPOT; tokens/s takes the tokens as made evenly from sent to the end."""
    samples = [
        whole(0, 0, 1000, 10), whole(1, 9500, 1000, 10), whole(2, 5000, 1000, None),
        whole(3, -1000, 2000, 8),
    ]  # fmt: skip
    cell = measure(FACTS, plan(stream=False), samples, report(4))
    metrics = cell.metrics
    for name in (
        "ttft_ms",
        "ttft_due_ms",
        "ttfa_ms",
        "itl_ms",
        "stall_ms",
        "tpot_ms",
        "decode_tps",
    ):
        assert getattr(metrics, name).n == 0
    assert metrics.e2e_ms.n == 4
    assert metrics.e2e_ms.max == 2002
    assert metrics.sequence_tps.n == 3
    assert metrics.sequence_tps.max == pytest.approx(10)
    assert metrics.aggregate_tps == pytest.approx((10 + 5 + 4) / 10)
    assert metrics.request_rate == pytest.approx(0.3)
    assert (cell.output_tokens, cell.tokens_per_chunk, cell.token_source) == (28, None, "chunks")
    told = {caveat.code for caveat in cell.client.caveats}
    assert {"one_document", "tokens_from_chunks"} <= told
    assert not {"not_streamed", "tokens_without_text", "itl_smeared"} & told
