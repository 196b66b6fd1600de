"""Series over time and distributions from samples: pure functions on numpy arrays.

Times are int64 nanoseconds on the samples' clock unless a name says otherwise; bins are given by
their edges, `edges[i] <= t < edges[i + 1]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from harness.measuring.samples import Samples

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

NS_PER_S: Final = 1_000_000_000
_RANKS: Final = 20_001
_BIN_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)


def bin_width_s(span_s: float, events: int, *, most: int) -> float:
    """Width of a bin: up to 240 bins over a span, and more than one event in most of them.

    Never more than `most` bins; at least 40 of them whatever the number of events, if allowed.
    """
    wanted = max(span_s / min(most, 240), min(1.5 * span_s / max(events, 1), span_s / 40))
    wanted = max(wanted, span_s / most)
    return next((width for width in _BIN_S if width >= wanted), wanted)


def bin_edges(start_ns: int, end_ns: int, width_s: float) -> Ints:
    """Edges that cover [start, end] from `start_ns` in steps of `width_s`; at least one bin."""
    width_ns = round(width_s * NS_PER_S)
    bins = max(1, -(-(end_ns - start_ns) // width_ns))
    return start_ns + width_ns * np.arange(bins + 1, dtype=np.int64)


def rate_per_bin(times_ns: Ints, edges: Ints, weights: Floats | None = None) -> Floats:
    """Events (or the sum of their weights) per second in each bin."""
    counts, _ = np.histogram(times_ns, bins=edges, weights=weights)
    # histogram closes its last bin on the right; a stamp there belongs to no bin of ours
    if times_ns.size:
        last = times_ns == edges[-1]
        counts = counts.astype(np.float64)
        counts[-1] -= float(weights[last].sum()) if weights is not None else float(last.sum())
    return np.asarray(counts / (np.diff(edges) / NS_PER_S), dtype=np.float64)


def spans(samples: Samples) -> tuple[Ints, Ints]:
    """Start (sent) and end (done) of every request that was sent; an open end is the last stamp."""
    sent = samples.where(samples.has("sent_ns"))
    starts = sent.column("sent_ns")
    ends = starts
    for name in ("first_ns", "last_ns", "done_ns"):
        ends = np.where(sent.has(name), sent.column(name), ends)
    return starts, np.maximum(starts, ends)


def in_flight(starts: Ints, ends: Ints, edges: Ints) -> tuple[Floats, Ints]:
    """Requests in flight in each bin: the mean over its time, and the highest number."""
    offset = int(edges[0])
    at = edges - offset
    area = _ramp(starts - offset, at) - _ramp(ends - offset, at)
    mean = np.diff(area) / np.diff(edges)
    # an end at the same instant as a start frees its place first
    times = np.concatenate([ends, starts])
    steps = np.concatenate([np.full(ends.size, -1), np.full(starts.size, 1)])
    order = np.argsort(times, kind="stable")
    level = np.concatenate([[0], np.cumsum(steps[order])])
    low = np.searchsorted(times[order], edges[:-1], side="right")
    high = np.searchsorted(times[order], edges[1:], side="left")
    peaks = [int(level[a : b + 1].max()) for a, b in zip(low, high, strict=True)]
    return np.asarray(mean, dtype=np.float64), np.array(peaks, dtype=np.int64)


def _ramp(times: Ints, at: Ints) -> Ints:
    """Sum over `times` of max(0, at − time), exactly, for each `at`."""
    ordered = np.sort(times)
    sums = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(ordered)])
    count = np.searchsorted(ordered, at, side="right")
    return np.asarray(count * at - sums[count], dtype=np.int64)


def log_grid(lowest: float, highest: float, points: int) -> Floats:
    """Points from `lowest` to `highest` (both > 0), evenly spaced on a log axis."""
    if highest <= lowest:
        lowest, highest = lowest / 1.1, highest * 1.1
    grid = np.geomspace(lowest, highest, points)
    grid[0], grid[-1] = lowest, highest  # geomspace rounds its ends
    return np.asarray(grid, dtype=np.float64)


def cdf_at(values: Floats, grid: Floats) -> Floats:
    """Share of the values that are <= each point of the grid; empty values give NaN."""
    if not values.size:
        return np.full(grid.shape, np.nan)
    shares = np.searchsorted(np.sort(values), grid, side="right") / values.size
    return np.asarray(shares, dtype=np.float64)


def thin(times: Floats, values: Floats, most: int) -> Ints:
    """Indices of at most `most` points that keep the lowest and highest value of each slice.

    Both arrays are in the order of time, which the result keeps.
    """
    if times.size <= most:
        return np.arange(times.size, dtype=np.int64)
    keep: list[int] = []
    for part in np.array_split(np.arange(times.size), max(1, most // 2)):
        keep.append(int(part[np.argmin(values[part])]))
        keep.append(int(part[np.argmax(values[part])]))
    return np.unique(np.array(keep, dtype=np.int64))


def thinned(values: NDArray[Any], unit: float) -> Floats:
    """The values in ascending order, divided by `unit`; of very many, evenly spaced ranks alone.

    A share read off those is wrong by 1 in 20,000 at most.
    """
    ordered = np.sort(values)
    if ordered.size > _RANKS:
        ordered = ordered[np.linspace(0, ordered.size - 1, _RANKS).round().astype(np.int64)]
    return ordered.astype(np.float64) / unit


def ttfts_ms(samples: Samples, *, from_due: bool) -> Floats:
    """Time to the first generated text of each answered request in ms; NaN without one."""
    start = "due_ns" if from_due else "sent_ns"
    known = samples.is_in("error", {None}) & samples.has("first_ns") & samples.has(start)
    return np.where(known, (samples.column("first_ns") - samples.column(start)) / 1e6, np.nan)
