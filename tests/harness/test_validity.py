from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from harness.measuring.measure import CellFacts, measure
from loadprofiles.records import DrivePlan, DriveReport, Sample, WorkerReport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.measuring.measurement import Caveat, Client

US = 1_000
MS = 1_000_000
S = 1_000_000_000
T0 = 50 * S
N = 240
"""Requests of the cells below: enough for a precise p95."""


def sample(seq: int = 0, *, slip_ms: float = 0.05, **changes: object) -> Sample:
    """One of 32 streams' answers: first chunk after 20 ms, 63 gaps of 4 ms, lag 40 µs."""
    due = T0 + seq * 40 * MS
    sent = due + int(slip_ms * MS)
    first = sent + 20 * MS
    base = Sample(
        seq=seq, body=seq, request_id=f"r{seq}", phase="measured", due_ns=due, submitted_ns=due,
        sent_ns=sent, first_ns=first, first_answer_ns=first, last_ns=first + 252 * MS,
        done_ns=first + 253 * MS, status=200, finish_reason="length", prompt_tokens=7,
        output_tokens=64, planned_output_tokens=64, chunk_ns=[4 * MS] * 63, lag_us=[40] * 64,
    )  # fmt: skip
    return msgspec.structs.replace(base, **changes)


def merged(seq: int, at: int, lag_us: int) -> Sample:
    """Gap number `at` was not seen: the chunks around it came in one read, so much lag later."""
    gaps, lags = [4 * MS] * 63, [40] * 64
    gaps[at] = 0
    lags[at] = lags[at + 1] = lag_us
    return sample(seq, chunk_ns=gaps, lag_us=lags)


def failed(seq: int, error: str, **changes: object) -> Sample:
    return sample(
        seq, first_ns=None, first_answer_ns=None, last_ns=None, output_tokens=None,
        prompt_tokens=None, chunk_ns=[], lag_us=[], error=error, **changes,
    )  # fmt: skip


def cell(first: Sequence[Sample] = (), count: int = N) -> list[Sample]:
    """`count` samples of which the first ones are given."""
    return [*first, *(sample(seq) for seq in range(len(first), count))]


def judged(
    samples: Sequence[Sample],
    *,
    drive: dict[str, object] | None = None,
    plan: dict[str, object] | None = None,
    **facts: object,
) -> Client:
    asked = DrivePlan(
        host="127.0.0.1", port=1, path="/v1/completions", dialect="openai-completions",
        mode="open", due_ns=[40 * MS * n for n in range(len(samples))], warmup=0, drain_s=10.0,
        timeout_s=60.0, output_tokens=[64], duration_ns=10 * S,
    )  # fmt: skip
    told = DriveReport(
        ended="done", window_start_ns=T0, window_end_ns=T0 + 10 * S, clock="kernel",
        wall_minus_monotonic_ns=0, clock_step_ns=0, cpu_s=1.0, run_delay_s=0.05, gc_collections=0,
        connections=32, samples=len(samples), versions={},
    )  # fmt: skip
    known = CellFacts(
        id="x", build="awq", engine="vllm", engine_version=None, model="m", profile="p", repeat=1,
        level={"rate": 25.0}, **{"output_pinned": True, **facts},
    )  # fmt: skip
    return measure(
        known,
        msgspec.structs.replace(asked, **(plan or {})),
        samples,
        msgspec.structs.replace(told, **(drive or {})),
    ).client


def closed(held: float, seconds: float = 10.0) -> tuple[list[Sample], dict[str, object]]:
    """Eight streams of which `held` are in flight on average; answers of 50 ms."""
    pace = 0.05 * S * 8 / held
    samples = []
    for stream in range(8):
        for turn in range(int(seconds * S / pace)):
            sent = T0 + int(turn * pace)
            one = sample(
                len(samples), due_ns=sent, sent_ns=sent, first_ns=sent + 20 * MS,
                last_ns=sent + 49 * MS, done_ns=sent + 50 * MS, chunk_ns=[29 * MS],
                lag_us=[40, 40], request_id=f"{stream}-{turn}",
            )  # fmt: skip
            samples.append(one)
    return samples, {"mode": "closed", "streams": 8, "due_ns": None}


