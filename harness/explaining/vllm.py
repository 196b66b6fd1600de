"""`vllm bench serve` of vLLM 0.32.0, backends `openai` and `openai-chat`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from harness.explaining.explanation import Metric
from harness.explaining.requests import linear, per_second
from harness.measuring.request import NS_PER_S
from harness.measuring.slo import VLLM_NAMES, parse_slo
from harness.measuring.tokens import chunk_stamps

if TYPE_CHECKING:
    from harness.explaining import Tool
    from harness.explaining.requests import Cell
    from harness.measuring.samples import Floats, Ints

_TTFT: Final = (
    "First event with a choice − the moment before aiohttp is called. Theirs begins before "
    "connecting and counts an event without text (a role, a special token) as the first token; "
    "ours begins when the request's first byte is sent and waits for text. In an open loop our "
    "headline is TTFT from due, which theirs is not."
)
_TPOT: Final = (
    "(latency − TTFT) / (output tokens − 1), a value an answer of two tokens or more. Ours divides "
    "by the tokens after the first chunk, which is the same where a chunk is a token."
)
_ITL: Final = (
    "Gaps between successive events with a choice, pooled. Theirs has a gap for events without "
    "text, too; ours has none. Both are gaps between chunks, not tokens."
)
_E2EL: Final = (
    "Last event with a choice − the moment before aiohttp is called; the usage event does not "
    "count. Ours ends with the last text and begins when the request was due."
)
_RATE: Final = (
    "Answered requests / the whole duration, from the first task (in an open loop the "
    "schedule's begin) until the last one's end, failed or not. Ours counts "
    "answers that ended in the measured window, warm-up and stragglers too, so that ramp-up and "
    "drain do not lower it."
)
_TOKENS: Final = (
    "All output tokens of answered requests / the whole duration. Ours takes the tokens whose own "
    "stamps fall in the window / its length: theirs is lower the longer ramp-up and drain are."
)
_PEAK: Final = (
    "The most events with a choice in any second from the first start: chunks, not tokens, if a "
    "chunk holds several."
)
_CONCURRENT: Final = (
    "The most answered requests that touch one second from the first start, whether together or "
    "one after the other: up to twice the true number, or more for short answers. Ours is the most "
    "that were in flight at one moment."
)


class Vllm:
    """One asyncio loop; a value an answered request; numpy's linear percentiles."""

    title = "vllm bench serve 0.32.0"
    sources = (
        "vllm/benchmarks/serve.py: calculate_metrics, benchmark",
        (
            "vllm/benchmarks/lib/endpoint_request_func.py: async_request_openai_completions, "
            "async_request_openai_chat_completions"
        ),
    )
    general = (
        (
            "Percentiles are over answered requests alone, linear between neighbours, at any "
            "number of "
            "values; by default it prints mean, median and p99. Ours are linear, too, but left out "
            "below 1 / (1 − q) values."
        ),
        (
            "It stamps in Python, after the event loop has come to the socket and earlier events "
            "of "
            "the same read were parsed; ours are the kernel's. How late its loop would have been "
            "cannot be told."
        ),
    )

    def metrics(self, cell: Cell) -> list[Metric]:
        """Its result file's metrics."""
        ttft, latency = cell.ms("submitted", "first"), cell.ms("submitted", "end")
        several = cell.tokens > 1
        tpot = (latency - ttft)[several] / (cell.tokens[several] - 1)
        duration = cell.duration_s
        output, prompt = int(cell.tokens.sum()), int(cell.prompt_tokens.sum())
        extra, hidden = _silent(cell)
        recount = "" if cell.counted.all() else _RECOUNT
        found = [
            Metric(
                name="ttft_ms", unit="ms", ours="ttft_ms", theirs=linear(ttft),
                values=cell.our("ttft_ms"), why=_TTFT, here=cell.before_sent(),
                unknown="When a role event or one without text came first is not in the samples.",
            ),
            Metric(
                name="tpot_ms", unit="ms", ours="tpot_ms", theirs=linear(tpot),
                values=cell.our("tpot_ms"), why=_TPOT, here=_bundled(cell), unknown=recount,
            ),
            Metric(
                name="itl_ms", unit="ms", ours="itl_ms", theirs=linear(gaps_ms(cell)),
                values=cell.our("itl_ms"), why=_ITL, here=extra, unknown=hidden,
            ),
            Metric(
                name="e2el_ms", unit="ms", ours="e2e_ms", theirs=linear(latency),
                values=cell.our("e2e_ms"), why=_E2EL,
                here=f"From due until it was taken up: {cell.mean_ms('due', 'submitted')} ms.",
            ),
            Metric(
                name="request_throughput", unit="req/s", ours="request_rate",
                theirs=per_second(len(cell.answered), duration),
                values=cell.our("request_rate"), why=_RATE, here=_length(cell, duration),
            ),
            Metric(
                name="output_throughput", unit="tok/s", ours="aggregate_tps",
                theirs=per_second(output, duration), values=cell.our("aggregate_tps"),
                why=_TOKENS, here=_length(cell, duration), unknown=recount,
            ),
            Metric(
                name="total_token_throughput", unit="tok/s", ours=None,
                theirs=per_second(output + prompt, duration),
                why="Prompt and output tokens / the whole duration. We keep the two apart.",
                unknown="" if prompt else "The server did not count the prompts.",
            ),
            Metric(
                name="max_output_tokens_per_s", unit="tok/s", ours=None,
                theirs={"value": peak_events(cell)}, why=_PEAK,
            ),
            Metric(
                name="max_concurrent_requests", unit="", ours=None,
                theirs={"value": peak_requests(cell)},
                values={"value": float(cell.measurement.in_flight_peak)}, why=_CONCURRENT,
            ),
        ]  # fmt: skip
        good = goodput(cell)
        if good is not None:
            why = (
                "Answers within its limits (it knows ttft, tpot and e2el) / the whole duration. "
                "Ours: those due, / the window."
            )
            unknown = _unknown_to_it(cell)
            if unknown:
                why += f" It does not know {unknown}, which ours holds answers to as well."
            found.append(
                Metric(
                    name="request_goodput", unit="req/s", ours="goodput", why=why,
                    theirs=per_second(good, duration), values=cell.our("goodput"),
                )
            )  # fmt: skip
        return found


