"""genai-bench 0.0.5 (SGLang project): Locust users with `requests`, chat only, closed loop only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.explaining.explanation import Metric
from harness.explaining.requests import linear, per_second

if TYPE_CHECKING:
    from harness.explaining import Tool
    from harness.explaining.requests import Cell

_TTFT: Final = (
    "First chunk with content or reasoning − the moment before requests.post, which opens a new "
    "connection for every request. Ours keeps connections and begins at the request's first byte."
)
_E2E: Final = (
    "The moment after the usage chunk was read − the moment before requests.post. Ours ends with "
    "the last text and begins when the request was due."
)
_TPOT: Final = (
    "(e2e − TTFT) / (output tokens − 1): the wait for the usage chunk is in it. Left out, with "
    "the speed, where e2e − TTFT is below 1 ms. Ours ends with the last token."
)
_SPEED: Final = (
    "1 / its TPOT, a value a request: our decode speed. Its p95 is the fast side, ours the slow "
    "one: 95 % of the requests were at least this fast."
)
_INPUT: Final = "Prompt tokens / TTFT, a value a request. We have no such number: it is no prefill."
_OUTPUT: Final = (
    "Output tokens / run_duration, from the spawn of the first user to the runner's stop. Ours "
    "takes the tokens whose own stamps fall in the window / its length."
)
_RATE: Final = "Completed requests / run_duration. Ours: answers that ended in the window."
_ENDED: Final = (
    "When the usage chunk came is not in the samples: the end of the response stands in, a little "
    "later or the same."
)
_DURATION: Final = (
    "run_duration also holds the spawning, up to 1 s of waiting (it looks once a second) and the "
    "stop; requests in flight then are lost. This takes first start to last end."
)


class GenAiBench:
    """Locust greenlets; one stamp a line; numpy's linear percentiles."""

    title = "genai-bench 0.0.5"
    sources = (
        "genai_bench/user/openai_user.py: send_request, parse_chat_response",
        "genai_bench/metrics/request_metrics_collector.py",
        "genai_bench/metrics/aggregated_metrics_collector.py",
        "genai_bench/cli/utils.py: manage_run_time",
    )
    general = (
        (
            "Percentiles (25, 50, 75, 90, 95, 99) are over requests without an error, linear "
            "between "
            "neighbours, at any number of values. Ours are left out below 1 / (1 − q) values."
        ),
        (
            "It stamps lines in Python in greenlets that share one thread with the making and "
            "tokenizing of prompts; that delay, and the new connections', cannot be told."
        ),
        (
            "error_rate is divided before num_requests is counted, so this version reports 0 "
            "whatever "
            "failed."
        ),
    )

    def metrics(self, cell: Cell) -> list[Metric]:
        """Its aggregated metrics."""
        tokens = cell.tokens
        ttft, e2e = cell.ms("submitted", "first"), cell.ms("submitted", "done")
        output = e2e - ttft
        kept = (tokens > 1) & (output >= 1)
        tpot = output[kept] / (tokens[kept] - 1)
        seconds = cell.duration_s
        prompts = cell.prompt_tokens
        fed = (prompts > 0) & (ttft > 0)
        left_out = int((~kept).sum())
        return [
            Metric(
                name="ttft", unit="ms", ours="ttft_ms", theirs=linear(ttft),
                values=cell.our("ttft_ms"), why=_TTFT, here=cell.before_sent(),
                unknown="The connection that it opens for each request is not in these samples.",
            ),
            Metric(
                name="tpot", unit="ms", ours="tpot_ms", theirs=linear(tpot),
                values=cell.our("tpot_ms"), why=_TPOT, unknown=_ENDED,
                here=f"{left_out} answers have none." if left_out else "",
            ),
            Metric(
                name="e2e_latency", unit="ms", ours="e2e_ms", theirs=linear(e2e),
                values=cell.our("e2e_ms"), why=_E2E, unknown=_ENDED,
                here=f"From last text to end of response: {cell.mean_ms('last', 'done')} ms.",
            ),
            Metric(
                name="output_inference_speed", unit="tok/s", ours="decode_tps",
                theirs=linear(1000 / tpot), values=cell.our("decode_tps"),
                why=_SPEED, unknown=_ENDED,
            ),
            Metric(
                name="input_throughput", unit="tok/s", ours=None,
                theirs=linear(1000 * prompts[fed] / ttft[fed]),
                why=_INPUT,
                unknown="" if prompts.any() else "The server did not count the prompts.",
            ),
            Metric(
                name="mean_output_throughput_tokens_per_s", unit="tok/s", ours="aggregate_tps",
                theirs=per_second(int(tokens.sum()), seconds), values=cell.our("aggregate_tps"),
                why=_OUTPUT, unknown=_DURATION,
            ),
            Metric(
                name="requests_per_second", unit="req/s", ours="request_rate",
                theirs=per_second(len(cell.answered), seconds), values=cell.our("request_rate"),
                why=_RATE, unknown=_DURATION,
            ),
        ]  # fmt: skip


TOOL: Tool = GenAiBench()
