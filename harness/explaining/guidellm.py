"""GuideLLM 0.8.1, its OpenAI backend over HTTP, without warm-up and cool-down of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from harness.explaining.explanation import Metric
from harness.explaining.requests import by, per_second

if TYPE_CHECKING:
    from harness.explaining import Tool
    from harness.explaining.requests import Cell
    from harness.measuring.samples import Floats, Ints

_TTFT: Final = (
    "First line with text (content, reasoning or tool call) − the first header write of httpx, "
    "after the wait for a connection of its pool. Ours is the same but for the percentiles. "
    "Neither has the time a request waits for a connection."
)
_ITL: Final = (
    "One mean a request, (last − first) / (output tokens − 1), weighted with output tokens − 1: "
    "a stall inside an answer is spread over all its tokens. Ours are the gaps themselves, pooled."
)
_TPOT: Final = (
    "(last text − start) / output tokens, weighted with output tokens: TTFT is in it. Ours begins "
    "with the first text. Its service levels called tpot use its ITL in place of this."
)
_LATENCY: Final = (
    "End of the response ([DONE] or the connection's end) − the first header write, in seconds "
    "there. Ours ends with the last text and begins when the request was due."
)
_REQUESTS: Final = (
    "The mean of the rate over time: answers / the time from the schedule's begin to the end. Ours "
    "counts answers that ended in the measured window."
)
_OUTPUT: Final = (
    "The mean of the rate over time of output tokens, which are laid evenly between an answer's "
    "first and last text. Ours uses the chunks' own stamps, within the window only."
)
_TOTAL: Final = "The same with the prompt's tokens, all at the moment of the first text."
_CONCURRENCY: Final = (
    "Mean number of answered requests between header write and end of response, over its whole "
    "time: ramp-up and drain lower it. Ours is over the window and has failed requests, too."
)


class GuideLlm:
    """Up to ten processes, httpx; the clock is time.time()."""

    title = "GuideLLM 0.8.1"
    sources = (
        "guidellm/schemas/base/request_stats.py: GenerativeRequestStats",
        "guidellm/schemas/base/statistics.py: DistributionSummary, Percentiles",
        "guidellm/benchmark/schemas/metrics.py: GenerativeMetrics.compile",
        "guidellm/backends/openai/http.py: _resolve_streaming, _trace_request_start",
    )
    general = (
        (
            "A percentile is the smallest value whose share of the weights, added up from below, "
            "reaches q: an observed value, never one between two. Ours lie between neighbours."
        ),
        (
            "Values are of the requests that it calls successful; those that it cut off at the "
            "end are "
            "`incomplete` and stand by themselves. Which it would have cut off cannot be told."
        ),
        (
            "It takes moments within 0.1 ms for one, which is not done here: in cells of less than "
            "a second its rates part from these by up to a thousandth."
        ),
        (
            "Its stamps are wall-clock times taken in Python in one of its processes; the delay "
            "there, "
            "and steps of the clock, cannot be told."
        ),
    )

    def metrics(self, cell: Cell) -> list[Metric]:
        """The metrics of its console's tables."""
        tokens = cell.tokens
        later = tokens - 1
        itl = cell.ms("first", "last") / np.maximum(later, 1)
        tpot = cell.ms("sent", "last") / np.maximum(tokens, 1)
        every = np.ones(tokens.size, dtype=np.int64)
        seconds = cell.duration_s
        length = (
            f"Theirs over {seconds:.4g} s, ours over a window of {cell.measurement.window_s:.4g} s."
        )
        in_flight = float(cell.ms("sent", "done").sum()) / 1000
        recount = "" if cell.counted.all() else "Where no usage came, a line counts as a token."
        output, prompt = int(tokens.sum()), int(cell.prompt_tokens.sum())
        return [
            Metric(
                name="time_to_first_token_ms", unit="ms", ours="ttft_ms",
                theirs=weighted(cell.ms("sent", "first"), every), values=cell.our("ttft_ms"),
                why=_TTFT,
            ),
            Metric(
                name="inter_token_latency_ms", unit="ms", ours="itl_ms",
                theirs=weighted(itl, later), values=cell.our("itl_ms"), why=_ITL,
                here=_stalls(cell), unknown=recount,
            ),
            Metric(
                name="time_per_output_token_ms", unit="ms", ours="tpot_ms",
                theirs=weighted(tpot, tokens), values=cell.our("tpot_ms"), why=_TPOT,
                unknown=recount,
            ),
            Metric(
                name="request_latency", unit="ms", ours="e2e_ms",
                theirs=weighted(cell.ms("sent", "done"), every), values=cell.our("e2e_ms"),
                why=_LATENCY,
            ),
            Metric(
                name="requests_per_second", unit="req/s", ours="request_rate",
                theirs=per_second(len(cell.answered), seconds), values=cell.our("request_rate"),
                why=_REQUESTS, here=length,
            ),
            Metric(
                name="output_tokens_per_second", unit="tok/s", ours="aggregate_tps",
                theirs=per_second(output, seconds), values=cell.our("aggregate_tps"),
                why=_OUTPUT, here=length, unknown=recount,
            ),
            Metric(
                name="tokens_per_second", unit="tok/s", ours=None,
                theirs=per_second(output + prompt, seconds), why=_TOTAL,
                unknown="" if prompt else "The server did not count the prompts.",
            ),
            Metric(
                name="request_concurrency", unit="", ours=None,
                theirs=per_second(in_flight, seconds),
                values={"value": cell.measurement.in_flight_mean}, why=_CONCURRENCY,
            ),
        ]  # fmt: skip


def weighted(values: Floats, weights: Ints) -> dict[str, float | None]:
    """Mean and percentiles of weighted values, as its `Percentiles.from_pdf` takes them.

    Values of weight 0 (answers of one token, for ITL) are left out.
    """
    there = weights > 0
    if not there.any():
        return by(values[:0], lambda _q: 0.0)
    unique, place = np.unique(values[there], return_inverse=True)
    share = np.bincount(place, weights=weights[there].astype(np.float64))
    share = share / share.sum()
    reached = np.cumsum(share)

    def lowest(q: float) -> float:
        return float(unique[min(int(np.searchsorted(reached, q, side="left")), unique.size - 1)])

    return by(unique, lowest, float((unique * share).sum()))


def _stalls(cell: Cell) -> str:
    """The longest gap, and what it is in their mean."""
    gaps = cell.gaps
    if not gaps.size:
        return ""
    means = cell.ms("first", "last") / np.maximum(cell.tokens - 1, 1)
    return (
        f"The longest gap is {gaps.max():.4g} ms, the largest of their means {means.max():.4g} ms."
    )


TOOL: Tool = GuideLlm()
