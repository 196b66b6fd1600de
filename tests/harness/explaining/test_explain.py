"""Other tools' definitions, on cases small enough to reckon by hand."""

from __future__ import annotations

import pkgutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

import harness.explaining
from harness.errors import BadInputError
from harness.explaining import NAMES, load_tool
from harness.explaining.explain import explain_cell
from harness.explaining.requests import Cell
from harness.measuring.measure import CellFacts, measure
from harness.measuring.samples import Samples
from loadprofiles.records import DrivePlan, DriveReport, Sample

if TYPE_CHECKING:
    from harness.explaining.explanation import CellExplained, Metric

MS = 1_000_000
START = 7_000_000_000


def request(seq: int, due: int, first: int, gaps: list[int], **fields: Any) -> Sample:  # noqa: ANN401
    """Times in ms from the window's start; taken up 1 ms after due, sent 3 ms after it."""
    last = first + sum(gaps)
    known: dict[str, Any] = {
        "seq": seq,
        "body": seq,
        "request_id": f"r{seq}",
        "phase": "measured",
        "due_ns": START + due * MS,
        "submitted_ns": START + (due + 1) * MS,
        "sent_ns": START + (due + 3) * MS,
        "connect_ns": 2 * MS,
        "first_ns": START + first * MS,
        "first_answer_ns": START + first * MS,
        "last_ns": START + last * MS,
        "end_ns": START + last * MS,
        "done_ns": START + (last + 5) * MS,
        "status": 200,
        "prompt_tokens": 10,
        "output_tokens": 1 + len(gaps),
        "chunk_ns": [gap * MS for gap in gaps],
    }
    return Sample(**known | fields)


ANSWERS = [
    request(0, due=0, first=103, gaps=[10, 10, 30]),
    request(1, due=0, first=203, gaps=[20, 20]),
    request(2, due=600, first=703, gaps=[]),
    # a special token, and a finish reason after the last text; four tokens in two chunks
    request(3, due=900, first=1003, gaps=[20], output_tokens=4, silent_chunks=2,
            end_ns=START + 1033 * MS, done_ns=START + 1034 * MS),
]  # fmt: skip
FAILED = msgspec.structs.replace(
    request(4, due=900, first=0, gaps=[]), error="timeout", status=0, first_ns=None,
    first_answer_ns=None, last_ns=None, end_ns=None, output_tokens=None,
    done_ns=START + 2_001 * MS,
)  # fmt: skip


def cell_of(samples: list[Sample], slo: str | None = None) -> Cell:
    facts = CellFacts(
        id="a-1", build="a", engine="vllm", engine_version=None, model="m", profile="closed",
        repeat=1, level={"concurrency": 2.0},
    )  # fmt: skip
    plan = DrivePlan(
        host="h", port=1, path="/v1/completions", dialect="openai-completions", mode="closed",
        streams=2, duration_ns=2_000 * MS, warmup=0, drain_s=1, timeout_s=9,
        output_tokens=[4] * len(samples),
    )  # fmt: skip
    drive = DriveReport(
        ended="done", window_start_ns=START, window_end_ns=START + 2_000 * MS, clock="kernel",
        wall_minus_monotonic_ns=0, clock_step_ns=0, cpu_s=0.1, run_delay_s=0, gc_collections=0,
        connections=2, samples=len(samples), versions={},
    )  # fmt: skip
    return Cell(Samples.of(samples).measured, measure(facts, plan, samples, drive), slo)


def told(name: str, samples: list[Sample] | None = None, slo: str | None = None) -> CellExplained:
    return explain_cell(load_tool(name), cell_of(samples or [*ANSWERS, FAILED], slo))


def metrics(found: CellExplained) -> dict[str, Metric]:
    return {metric.name: metric for metric in found.metrics}


def value(found: CellExplained, name: str, statistic: str = "value") -> float | None:
    return metrics(found)[name].theirs[statistic]


def test_each_name_is_a_tool_and_each_tool_has_a_name() -> None:
    there = {
        module.name.replace("_", "-")
        for module in pkgutil.iter_modules(harness.explaining.__path__)
        if hasattr(__import__(f"harness.explaining.{module.name}", fromlist=["x"]), "TOOL")
    }
    assert set(NAMES) == there


