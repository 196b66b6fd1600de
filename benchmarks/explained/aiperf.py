"""AIPerf's own metric classes on requests from stdin; runs in AIPerf's environment."""

import json
import sys
from types import SimpleNamespace

import numpy as np
from aiperf.common.exceptions import NoMetricValue
from aiperf.metrics.metric_dicts import (
    MetricRecordDict,
    MetricResultsDict,
    metric_result_from_array,
)
from aiperf.metrics.types.benchmark_duration_metric import BenchmarkDurationMetric
from aiperf.metrics.types.e2e_output_throughput_metric import E2EOutputTokenThroughputMetric
from aiperf.metrics.types.inter_chunk_latency_metric import InterChunkLatencyMetric
from aiperf.metrics.types.inter_token_latency_metric import InterTokenLatencyMetric
from aiperf.metrics.types.max_response_metric import MaxResponseTimestampMetric
from aiperf.metrics.types.min_request_metric import MinRequestTimestampMetric
from aiperf.metrics.types.output_sequence_length_metric import (
    OutputSequenceLengthMetric,
    TotalOutputSequenceLengthMetric,
)
from aiperf.metrics.types.output_token_throughput_metrics import (
    OutputTokenThroughputMetric,
    OutputTokenThroughputPerUserMetric,
)
from aiperf.metrics.types.request_count_metric import RequestCountMetric
from aiperf.metrics.types.request_latency_metric import RequestLatencyMetric
from aiperf.metrics.types.request_throughput_metric import RequestThroughputMetric
from aiperf.metrics.types.ttft_metric import TTFTMetric

KINDS = {
    TTFTMetric: 1e-6, OutputSequenceLengthMetric: 1, RequestLatencyMetric: 1e-6,
    InterTokenLatencyMetric: 1e-6, InterChunkLatencyMetric: 1e-6,
    OutputTokenThroughputPerUserMetric: 1, E2EOutputTokenThroughputMetric: 1,
    MinRequestTimestampMetric: 1, MaxResponseTimestampMetric: 1,
}  # fmt: skip
"""Its metric classes in the order in which they need each other, and from ns to ms."""
given = json.load(sys.stdin)
values = {kind.tag: [] for kind in KINDS}
for one in given["requests"]:
    stamps = [one["first"]]
    for gap in one["gaps"]:
        stamps.append(stamps[-1] + gap)
    record = SimpleNamespace(
        start_perf_ns=one["submitted"], timestamp_ns=one["submitted"],
        request=SimpleNamespace(start_perf_ns=one["submitted"]),
        content_responses=[SimpleNamespace(perf_ns=stamp) for stamp in stamps],
        token_counts=SimpleNamespace(
            output=one["tokens"], reasoning=None, first_content_chunk_tokens=None
        ),
    )  # fmt: skip
    known = MetricRecordDict()
    for kind in KINDS:
        try:
            known[kind.tag] = kind()._parse_record(record, known)  # noqa: SLF001
        except NoMetricValue:
            continue
        found = known[kind.tag]
        values[kind.tag] += found if isinstance(found, list) else [found]
told = {}
for kind, scale in KINDS.items():
    array = np.array(values[kind.tag], dtype=np.float64) * scale
    if array.size:
        result = metric_result_from_array(kind.tag, kind.header, "", array, float(array.sum()))
        names = ("p50", "p90", "p95", "p99")
        told[kind.tag] = {"mean": result.avg, **{name: getattr(result, name) for name in names}}
whole = MetricResultsDict()
whole[MinRequestTimestampMetric.tag] = min(values[MinRequestTimestampMetric.tag])
whole[MaxResponseTimestampMetric.tag] = max(values[MaxResponseTimestampMetric.tag])
whole[RequestCountMetric.tag] = len(given["requests"])
whole[TotalOutputSequenceLengthMetric.tag] = sum(values[OutputSequenceLengthMetric.tag])
whole[BenchmarkDurationMetric.tag] = BenchmarkDurationMetric()._derive_value(whole)  # noqa: SLF001
for kind in (RequestThroughputMetric, OutputTokenThroughputMetric):
    told[kind.tag] = {"value": kind()._derive_value(whole)}  # noqa: SLF001
print(json.dumps(told))
