"""The engine's page against the samples: pages written by hand, so that each answer is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from harness.measuring.measurement import CellMeasurement
from harness.measuring.reconcile import percentile_bounds
from launchers.telemetry.records import EnginePage, Gpu, Histogram, Reading
from tests.harness.cells import answer, measured
from tests.harness.telemetry import histogram, page, reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.measuring.server_stats import Reconciliation
    from loadprofiles.records import Sample

N = 20
"""Requests: 20 prompt tokens, 4 output tokens, TTFT 50 ms and e2e 80 ms each."""


def answers(count: int = N) -> list[Sample]:
    return [answer(n, n * 0.4) for n in range(count)]


def cut_off(seq: int, chunks: int) -> Sample:
    """A request that had so many chunks of the 4 planned when the cell ended."""
    gaps = (10,) * (chunks - 1)
    sample = answer(seq, 9.0, gaps_ms=gaps, error="aborted", phase="cooldown")
    changes: dict[str, Any] = {"output_tokens": None, "prompt_tokens": None}
    if not chunks:
        changes |= {"first_ns": None, "last_ns": None, "chunk_ns": [], "lag_us": []}
    return answer(
        seq, 9.0, gaps_ms=gaps, error="aborted", phase="cooldown",
        planned_output_tokens=4, done_ns=sample.done_ns, **changes,
    )  # fmt: skip


def told(second: float, requests: int = 0, **fields: Any) -> EnginePage:  # noqa: ANN401
    """The page of an engine that has served so many of these requests, and tells the truth."""
    return page(second, **{
        "finished": requests,
        "prompt_tokens": 20 * requests,
        "generation_tokens": 4 * requests,
        "prefix_cache_queries": 20 * requests,
        "prefix_cache_hits": 0,
        "preemptions": 0,
        "histograms": {
            "ttft_s": histogram(*[0.048] * requests),
            "e2e_s": histogram(*[0.076] * requests),
            "queue_s": histogram(*[0.008] * requests),
            "prefill_s": histogram(*[0.036] * requests),
            "decode_s": histogram(*[0.028] * requests),
        },
        **fields,
    })  # fmt: skip


def cell(
    last: EnginePage,
    samples: Sequence[Sample] = (),
    first: EnginePage | None = None,
    **more: Any,  # noqa: ANN401 - arguments of `measured`
) -> CellMeasurement:
    before = told(-0.5) if first is None else first
    warm = {name: getattr(before, name) for name in ("prefix_cache_queries", "prefix_cache_hits")}
    looks = [
        reading(before.at_ns / 1e9 - 50, engine=before),
        *(reading(t, engine=page(t, running=1, waiting=0, **warm)) for t in range(1, 10)),
        reading(last.at_ns / 1e9 - 50, engine=last),
    ]
    more.setdefault("facts", {"prompts_unique": True})
    return measured(list(samples) or answers(), 10.0, readings=looks, **more)


def found(measurement: CellMeasurement) -> Reconciliation:
    assert measurement.reconciliation is not None
    return measurement.reconciliation


def codes(measurement: CellMeasurement) -> set[str]:
    """Of the caveats about the server."""
    ours = {
        "telemetry_problem", "telemetry_gap", "telemetry_damaged", "not_reconciled",
        "other_requests", "server_requests_differ", "server_tokens_differ", "server_ttft_differs",
        "prefix_cache_hits", "preempted", "kv_cache_full",
    }  # fmt: skip
    return ours & {caveat.code for caveat in measurement.client.caveats}


def test_a_page_that_tells_the_truth_agrees() -> None:
    measurement = cell(told(10.5, N))
    one = found(measurement)
    assert one.problem == ""
    assert one.requests is not None
    assert (one.requests.server, one.requests.client, one.requests.off) == (N, N, 0)
    assert one.requests_by == "finished"
    assert one.prompt_tokens is not None
    assert (one.prompt_tokens.server, one.prompt_tokens.client) == (400, 400)
    assert one.output_tokens is not None
    assert (one.output_tokens.server, one.output_tokens.client_most) == (80, 80)
    assert codes(measurement) == set()


def test_what_was_before_the_cell_is_not_in_it() -> None:
    one = found(cell(told(10.5, 100 + N), first=told(-0.5, 100)))
    alone = found(cell(told(10.5, N)))
    assert (one.requests, one.prompt_tokens, one.output_tokens) == (
        alone.requests, alone.prompt_tokens, alone.output_tokens,
    )  # fmt: skip
    assert one.ttft is not None
    assert one.ttft.server_n == N
    assert one.ttft.server_mean_ms == pytest.approx(48)


def test_ttft_is_compared_by_its_mean_and_its_buckets() -> None:
    ttft = found(cell(told(10.5, N))).ttft
    assert ttft is not None
    assert (ttft.server_n, ttft.client_n) == (N, N)
    assert ttft.server_mean_ms == pytest.approx(48)
    assert ttft.client_mean_ms == pytest.approx(50)
    assert ttft.difference_ms == pytest.approx(2)
    assert ttft.server_p50_ms == ttft.server_p95_ms == (0, 50)
    assert ttft.client_p95_ms == pytest.approx(50)


def test_the_time_of_a_request_is_shared_out() -> None:
    time = found(cell(told(10.5, N))).time
    assert time is not None
    assert time.client_e2e_ms == pytest.approx(80)
    assert time.server_e2e_ms == pytest.approx(76)
    assert (time.queue, time.prefill, time.decode) == (
        pytest.approx(0.1), pytest.approx(0.45), pytest.approx(0.35),
    )  # fmt: skip
    assert time.engine_rest == pytest.approx(0.05)
    assert time.outside == pytest.approx(0.05)
    parts = (time.queue, time.prefill, time.decode, time.engine_rest, time.outside)
    assert sum(part or 0 for part in parts) == pytest.approx(1)


def test_a_request_that_ended_as_it_was_given_up_is_in_both_means() -> None:
    """The client's mean without it would be 80 ms: less than the server's, which has it."""
    slow = cut_off(0, 4)
    assert slow.done_ns is not None
    assert slow.sent_ns is not None
    slow = msgspec.structs.replace(slow, done_ns=slow.sent_ns + 210_000_000)
    samples = [*answers(), cut_off(1, 1), slow, cut_off(2, 2)]
    histograms = told(10.5, N).histograms | {"e2e_s": histogram(*[0.076] * N, 0.206)}
    time = found(cell(told(10.5, N + 1, histograms=histograms), samples)).time
    assert time is not None
    assert time.client_e2e_ms == pytest.approx((80 * N + 210) / (N + 1))
    assert time.outside == pytest.approx(4 / time.client_e2e_ms)


def test_an_engine_with_counters_of_time_alone() -> None:
    """As llama.cpp's: seconds in all, no histogram, no number of requests."""
    last = page(10.5, engine="llama.cpp", prefill_s=0.4 + 7, decode_s=1.0, generation_tokens=80)
    first = page(-0.5, engine="llama.cpp", prefill_s=7.0, decode_s=0.0, generation_tokens=0)
    one = found(cell(last, first=first))
    assert one.requests is one.ttft is None
    assert one.time is not None
    assert one.time.prefill == pytest.approx(0.4 / N / 0.08)
    assert one.time.decode == pytest.approx(1.0 / N / 0.08)
    assert one.time.queue is one.time.outside is None


