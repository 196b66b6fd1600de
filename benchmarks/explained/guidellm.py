"""GuideLLM's own request statistics and distributions on requests from stdin."""

import json
import sys

from guidellm.schemas.base.info import RequestInfo, RequestTimings
from guidellm.schemas.base.request import UsageMetrics
from guidellm.schemas.base.request_stats import GenerativeRequestStats
from guidellm.schemas.base.statistics import StatusDistributionSummary

S = 1e9
given = json.load(sys.stdin)
requests = []
for number, one in enumerate(given["requests"]):
    timings = RequestTimings(
        request_start=one["sent"] / S, first_token_iteration=one["first"] / S,
        last_token_iteration=one["last"] / S, token_iterations=len(one["gaps"]) + 1,
        request_end=one["done"] / S, resolve_end=one["done"] / S,
    )  # fmt: skip
    requests.append(
        GenerativeRequestStats(
            request_id=str(number), info=RequestInfo(request_id=str(number), timings=timings),
            input_metrics=UsageMetrics(text_tokens=one["prompt_tokens"]),
            output_metrics=UsageMetrics(text_tokens=one["tokens"]),
        )
    )  # fmt: skip
window = {"start_time": given["start"] / S, "end_time": given["end"] / S}
parts = {"successful": requests, "incomplete": [], "errored": []}
values = StatusDistributionSummary.from_values_function
rates = StatusDistributionSummary.rate_distribution_from_timings_function
PERCENTILES = ("p50", "p90", "p95", "p99")


def spread(function, scale=1.0):  # noqa: ANN001, ANN201
    """As `GenerativeMetrics.compile` calls it."""
    found = values(function=function, **parts).successful
    told = {name: scale * getattr(found.percentiles, name) for name in PERCENTILES}
    return {"mean": scale * found.mean, **told}


def rate(function):  # noqa: ANN001, ANN201
    """The mean of a rate over time."""
    return {"value": rates(function=function, **parts, **window).successful.mean}


concurrency = StatusDistributionSummary.concurrency_distribution_from_timings_function(
    function=lambda one: (one.request_start_time, one.request_end_time), **parts, **window
).successful.mean
told = {
    "time_to_first_token_ms": spread(lambda one: one.time_to_first_token_ms or 0.0),
    "inter_token_latency_ms": spread(
        lambda one: (one.inter_token_latency_ms or 0.0, (one.output_tokens or 1.0) - 1.0)
    ),
    "time_per_output_token_ms": spread(
        lambda one: (one.time_per_output_token_ms or 0.0, one.output_tokens or 0.0)
    ),
    "request_latency": spread(lambda one: one.request_latency or 0.0, 1000.0),
    "requests_per_second": rate(lambda one: one.request_end_time),
    "output_tokens_per_second": rate(lambda one: one.output_tokens_timings),
    "tokens_per_second": rate(lambda one: one.total_tokens_timings),
    "request_concurrency": {"value": concurrency},
}
print(json.dumps(told))
