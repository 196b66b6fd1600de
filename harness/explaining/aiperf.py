"""NVIDIA AIPerf 0.13.0, endpoint types `completions` and `chat`, streaming."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from harness.explaining.explanation import Metric
from harness.explaining.requests import by, linear, per_second
from harness.measuring.request import NS_PER_S

if TYPE_CHECKING:
    from harness.explaining import Tool
    from harness.explaining.requests import Cell
    from harness.measuring.samples import Floats

_TTFT: Final = (
    "First event with text (content, reasoning or tool call) − the moment before aiohttp is "
    "called, connecting included. Ours begins when the request's first byte is sent."
)
_ITL: Final = (
    "One mean a request, (last − first text) / (output tokens − 1): what we call TPOT. The gaps "
    "themselves are its inter_chunk_latency. With --per-chunk-usage it divides by the tokens after "
    "the first chunk, as ours does."
)
_ICL: Final = "Gaps between successive events with text, pooled: what we call ITL."
_LATENCY: Final = (
    "Last event with text − the moment before aiohttp is called. Ours begins when the request was "
    "due; its credit_drop and sched_lag metrics hold a part of that wait."
)
_PER_USER: Final = (
    "1 / its inter_token_latency, a value a request: our decode speed. Its p95 is the fast side, "
    "ours the slow one: 95 % of the requests were at least this fast."
)
_E2E_TPS: Final = (
    "Output tokens / request latency, a value a request: our speed per sequence. Its p95 is the "
    "fast side, ours the slow one."
)
_RATE: Final = (
    "Answered requests / (last text of all − first start). Ours counts answers that ended in the "
    "measured window."
)
_TOKENS: Final = (
    "Output tokens of answered requests / (last text of all − first start). Ours takes the tokens "
    "whose own stamps fall in the window / its length."
)
_ADJUSTED: Final = (
    "The same with each failed request as +∞, nearest rank; printed only if a request failed. Ours "
    "counts dropped ones, too, and takes values between neighbours."
)
_OSL: Final = (
    "Unless told --use-server-token-count it counts the answer's text with its own tokenizer; the "
    "text is not in the samples, so this uses the server's count."
)


class AiPerf:
    """About ten processes over ZeroMQ, aiohttp; one stamp a read."""

    title = "AIPerf 0.13.0"
    sources = (
        (
            "aiperf/metrics/types/ttft_metric.py, inter_token_latency_metric.py, "
            "inter_chunk_latency_metric.py, request_latency_metric.py, "
            "output_token_throughput_metrics.py, request_throughput_metric.py, "
            "benchmark_duration_metric.py"
        ),
        "aiperf/metrics/metric_dicts.py: metric_result_from_array",
        "aiperf/metrics/derived_latency.py: inject_adjusted_latency_metrics",
        "aiperf/transports/aiohttp_client.py, sse_utils.py",
    )
    general = (
        (
            "Percentiles are over answered requests, linear between neighbours, at any number of "
            "values. Ours are left out below 1 / (1 − q) values."
        ),
        (
            "It stamps each read in Python, once for all events in it, as ours does with the "
            "kernel's "
            "stamp; how late its worker would have come to the socket cannot be told."
        ),
        (
            "In an open loop with --concurrency it skips arrivals for which no slot is free and "
            "begins "
            "its schedule anew when it is late: such traffic is not the traffic of these samples."
        ),
    )

    def metrics(self, cell: Cell) -> list[Metric]:
        """The metrics of its console and of profile_export_aiperf.json."""
        tokens = cell.tokens
        ttft, latency = cell.ms("submitted", "first"), cell.ms("submitted", "last")
        several = tokens > 1
        itl = (latency - ttft)[several] / (tokens[several] - 1)
        seconds = _span_s(cell)
        length = (
            f"Theirs over {seconds:.4g} s, ours over a window of {cell.measurement.window_s:.4g} s."
        )
        return [
            Metric(
                name="time_to_first_token", unit="ms", ours="ttft_ms", theirs=linear(ttft),
                values=cell.our("ttft_ms"), why=_TTFT, here=cell.before_sent(),
            ),
            Metric(
                name="inter_token_latency", unit="ms", ours="tpot_ms", theirs=linear(itl),
                values=cell.our("tpot_ms"), why=_ITL, unknown=_OSL,
            ),
            Metric(
                name="inter_chunk_latency", unit="ms", ours="itl_ms", theirs=linear(cell.gaps),
                values=cell.our("itl_ms"), why=_ICL,
            ),
            Metric(
                name="request_latency", unit="ms", ours="e2e_ms", theirs=linear(latency),
                values=cell.our("e2e_ms"), why=_LATENCY,
            ),
            Metric(
                name="output_token_throughput_per_user", unit="tok/s", ours="decode_tps",
                theirs=linear(1000 / itl[itl > 0]), values=cell.our("decode_tps"),
                why=_PER_USER, unknown=_OSL,
            ),
            Metric(
                name="e2e_output_token_throughput", unit="tok/s", ours="sequence_tps",
                theirs=linear(1000 * tokens[latency > 0] / latency[latency > 0]),
                values=cell.our("sequence_tps"), why=_E2E_TPS, unknown=_OSL,
            ),
            Metric(
                name="request_throughput", unit="req/s", ours="request_rate",
                theirs=per_second(len(cell.answered), seconds), values=cell.our("request_rate"),
                why=_RATE, here=length,
            ),
            Metric(
                name="output_token_throughput", unit="tok/s", ours="aggregate_tps",
                theirs=per_second(int(tokens.sum()), seconds), values=cell.our("aggregate_tps"),
                why=_TOKENS, here=length, unknown=_OSL,
            ),
            *self._adjusted(cell, latency),
        ]  # fmt: skip

    def _adjusted(self, cell: Cell, latency: Floats) -> list[Metric]:
        errors = cell.measurement.requests.failed
        if not errors:
            return []
        values = np.concatenate([latency, np.full(errors, np.inf)])
        found = by(values, lambda q: float(np.quantile(values, q, method="nearest")), np.inf)
        ours = cell.measurement.metrics_with_failures.get("e2e_ms")
        names = ("p50", "p90", "p95", "p99")
        return [
            Metric(
                name="adj_request_latency", unit="ms", ours=None,
                theirs={name: found[name] for name in names},
                values={name: getattr(ours, name) for name in names} if ours else {},
                why=_ADJUSTED, here=f"{errors} requests failed.",
            )
        ]  # fmt: skip


def _span_s(cell: Cell) -> float:
    """From the first start of an answered request to the last text of all."""
    if not len(cell.answered):
        return 0.0
    return float(cell.at("last").max() - cell.at("submitted").min()) / NS_PER_S


TOOL: Tool = AiPerf()
