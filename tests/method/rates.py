"""Sections "Populations", "One value a cell", "Does the queue grow?"."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from typing import TYPE_CHECKING

from arithmetic import describe, describe_pooled, lag_one, mean, median, quantile, slope, variance
from one_request import SLOW_SIDE, WAITING, chunks, stamps, tokens_of, values
from slo import good

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reading import Cell, Record
    from slo import Limits


def requests(cell: Cell) -> Record:
    kinds = Counter(one["error"] for one in cell.measured if one["error"])
    dropped = kinds.pop("dropped", 0)
    failed, due, planned = sum(kinds.values()), cell.plan["due_ns"], len(cell.measured)
    if due is not None:
        planned = len(due) + sum(one["seq"] >= len(due) for one in cell.measured)
    elif cell.plan["requests"] is not None:
        planned = cell.plan["requests"]
    return {
        "planned": planned,
        "sent": len(cell.measured) - dropped,
        "ok": len(cell.measured) - dropped - failed,
        "failed": failed,
        "dropped": dropped,
        "errors": {"timeout": 0} | dict(kinds),
        "truncated": kinds["truncated"],
        "empty": kinds["empty"],
    }


def asked(cell: Cell) -> list[Record]:
    """Whose due and sent times make the offered and the achieved rate."""
    return cell.samples if cell.closed else cell.measured


def offered(cell: Cell) -> int:
    found = cell.within(one["due_ns"] for one in asked(cell))
    if cell.plan["due_ns"] is None:
        return found
    return max(found, sum(offset < cell.end - cell.start for offset in cell.plan["due_ns"]))


def in_flight(cell: Cell) -> tuple[float, int]:
    """Mean over the window in time, and the most at one moment."""
    spans = []
    for one in cell.samples:
        if one["sent_ns"] is not None:
            end = cell.end if one["done_ns"] is None else one["done_ns"]
            span = max(one["sent_ns"], cell.start), min(end, cell.end)
            if span[0] < span[1]:
                spans.append(span)
    moments = sorted([(end, -1) for _, end in spans] + [(begin, 1) for begin, _ in spans])
    level = peak = 0
    for _, change in moments:
        level += change
        peak = max(peak, level)
    share = sum(end - begin for begin, end in spans) / (cell.end - cell.start) if spans else 0.0
    return share * (cell.whole_s / cell.window_s if cell.window_s else 1.0), peak


def cut_off(cell: Cell, sample: Record) -> bool:
    """Whether it failed only since the cell was over, or interrupted."""
    over = sample["phase"] == "cooldown" or cell.drive["ended"] == "interrupted"
    return over and sample["error"] in {"aborted", "dropped"}


def tokens_per_chunk(cell: Cell) -> float | None:
    total = sum(map(chunks, cell.answered))
    return sum(map(tokens_of, cell.answered)) / total if total else None


def tokens_within(cell: Cell) -> float:
    answers = [one for one in cell.samples if one["error"] is None]
    total = sum(map(chunks, answers))
    usual = (sum(map(tokens_of, answers)) / total if total else 0) or 1.0
    found = []
    for one in cell.samples:
        answered = one["error"] is None
        if one["first_ns"] is not None and (answered or cut_off(cell, one)):
            tokens = tokens_of(one) if answered else usual * chunks(one)
            found.append(tokens * cell.within(stamps(one)) / chunks(one))
        elif answered and one["sent_ns"] is not None and one["last_ns"] is not None:
            sent, last = one["sent_ns"], one["last_ns"]
            inside = min(max(last, cell.start), cell.end) - min(max(sent, cell.start), cell.end)
            found.append(tokens_of(one) * inside / max(last - sent, 1))
    return math.fsum(found)


def goodput(cell: Cell, slo: Limits) -> float | None:
    if not slo:
        return None
    due = [one for one in cell.measured if cell.start <= one["due_ns"] < cell.end]
    many = sum(good(one, slo) for one in due)
    if cell.closed:
        return cell.per_second(offered(cell)) * many / len(due) if due else 0.0
    return many / cell.whole_s if cell.whole_s else 0.0


def metrics(cell: Cell, slo: Limits, *, stable: bool) -> Record:
    own = [values(one) for one in cell.answered]
    found: Record = {
        name: describe(
            [one[name] for one in own], name, slow=slow, stable=stable or name not in WAITING
        )
        for name, slow in SLOW_SIDE.items()
    }
    answers = (one["last_ns"] for one in cell.samples if one["error"] is None)
    return found | {
        "itl_ms": describe_pooled([one["chunk_ns"] for one in cell.answered], "itl_ms", 1e6),
        "aggregate_tps": cell.per_second(tokens_within(cell)),
        "request_rate": cell.per_second(cell.within(answers)),
        "goodput": goodput(cell, slo),
    }


def with_failures(cell: Cell, *, stable: bool) -> Record:
    own = [values(one) for one in cell.answered]
    failures = sum(one["error"] is not None and not cut_off(cell, one) for one in cell.measured)
    return {
        name: describe([one[name] for one in own], name, failures=failures, stable=stable)
        for name in ("ttft_due_ms", "e2e_ms")
    }


# --- does the queue grow? ------------------------------------------------------------------------


def left(sample: Record) -> float:
    """When a request left the system; +∞ if the server never got rid of it."""
    gone = sample["done_ns"] is not None
    return sample["done_ns"] if gone and sample["error"] not in STILL_THERE else math.inf


STILL_THERE = {"dropped", "timeout", "aborted"}


def up_to(ordered: Sequence[float], at: float) -> int:
    return bisect_right(ordered, at)


def backlog(cell: Cell) -> tuple[float, bool]:
    """Its growth in requests/s, and whether it is stable."""
    arrivals = cell.within(one["due_ns"] for one in cell.samples)
    if cell.closed or arrivals < 10 or cell.end <= cell.start:
        return 0.0, True
    tokens = {
        id(one): max(1, tokens_of(one) or one["planned_output_tokens"]) for one in cell.samples
    }
    paces = sorted(
        (one["done_ns"] - one["due_ns"]) / tokens[id(one)]
        for one in cell.samples
        if one["error"] is None and one["done_ns"] is not None
    )
    pace = quantile(paces, 0.1) if paces else 0.0
    needed = sorted(one["due_ns"] + tokens[id(one)] * pace for one in cell.samples)
    gone = sorted(map(left, cell.samples))
    points = [cell.start + (cell.end - cell.start) * at / 300 for at in range(301)]
    excess = [up_to(needed, at) - up_to(gone, at) for at in points]
    growth = slope([cell.whole_s * at / 300 for at in range(301)], excess)
    rise = quantile(sorted(excess[-100:]), 0.1) - median(excess[:100])
    unstable = (
        arrivals >= 50
        and growth > 0.05 * arrivals / cell.whole_s
        and rise >= 3
        and rise > 0.02 * arrivals
    )
    return growth, not unstable


# --- tokens over time ----------------------------------------------------------------------------


def tokens_per_part(cell: Cell, edges: Sequence[float]) -> list[float]:
    """Tokens of the answers of all phases in each part of a time line."""
    found = [0.0] * (len(edges) - 1)
    for one in cell.samples:
        if one["error"] is not None:
            continue
        if one["first_ns"] is not None:
            count = chunks(one)
            tokens = one["output_tokens"] if one["output_tokens"] is not None else count
            for at in stamps(one):
                part = bisect_right(edges, at) - 1
                if 0 <= part < len(found):
                    found[part] += tokens / count
        elif one["sent_ns"] is not None and one["last_ns"] is not None:
            sent, last = one["sent_ns"], one["last_ns"]
            made = [
                (min(max(edge, sent), last) - sent) / max(last - sent, 1) * tokens_of(one)
                for edge in edges
            ]
            found = [had + b - a for had, a, b in zip(found, made, made[1:], strict=False)]
    return found


def line(begin: float, end: float, parts: int) -> list[float]:
    """The edges of equal parts."""
    return [begin + (end - begin) * at / parts for at in range(parts)] + [float(end)]


def throughput(cell: Cell, steady: Record, *, stable: bool) -> Record | None:
    start, end = cell.start, cell.end
    if end <= start or cell.drive.get("elsewhere_s"):
        return None
    begin, stop = start if stable else start + round(0.2 * (end - start)), end
    if steady["state"] == "steady" and steady["to_s"] > steady["from_s"]:
        begin = start + round(steady["from_s"] * 1e9)
        stop = min(end, start + round(steady["to_s"] * 1e9))
    edges, each_s = line(begin, stop, 20), (stop - begin) / 20 / 1e9
    ends = [one["last_ns"] for one in cell.samples if one["error"] is None and one["last_ns"]]
    answers = [0] * 20
    for at in ends:
        if begin <= at <= stop:
            answers[min(bisect_right(edges, at) - 1, 19)] += 1
    tps, tps_se = batch_mean([one / each_s for one in tokens_per_part(cell, edges)])
    rate, rate_se = batch_mean([one / each_s for one in answers])
    return {
        "tps": tps, "tps_se": tps_se, "rate": rate, "rate_se": rate_se,
        "from_s": (begin - start) / 1e9, "to_s": (stop - start) / 1e9,
    }  # fmt: skip


def batch_mean(parts: Sequence[float]) -> tuple[float, float]:
    """The mean of equal parts and its standard error, with neighbours allowed to be alike."""
    alike = min(max(lag_one(parts), -0.5), 0.8)
    spread = variance(parts) * (1 + alike) / (1 - alike)
    return mean(parts), math.sqrt(spread / len(parts))