def test_requests_that_were_cut_off_leave_room_for_what_they_cost() -> None:
    """Of one 2 of 4 tokens were seen, of the other none: 2 to 8 tokens more, 20 to 40 prompt's."""
    samples = [*answers(), cut_off(0, 2), cut_off(1, 0)]
    for output, prompt in ((82, 420), (88, 440), (85, 430)):
        last = told(10.5, N, generation_tokens=output, prompt_tokens=prompt)
        measurement = cell(last, samples)
        one = found(measurement)
        assert one.output_tokens is not None
        assert one.prompt_tokens is not None
        assert (one.output_tokens.client, one.output_tokens.client_most) == (82, 88)
        assert (one.prompt_tokens.client, one.prompt_tokens.client_most) == (420, 440)
        assert one.output_tokens.off == one.prompt_tokens.off == 0
        assert codes(measurement) == set()


@pytest.mark.parametrize(("prompt", "off"), [(417, -1), (418, 0), (444, 0), (445, 1)])
def test_a_prompt_that_was_not_counted_is_as_long_as_the_others_are_off_their_plan(
    prompt: int, off: int
) -> None:
    """Planned are 20 each; the server's way to count made 18 to 22 of them, and 400 in all."""
    counts = [18, 22, *[20] * (N - 2)]
    samples = [answer(n, n * 0.4, prompt_tokens=count) for n, count in enumerate(counts)]
    last = told(10.5, N, prompt_tokens=prompt, generation_tokens=82)
    one = found(cell(last, [*samples, cut_off(0, 2), cut_off(1, 0)], prompt_tokens=[20] * N))
    assert one.prompt_tokens is not None
    assert (one.prompt_tokens.client, one.prompt_tokens.client_most) == (418, 444)
    assert np.sign(one.prompt_tokens.off) == off