def find(client: Client, code: str) -> Caveat | None:
    (caveat,) = [caveat for caveat in client.caveats if caveat.code == code] or [None]
    return caveat


def text(client: Client, code: str) -> str:
    found = find(client, code)
    assert found, code
    return found.text


def test_a_client_without_descriptors_is_at_fault_itself() -> None:
    refused = failed(0, "connect", detail="Connection refused")
    assert find(judged(cell([refused])), "no_descriptors") is None
    client = judged(cell([refused, failed(1, "connect", detail="Too many open files")]))
    assert not client.valid
    assert text(client, "no_descriptors").startswith("For 1 requests the client had no file")


def test_a_good_cell_has_no_caveats() -> None:
    client = judged(cell())
    assert client.caveats == []
    assert client.valid
    assert (client.clock, client.merged_reads, client.late_merges) == ("kernel", 0, 0)
    assert client.lag_ms.p99 == pytest.approx(0.04)
    assert client.slip_ms.p50 == pytest.approx(0.05)
    assert (client.cpu, client.run_delay) == (pytest.approx(0.1), pytest.approx(0.005))
    assert client.streams_held is None


# --- merged reads ------------------------------------------------------------------------------


def test_what_a_server_sends_together_is_not_the_clients_fault() -> None:
    together = [merged(seq, 62, 90) for seq in range(N)]  # last two tokens of every answer
    client = judged(together)
    assert (client.merged_reads, client.late_merges) == (N, 0)
    assert client.valid
    assert find(client, "itl_smeared") is None


@pytest.mark.parametrize(
    ("late", "caveat", "valid"),
    [(15, False, True), (16, True, True), (151, True, True), (152, True, False)],
    ids=["0.1 %", "above 0.1 %", "1 %", "above 1 %"],
)
def test_gaps_that_a_late_client_did_not_see_smear_itl(
    late: int, *, caveat: bool, valid: bool
) -> None:
    lags = [2000 + 19 * (37 * seq % 100) + 9 for seq in range(late)]  # even over [2, 3.9) ms
    client = judged(cell([merged(seq, 30, lag) for seq, lag in enumerate(lags)]))  # 240 x 63 gaps
    assert (client.merged_reads, client.late_merges) == (late, late)
    assert client.valid is valid
    assert (find(client, "itl_smeared") is not None) is caveat
    assert not caveat or f"{late} of 15120 gaps" in text(client, "itl_smeared")


def test_a_server_in_bursts_beside_a_client_of_middling_lag_is_no_smear() -> None:
    client = judged([merged(seq, 30, 1500) for seq in range(N)])
    assert (client.merged_reads, client.late_merges) == (N, 0)
    assert client.valid


def test_an_answer_that_is_held_back_on_the_way_is_not_streamed() -> None:
    whole = [sample(seq, chunk_ns=[0] * 63) for seq in range(N)]
    client = judged(whole)
    assert "15120 of 15120 chunks came together" in text(client, "not_streamed")
    assert find(judged([merged(seq, 62, 90) for seq in range(N)]), "not_streamed") is None


def test_tokens_without_text() -> None:
    silent = [sample(seq, output_tokens=80, silent_chunks=16, end_ns=0) for seq in range(N)]
    assert f"{16 * N} of {80 * N} tokens" in text(judged(silent), "tokens_without_text")
    end = [sample(seq, silent_chunks=1, end_ns=0) for seq in range(N)]  # a finish reason alone
    assert find(judged(end), "tokens_without_text") is None


def test_connecting_within_the_window() -> None:
    some = [sample(seq, connect_ns=2 * MS) for seq in range(13)]
    assert "13 of 240 requests" in text(judged(cell(some)), "connected_in_window")
    assert find(judged(cell(some[:12])), "connected_in_window") is None
    quick = [msgspec.structs.replace(one, connect_ns=MS - 1) for one in some]
    assert find(judged(cell(quick)), "connected_in_window") is None