def test_vllm() -> None:
    found = told("vllm")
    assert (found.answered, found.failed) == (4, 1)
    # from taken up: 102, 202, 102, 102
    assert value(found, "ttft_ms", "mean") == pytest.approx(127)
    assert value(found, "ttft_ms", "p50") == pytest.approx(102)
    assert value(found, "ttft_ms", "p90") == pytest.approx(102 + 0.7 * 100)
    # (152 - 102) / 3, (242 - 202) / 2, none of one token, (132 - 102) / 3
    assert value(found, "tpot_ms", "mean") == pytest.approx((50 / 3 + 20 + 10) / 3)
    # the last one's end has a gap of its own: 10 10 30 20 20 20 10
    assert value(found, "itl_ms", "mean") == pytest.approx(120 / 7)
    assert value(found, "itl_ms", "p50") == pytest.approx(20)
    assert value(found, "e2el_ms", "mean") == pytest.approx((152 + 242 + 102 + 132) / 4)
    # from 1 ms to the end of the failed one, 2,001: 4 answers, 12 tokens, 40 of prompts
    assert value(found, "request_throughput") == pytest.approx(4 / 2)
    assert value(found, "output_throughput") == pytest.approx(12 / 2)
    assert value(found, "total_token_throughput") == pytest.approx(52 / 2)
    # events: 4 + 3 + 1 in the first second from 1 ms, 2 and the finish reason in the next
    assert value(found, "max_output_tokens_per_s") == 8
    assert value(found, "max_concurrent_requests") == 4, "none of three were there together"
    assert metrics(found)["max_concurrent_requests"].values == {"value": 2.0}
    assert "1 events without text" in metrics(found)["itl_ms"].unknown
    assert any("1 requests took longer than our timeout" in text for text in found.unknown)


def test_vllm_goodput_has_tpot_zero_for_one_token() -> None:
    found = told("vllm", slo="ttft_ms<=150,tpot_ms<=12,itl_p95_ms<=1")
    assert value(found, "request_goodput") == pytest.approx(2 / 2), "requests 2 and 3"
    assert "request_goodput" not in metrics(told("vllm", slo="itl_p95_ms<=1"))


def test_vllm_limits_without_a_name_there_are_named() -> None:
    both = metrics(told("vllm", slo="ttft_p95_ms<=1000,itl_p95_ms<=1"))["request_goodput"]
    assert "It does not know itl_p95_ms<=1" in both.why
    alone = metrics(told("vllm", slo="ttft_p95_ms<=1000"))["request_goodput"]
    assert "does not know" not in alone.why


def test_guidellm() -> None:
    found = told("guidellm")
    # from sent: 100, 200, 100, 100; the lowest value whose share reaches q
    assert value(found, "time_to_first_token_ms", "p50") == pytest.approx(100)
    assert value(found, "time_to_first_token_ms", "p90") == pytest.approx(200)
    # means 50/3, 20 and 20/3 with weights 3, 2, 3
    mean = (50 + 40 + 20) / 8
    assert value(found, "inter_token_latency_ms", "mean") == pytest.approx(mean)
    assert value(found, "inter_token_latency_ms", "p50") == pytest.approx(50 / 3)
    assert value(found, "inter_token_latency_ms", "p90") == pytest.approx(20)
    # 150/4, 240/3, 100/1, 120/4 with weights 4, 3, 1, 4
    mean = (150 + 240 + 100 + 120) / 12
    assert value(found, "time_per_output_token_ms", "mean") == pytest.approx(mean)
    # to the end of the response: 155, 245, 105, 131
    assert value(found, "request_latency", "mean") == pytest.approx((155 + 245 + 105 + 131) / 4)
    assert value(found, "requests_per_second") == pytest.approx(4 / 2)
    assert value(found, "request_concurrency") == pytest.approx(0.636 / 2)


