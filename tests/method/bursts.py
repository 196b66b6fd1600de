"""Sections "Bursts" and "Stalls"."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from arithmetic import contrast, describe, median, quantile
from one_request import stamps, values
from rates import left

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reading import Cell, Record

Span = tuple[int, int]


def bursts(cell: Cell, *, stable: bool) -> Record | None:
    start, end = cell.start, cell.end
    spans = [(start + a, min(start + b, end)) for a, b in cell.plan["bursts_ns"] if start + a < end]
    if not spans or end <= start:
        return None
    grid = list(range(start, end, max(1_000_000, (end - start) // 20_000)))
    due, gone = sorted(one["due_ns"] for one in cell.samples), sorted(map(left, cell.samples))
    level = [bisect_right(due, at) - bisect_right(gone, at) for at in grid]
    edges = [start, *(edge for span in spans for edge in span), end]
    quiets = list(zip(edges[::2], edges[1::2], strict=True))
    before = part(grid, level, quiets[0])
    if not before:
        before = part(grid, level, (sum(quiets[1]) // 2, quiets[1][1]))
    usual = median(before) if before else None
    band = quantile(sorted(before), 0.95) if before else None
    found, after = [], []
    for (begin, stop), (_, until) in zip(spans, quiets[1:], strict=True):
        back = None if band is None else recovered(grid, level, (stop, until), band)
        peak = max(part(grid, level, (begin, until if back is None else back + 1)), default=0)
        found.append(
            {
                "start_s": (begin - start) / 1e9,
                "end_s": (stop - start) / 1e9,
                "arrivals": sum(begin <= one["due_ns"] < stop for one in cell.measured),
                "peak_backlog": peak,
                "beyond_usual": None if usual is None else max(0.0, peak - usual),
                "recovery_s": None if back is None else (back - stop) / 1e9,
                "watched_s": (until - stop) / 1e9,
            }
        )
        if back is not None:
            after.append((back, until))
    own = [(one["due_ns"], values(one)) for one in cell.answered]

    def of(name: str, *, among: Sequence[Span], inside: bool = True) -> list[float | None]:
        return [value[name] for at, value in own if any(a <= at < b for a, b in among) == inside]

    return {
        "usual_backlog": usual,
        "usual_backlog_p95": band,
        "bursts": found,
        "ttft_inside_ms": describe(of("ttft_due_ms", among=spans), "bursts inside", stable=stable),
        "ttft_between_ms": describe(
            of("ttft_due_ms", among=spans, inside=False), "bursts between", stable=stable
        ),
        "stayed": {
            name: contrast(
                of(name, among=after),
                of(name, among=quiets[:1]),
                f"stayed {name}",
                10,
                stable=stable or name == "tpot_ms",
            )
            for name in ("ttft_ms", "tpot_ms")
        },
    }


def part(grid: Sequence[int], level: Sequence[int], span: Span) -> Sequence[int]:
    return level[bisect_left(grid, span[0]) : bisect_left(grid, span[1])]


def recovered(grid: Sequence[int], level: Sequence[int], span: Span, band: float) -> int | None:
    """The first moment in the band from which it stays there for more than half of a while."""
    calm = [one <= band for one in part(grid, level, span)]
    if len(calm) < 2:
        return None
    width = max(1, min(1_000_000_000, (span[1] - span[0]) // 4) // (grid[1] - grid[0]))
    first = bisect_left(grid, span[0])
    for at in range(len(calm) - width + 1):
        if calm[at] and sum(calm[at : at + width]) > width / 2:
            return grid[first + at]
    return None


def stalls(answered: list[Record], usual_ns: float | None) -> Record | None:
    if usual_ns is None:
        return None
    threshold = max(200e6, 5 * usual_ns)
    spans, maybe, owners = [], 0, set()
    for number, one in enumerate(answered):
        gaps, times = one["chunk_ns"], stamps(one) if one["first_ns"] is not None else []
        for at, gap in enumerate(gaps):
            if gap > threshold:
                spans.append((times[at], times[at + 1]))
                owners.add(number)
                zeros = next((n for n, g in enumerate(gaps[at + 1 :]) if g), len(gaps) - at - 1)
                maybe += bool(zeros and gap - zeros * usual_ns <= threshold)
    moments = sorted([(end, -1) for _, end in spans] + [(begin, 1) for begin, _ in spans])
    now = most = 0
    for _, change in moments:
        now += change
        most = max(most, now)
    total = sum(sum(one["chunk_ns"]) for one in answered)
    frozen = sum(end - begin for begin, end in spans)
    return {
        "threshold_ms": threshold / 1e6,
        "count": len(spans),
        "requests": len(owners),
        "frozen_share": frozen / total if total else 0.0,
        "longest_ms": max((end - begin for begin, end in spans), default=0) / 1e6,
        "at_once": most,
        "maybe_client": maybe,
    }
