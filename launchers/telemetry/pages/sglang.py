"""SGLang's page, which it has with `--enable-metrics`.

Names of python/sglang/srt/metrics/collector.py. The retracted requests have a counter of either
name in newer versions; older ones have a gauge of the moment, which is not read. Prompt tokens
count what was cached as well, so they are what was looked for in the prefix cache. Prefill and
decode have no histogram of their own.
"""

from __future__ import annotations

from typing import Final

from launchers.telemetry.pages import PageNames

PAGE: Final[PageNames] = PageNames(
    engine="sglang",
    prefix="sglang:",
    numbers={
        "running": ("sglang:num_running_reqs",),
        "waiting": ("sglang:num_queue_reqs",),
        "kv_cache_use": ("sglang:token_usage",),
        "kv_cache_tokens": ("sglang:max_total_num_tokens",),
        "preemptions": (
            "sglang:num_retracted_requests_total",
            "sglang:num_retracted_reqs_total",
        ),
        "prefix_cache_queries": ("sglang:prompt_tokens_total",),
        "prefix_cache_hits": ("sglang:cached_tokens_total",),
        "prompt_tokens": ("sglang:prompt_tokens_total",),
        "generation_tokens": ("sglang:generation_tokens_total",),
        "finished": ("sglang:num_requests_total",),
    },
    histograms={
        "ttft_s": ("sglang:time_to_first_token_seconds",),
        "itl_s": ("sglang:inter_token_latency_seconds",),
        "e2e_s": ("sglang:e2e_request_latency_seconds",),
        "queue_s": ("sglang:queue_time_seconds",),
    },
)
