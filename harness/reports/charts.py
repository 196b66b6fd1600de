"""What the charts of the HTML report draw, as plain values ready for JSON.

Every chart has at most about 2,000 points, fewer when there are many cells, so that the file
stays small; what is left out of a scatter never includes its extremes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from pydantic import TypeAdapter, ValidationError

from harness.measuring.tokens import tokens_per_bin
from harness.reports import series, server_line
from harness.reports.figures import (
    headline_ttft,
    is_open,
    itl_name,
    level,
    level_value,
    plain,
    series_of,
)
from harness.reports.words import unique
from loadprofiles.arrivals import AnyArrival
from loadprofiles.traffic.schedule import OpenArrival, cumulative_rate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from harness.measuring.measurement import CellMeasurement, Measurements
    from harness.reports.cells import CellRecords
    from harness.reports.series import Floats, Ints

Chart = dict[str, Any]
Sized = tuple["Floats", int]
"""Values, and how many they stand for."""


class Values(NamedTuple):
    """What the distributions of a cell are made of."""

    ttft_ms: Floats
    """One a request; from due in an open loop."""
    itl_ms: Floats
    """All gaps, ascending, or as many of them as a curve needs."""
    gaps: int


_POINTS_IN_ALL: Final = 16_000
_POINTS_A_CHART: Final = 2_000
_POINTS_A_CDF: Final = 160
_FAILURES_SHOWN: Final = 400
_TABLE_ROWS: Final = 20


def points_a_chart(cells: int) -> int:
    """How many points a chart over time may have when there are so many cells."""
    return max(120, min(_POINTS_A_CHART, _POINTS_IN_ALL // max(1, cells)))


def arrival_of(profile: Mapping[str, object]) -> OpenArrival | None:
    """The open-loop arrival process of a resolved profile; None for a closed loop or none known."""
    try:
        found = TypeAdapter(AnyArrival).validate_python(profile.get("arrival"))
    except ValidationError:
        return None
    return found if isinstance(found, OpenArrival) and found.rate_known else None


def over_time(
    cell: CellMeasurement,
    records: CellRecords,
    profile: Mapping[str, object],
    *,
    most: int,
) -> Chart | None:
    """Arrivals, requests in flight, tokens and TTFT of one cell over its window; None if empty.

    Seconds count from the window's start. Rates are per second, TTFT in ms.
    """
    measured = records.measured
    if not measured:
        return None
    start, window_end = _window(cell, records)
    starts, ends = series.spans(records.samples)
    end = max(window_end, int(ends.max()) if ends.size else 0)
    span_s = (end - start) / series.NS_PER_S
    edges = series.bin_edges(start, end, series.bin_width_s(span_s, len(measured), most=most))
    due = measured.column("due_ns")
    width_s = float(edges[1] - edges[0]) / series.NS_PER_S
    mean, _ = series.in_flight(starts, ends, edges)
    window_s = (window_end - start) / series.NS_PER_S
    arrival = arrival_of(profile)
    bursts = [] if arrival is None else arrival.bursts(window_s)
    chart: Chart = {
        "t": _short((edges[:-1] - start) / series.NS_PER_S),
        "bin_s": width_s,
        "window_s": round(window_s, 3),
        "arrivals": _short(series.rate_per_bin(due, edges)),
        "in_flight": _short(mean),
        "tokens": _short(tokens_per_bin(records.samples, edges) / width_s),
        "planned": _planned(cell, arrival, edges - start, window_s, _scheduled_s(profile, records)),
        "bursts": [[round(a, 3), round(b, 3)] for a, b in bursts],
        "open": is_open(cell),
    }
    return chart | _first_tokens(cell, records, start, most)


def over_time_rows(
    cell: CellMeasurement, records: CellRecords
) -> list[tuple[float, float, float, int, float]]:
    """The same in few rows: second, arrivals/s, mean and peak in flight, tokens/s."""
    if not records.measured:
        return []
    start, end = _window(cell, records)
    width_s = series.bin_width_s((end - start) / series.NS_PER_S, 0, most=_TABLE_ROWS)
    edges = series.bin_edges(start, end, width_s)
    due = records.measured.column("due_ns")
    mean, peak = series.in_flight(*series.spans(records.samples), edges)
    tokens = tokens_per_bin(records.samples, edges) / width_s
    offered = series.rate_per_bin(due, edges)
    seconds = (edges[:-1] - start) / series.NS_PER_S
    columns = (seconds, offered, mean, peak, tokens)
    return [
        (float(second), float(rate), float(level_mean), int(highest), float(speed))
        for second, rate, level_mean, highest, speed in zip(*columns, strict=True)
    ]


def server_over_time(
    cell: CellMeasurement, records: CellRecords, *, most: int
) -> server_line.ServerLine | None:
    """What the server did over the window of a cell; None where nobody looked."""
    if not records.telemetry or not records.measured:
        return None
    start, end = _window(cell, records)
    width_s = series.bin_width_s((end - start) / series.NS_PER_S, 0, most=_TABLE_ROWS)
    edges = series.bin_edges(start, end, width_s)
    seconds = ((edges - start) / series.NS_PER_S).tolist()
    return server_line.server_line(records.telemetry, seconds, start, most=most)


def _window(cell: CellMeasurement, records: CellRecords) -> tuple[int, int]:
    """Start and end of the measured window on the samples' clock."""
    if records.drive is not None:
        start, end = records.drive.window_start_ns, records.drive.window_end_ns
    else:
        start = int(records.measured.column("due_ns")[0])
        end = start + round(cell.window_s * series.NS_PER_S)
    return start, max(end, start + 1)