@pytest.mark.parametrize(("output", "told_so"), [(80, False), (79, True), (82, True)])
def test_token_totals_that_differ_by_more_than_a_hundredth(output: int, told_so: bool) -> None:  # noqa: FBT001 - a case
    assert codes(cell(told(10.5, N, generation_tokens=output))) == (
        {"server_tokens_differ"} if told_so else set()
    )


def test_prompt_tokens_are_held_against_engines_that_count_cached_ones() -> None:
    assert codes(cell(told(10.5, N, prompt_tokens=350))) == {"server_tokens_differ"}
    last = told(10.5, N, prompt_tokens=350, engine="llama.cpp")
    assert codes(cell(last, first=told(-0.5, engine="llama.cpp"))) == set()


@pytest.mark.parametrize("counted", ["prompt_tokens", "output_tokens"])
def test_what_was_counted_as_nothing_is_not_compared(counted: str) -> None:
    none = {counted: 0}
    measurement = cell(told(10.5, N), [answer(n, n * 0.4, **none) for n in range(N)])
    assert getattr(found(measurement), counted) is None
    encoded = msgspec.json.encode(measurement)
    assert msgspec.json.decode(encoded, type=CellMeasurement) == measurement


def test_somebody_else_at_the_server_is_told_once() -> None:
    measurement = cell(told(10.5, N + 3))
    one = found(measurement)
    assert one.requests is not None
    assert one.requests.off == pytest.approx(3 / N)
    assert codes(measurement) == {"other_requests"}  # and their tokens are no lie


def test_without_a_count_of_requests_first_tokens_are_counted() -> None:
    last = told(10.5, N + 3, finished=None)
    measurement = cell(last, first=told(-0.5, finished=None))
    assert found(measurement).requests_by == "first tokens"
    assert "other_requests" in codes(measurement)


def test_fewer_requests_than_were_answered_are_another_servers_page() -> None:
    assert codes(cell(told(10.5, N - 5))) == {"server_requests_differ"}


@pytest.mark.parametrize(
    ("server_s", "word"), [(0.040, "way"), (0.060, "cannot be slower"), (0.0461, ""), (0.0539, "")]
)
def test_ttft_that_differs_by_more_than_5_ms_and_a_tenth(server_s: float, word: str) -> None:
    histograms = told(10.5, N).histograms | {"ttft_s": histogram(*[server_s] * N)}
    measurement = cell(told(10.5, N, histograms=histograms))
    texts = [c.text for c in measurement.client.caveats if c.code == "server_ttft_differs"]
    assert len(texts) == bool(word)
    assert all(word in text for text in texts)