_RECOUNT: Final = (
    "Where the server did not count, it counts the text's tokens with its own tokenizer; here the "
    "chunks stand in."
)


def gaps_ms(cell: Cell) -> Floats:
    """Its ITLs, pooled: ours, and the gap from the last text to a later event with a choice."""
    tail = cell.ms("last", "end")
    return np.concatenate([cell.gaps, tail[tail > 0]])


def _silent(cell: Cell) -> tuple[str, str]:
    tail = cell.ms("last", "end") > 0
    silent = cell.answered.column("silent_chunks")
    hidden = int((silent - tail).clip(min=0).sum())
    here = f"{int(tail.sum())} gaps end with an event without text." if tail.any() else ""
    told = (
        f"{hidden} events without text came between others; when is not in the samples, so their "
        "gaps are whole here and would be cut in two there."
    )
    return here, told if hidden else ""


def _bundled(cell: Cell) -> str:
    ratio = cell.measurement.tokens_per_chunk
    told = [] if ratio is None else [f"Tokens per chunk: {ratio:.3g}."]
    at_once = int(((cell.ms("first", "last") == 0) & (cell.tokens > 1)).sum())
    if at_once:
        told.append(f"Answers whose text came at one moment, which ours leaves out: {at_once}.")
    return " ".join(told)


def _length(cell: Cell, duration: float) -> str:
    return f"Theirs over {duration:.4g} s, ours over a window of {cell.measurement.window_s:.4g} s."


def _seconds(cell: Cell, times_ns: Ints) -> Ints:
    """Which second from the first start each stamp falls in."""
    return np.asarray((times_ns - cell.at("submitted").min()) // int(NS_PER_S), dtype=np.int64)


def peak_events(cell: Cell) -> float | None:
    """The most events with a choice in one second."""
    if not len(cell.answered):
        return None
    stamps, _ = chunk_stamps(cell.answered)
    stamps = np.concatenate([stamps, cell.at("end")[cell.ms("last", "end") > 0]])
    return float(np.unique(_seconds(cell, stamps), return_counts=True)[1].max())


def peak_requests(cell: Cell) -> float | None:
    """The most answered requests that touch one second."""
    if not len(cell.answered):
        return None
    begin, end = _seconds(cell, cell.at("submitted")), _seconds(cell, cell.at("end"))
    second = np.concatenate([begin, end + 1])
    change = np.repeat([1, -1], begin.size)
    order = np.lexsort((change, second))  # those that left the second before go first
    return float(np.cumsum(change[order]).max())


def _unknown_to_it(cell: Cell) -> str:
    """List the limits that its `--goodput` has no name for."""
    limits = parse_slo(cell.slo, recorded=True).limits if cell.slo else ()
    return ", ".join(
        limit.text
        for limit in limits
        if limit.per_request and limit.metric not in VLLM_NAMES.values()
    )


def goodput(cell: Cell) -> int | None:
    """How many answers are within the limits that its `--goodput` knows; None without such."""
    limits = {
        limit.metric: limit.value
        for limit in (parse_slo(cell.slo, recorded=True).limits if cell.slo else ())
        if limit.metric in VLLM_NAMES.values()
    }
    if not limits:
        return None
    ttft, latency = cell.ms("submitted", "first"), cell.ms("submitted", "end")
    after = np.maximum(cell.tokens - 1, 1)
    tpot = np.where(cell.tokens > 1, (latency - ttft) / after, 0.0)
    values = {"ttft_ms": ttft, "tpot_ms": tpot, "e2e_ms": latency}
    good = np.ones(ttft.size, dtype=np.bool_)
    for metric, value in limits.items():
        good &= values[metric] <= value
    return int(good.sum())


TOOL: Tool = Vllm()
