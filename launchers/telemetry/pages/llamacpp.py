"""The page of llama.cpp's server, which it has with `--metrics`.

Names of tools/server/README.md. Prompt tokens are those that were computed, without cached ones.
Versions since 2025 have no gauge of the KV cache any more. There are no histograms: the time spent
on prompts and on tokens is a counter each.
"""

from __future__ import annotations

from typing import Final

from launchers.telemetry.pages import PageNames

PAGE: Final[PageNames] = PageNames(
    engine="llama.cpp",
    prefix="llamacpp:",
    numbers={
        "running": ("llamacpp:requests_processing",),
        "waiting": ("llamacpp:requests_deferred",),
        "kv_cache_use": ("llamacpp:kv_cache_usage_ratio",),
        "prompt_tokens": ("llamacpp:prompt_tokens_total",),
        "generation_tokens": ("llamacpp:tokens_predicted_total",),
        "prefill_s": ("llamacpp:prompt_seconds_total",),
        "decode_s": ("llamacpp:tokens_predicted_seconds_total",),
    },
)
