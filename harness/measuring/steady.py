"""From when to when a cell was in steady state, found by a test. Pure.

MSER-5 (K. P. White, An effective truncation heuristic for bias reduction in simulation output,
Simulation 69 (1997) 323-334; in batches of five since White, Cobb & Spratt, Proc. Winter
Simulation Conference (2000) 755-760): of the means of batches of five, leave out as many at the
front as make the standard error of the rest's mean least. A cut stands only if what it removes
differs from what it keeps (Mann & Whitney 1947, p < 1 %). Definitions: docs/method.md, `steady`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from harness.measuring import stats
from harness.measuring.arrivals import arrival_of
from harness.measuring.measurement import Stat, Steady, SteadyPart
from harness.measuring.ranks import mann_whitney
from harness.measuring.request import NS_PER_MS, NS_PER_S
from harness.measuring.tokens import tokens_per_bin

if TYPE_CHECKING:
    from harness.measuring.samples import Floats, Ints, Samples
    from loadprofiles.records import DrivePlan, DriveReport

BATCH: Final = 5
SURE: Final = 0.01
CHANGED: Final = 0.1
"""Halves whose medians differ by less are taken as alike, however sure the difference is."""
_BINS: Final = 200
_MOST: Final = 2000
"""Values of a series that are looked at; longer ones are averaged down to so many."""
_LEAST: Final = 50
"""Answers below which no test says anything."""


@dataclass(frozen=True)
class _Series:
    """Values in the order of time."""

    name: str
    at_ns: Ints
    """When each began."""
    values: Floats


def measure_steady(
    plan: DrivePlan,
    samples: Samples,
    drive: DriveReport,
    values: dict[str, Floats],
    *,
    stable: bool,
) -> Steady:
    """Find the steady part of the window and say what it changes to look at it alone.

    Args:
        plan: of the cell.
        samples: all of it.
        drive: of the cell.
        values: `request.columns_of` the answered measured samples.
        stable: whether the queue did not grow throughout; if it did, nothing was steady.
    """
    start, end = drive.window_start_ns, drive.window_end_ns
    answered = samples.measured.answered
    reason = "builds took turns" if drive.elsewhere_s else no_steady_load(plan)
    if not reason and (len(answered) < _LEAST or end <= start):
        reason = f"fewer than {_LEAST} answers"
    if reason or not stable:
        grew = "the backlog grew throughout"
        return Steady(state="not judged" if reason else "none", reason=reason or grew)
    name = "ttft_due_ms" if plan.mode == "open" else "ttft_ms"
    tokens_at = tokens_per_bin(samples, np.linspace(start, end, _BINS + 1))
    all_series = [
        _requests("TTFT", answered.column("due_ns"), values[name]),
        _bins("tokens/s", tokens_at, start, end),
        _bins("requests in flight", in_flight_at(samples, start, end), start, end),
    ]
    begin, stop, why = start, end, ""
    for series in all_series:
        ahead, behind = _cut(series.values), _cut(series.values[::-1])
        if ahead is None or behind is None:
            return Steady(state="none", reason=f"{series.name} changed to the end")
        if ahead and series.at_ns[ahead] > begin:
            begin, why = int(series.at_ns[ahead]), series.name
        if behind and series.at_ns[-behind] < stop:
            stop, why = int(series.at_ns[-behind]), why or series.name
    for series in all_series:
        kept = series.values[(series.at_ns >= begin) & (series.at_ns < stop)]
        if stop - begin < (end - start) / 2 or _drifts(kept):
            return Steady(state="none", reason=f"{series.name} changed throughout")
    part = None
    if why:
        due = answered.column("due_ns")
        chosen = (due >= begin) & (due < stop)
        edges = np.linspace(start, end, tokens_at.size + 1)
        whole = (edges[:-1] >= begin) & (edges[1:] <= stop)
        seconds = float((edges[1:] - edges[:-1])[whole].sum()) / NS_PER_S
        inside = answered.where(chosen)
        part = SteadyPart(
            ttft_ms=_stat(values[name][chosen], "ttft"),
            e2e_ms=_stat(values["e2e_ms"][chosen], "e2e"),
            itl_ms=stats.describe_runs(
                inside.values("chunk_ns"),
                inside.lengths("chunk_ns"),
                rng=stats.rng_for("steady itl"),
                scale=1 / NS_PER_MS,
            ),
            aggregate_tps=float(tokens_at[whole].sum()) / seconds if seconds else 0.0,
        )
    return Steady(
        state="steady",
        reason=f"{why} was different before or after" if why else "",
        from_s=(begin - start) / NS_PER_S,
        to_s=(stop - start) / NS_PER_S,
        cut_share=1 - (stop - begin) / (end - start),
        part=part,
    )


def no_steady_load(plan: DrivePlan) -> str:
    """Why a plan has no load that is steady; empty where it has."""
    if plan.bursts_ns:
        return "the profile has bursts"
    arrival = arrival_of(plan)
    return "its rate changes by plan" if arrival is not None and arrival.whole_window else ""


def in_flight_at(samples: Samples, start: int, end: int, bins: int = _BINS) -> Floats:
    """Return the requests in flight in each of `bins` equal parts of the window, their mean."""
    sent = samples.has("sent_ns")
    begins = samples.column("sent_ns")[sent]
    ends = np.where(samples.has("done_ns"), samples.column("done_ns"), end)[sent]
    edges = np.linspace(start, end, bins + 1)
    return np.diff(_area(begins, edges) - _area(ends, edges)) / np.diff(edges)


def _area(times: Ints, at: Floats) -> Floats:
    """Sum over `times` of max(0, at - time) for each `at`."""
    ordered = np.sort(times)
    since = np.concatenate([[0.0], np.cumsum((ordered - at[0]).astype(np.float64))])
    count = np.searchsorted(ordered, at, side="right")
    return np.asarray(count * (at - at[0]) - since[count], dtype=np.float64)


def _stat(values: Floats, name: str) -> Stat:
    return stats.describe(values[~np.isnan(values)], rng=stats.rng_for(f"steady {name}"))


def _bins(name: str, values: Floats | Ints, start: int, end: int) -> _Series:
    at = np.linspace(start, end, values.size + 1)[:-1].astype(np.int64)
    return _Series(name, at, values.astype(np.float64))


def _requests(name: str, at: Ints, values: Floats) -> _Series:
    known = ~np.isnan(values)
    at, values = at[known], values[known]
    order = np.argsort(at, kind="stable")
    at, values = at[order], values[order]
    each = -(-at.size // _MOST)
    if each > 1:
        whole = at.size // each * each
        at, values = at[:whole:each], values[:whole].reshape(-1, each).mean(axis=1)
    return _Series(name, at, values)


def mser(values: Floats) -> int:
    """Return how many values MSER-5 leaves out at the front: a multiple of 5, at most half."""
    means = _batches(values)
    count = means.size
    if not count:
        return 0
    left = np.arange(count, 0, -1)
    ahead = np.cumsum(means[::-1])[::-1]
    squares = np.cumsum(((means - means.mean()) ** 2)[::-1])[::-1]
    spread = squares - left * (ahead / left - means.mean()) ** 2
    error = np.maximum(spread, 0.0) / left**2.0
    return BATCH * int(np.argmin(error[: count // 2 + 1]))


def _cut(values: Floats) -> int | None:
    """How many values to leave out at the front; None if a half of them does not suffice."""
    cut = mser(values)
    if not cut or mann_whitney(_batches(values[:cut]), _batches(values[cut:])) >= SURE:
        return 0
    return None if cut >= values.size // BATCH // 2 * BATCH else cut


def _drifts(values: Floats) -> bool:
    """Whether the second half differs from the first, surely and by more than a tenth."""
    means = _batches(values)
    one, other = means[: means.size // 2], means[means.size // 2 :]
    if not one.size:
        return True
    low, high = sorted((float(np.median(one)), float(np.median(other))))
    return high - low > CHANGED * high and mann_whitney(one, other) < SURE


def _batches(values: Floats) -> Floats:
    count = values.size // BATCH
    return np.asarray(values[: count * BATCH].reshape(count, BATCH).mean(axis=1))
