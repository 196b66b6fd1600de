"""What a run's manifest tells of a build's server: sizes of weights, KV cache and context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.evidence.evidence import Evidence
from harness.evidence.figures import figures
from launchers.telemetry.records import GIB

if TYPE_CHECKING:
    from harness.evidence.evidence import LoadRun


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Of one server; None where nobody tells."""

    weights_gib: float | None = None
    kv_cache_gib: float | None = None
    kv_cache_tokens: float | None = None
    """Of all servers of a deployment."""
    kv_bytes_per_token: float | None = None
    kv_window_tokens: int | None = None
    """Of layers with a sliding window."""
    kv_bytes_beyond_window: float = 0.0
    """Of a token further back."""
    kv_block_tokens: int = 1
    max_model_len: float | None = None


def facts_of(run: LoadRun, build: str) -> Facts:
    """Read them from a run's manifest."""
    found = {
        one.metric: one.value
        for one in figures(
            Evidence(load=[run], quality=[]), metrics=("weights_gib", "kv_cache_gib")
        )
        if one.build == build
    }
    servers = run.manifest.get("servers")
    server: Any = servers.get(build) if isinstance(servers, dict) else None
    server = server if isinstance(server, dict) else {}
    told = server.get("reported")
    reported: dict[str, Any] = told if isinstance(told, dict) else {}

    def number(name: str) -> float | None:
        value = server.get(name) or reported.get(name)
        return float(value) if isinstance(value, int | float) and value > 0 else None

    gib, tokens = found.get("kv_cache_gib"), number("kv_cache_tokens")
    a_token = number("kv_bytes_per_token")
    if a_token is None and gib and tokens:
        a_token = gib * GIB / tokens
    return Facts(
        weights_gib=found.get("weights_gib"),
        kv_cache_gib=gib,
        kv_cache_tokens=tokens,
        kv_bytes_per_token=a_token,
        kv_window_tokens=int(window) if (window := number("kv_window_tokens")) else None,
        kv_bytes_beyond_window=number("kv_bytes_beyond_window") or 0.0,
        kv_block_tokens=int(number("kv_block_tokens") or 1),
        max_model_len=number("max_model_len"),
    )
