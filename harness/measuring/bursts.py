"""What bursts do: how far the backlog rises, how long it takes to go, what stays slow. Pure.

Definitions: docs/method.md, `bursts`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from harness.measuring import stats
from harness.measuring.backlog import left_ns
from harness.measuring.measurement import Burst, Bursts, Stat
from harness.measuring.request import NS_PER_S

if TYPE_CHECKING:
    from harness.measuring.samples import Bools, Floats, Ints, Samples
    from loadprofiles.records import DrivePlan, DriveReport

_POINTS: Final = 20_000
"""Points of the grid that the backlog is read at, at most."""
_STEP_NS: Final = 1_000_000
_SETTLED_NS: Final = 1_000_000_000
"""The backlog must be back for most of so long, or of a quarter of the quiet after the burst."""
_FEW: Final = 10
"""Answers on each side from which before and after are compared."""


def measure_bursts(
    plan: DrivePlan,
    samples: Samples,
    drive: DriveReport,
    values: dict[str, Floats],
    *,
    stable: bool,
) -> Bursts | None:
    """Describe the bursts of an open loop; None where the plan has none within the window.

    Args:
        plan: of the cell.
        samples: all of it.
        drive: of the cell.
        values: `request.columns_of` the answered measured samples.
        stable: whether the queue did not grow throughout; if it did, times have no distribution.
    """
    start, end = drive.window_start_ns, drive.window_end_ns
    spans = [(start + a, min(start + b, end)) for a, b in plan.bursts_ns if start + a < end]
    if not spans or end <= start:
        return None
    grid = np.arange(start, end, max(_STEP_NS, (end - start) // _POINTS), dtype=np.int64)
    level = _backlog(samples, grid)
    quiets = _quiets(spans, start, end)
    before = level[_within(grid, *quiets[0])]
    after_first = quiets[1]
    if not before.size:  # the window began with a burst: what came later has to do
        middle = (after_first[0] + after_first[1]) // 2
        before = level[_within(grid, middle, after_first[1])]
    usual = float(np.median(before)) if before.size else None
    band = float(np.percentile(before, 95)) if before.size else None
    answered = samples.measured.answered
    due = answered.column("due_ns")
    found = []
    settled: Bools = np.zeros(due.size, dtype=np.bool_)
    inside: Bools = np.zeros(due.size, dtype=np.bool_)
    arrived = samples.measured.column("due_ns")
    for (begin, stop), (_, until) in zip(spans, quiets[1:], strict=True):
        recovered = None if band is None else _recovered(grid, level, stop, until, band)
        reach = level[_within(grid, begin, until if recovered is None else recovered + 1)]
        peak = int(reach.max()) if reach.size else 0
        found.append(
            Burst(
                start_s=(begin - start) / NS_PER_S,
                end_s=(stop - start) / NS_PER_S,
                arrivals=int(_within(arrived, begin, stop).sum()),
                peak_backlog=peak,
                beyond_usual=None if usual is None else max(0.0, peak - usual),
                recovery_s=None if recovered is None else (recovered - stop) / NS_PER_S,
                watched_s=(until - stop) / NS_PER_S,
            )
        )
        inside |= _within(due, begin, stop)
        if recovered is not None:
            settled |= _within(due, recovered, until)
    quiet_before = _within(due, *quiets[0])
    return Bursts(
        usual_backlog=usual,
        usual_backlog_p95=band,
        bursts=found,
        ttft_inside_ms=_stat(values["ttft_due_ms"][inside], "inside", stable=stable),
        ttft_between_ms=_stat(values["ttft_due_ms"][~inside], "between", stable=stable),
        stayed={
            name: stats.contrast(
                values[name][settled], values[name][quiet_before], stats.rng_for(f"stayed {name}"),
                least=_FEW, stable=stable or name == "tpot_ms",
            )
            for name in ("ttft_ms", "tpot_ms")
        },
    )  # fmt: skip


def _stat(values: Floats, name: str, *, stable: bool) -> Stat:
    known = values[~np.isnan(values)]
    if not stable:
        return Stat(n=known.size, unstable=True)
    return stats.describe(known, rng=stats.rng_for(f"bursts {name}"))


def _backlog(samples: Samples, grid: Ints) -> Ints:
    """Requests due by each moment and neither answered nor refused then, sent or not."""
    due = np.sort(samples.column("due_ns"))
    left = np.sort(left_ns(samples))
    return np.searchsorted(due, grid, side="right") - np.searchsorted(left, grid, side="right")


def _quiets(spans: list[tuple[int, int]], start: int, end: int) -> list[tuple[int, int]]:
    """The times before, between and after the bursts."""
    edges = [start, *(edge for span in spans for edge in span), end]
    return list(zip(edges[::2], edges[1::2], strict=True))


def _within(times: Ints, start: int, end: int) -> Bools:
    return np.asarray((times >= start) & (times < end))


def _recovered(grid: Ints, level: Ints, stop: int, until: int, band: float) -> int | None:
    """Return the first moment from which the backlog is in the band, for most of a while.

    None if there is none before the next burst, or the end.
    """
    after = np.flatnonzero(_within(grid, stop, until))
    if after.size < 2:  # noqa: PLR2004 - no time to recover in
        return None
    step = int(grid[1] - grid[0])
    width = max(1, min(_SETTLED_NS, (until - stop) // 4) // step)
    calm = level[after] <= band
    counts = np.concatenate([[0], np.cumsum(calm)])
    held = counts[width:] - counts[:-width] > width / 2  # one for each start of a whole while
    ready = np.flatnonzero(held & calm[: held.size])
    return int(grid[after[ready[0]]]) if ready.size else None