@pytest.mark.parametrize("at", [0, 62], ids=["first", "last"])
def test_first_and_last_chunks_count_by_request(at: int) -> None:
    accident = judged(cell([merged(seq, at, 2100) for seq in range(2)]))
    assert find(accident, "itl_smeared") is None
    client = judged(cell([merged(seq, at, 2100) for seq in range(3)]))  # 3 of 240 > 1 %
    assert not client.valid
    assert find(client, "itl_smeared")


# --- departures and streams --------------------------------------------------------------------


def test_a_late_departure_that_moves_the_headline_is_invalid() -> None:
    client = judged([sample(seq, slip_ms=3) for seq in range(N)])
    assert not client.valid
    assert "p50 from 20.0 to 23.0 ms" in text(client, "late_departures")


def test_without_a_stream_it_is_e2e_that_late_departures_move() -> None:
    whole: dict[str, Any] = {
        "first_ns": None,
        "first_answer_ns": None,
        "chunk_ns": [],
        "lag_us": [],
    }
    samples = [sample(seq, slip_ms=40, **whole) for seq in range(N)]
    client = judged(samples, plan={"stream": False})
    assert not client.valid
    assert "moved e2e: p50 from 272.0 to 312.0 ms" in text(client, "late_departures")
    assert find(judged([sample(0, **whole)], plan={"stream": False}), "late_departures") is None


def test_one_late_request_has_no_percentile_to_move() -> None:
    client = judged([sample(0, slip_ms=500)])
    assert client.valid
    assert "500.0 ms after they were due), which is in TTFT from due" in text(
        client, "late_departures"
    )
    assert find(judged([sample(0)]), "late_departures") is None


