"""The server's side of a cell as text: a sentence where something is worth it, rows for tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.measuring.server_rules import KV_FULL
from harness.reports.figures import NOTHING, count, figure, share

if TYPE_CHECKING:
    from harness.measuring.measurement import CellMeasurement
    from harness.measuring.server_stats import Bounds, Counted, TimeShares

Row = list[str]
_WORTH_TELLING: Final = 0.1
"""Of a request's time: spent in a queue, or outside of the engine."""

USE_HEADER = (
    "Memory, GiB", "Running, peak", "Waiting, peak", "KV cache, peak", "Preempted", "Prefix hits",
    "CPU cores", "GPUs", "GPU busy", "Power, W", "J / output token",
)  # fmt: skip
COUNT_HEADER = (
    "Requests by server", "by client", "Prompt tokens by server", "by client",
    "Output tokens by server", "by client",
)  # fmt: skip
TTFT_HEADER = (
    "TTFT mean by server", "by client", "p50 by server", "by client", "p95 by server", "by client",
)  # fmt: skip
TIME_HEADER = ("Mean e2e, ms", "Queue", "Prefill", "Decode", "Rest in engine", "Outside")


def rows_of_use(cell: CellMeasurement) -> list[Row]:
    """The row of how the server was used; none where nobody looked."""
    use = cell.server
    if use.readings is None:
        return []
    return [
        [
            figure(use.memory_peak_gib),
            count(use.running_peak),
            count(use.waiting_peak),
            share(use.kv_cache_peak),
            count(use.preemptions),
            share(use.prefix_cache_hit_rate),
            figure(use.cpu_cores_used),
            count(use.gpus),
            share(use.gpu_utilization_mean),
            figure(use.power_w_mean),
            figure(use.joules_per_output_token),
        ]
    ]


def rows_of_counts(cell: CellMeasurement) -> list[Row]:
    """The row of what both sides counted; none where there is nothing to compare."""
    found = cell.reconciliation
    if found is None or found.problem:
        return []
    counts = (found.requests, found.prompt_tokens, found.output_tokens)
    return [[text for one in counts for text in _counted(one)]]


def rows_of_ttft(cell: CellMeasurement) -> list[Row]:
    """The row of TTFT on both sides in ms; none where the server has no histogram of it."""
    ttft = cell.reconciliation.ttft if cell.reconciliation else None
    if ttft is None:
        return []
    return [
        [
            figure(ttft.server_mean_ms), figure(ttft.client_mean_ms),
            _bounds(ttft.server_p50_ms), figure(ttft.client_p50_ms),
            _bounds(ttft.server_p95_ms), figure(ttft.client_p95_ms),
        ]
    ]  # fmt: skip


def rows_of_time(cell: CellMeasurement) -> list[Row]:
    """The row of where the mean request's time went; none where nobody can tell."""
    time = cell.reconciliation.time if cell.reconciliation else None
    if time is None:
        return []
    shares = (time.queue, time.prefill, time.decode, time.engine_rest, time.outside)
    return [[figure(time.client_e2e_ms), *map(share, shares)]]


def _counted(found: Counted | None) -> tuple[str, str]:
    if found is None:
        return NOTHING, NOTHING
    client = count(found.client)
    if found.client_most > found.client:
        client += f"–{count(found.client_most)}"
    return count(found.server), client


def _bounds(found: Bounds | None) -> str:
    """A bucket: `50–75`, `≤ 50` or `> 640,000`."""
    if found is None:
        return NOTHING
    low, high = found
    if high is None:
        return f"> {figure(low)}"
    return f"{figure(low)}–{figure(high)}" if low else f"≤ {figure(high)}"


def sentence(cell: CellMeasurement) -> str:
    """What of the server is worth a line; empty where all is as it should be."""
    use = cell.server
    time = cell.reconciliation.time if cell.reconciliation else None
    full = (use.kv_cache_peak or 0.0) > KV_FULL
    slow = time is not None and max(time.queue or 0.0, time.outside or 0.0) >= _WORTH_TELLING
    if not (use.preemptions or full or slow):
        return ""
    parts = [
        f"{what} {value}"
        for what, value in (
            ("running up to", count(use.running_peak)),
            ("waiting up to", count(use.waiting_peak)),
            ("KV cache up to", share(use.kv_cache_peak)),
            ("preemptions:", count(use.preemptions or None)),
        )
        if value != NOTHING
    ]
    if time is not None:
        parts.append(f"of a request's time {_spent(time)}")
    return f"server: {', '.join(parts)}."


def _spent(time: TimeShares) -> str:
    parts = (
        ("queue", time.queue),
        ("prefill", time.prefill),
        ("decode", time.decode),
        ("rest in the engine", time.engine_rest),
        ("outside of it", time.outside),
    )
    return " · ".join(f"{what} {share(value)}" for what, value in parts if value is not None)