def _scheduled_s(profile: Mapping[str, object], records: CellRecords) -> float | None:
    """The length that the schedule was laid out over: a window that ends early is shorter."""
    duration_s = profile.get("duration_s")
    if isinstance(duration_s, int | float):
        return float(duration_s)
    if records.plan is None or records.plan.duration_ns is None:
        return None
    return records.plan.duration_ns / series.NS_PER_S


def _planned(
    cell: CellMeasurement,
    arrival: OpenArrival | None,
    offsets: Ints,
    window_s: float,
    scheduled_s: float | None,
) -> list[float] | None:
    """The rate that the profile asks for in each bin, requests/s; None where it is not known."""
    if arrival is None or not scheduled_s or not is_open(cell) or cell.sessions:
        return None
    edges_s = np.minimum(offsets / series.NS_PER_S, min(window_s, scheduled_s))
    expected = cumulative_rate(arrival, level_value(cell), edges_s, scheduled_s)
    return _short(np.diff(expected) / np.diff(offsets / series.NS_PER_S))


def _first_tokens(cell: CellMeasurement, records: CellRecords, start: int, most: int) -> Chart:
    """One point a request, thinned; and when requests failed."""
    from_due = is_open(cell)
    measured = records.measured
    ttft_ms = series.ttfts_ms(measured, from_due=from_due)
    known = ~np.isnan(ttft_ms)
    at = (measured.column("due_ns" if from_due else "sent_ns")[known] - start) / series.NS_PER_S
    ttft_ms = ttft_ms[known]
    order = np.lexsort((ttft_ms, at))
    at, ttft_ms = at[order], ttft_ms[order]
    keep = series.thin(at, ttft_ms, most)
    failed = measured.column("due_ns")[~measured.is_in("error", {None})]
    lost = (failed - start) / series.NS_PER_S
    step = max(1, math.ceil(lost.size / _FAILURES_SHOWN))
    return {
        "ttft_t": _short(at[keep], 5),
        "ttft_ms": _short(ttft_ms[keep]),
        "ttft_n": int(at.size),
        "failed_t": _short(lost[::step]),
        "failed_n": int(lost.size),
    }


def _cells_at(cells: Iterable[CellMeasurement], build: str, x: float) -> list[CellMeasurement]:
    return [cell for cell in cells if series_of(cell) == build and level_value(cell) == x]


