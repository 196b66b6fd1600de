"""A measured cell done again by the simulator, and what both say of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from harness.measuring import stats
from harness.simulating.drive import by_schedule, closed_loop
from harness.simulating.replica import Replica, Work
from harness.simulating.spread import Spread

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from harness.simulating.engine import Engine
    from harness.simulating.observed import Observed

    Floats = npt.NDArray[np.float64]
    Bools = npt.NDArray[np.bool_]

METRICS: Final = (
    "ttft_p50_ms", "ttft_p95_ms", "e2e_p50_ms", "e2e_p95_ms", "aggregate_tps",
    "itl_p50_ms", "itl_p95_ms",
)  # fmt: skip
_TOKEN_A_CHUNK: Final = 1.05
"""Tokens per chunk above which gaps between chunks are not those between tokens."""
_AGAIN: Final = 8
"""A simulated closed loop may get so many times as far as the measured one did."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What a level came to."""

    ttft_p50_ms: float
    """First token - sent, as the p95."""
    ttft_p95_ms: float
    e2e_p50_ms: float
    """Last token - due, as the p95."""
    e2e_p95_ms: float
    aggregate_tps: float
    """Tokens per second in the window."""
    itl_p50_ms: float
    """Gap between tokens; NaN where chunks hold several. Not fitted, only checked."""
    itl_p95_ms: float


def measured(cell: Observed) -> Figures:
    """Return what was measured."""
    inside = (cell.chunk_s >= 0) & (cell.chunk_s < cell.window_s)
    each = np.repeat(cell.outputs / cell.chunks, cell.chunks)
    return _figures(
        (cell.first_s - cell.sent_s)[cell.measured],
        (cell.last_s - cell.due_s)[cell.measured],
        float(each[inside].sum()) / cell.window_s,
        _gaps(cell),
    )


def _gaps(cell: Observed) -> Spread:
    """Describe the gaps, of any request, that ended in the window, in s."""
    if cell.outputs.sum() > _TOKEN_A_CHUNK * cell.chunks.sum():
        return Spread()
    owner = np.repeat(np.arange(cell.chunks.size), cell.chunks)
    ends = cell.chunk_s[1:]
    within = (owner[1:] == owner[:-1]) & (ends >= 0) & (ends < cell.window_s)
    return Spread.of(np.diff(cell.chunk_s)[within])


def _simulated_gaps(work: Work) -> Spread:
    return Spread.weighted(
        np.frombuffer(work.gap_s, dtype=np.float64),
        np.frombuffer(work.gap_weight, dtype=np.int64),
    )


def rehearsed(cell: Observed, engine: Engine) -> Figures:
    """Simulate the same requests: in open loop at the same moments, else by as many streams."""
    return _scheduled(cell, engine) if cell.streams is None else _by_turns(cell, engine)


def _scheduled(cell: Observed, engine: Engine) -> Figures:
    start = float(cell.sent_s[0])
    work = Work(cell.prompts.tolist(), cell.outputs.tolist(), (-start, cell.window_s - start))
    by_schedule(cell.sent_s - start, [Replica(engine, work)])
    first, last = np.array(work.first_s) + start, np.array(work.last_s) + start
    kept = cell.measured
    return _figures(
        (first - cell.sent_s)[kept],
        (last - cell.due_s)[kept],
        tokens_per_second(first, last, cell.outputs, 0.0, cell.window_s),
        _simulated_gaps(work),
    )


def _by_turns(cell: Observed, engine: Engine) -> Figures:
    """Rehearse a closed loop as it was driven.

    Each stream finishes one request first; then the window opens; after it the streams go on until
    the last request of the window has ended, so that its load is that of the others.
    """
    assert cell.streams is not None  # noqa: S101 - a closed loop
    prompts, outputs = np.tile(cell.prompts, _AGAIN), np.tile(cell.outputs, _AGAIN)
    before = float(-cell.sent_s[0])
    end = before + cell.window_s
    work = Work(prompts.tolist(), outputs.tolist(), (before, end))
    longest = float((cell.last_s - cell.sent_s).max())
    sent = closed_loop(Replica(engine, work), cell.streams, end + 2 * longest)
    first, last = np.array(work.first_s), np.array(work.last_s)
    kept = (sent >= before) & (sent < end) & np.isfinite(last)
    return _figures(
        (first - sent)[kept],
        (last - sent)[kept],
        tokens_per_second(first, last, outputs, before, end),
        _simulated_gaps(work),
    )


def _figures(ttft_s: Floats, e2e_s: Floats, rate: float, gaps_s: Spread) -> Figures:
    ttft, e2e = np.sort(ttft_s) * 1000, np.sort(e2e_s) * 1000
    return Figures(
        ttft_p50_ms=_percentile(ttft, 0.5),
        ttft_p95_ms=_percentile(ttft, 0.95),
        e2e_p50_ms=_percentile(e2e, 0.5),
        e2e_p95_ms=_percentile(e2e, 0.95),
        aggregate_tps=rate,
        itl_p50_ms=math.nan if gaps_s.p50 is None else gaps_s.p50 * 1000,
        itl_p95_ms=math.nan if gaps_s.p95 is None else gaps_s.p95 * 1000,
    )


def _percentile(ordered: Floats, share: float) -> float:
    found = stats.percentile(ordered, share) if ordered.size else None
    return float("nan") if found is None else found


def tokens_per_second(
    first: Floats, last: Floats, outputs: Iterable[int], start: float, end: float
) -> float:
    """Tokens/s of [start, end) in s: the first of each answer, the others evenly up to its last.

    An answer without a last token (not finite) has none.
    """
    tokens = np.asarray(outputs, dtype=np.float64)
    some = np.isfinite(last)
    first, last, tokens = first[some], last[some], tokens[some]
    inside = np.clip(last, start, end) - np.clip(first, start, end)
    spread = (tokens - 1) * inside / np.maximum(last - first, 1e-12)
    firsts = (first >= start) & (first < end)
    return float(spread.sum() + firsts.sum()) / (end - start)
