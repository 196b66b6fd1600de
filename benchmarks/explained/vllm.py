"""vLLM's own `calculate_metrics` on requests from stdin; runs in vLLM's environment."""

import json
import sys

from vllm.benchmarks.lib.endpoint_request_func import RequestFuncOutput
from vllm.benchmarks.serve import calculate_metrics

S = 1e9
given = json.load(sys.stdin)
outputs = []
for one in given["requests"]:
    gaps = list(one["gaps"])
    if one["end"] > one["last"]:
        gaps.append(one["end"] - one["last"])
    outputs.append(
        RequestFuncOutput(
            success=True, start_time=one["submitted"] / S, output_tokens=one["tokens"],
            ttft=(one["first"] - one["submitted"]) / S, prompt_len=one["prompt_tokens"],
            latency=(one["end"] - one["submitted"]) / S, itl=[gap / S for gap in gaps],
        )
    )  # fmt: skip
stdout, sys.stdout = sys.stdout, sys.stderr
found, _ = calculate_metrics([], outputs, given["duration_s"], None, [50, 90, 95, 99], {})
sys.stdout = stdout
told = {}
for name in ("ttft", "tpot", "itl", "e2el"):
    told[f"{name}_ms"] = {"mean": float(getattr(found, f"mean_{name}_ms"))} | {
        f"p{q}": float(value) for q, value in getattr(found, f"percentiles_{name}_ms")
    }
for name in (
    "request_throughput", "output_throughput", "total_token_throughput",
    "max_output_tokens_per_s", "max_concurrent_requests",
):  # fmt: skip
    told[name] = {"value": float(getattr(found, name))}
print(json.dumps(told))
