"""The page of Hugging Face's Text Generation Inference.

Names of its documentation ("Metrics", reference/metrics), all in seconds and tokens. Tokens are
counted by histograms over requests, whose sums are taken. It tells neither the KV cache's use nor
preemptions, no TTFT, and the time per token only as one mean a request, which is no gap.
"""

from __future__ import annotations

from typing import Final

from launchers.telemetry.pages import PageNames

PAGE: Final[PageNames] = PageNames(
    engine="tgi",
    prefix="tgi_",
    numbers={
        "running": ("tgi_batch_current_size",),
        "waiting": ("tgi_queue_size",),
        "prompt_tokens": ("tgi_request_input_length_sum",),
        "generation_tokens": ("tgi_request_generated_tokens_sum",),
        "finished": ("tgi_request_success",),
    },
    histograms={
        "e2e_s": ("tgi_request_duration",),
        "queue_s": ("tgi_request_queue_duration",),
    },
)
