"""Sections "Mixtures" and "TTFT by prompt length"."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from typing import TYPE_CHECKING

from arithmetic import contrast, describe, generator, mean, median, quantile, replicates
from one_request import values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reading import Cell, Record


def prompt_lengths(cell: Cell) -> tuple[list[int] | None, str]:
    """Of each answer: the server's count where it counted all, else the plan's."""
    told = [one["prompt_tokens"] for one in cell.answered]
    if told and None not in told:
        return told, "server"
    planned = cell.plan["prompt_tokens"]
    if planned and told and max(one["body"] for one in cell.answered) < len(planned):
        return [planned[one["body"]] for one in cell.answered], "planned"
    return None, "planned"


def higher(ordered: Sequence[int], share: float) -> int:
    """The value at rank share · (n − 1), rounded up."""
    return ordered[math.ceil(share * (len(ordered) - 1))]


def bounds(lengths: Sequence[int]) -> list[int]:
    """Where buckets part: quartiles, or fewer, with at least 20 answers in each."""
    ordered = sorted(lengths)
    for count in (4, 3, 2):
        edges = sorted({higher(ordered, at / count) for at in range(1, count)} - {ordered[0]})
        sizes = Counter(bisect_right(edges, one) for one in lengths)
        if edges and min(sizes[at] for at in range(len(edges) + 1)) >= 20:
            return edges
    return []


def mixture(cell: Cell, *, stable: bool) -> Record | None:
    lengths, source = prompt_lengths(cell)
    edges = bounds(lengths) if lengths else []
    if not lengths or not edges:
        return None
    own = [values(one) for one in cell.answered]
    ttft = "ttft_ms" if cell.closed else "ttft_due_ms"
    buckets = []
    for low, high in zip([0, *edges], [*edges, math.inf], strict=True):
        chosen = [at for at, n in enumerate(lengths) if low <= n < high]

        def of(name: str, word: str, *, calm: bool, chosen: list[int] = chosen) -> Record:
            return describe([own[at][name] for at in chosen], f"mixture {word}", stable=calm)

        buckets.append(
            {
                "low": min(lengths[at] for at in chosen),
                "high": max(lengths[at] for at in chosen),
                "ttft_ms": of(ttft, f"ttft {low}", calm=stable),
                "tpot_ms": of("tpot_ms", f"tpot {low}", calm=True),
                "e2e_ms": of("e2e_ms", f"e2e {low}", calm=stable),
            }
        )
    begins, ends = long_prefills(cell, edges[-1])

    def met(begin: int, end: int) -> bool:
        return bisect_left(begins, end) > bisect_right(ends, begin)

    def sides(name: str, since: str, until: str) -> tuple[list[float | None], list[float | None]]:
        found: tuple[list[float | None], list[float | None]] = [], []
        for one, value, n in zip(cell.answered, own, lengths, strict=True):
            if n < edges[0] and None not in (one[since], one[until]):
                found[not met(one[since], one[until])].append(value[name])
        return found

    each = [
        value["e2e_ms"] / one["output_tokens"]
        for one, value in zip(cell.answered, own, strict=True)
        if value["e2e_ms"] is not None and one["output_tokens"]
    ]
    squares = math.fsum(x * x for x in each)
    return {
        "length_source": source,
        "buckets": buckets,
        "short_below": edges[0],
        "long_from": edges[-1],
        "long_share": sum(n >= edges[-1] for n in lengths) / len(lengths),
        "ttft_ms": contrast(
            *sides("ttft_ms", "sent_ns", "first_ns"), "mixture ttft", 20, stable=stable
        ),
        "tpot_ms": contrast(*sides("tpot_ms", "first_ns", "last_ns"), "mixture tpot", 20),
        "fairness": math.fsum(each) ** 2 / (len(each) * squares) if stable and squares else None,
    }


def long_prefills(cell: Cell, long_from: int) -> tuple[list[int], list[int]]:
    """When long prompts of any phase began and ended to be read."""
    planned, begins, ends = cell.plan["prompt_tokens"], [], []
    known = planned and all(one["body"] < len(planned) for one in cell.samples)
    for one in cell.samples:
        n = one["prompt_tokens"]
        if n is None:
            n = planned[one["body"]] if known else -1
        end = one["done_ns"] if one["first_ns"] is None else one["first_ns"]
        known_both = one["sent_ns"] is not None and end is not None
        if n >= long_from and known_both and end > one["sent_ns"]:
            begins.append(one["sent_ns"])
            ends.append(end)
    return sorted(begins), sorted(ends)


# --- TTFT by prompt length -----------------------------------------------------------------------


def prefill(cell: Cell) -> Record | None:
    plan = cell.plan
    planned = plan["prompt_tokens"]
    alone = cell.closed and plan["streams"] == 1 and not plan["after"]
    if not alone or not planned or not cell.answered or not cell.facts["prompts_unique"]:
        return None
    lengths, source = prompt_lengths(cell)
    spans = steps_of(planned[plan["warmup"] :])
    if len(spans) < 2 or lengths is None:
        return None
    steps, groups = [], []
    for low, high in spans:
        pairs = [
            (values(one)["ttft_ms"], n)
            for one, n in zip(cell.answered, lengths, strict=True)
            if low <= planned[one["body"]] <= high and values(one)["ttft_ms"] is not None
        ]
        if len(pairs) < 2:
            continue
        own = sorted(value for value, _ in pairs)
        found = describe(own, f"prefill {low}")
        tokens = mean([n for _, n in pairs])
        groups.append((tokens, own))
        steps.append(
            {
                "low": low,
                "high": high,
                "tokens": tokens,
                "n": len(own),
                "ttft_p50_ms": found["p50"],
                "ttft_p50_ci95": found["ci95"].get("p50"),
            }
        )
    return {"length_source": source, "steps": steps, "line": fitted(groups)} if steps else None


def steps_of(planned: Sequence[int]) -> list[tuple[int, int]]:
    known = sorted(set(planned))
    if len(known) <= 12:
        return [(n, n) for n in known]
    ordered = sorted(planned)
    edges = sorted({higher(ordered, at / 8) for at in range(1, 8)})
    groups: dict[int, list[int]] = {}
    for n in known:
        groups.setdefault(bisect_right(edges, n), []).append(n)
    return [(group[0], group[-1]) for group in groups.values()]


def fitted(groups: Sequence[tuple[float, list[float]]]) -> Record | None:
    """The line with the least squares of percentage errors, and its bootstrap."""
    tokens = [at for at, _ in groups]
    medians = [median(own) for _, own in groups]
    if len(groups) < 3 or max(tokens) < 2 * min(tokens) or min(medians) <= 0:
        return None
    fixed, slope = straight(tokens, medians)
    rng = generator("prefill line")
    drawn = [replicates(own, 0.5, rng) for _, own in groups]
    many = [straight(tokens, list(one)) for one in zip(*drawn, strict=True)]
    off = [abs((fixed + slope * n) / m - 1) for n, m in zip(tokens, medians, strict=True)]
    starts, slopes = sorted(a for a, _ in many), sorted(1000 * b for _, b in many)
    return {
        "fixed_ms": fixed,
        "fixed_ci95": [quantile(starts, q) for q in (0.025, 0.975)],
        "per_1000_ms": 1000 * slope,
        "per_1000_ci95": [quantile(slopes, q) for q in (0.025, 0.975)],
        "off": max(off),
    }


def straight(tokens: Sequence[float], medians: Sequence[float]) -> tuple[float, float]:
    weights = [1 / m**2 for m in medians]
    total = math.fsum(weights)
    middle = math.fsum(w * n for w, n in zip(weights, tokens, strict=True)) / total
    level = math.fsum(w * m for w, m in zip(weights, medians, strict=True)) / total
    rows = list(zip(weights, tokens, medians, strict=True))
    slope = math.fsum(w * (n - middle) * m for w, n, m in rows)
    slope /= math.fsum(w * (n - middle) ** 2 for w, n, _ in rows)
    return level - slope * middle, slope