def test_an_open_loop_begins_with_its_schedule() -> None:
    """vLLM and GuideLLM wait for the first gap, too; AIPerf begins with the first request."""
    cell = replace(cell_of(ANSWERS), schedule_ns=START - 500 * MS)
    for name, metric, seconds in (
        ("vllm", "request_throughput", 1.534),
        ("guidellm", "requests_per_second", 1.534),
        ("aiperf", "request_throughput", 1.022),
    ):
        found = explain_cell(load_tool(name), cell)
        assert value(found, metric) == pytest.approx(4 / seconds), name


def test_guidellm_hides_a_stall() -> None:
    stalled = [request(0, due=0, first=103, gaps=[10] * 50 + [1000] + [10] * 49)]
    found = metrics(told("guidellm", stalled))["inter_token_latency_ms"]
    assert found.theirs["p99"] == pytest.approx(1990 / 100)
    assert "longest gap is 1000 ms" in found.here


def test_aiperf() -> None:
    found = told("aiperf")
    assert value(found, "time_to_first_token", "mean") == pytest.approx(127)
    # to the last text: (152 - 102) / 3, (242 - 202) / 2, (122 - 102) / 3
    assert value(found, "inter_token_latency", "mean") == pytest.approx((50 / 3 + 20 + 20 / 3) / 3)
    assert value(found, "inter_chunk_latency", "mean") == pytest.approx(110 / 6)
    assert value(found, "request_latency", "mean") == pytest.approx((152 + 242 + 102 + 122) / 4)
    speed = 1000 / (50 / 3)
    assert value(found, "output_token_throughput_per_user", "p50") == pytest.approx(speed)
    assert value(found, "output_token_throughput") == pytest.approx(12 / 1.022)
    adjusted = metrics(found)["adj_request_latency"].theirs
    assert adjusted["p50"] == pytest.approx(152), "the third of five"
    assert adjusted["p95"] == float("inf")


def test_genai_bench() -> None:
    found = told("genai-bench")
    # to the response's end: 157, 247, 107, 133
    assert value(found, "e2e_latency", "mean") == pytest.approx((157 + 247 + 107 + 133) / 4)
    assert value(found, "tpot", "mean") == pytest.approx((55 / 3 + 45 / 2 + 31 / 3) / 3)
    assert value(found, "input_throughput", "p50") == pytest.approx(10 / 0.102)
    assert value(found, "requests_per_second") == pytest.approx(4 / 2)


@pytest.mark.parametrize("name", NAMES)
def test_without_an_answer_nothing_has_a_value_and_nothing_fails(name: str) -> None:
    for metric in told(name, [FAILED]).metrics:
        if metric.name != "adj_request_latency":
            assert set(metric.theirs.values()) <= {None, 0.0}, metric.name


@pytest.mark.parametrize("name", NAMES)
def test_answers_in_one_document_are_left_out_and_said_so(name: str) -> None:
    whole = msgspec.structs.replace(ANSWERS[0], first_ns=None, first_answer_ns=None, chunk_ns=[])
    found = told(name, [whole])
    assert found.answered == 0
    assert any("as one document" in text for text in found.unknown)


def test_builds_asked_by_turns_have_no_rates_of_a_tool_that_asks_one() -> None:
    cell = cell_of(ANSWERS)
    by_turns = msgspec.structs.replace(cell.measurement, interleaved_with=["b"])
    cell = Cell(cell.measured, by_turns)
    assert any(
        "a, b were asked by turns" in one for one in explain_cell(load_tool("vllm"), cell).unknown
    )
    assert not any("by turns" in one for one in told("vllm").unknown)


def test_an_unknown_tool_is_bad_input() -> None:
    with pytest.raises(BadInputError, match='did you mean "guidellm"'):
        load_tool("guidelm")


@pytest.mark.parametrize("name", NAMES)
def test_every_metric_stands_in_the_docs(name: str) -> None:
    page = (Path(harness.__file__).parents[1] / "docs" / "explain.md").read_text()
    slo = "ttft_ms<=150"
    missing = [one.name for one in told(name, slo=slo).metrics if f"`{one.name}`" not in page]
    assert missing == []
    assert load_tool(name).title.split()[-1] in page, "the version that was read"