def test_hits_on_prompts_that_are_unique_are_contamination() -> None:
    last = told(10.5, N, prefix_cache_hits=40)
    measurement = cell(last)
    assert measurement.server.prefix_cache_hit_rate == pytest.approx(0.1)
    assert codes(measurement) == {"prefix_cache_hits"}
    assert codes(cell(last, facts={"prompts_unique": False})) == set()
    assert codes(cell(told(10.5, N, prefix_cache_hits=4))) == set()  # a template's beginning
    twice = [answer(n, n * 0.4, body=n // 2) for n in range(N)]
    assert codes(cell(last, twice)) == set()  # told as prompts_reused


def test_preemptions_and_a_full_cache_are_told() -> None:
    assert codes(cell(told(10.5, N, preemptions=2))) == {"preempted"}
    full = reading(5, engine=page(5, kv_cache_use=0.97))
    looks = [reading(second, engine=page(second, kv_cache_use=0.2)) for second in range(11)]
    assert "kv_cache_full" in codes(measured(answers(), 10.0, readings=[*looks[:5], full]))
    assert "kv_cache_full" not in codes(measured(answers(), 10.0, readings=looks))


@pytest.mark.parametrize(("own", "told_so"), [(None, True), (0, False), (5, False)])
def test_a_card_whose_users_nvml_does_not_tell_is_told(own: int | None, told_so: bool) -> None:  # noqa: FBT001 - a case
    gpu = Gpu(index=3, uuid="GPU-d", memory_used_bytes=9, memory_server_bytes=own)
    measurement = measured(answers(), 10.0, readings=[reading(t, gpus=[gpu]) for t in range(11)])
    texts = [c.text for c in measurement.client.caveats if c.code == "gpus_of_anyone"]
    assert len(texts) == told_so
    assert all("GPU 3 " in text for text in texts)


def test_a_load_beside_grading_has_others_requests_by_intention() -> None:
    last = told(10.5, N + 3, generation_tokens=999)
    assert codes(cell(last, facts={"ended_with_grading": True})) == set()


@pytest.mark.parametrize(
    ("looks", "word"),
    [
        ([told(-0.5)], "only once"),
        ([told(0.2), told(10.5, N)], "200 ms after the first request"),
        ([told(-0.5), told(6.0, 16)], "older than the last answer"),
        ([told(-0.5, 7), told(5), told(10.5, N)], "fell"),
        ([told(-0.5, 7), told(10.5, N + 7, restarts=1)], "fell"),
    ],
)
def test_pages_that_do_not_enclose_the_cell_are_not_compared(
    looks: list[EnginePage], word: str
) -> None:
    readings = [reading(one.at_ns / 1e9 - 50, engine=one) for one in looks]
    measurement = measured(answers(), 10.0, readings=readings)
    one = found(measurement)
    assert word in one.problem
    assert one.requests is one.ttft is one.time is None
    [caveat] = [c for c in measurement.client.caveats if c.code == "not_reconciled"]
    assert word in caveat.text


def test_no_page_and_no_request_are_nothing_to_compare() -> None:
    assert measured(answers(), 10.0, readings=[reading(1), reading(9)]).reconciliation is None
    looks = [reading(-1, engine=told(-1)), reading(11, engine=told(11))]
    assert measured([], 10.0, readings=looks).reconciliation is None


def test_what_could_not_be_read_is_told_once() -> None:
    looks = [reading(t, problem="the page took more than 2 s") for t in range(11)]
    measurement = measured(answers(), 10.0, readings=looks)
    [caveat] = [c for c in measurement.client.caveats if c.code == "telemetry_problem"]
    assert caveat.text.count("the page took more than 2 s") == 1
    assert measurement.client.valid


@pytest.mark.parametrize(("missing", "told_so"), [(range(3, 7), True), (range(3, 4), False)])
def test_a_time_in_which_nobody_looked_is_told(missing: range, told_so: bool) -> None:  # noqa: FBT001 - a case
    looks = [reading(t) for t in range(-1, 12) if t not in missing]
    texts = [
        c.text for c in measured(answers(), 10.0, readings=looks).client.caveats
        if c.code == "telemetry_gap"
    ]  # fmt: skip
    assert len(texts) == told_so
    assert all("From 2.0 s to 7.0 s" in text for text in texts)


def test_bounds_of_a_percentile_hold_its_rank() -> None:
    values = histogram(0.01, 0.02, 0.07, 0.3, 7.0)
    assert percentile_bounds(values, 0.4) == (0, 50)
    assert percentile_bounds(values, 0.5) == (50, 100)
    assert percentile_bounds(values, 0.95) == (1000, None)
    assert percentile_bounds(Histogram(sum_s=1.0, count=2.0), 0.5) is None


def test_readings_without_pages_change_no_other_number() -> None:
    looks: list[Reading] = [reading(t, memory_bytes=1) for t in range(10)]
    assert measured(answers(), 10.0, readings=looks).metrics == measured(answers(), 10.0).metrics
