"""What `measurements.json` says of the server's side of a cell, and how it fits the client's."""

from __future__ import annotations

from typing import Literal

import msgspec

Bounds = tuple[float, float | None]
"""Of a percentile that a histogram tells: above the first and at most the second; None: no end."""


class ServerUse(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of the server in the measured window; None where unknown."""

    memory_peak_gib: float | None = None
    memory_kind: Literal["vram", "rss"] | None = None
    kv_cache_tokens: int | None = None
    kv_cache_peak: float | None = None
    """Share of the KV cache, 0 to 1."""
    running_peak: int | None = None
    """Requests in the batch."""
    waiting_peak: int | None = None
    """Requests in the engine's queue."""
    preemptions: int | None = None
    prefix_cache_hit_rate: float | None = None
    """Prompt tokens found in the prefix cache / those looked for, without the warm-up's."""
    prompt_tokens: int | None = None
    """Of the whole cell, warm-up and what came after the window included."""
    generation_tokens: int | None = None
    """Of the whole cell, as `prompt_tokens`."""
    power_w_mean: float | None = None
    """Of the server's GPUs together."""
    energy_j: float | None = None
    """`power_w_mean` × the window."""
    joules_per_output_token: float | None = None
    gpus: int | None = None
    """On which the server's processes were; None where there was none, or nobody can tell."""
    gpu_utilization_mean: float | None = None
    """Mean share of the time in which a kernel ran on them, 0 to 1."""
    cpu_cores_used: float | None = None
    """CPU time of the server's process tree / time."""
    readings: int | None = None
    """How often the server was looked at within the window; None where it was not at all."""


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """One number as the server counted it and as the client did, over the whole cell."""

    server: int
    client: int
    """Of the requests that were answered, and of the others what was seen of them."""
    client_most: int
    """And all that the server may have done for those others."""
    off: float
    """How far the server's count lies outside of these two, as a share of the nearer one;
    negative: below."""


class TtftCompared(msgspec.Struct, frozen=True, kw_only=True):
    """TTFT as the engine's histogram has it and as the client saw it, over the whole cell."""

    server_n: int
    client_n: int
    server_mean_ms: float
    client_mean_ms: float
    difference_ms: float
    """Client's − server's mean: the way there and back, HTTP, and a first token without text."""
    client_p50_ms: float | None = None
    client_p95_ms: float | None = None
    server_p50_ms: Bounds | None = None
    server_p95_ms: Bounds | None = None


class TimeShares(msgspec.Struct, frozen=True, kw_only=True):
    """Where the mean request's time went, in shares of the client's mean; None where unknown."""

    client_e2e_ms: float
    """Mean of last text − sent, over the requests that are in the engine's means."""
    server_e2e_ms: float | None = None
    queue: float | None = None
    prefill: float | None = None
    decode: float | None = None
    engine_rest: float | None = None
    """What the engine's own e2e has beyond these three."""
    outside: float | None = None
    """What the client's e2e has beyond the engine's: network, HTTP, gateways, the client."""


class Reconciliation(msgspec.Struct, frozen=True, kw_only=True):
    """The engine's metrics page against the samples: from its first page to its last one."""

    engine: str
    problem: str = ""
    """Why nothing is compared; empty where it is."""
    requests: Counted | None = None
    requests_by: Literal["finished", "first tokens"] | None = None
    """What the server's count is of: requests that ended regularly, or first tokens."""
    prompt_tokens: Counted | None = None
    output_tokens: Counted | None = None
    ttft: TtftCompared | None = None
    time: TimeShares | None = None
