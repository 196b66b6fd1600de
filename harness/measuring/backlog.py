"""How much work lay at the server: requests in flight, and whether an open loop's queue grew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from harness.measuring.samples import Samples

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.measuring.samples import Floats
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


def in_flight(samples: Iterable[Sample], start_ns: int, end_ns: int) -> tuple[float, int]:
    """Return mean and peak number of requests between sent and done within a window.

    All samples count, whatever their phase or outcome. One that never ended counts to the end.
    """
    columns = Samples.of(samples)
    sent = np.maximum(columns.column("sent_ns"), start_ns)
    done = np.where(columns.has("done_ns"), columns.column("done_ns"), end_ns)
    some = columns.has("sent_ns") & (sent < done) & (sent < end_ns)
    sent, done = sent[some], np.minimum(done[some], end_ns)
    if not sent.size:
        return 0.0, 0
    # at equal times an end counts before a begin
    times = np.concatenate([done, sent])
    steps = np.concatenate([np.full(done.size, -1), np.full(sent.size, 1)])
    level = np.cumsum(steps[np.argsort(times, kind="stable")])
    return float((done - sent).sum()) / (end_ns - start_ns), int(level.max())


def backlog(samples: Iterable[Sample], start_ns: int, end_ns: int) -> Backlog:
    """Judge whether an open loop's queue grew throughout the window.

    Counted are requests that were due and are neither answered nor refused, sent or not, less
    those that would be there anyway: with n tokens to make, a request needs n times the 10th
    percentile of (done - due) / tokens. That difference, the excess, follows neither bursts nor
    a ramp, but grows when more comes in than goes out. Its slope is the growth. The queue is
    unstable when the slope exceeds 5 % of the offered rate and the excess does not come back:
    its 10th percentile in the window's last third lies above its median in the first third by
    more than 2 % of the arrivals and at least 3 requests. Below 50 arrivals nobody can tell.
    """
    columns = Samples.of(samples)
    due = columns.column("due_ns")
    arrivals = int(((due >= start_ns) & (due < end_ns)).sum())
    if arrivals < _FEW or end_ns <= start_ns:
        return Backlog(growth_rps=0.0, stable=True)
    grid = np.linspace(start_ns, end_ns, _POINTS)
    needed = due.astype(np.float64) + _needed_ns(columns)
    excess = _count(needed, grid) - _count(left_ns(columns), grid)
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


def left_ns(samples: Samples) -> Floats:
    """When each request left the system; infinity if the server never got rid of it."""
    left = samples.has("done_ns") & ~samples.is_in("error", NEVER_LEFT)
    return np.where(left, samples.column("done_ns").astype(np.float64), np.inf)


def _needed_ns(samples: Samples) -> Floats:
    """How long each request would take if it did not wait; 0 where no answer tells."""
    made = np.where(samples.has("output_tokens"), samples.column("output_tokens"), 0)
    tokens = np.maximum(1, np.where(made == 0, samples.column("planned_output_tokens"), made))
    told = samples.is_in("error", {None}) & samples.has("done_ns")
    paces = (samples.column("done_ns") - samples.column("due_ns"))[told] / tokens[told]
    usual = float(np.percentile(paces, _FAST_SHARE)) if paces.size else 0.0
    return tokens.astype(np.float64) * usual


def _count(at: Floats, grid: Floats) -> Floats:
    """How many of `at` lie at or before each point of the grid."""
    return np.searchsorted(np.sort(at), grid, side="right").astype(np.float64)
