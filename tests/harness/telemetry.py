"""Made-up looks at a server, for the tests of what is read from them."""

from __future__ import annotations

from typing import Any

from launchers.telemetry.records import EnginePage, Histogram, Reading
from tests.harness.cells import T0, S


def at(second: float) -> int:
    """A moment, in seconds from the window's start."""
    return T0 + round(second * S)


def reading(second: float, **fields: Any) -> Reading:  # noqa: ANN401 - a reading's fields
    """One look."""
    return Reading(**{"at_ns": at(second), "took_ms": 1.0, **fields})


def page(second: float, **fields: Any) -> EnginePage:  # noqa: ANN401 - a page's fields
    """One page of vLLM's."""
    return EnginePage(**{"at_ns": at(second), "took_ms": 2.0, "engine": "vllm", **fields})


def histogram(*seconds: float, bounds: tuple[float, ...] = (0.05, 0.1, 0.5, 1.0)) -> Histogram:
    """A histogram of these values, in seconds."""
    buckets: list[tuple[float | None, float]] = [
        (bound, float(sum(value <= bound for value in seconds))) for bound in bounds
    ]
    buckets.append((None, float(len(seconds))))
    return Histogram(sum_s=sum(seconds), count=float(len(seconds)), buckets=buckets)