def test_the_slow_tenth_counts_too() -> None:
    client = judged(cell([sample(seq, slip_ms=30) for seq in range(N // 10)]))
    assert not client.valid
    assert "p95" in text(client, "late_departures")
    assert "p50" not in text(client, "late_departures")


def test_a_few_late_departures_are_a_caveat() -> None:
    client = judged(cell([sample(seq, slip_ms=5) for seq in range(5)]))  # p99 of 240: rank 236.6
    assert find(client, "late_departures")
    assert client.valid


@pytest.mark.parametrize("slip_ms", [0.9, 1.9])
def test_lateness_within_a_millisecond_or_a_tenth_is_nothing(slip_ms: float) -> None:
    samples = [sample(seq, slip_ms=slip_ms) for seq in range(N)]
    assert find(judged(samples), "late_departures") is None


def test_connecting_and_sending_again_are_not_the_clients_lateness() -> None:
    slow_server = [sample(seq, slip_ms=50, connect_ns=50 * MS) for seq in range(N)]
    assert find(judged(slow_server), "late_departures") is None
    again = judged([sample(seq, slip_ms=50, retried=True) for seq in range(N)])
    assert find(again, "late_departures") is None
    assert again.slip_ms.n == 0
    assert find(again, "retried")


def test_in_a_closed_loop_nothing_is_due() -> None:
    client = judged(
        [sample(seq, slip_ms=50) for seq in range(N)],
        plan={"mode": "closed", "streams": 1, "due_ns": None},
    )
    assert find(client, "late_departures") is None


@pytest.mark.parametrize(("held", "valid"), [(7.96, True), (7.9, False), (7.4, False)])
def test_streams_that_were_not_held(held: float, *, valid: bool) -> None:
    samples, plan = closed(held)
    client = judged(samples, plan=plan)
    assert client.streams_held == pytest.approx(held, abs=0.03)
    assert client.valid is valid
    assert (find(client, "streams_not_held") is None) is valid


@pytest.mark.parametrize(
    ("paused_s", "connect_ms"), [(6.0, None), (0.0, 4)], ids=["failures", "connecting"]
)
def test_pauses_after_failures_and_connecting_are_not_the_clients_doing(
    paused_s: float, connect_ms: float | None
) -> None:
    samples, plan = closed(7.4)
    connect_ns = None if connect_ms is None else int(connect_ms * MS)
    samples = [msgspec.structs.replace(one, connect_ns=connect_ns) for one in samples]
    client = judged(samples, plan=plan, drive={"paused_s": paused_s})
    assert client.valid
    assert re.search(r"On average 7\.4\d of 8 streams", text(client, "streams_not_held"))


def test_streams_whose_users_think_are_not_lost() -> None:
    samples, plan = closed(3.0)
    plan = plan | {"think_ns": [1]}
    window_s = 10.0
    whole = judged(samples, plan=plan, drive={"thinking_s": 5.0 * window_s})
    assert find(whole, "streams_not_held") is None
    assert whole.streams_thinking == pytest.approx(5.0)
    lost = judged(samples, plan=plan, drive={"thinking_s": 4.0 * window_s})
    assert find(lost, "streams_not_held")
    assert not lost.valid


def test_the_edges_of_a_tiny_window_are_no_lost_streams() -> None:
    one = sample(0, due_ns=T0, sent_ns=T0, done_ns=T0 + 273 * MS)
    plan = {"mode": "closed", "streams": 1, "due_ns": None, "requests": 1, "duration_ns": None}
    client = judged([one], plan=plan, drive={"window_end_ns": T0 + 290 * MS})
    assert client.streams_held == pytest.approx(0.94, abs=0.01)
    assert client.valid


def test_dropped_departures() -> None:
    gone = {"submitted_ns": None, "sent_ns": None, "done_ns": None}
    client = judged(cell([failed(0, "dropped", **gone)]))
    found = find(client, "departures_dropped")
    assert found
    assert found.invalidates  # 1 of 240 > 0.1 %
    many = judged(cell([failed(0, "dropped", **gone)], count=1001))
    assert not next(c for c in many.caveats if c.code == "departures_dropped").invalidates
    stopped = judged(cell([failed(0, "dropped", **gone)]), drive={"ended": "interrupted"})
    assert find(stopped, "departures_dropped") is None


# --- a slow client whose numbers are exact, and one whose are not ------------------------------


SLOW: dict[str, object] = {"cpu_s": 9.0, "run_delay_s": 1.0, "gc_collections": 3}


def test_a_busy_client_with_exact_stamps_is_a_caveat() -> None:
    client = judged(cell(), drive=SLOW)
    assert [caveat.code for caveat in client.caveats] == ["cpu_busy", "run_delay", "gc_ran"]
    assert client.valid


def test_a_busy_client_without_kernel_stamps_is_invalid() -> None:
    blind = [sample(seq, clock="user", lag_us=[]) for seq in range(N)]
    calm = judged(blind, drive={"clock": "user"})
    assert [caveat.code for caveat in calm.caveats] == ["user_clock"]
    assert calm.valid
    assert calm.clock == "user"
    assert calm.lag_ms.n == 0
    assert not judged(blind, drive={"clock": "user", "cpu_s": 9.0}).valid
    assert not judged(blind, drive={"clock": "user", "run_delay_s": 1.0}).valid
    assert judged(blind, drive={"clock": "user", "run_delay_s": None}).run_delay is None


def test_one_answer_without_kernel_stamps_does_not_make_a_blind_cell() -> None:
    client = judged(cell([sample(0, clock="user", lag_us=[])]))
    assert client.clock == "kernel"
    assert find(client, "user_clock")
    assert client.valid


@pytest.mark.parametrize(("lag_us", "caveat"), [(1900, False), (2100, True)])
def test_lag_near_the_gap_is_a_caveat(lag_us: int, *, caveat: bool) -> None:
    client = judged([sample(seq, lag_us=[lag_us] * 64) for seq in range(N)])
    assert (find(client, "client_lagged") is not None) is caveat
    assert client.valid


def test_a_smeared_cell_is_not_told_that_its_numbers_stand() -> None:
    smeared = [merged(seq, 30, 2100) for seq in range(N)]
    lagged = [msgspec.structs.replace(one, lag_us=[2100] * 64) for one in smeared]
    client = judged(lagged, drive=SLOW)
    assert [c.code for c in client.caveats] == ["itl_smeared", "cpu_busy", "run_delay", "gc_ran"]
    assert not any("exact" in caveat.text for caveat in client.caveats)


def test_lag_below_a_millisecond_is_nothing_however_fast_the_server() -> None:
    fast = [sample(seq, chunk_ns=[US * 500] * 63, lag_us=[900] * 64) for seq in range(N)]
    assert find(judged(fast), "client_lagged") is None


@pytest.mark.parametrize(("step_ns", "caveat"), [(50_000, False), (-50_001, True)])
def test_a_step_of_the_wall_clock(step_ns: int, *, caveat: bool) -> None:
    client = judged(cell(), drive={"clock_step_ns": step_ns})
    assert (find(client, "clock_step") is not None) is caveat


# --- what is there, and what to mind -----------------------------------------------------------


def test_lost_samples_are_invalid() -> None:
    client = judged(cell(), drive={"samples": N + 1})
    assert not client.valid
    assert [caveat.code for caveat in client.caveats] == ["samples_lost"]
    never_written = judged(cell(), plan={"due_ns": [0] * (N + 1)})
    assert find(never_written, "samples_lost")
    cut = judged(cell(), plan={"due_ns": [0] * (N + 1)}, drive={"ended": "interrupted"})
    assert find(cut, "samples_lost") is None


def test_an_interruption_is_no_failure_of_the_server() -> None:
    aborted = [failed(seq, "aborted") for seq in range(60)]
    client = judged(cell(aborted), drive={"ended": "interrupted"})
    assert find(client, "failures") is None
    assert "10.0 s of 10 s" in text(client, "interrupted")
    assert client.valid


def test_a_drain_that_was_cut_is_one() -> None:
    client = judged(cell([failed(seq, "aborted") for seq in range(60)]), drive={"ended": "stopped"})
    assert find(client, "drain_cut")
    assert not client.valid


@pytest.mark.parametrize(("count", "valid"), [(12, True), (13, False)])
def test_more_failures_than_allowed_are_invalid(count: int, *, valid: bool) -> None:
    bad = [failed(seq, "http_500", detail="out of memory") for seq in range(count)]
    client = judged(cell(bad))
    said = text(client, "failures")
    assert f"{count} of {N} requests failed" in said
    assert f"http_500 {count}" in said
    assert "out of memory" in said
    assert client.valid is valid
    assert judged(cell(bad), max_fail_ratio=0.5).valid


def test_a_warm_up_that_fails_says_how() -> None:
    told = {"ended": "failed", "problem": "3 warm-up requests failed (http_401)"}
    client = judged([], drive=told)
    assert not client.valid
    assert "3 warm-up requests failed (http_401)" in text(client, "warmup_failed")
    assert find(client, "few_samples") is None


def test_few_samples() -> None:
    assert find(judged(cell(count=200)), "few_samples") is None
    some = find(judged(cell(count=50)), "few_samples")
    assert some
    assert not some.invalidates
    assert "p99, p99.9 cannot be given; p90, p95 imprecise" in some.text
    none = find(judged([failed(0, "empty")], max_fail_ratio=1.0), "few_samples")
    assert none
    assert none.invalidates


def test_an_unstable_queue_is_a_caveat() -> None:
    slow = [sample(seq, done_ns=T0 + seq * 60 * MS + 300 * MS) for seq in range(N)]
    client = judged(slow)
    assert "24.00" in text(client, "unstable")
    assert client.valid


def test_a_closed_loop_that_ran_out_of_prompts() -> None:
    samples, plan = closed(8)
    assert find(judged(samples, plan=plan), "prompts_reused") is None
    again = [msgspec.structs.replace(one, body=one.body % 100) for one in samples]
    client = judged(again, plan=plan)
    assert f"{len(samples) - 100} of {len(samples)}" in text(client, "prompts_reused")


@pytest.mark.parametrize(
    ("pinned", "short", "tokens", "caveat"),
    [
        (True, 2, 10, False), (True, 3, 63, True), (False, 12, 1, False), (False, 24, 1, True),
    ],
)  # fmt: skip
def test_short_answers(short: int, tokens: int, *, pinned: bool, caveat: bool) -> None:
    first = [sample(seq, output_tokens=tokens) for seq in range(short)]
    client = judged(cell(first), output_pinned=pinned)
    assert client.valid
    assert (find(client, "short_answers") is not None) is caveat
    assert not caveat or ("although" in text(client, "short_answers")) is pinned


@pytest.mark.parametrize(
    ("tokens", "asked", "chars", "valid"),
    [(10**13, 64, 12, False), (66, 64, 0, False), (65, 64, 0, True), (66, 64, 17, True),
     (500, 512, 0, True), (90, 0, 0, True)],
)  # fmt: skip
def test_tokens_that_no_server_can_have_made(
    tokens: int, asked: int, chars: int, *, valid: bool
) -> None:
    first = sample(
        0, output_tokens=tokens, planned_output_tokens=asked, output_chars=chars, silent_chunks=1
    )
    client = judged(cell([first]))
    assert client.valid is valid
    assert (find(client, "tokens_impossible") is None) is valid


def test_tokens_that_no_server_counted() -> None:
    client = judged(cell([sample(0, token_source="chunks")]))
    assert find(client, "tokens_from_chunks")
    assert find(client, "short_answers") is None


@pytest.mark.parametrize("fact", ["shared_machine", "prompt_length_estimated"])
def test_circumstances(fact: str) -> None:
    client = judged(cell(), **{fact: True})
    assert [caveat.code for caveat in client.caveats] == [fact]
    assert client.valid


def test_what_invalidates_comes_first_and_says_what_to_do() -> None:
    client = judged(
        cell([merged(seq, 30, 2000 + 8 * seq) for seq in range(N)]),
        drive={**SLOW, "clock_step_ns": MS},
        shared_machine=True,
    )
    order = [caveat.invalidates for caveat in client.caveats]
    assert order == sorted(order, reverse=True)
    assert client.caveats[0].code == "itl_smeared"
    for caveat in client.caveats:
        assert caveat.text.endswith(".")
        assert 60 < len(caveat.text) < 400


def worker(index: int, **fields: object) -> WorkerReport:
    known = {"host": "there", "pid": 7, "samples": 1, "received": 1, "digest": "", "cpu_s": 1.0}
    return WorkerReport(index=index, **(known | fields))  # type: ignore[arg-type]


def test_the_busiest_worker_is_judged_and_not_their_sum() -> None:
    drive = {"cpu_s": 12.0, "run_delay_s": 0.3, "clock": "user"}
    workers = [worker(0, cpu_s=5.0, run_delay_s=0.1), worker(1, cpu_s=7.0, run_delay_s=0.2)]
    client = judged(cell(), drive=drive | {"workers": workers})
    assert (client.cpu, client.run_delay) == (0.7, 0.02)
    assert "cpu_busy" not in {caveat.code for caveat in client.caveats}
    workers[1] = worker(1, cpu_s=9.5)
    client = judged(cell(), drive=drive | {"workers": workers})
    assert "cpu_busy" in {caveat.code for caveat in client.caveats}


def test_a_lost_worker_invalidates() -> None:
    drive = {"ended": "worker_lost", "problem": "worker 1 (process 7 on there) was killed"}
    client = judged(cell(), drive=drive)
    [told] = [caveat for caveat in client.caveats if caveat.code == "worker_lost"]
    assert told.invalidates
    assert "process 7 on there" in told.text
    assert not client.valid


def test_a_lost_worker_explains_what_came_of_it() -> None:
    drive = {"ended": "worker_lost", "problem": "worker 1 (process 7 on there) was killed"}
    samples, plan = closed(4.0)
    assert find(judged(samples, plan=plan), "streams_not_held")
    client = judged(samples, plan=plan, drive=drive)
    assert [one.code for one in client.caveats if one.invalidates] == ["worker_lost"]
    client = judged([], drive=drive | {"samples": 0})
    assert [one.code for one in client.caveats if one.invalidates] == ["worker_lost"]


def test_clocks_of_their_own_are_told() -> None:
    own = worker(1, clock_offset_ns=5 * S, clock_error_ns=200_000, clock_drift_ns=-30_000)
    same = worker(0, clock_offset_ns=10_000, clock_error_ns=20_000)
    client = judged(cell(), drive={"workers": [same, own]})
    [told] = [caveat for caveat in client.caveats if caveat.code == "worker_clocks"]
    assert "worker 1 on there is +5.000000 s ahead (±0.200 ms, at the end -0.030 ms)" in told.text
    assert "worker 0" not in told.text
    assert client.valid
