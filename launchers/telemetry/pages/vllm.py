"""vLLM's page.

Names of vLLM 0.32 (vllm/v1/metrics/loggers.py), then those of before: its engine V0
(vllm/engine/metrics.py, until 0.10) had `gpu_` in the cache's names and called the time between
tokens `time_per_output_token_seconds`. V0's prefix cache had a rate only, which is no counter.
"""

from __future__ import annotations

from typing import Final

from launchers.telemetry.pages import PageNames

PAGE: Final[PageNames] = PageNames(
    engine="vllm",
    prefix="vllm:",
    numbers={
        "running": ("vllm:num_requests_running",),
        "waiting": ("vllm:num_requests_waiting",),
        "kv_cache_use": ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
        "preemptions": ("vllm:num_preemptions_total",),
        "prefix_cache_queries": (
            "vllm:prefix_cache_queries_total",
            "vllm:gpu_prefix_cache_queries_total",
        ),
        "prefix_cache_hits": (
            "vllm:prefix_cache_hits_total",
            "vllm:gpu_prefix_cache_hits_total",
        ),
        "prompt_tokens": ("vllm:prompt_tokens_total",),
        "generation_tokens": ("vllm:generation_tokens_total",),
        "finished": ("vllm:request_success_total",),
    },
    histograms={
        "ttft_s": ("vllm:time_to_first_token_seconds",),
        "itl_s": ("vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds"),
        "e2e_s": ("vllm:e2e_request_latency_seconds",),
        "queue_s": ("vllm:request_queue_time_seconds",),
        "prefill_s": ("vllm:request_prefill_time_seconds",),
        "decode_s": ("vllm:request_decode_time_seconds",),
    },
)
