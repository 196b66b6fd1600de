"""How much work lay at the server: requests in flight, and whether an open loop's queue grew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loadprofiles.records import Sample

NEVER_LEFT: Final = frozenset({"dropped", "timeout", "aborted"})
"""Errors after which a request still counts as waiting: the server did not get rid of it."""
GROWTH_SHARE: Final = 0.05
"""Growth, as a share of the offered rate, up to which a queue counts as steady."""
RISE_SHARE: Final = 0.02
"""Rise of the backlog's floor, as a share of the arrivals, up to which it counts as noise."""
RISE_REQUESTS: Final = 3
"""The same in requests."""

_FAST_SHARE = 10  # percentile of time per token taken as that of a request that did not wait
_POINTS = 301
_FEW = 10
_TELLING = 50
"""Arrivals from which a queue that grows can be told from chance."""


@dataclass(frozen=True)
class Backlog:
    """Result of `backlog`."""

    growth_rps: float
    """Slope, over the window, of the requests that wait longer than they need: requests/s."""
    stable: bool


def in_flight(samples: Sequence[Sample], start_ns: int, end_ns: int) -> tuple[float, int]:
    """Return mean and peak number of requests between sent and done within a window.

    All samples count, whatever their phase or outcome. One that never ended counts to the end.
    """
    spans = [
        (max(sample.sent_ns, start_ns), end_ns if sample.done_ns is None else sample.done_ns)
        for sample in samples
        if sample.sent_ns is not None
    ]
    spans = [(sent, min(done, end_ns)) for sent, done in spans if sent < done and sent < end_ns]
    spans = [(sent, done) for sent, done in spans if sent < done]
    if not spans:
        return 0.0, 0
    sent, done = np.array(spans, dtype=np.int64).T
    # at equal times an end counts before a begin
    times = np.concatenate([done, sent])
    steps = np.concatenate([np.full(done.size, -1), np.full(sent.size, 1)])
    level = np.cumsum(steps[np.argsort(times, kind="stable")])
    return float((done - sent).sum()) / (end_ns - start_ns), int(level.max())


def backlog(samples: Sequence[Sample], start_ns: int, end_ns: int) -> Backlog:
    """Judge whether an open loop's queue grew throughout the window.

    Counted are requests that were due and are neither answered nor refused, sent or not, less
    those that would be there anyway: with n tokens to make, a request needs n times the 10th
    percentile of (done - due) / tokens. That difference, the excess, follows neither bursts nor
    a ramp, but grows when more comes in than goes out. Its slope is the growth. The queue is
    unstable when the slope exceeds 5 % of the offered rate and the excess does not come back:
    its 10th percentile in the window's last third lies above its median in the first third by
    more than 2 % of the arrivals and at least 3 requests. Below 50 arrivals nobody can tell.
    """
    arrivals = sum(start_ns <= sample.due_ns < end_ns for sample in samples)
    if arrivals < _FEW or end_ns <= start_ns:
        return Backlog(growth_rps=0.0, stable=True)
    grid = np.linspace(start_ns, end_ns, _POINTS)
    due = np.array([sample.due_ns for sample in samples], dtype=np.float64)
    left = np.array([_left_ns(sample) for sample in samples], dtype=np.float64)
    needed = due + _needed_ns(samples)
    excess = _count(needed, grid) - _count(left, grid)
    window_s = (end_ns - start_ns) / 1e9
    growth = float(np.polyfit(np.linspace(0.0, window_s, _POINTS), excess, 1)[0])
    third = _POINTS // 3
    rise = float(np.percentile(excess[-third:], 10) - np.median(excess[:third]))
    unstable = (
        arrivals >= _TELLING
        and growth > GROWTH_SHARE * arrivals / window_s
        and rise >= RISE_REQUESTS
        and rise > RISE_SHARE * arrivals
    )
    return Backlog(growth_rps=growth, stable=not unstable)


def _left_ns(sample: Sample) -> float:
    """When a request left the system; infinity if the server never got rid of it."""
    if sample.error in NEVER_LEFT or sample.done_ns is None:
        return float("inf")
    return float(sample.done_ns)


def _tokens(sample: Sample) -> int:
    return max(1, sample.output_tokens or sample.planned_output_tokens)


def _needed_ns(samples: Sequence[Sample]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """How long each request would take if it did not wait; 0 where no answer tells."""
    tokens = np.array([_tokens(sample) for sample in samples], dtype=np.float64)
    paces = [
        (sample.done_ns - sample.due_ns) / _tokens(sample)
        for sample in samples
        if sample.error is None and sample.done_ns is not None
    ]
    return tokens * (np.percentile(paces, _FAST_SHARE) if paces else 0.0)


def _count(
    at: np.ndarray[tuple[int], np.dtype[np.float64]],
    grid: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """How many of `at` lie at or before each point of the grid."""
    return np.searchsorted(np.sort(at), grid, side="right").astype(np.float64)
