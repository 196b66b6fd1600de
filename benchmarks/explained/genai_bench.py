"""genai-bench's own collectors on requests from stdin; runs in its environment."""

import json
import sys

from genai_bench.metrics.aggregated_metrics_collector import AggregatedMetricsCollector
from genai_bench.metrics.request_metrics_collector import RequestMetricsCollector
from genai_bench.protocol import UserChatResponse

S = 1e9
given = json.load(sys.stdin)
stdout, sys.stdout = sys.stdout, sys.stderr
whole = AggregatedMetricsCollector()
for one in given["requests"]:
    single = RequestMetricsCollector()
    single.calculate_metrics(
        UserChatResponse(
            status_code=200, tokens_received=one["tokens"], start_time=one["submitted"] / S,
            time_at_first_token=one["first"] / S, end_time=one["done"] / S,
            num_prefill_tokens=one["prompt_tokens"],
        )
    )  # fmt: skip
    whole.add_single_request_metrics(single.metrics)
whole.aggregate_metrics_data(given["start"] / S, given["end"] / S, None, None)
sys.stdout = stdout
found = whole.aggregated_metrics
SCALES = {"ttft": 1e3, "tpot": 1e3, "e2e_latency": 1e3, "output_inference_speed": 1,
          "input_throughput": 1}  # fmt: skip
told = {
    name: {key: scale * getattr(getattr(found.stats, name), key)
           for key in ("mean", "p50", "p90", "p95", "p99")}
    for name, scale in SCALES.items()
}  # fmt: skip
for name in ("mean_output_throughput_tokens_per_s", "requests_per_second"):
    told[name] = {"value": getattr(found, name)}
print(json.dumps(told))