def values_of(cell: CellMeasurement, records: CellRecords) -> Values:
    """The values of a cell that `distributions` draws."""
    ttfts = series.ttfts_ms(records.measured, from_due=is_open(cell))
    told = ~np.isnan(ttfts) & (not headline_ttft(cell).unstable)
    gaps = records.samples.measured.answered.values("chunk_ns")
    return Values(ttft_ms=ttfts[told], itl_ms=series.thinned(gaps, 1e6), gaps=int(gaps.size))


def distributions(measurements: Measurements, values: Mapping[str, Values]) -> list[Chart]:
    """Cumulative distributions of TTFT and ITL: a panel a level with a line a build.

    With one build there is one panel with a line a level. Repeats are pooled.
    """
    builds = unique(series_of(cell) for cell in measurements.cells)
    levels = sorted({level_value(cell) for cell in measurements.cells})
    if not builds:
        return []
    of_level = {x: [c for c in measurements.cells if level_value(c) == x] for x in levels}
    if len(builds) == 1:
        groups = [(plain(builds[0]), [(level(of_level[x][0]), of_level[x]) for x in levels])]
    else:
        groups = [
            (level(of_level[x][0]), [(plain(b), _cells_at(of_level[x], b, x)) for b in builds])
            for x in levels
        ]
    ttft = "TTFT from due" if is_open(measurements.cells[0]) else "TTFT"

    def ttfts(cell: CellMeasurement) -> Sized:
        return values[cell.id].ttft_ms, values[cell.id].ttft_ms.size

    def gaps(cell: CellMeasurement) -> Sized:
        return values[cell.id].itl_ms, values[cell.id].gaps

    return [
        {"title": ttft, "unit": "ms", "panels": _cdfs(groups, ttfts)},
        {
            "title": itl_name(measurements.cells),
            "unit": "ms",
            "panels": _cdfs(groups, gaps),
        },
    ]


def _cdfs(
    groups: Sequence[tuple[str, Sequence[tuple[str, Sequence[CellMeasurement]]]]],
    values_in: Callable[[CellMeasurement], Sized],
) -> list[Chart]:
    """The panels of one metric, all on one axis, which ends at the slowest line's p99.9."""
    panels = [
        (title, [[values_in(cell) for cell in cells] for _, cells in lines])
        for title, lines in groups
    ]
    pools = [_pool(values for values, _ in parts) for _, lines in panels for parts in lines]
    pools = [values for values in pools if (values > 0).any()]
    if not pools:
        return [{"title": title, "x": [], "lines": []} for title, _ in panels]
    lowest = min(float(values[values > 0].min()) for values in pools)
    highest = max(lowest, *(float(np.quantile(values, 0.999)) for values in pools))
    grid = series.log_grid(lowest, highest, _POINTS_A_CDF)
    return [
        {
            "title": title,
            "x": _short(grid, 5),
            "lines": [
                {
                    "name": name,
                    "colour": index,
                    "n": sum(n for _, n in parts),
                    "y": _short(100 * _pooled_cdf(parts, grid)),
                }
                for index, ((name, _), parts) in enumerate(zip(lines, pooled, strict=True))
                if any(n for _, n in parts)
            ],
        }
        for (title, pooled), (_, lines) in zip(panels, groups, strict=True)
    ]


def _pooled_cdf(parts: Sequence[Sized], grid: Floats) -> Floats:
    """The distribution of all parts together, each counting as its number of values."""
    shares = [n * series.cdf_at(values, grid) for values, n in parts if n]
    return np.asarray(sum(shares) / sum(n for _, n in parts), dtype=np.float64)


def _pool(parts: Iterable[Floats]) -> Floats:
    return np.concatenate([np.empty(0), *parts])


def _short(values: Floats, digits: int = 4) -> list[float]:
    """The values with few significant digits, to keep the file small."""
    return [_round(float(value), digits) for value in values]


def _round(value: float, digits: int = 4) -> float:
    return float(f"{value:.{digits}g}")
