"""What the mock counts for its metrics page, by vLLM's names: its own truth.

Tokens are counted when an answer ends, regularly or not; times of those that end regularly. As
vLLM has it, a request's time is queue (until it runs), prefill (until its first token) and decode
(until its last), each by the moments at which the tokens left. The gaps between the tokens of an
answer are counted as so many of their mean, so their sum and count are exact and their buckets
are not. Answers that are sent as one document have no moment of a first token.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from launchers.mock.answer import Answer

_BOUNDS_S: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0,
)  # fmt: skip
_LABELS: Final = 'model_name="mock"'
PAGE_LIES: Final[dict[str, tuple[str, float]]] = {
    "tokens": ("counts 1.5 (or :NUMBER) times the output tokens", 1.5),
    "requests": ("counts 1.5 (or :NUMBER) times the requests that ended", 1.5),
    "ttft": ("its times to the first token are 2 (or :NUMBER) times too long", 2.0),
    "hits": ("says that a half (or :SHARE) of the prompt tokens were in the prefix cache", 0.5),
}
"""Name → what the metrics page says that is not so, and the usual number."""


class Times:
    """One histogram."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_BOUNDS_S) + 1)
        self._sum_s = 0.0

    def add(self, ns: float, times: int = 1) -> None:
        """Count a time, or so many of it."""
        seconds = ns / 1e9
        self._counts[bisect_left(_BOUNDS_S, seconds)] += times
        self._sum_s += seconds * times

    def lines(self, name: str) -> Iterator[str]:
        """Its lines of the page."""
        yield f"# TYPE {name} histogram"
        upto = list(accumulate(self._counts))
        for bound, count in zip((*_BOUNDS_S, "+Inf"), upto, strict=True):
            yield f'{name}_bucket{{le="{bound}",{_LABELS}}} {count}'
        yield f"{name}_count{{{_LABELS}}} {upto[-1]}"
        yield f"{name}_sum{{{_LABELS}}} {self._sum_s!r}"


class Counts:
    """Everything counted since the start."""

    def __init__(self, lies: Mapping[str, float]) -> None:
        self._lies = lies
        self._finished: dict[str, int] = {}
        self._prompt_tokens = self._generation_tokens = 0
        self._times = {
            name: Times()
            for name in (
                "time_to_first_token_seconds",
                "inter_token_latency_seconds",
                "e2e_request_latency_seconds",
                "request_queue_time_seconds",
                "request_prefill_time_seconds",
                "request_decode_time_seconds",
            )
        }

    def tokens(self, answer: Answer) -> None:
        """Count the tokens of an answer that is over."""
        self._prompt_tokens += answer.asked.prompt_tokens
        self._generation_tokens += answer.total - answer.left

    def finish(self, answer: Answer) -> None:
        """Count an answer that has ended regularly, and its times."""
        self.tokens(answer)
        self._finished[answer.finish] = self._finished.get(answer.finish, 0) + 1
        if not (sent := answer.sent_ns):
            return
        ttft, itl, e2e, queue, prefill, decode = self._times.values()
        first, last = sent[0], sent[-1]
        e2e.add(last - answer.received_ns)
        queue.add(answer.begun_ns - answer.received_ns)
        if answer.stream:
            ttft.add((first - answer.received_ns) * self._lies.get("ttft", 1.0))
            prefill.add(first - answer.begun_ns)
            decode.add(last - first)
            if gaps := len(sent) - 1:
                itl.add((last - first) / gaps, gaps)

    def page(self, state: Mapping[str, float], kv_tokens: int | None) -> str:
        """Return the page.

        Args:
            state: what the schedule knows, by vLLM's names.
            kv_tokens: how many its KV cache holds; None where it has none.
        """
        numbers = {
            **state,
            "prompt_tokens_total": self._prompt_tokens,
            "generation_tokens_total": self._generation_tokens * self._lies.get("tokens", 1.0),
            "prefix_cache_queries_total": self._prompt_tokens,
            "prefix_cache_hits_total": self._prompt_tokens * self._lies.get("hits", 0.0),
        }
        factor = self._lies.get("requests", 1.0)
        ended = {reason: count * factor for reason, count in self._finished.items()}
        lines = []
        for name, value in numbers.items():
            kind = "counter" if name.endswith("_total") else "gauge"
            lines.append(f"# TYPE vllm:{name} {kind}")
            lines.append(f"vllm:{name}{{{_LABELS}}} {value:.12g}")
        lines.append("# TYPE vllm:request_success_total counter")
        lines += [
            f'vllm:request_success_total{{finished_reason="{reason}",{_LABELS}}} {count:.12g}'
            for reason, count in ended.items()
        ]
        if kv_tokens:
            lines.append("# TYPE vllm:cache_config_info gauge")
            lines.append(f'vllm:cache_config_info{{block_size="1",num_gpu_blocks="{kv_tokens}"}} 1')
        for name, times in self._times.items():
            lines += times.lines(f"vllm:{name}")
        return "\n".join(lines) + "\n"
