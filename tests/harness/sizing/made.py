"""Supplies, demands and cells with numbers of our choice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from harness.measuring.measurement import CellMeasurement, EndpointUse, Stat
from harness.sizing.record import Supply
from loadprofiles.traffic.traces import Trace
from tests.harness.evidence.runs import a_cell

if TYPE_CHECKING:
    from collections.abc import Sequence


def supply(build: str = "awq", rate: float | None = 10.0, **changes: Any) -> Supply:  # noqa: ANN401
    """One server that holds 10 requests/s of 100 + 50 tokens."""
    fields: dict[str, Any] = {
        "build": build, "engine": "vllm", "model": "demo", "basis": "search", "rate": rate,
        "prompt_tokens": 100.0, "output_tokens": 50.0, "served_rate": 10.0,
        "in_flight": 6.0, "in_flight_peak": 16.0,
    }  # fmt: skip
    return Supply(**(fields | changes))


def trace(times_s: Sequence[float], prompt: int = 100, output: int = 50) -> Trace:
    """Requests at these times, all of one length."""
    count = len(times_s)
    return Trace(
        times_s=np.asarray(times_s, dtype=np.float64),
        prompt_tokens=np.full(count, prompt, dtype=np.int64),
        output_tokens=np.full(count, output, dtype=np.int64),
        blocks=None,
        unsorted=0,
    )


def opened(
    rate: float,
    ttft_p95_ms: float,
    *,
    build: str = "awq",
    repeat: int = 1,
    servers: int = 1,
    **changes: Any,  # noqa: ANN401 - a cell's fields
) -> CellMeasurement:
    """An open-loop cell in which the p95 of TTFT from due is as wished."""
    base = a_cell(build)
    stat = Stat(mean=ttft_p95_ms, p50=ttft_p95_ms, p95=ttft_p95_ms, n=400)
    metrics = msgspec.structs.replace(base.metrics, ttft_due_ms=stat, request_rate=min(rate, 12.0))
    sides = [
        EndpointUse(address=f"h{n}:1", sent=9, failed=0, errors={}, ttft_ms=stat)
        for n in range(servers)
    ]
    fields: dict[str, Any] = {
        "id": f"{build}-steady-r{rate:g}-{repeat}", "profile": "steady", "repeat": repeat,
        "level": {"rate": rate}, "metrics": metrics, "stable": True,
        "metrics_with_failures": {"ttft_due_ms": stat}, "endpoints": sides if servers > 1 else [],
    }  # fmt: skip
    return msgspec.structs.replace(base, **(fields | changes))
