"""Section "Steady state", and the drift that a caveat tells of."""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import TYPE_CHECKING

import numpy as np
from arithmetic import describe, describe_pooled, lag_one, mean, median
from one_request import values
from rates import line, tokens_per_part
from scipy.special import stdtr
from scipy.stats import mannwhitneyu

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reading import Cell, Record

UNEVEN = {"bursty", "spike", "steps", "ramp", "diurnal"}


def changing_load(cell: Cell) -> str:
    """Why the plan has no steady load; empty where it has."""
    if cell.plan["bursts_ns"]:
        return "the profile has bursts"
    kind = (cell.plan["arrival"] or {}).get("kind")
    return "its rate changes by plan" if kind in UNEVEN | {"trace"} else ""


def steady(cell: Cell, *, stable: bool) -> Record:
    found: Record = {"state": "none", "reason": "", "from_s": 0.0, "to_s": 0.0, "cut_share": 0.0}
    found["part"] = None
    reason = "builds took turns" if cell.drive.get("elsewhere_s") else changing_load(cell)
    if not reason and (len(cell.answered) < 50 or cell.end <= cell.start):
        reason = "fewer than 50 answers"
    if reason:
        return found | {"state": "not judged", "reason": reason}
    if not stable:
        return found | {"reason": "the backlog grew throughout"}
    series = all_series(cell)
    begin, stop, why = cell.start, cell.end, ""
    for name, at, those in series:
        ahead, behind = left_out(those), left_out(those[::-1])
        if ahead is None or behind is None:
            return found | {"reason": f"{name} changed to the end"}
        if ahead and at[ahead] > begin:
            begin, why = at[ahead], name
        if behind and at[-behind] < stop:
            stop, why = at[-behind], why or name
    for name, at, those in series:
        kept = [one for when, one in zip(at, those, strict=True) if begin <= when < stop]
        if stop - begin < (cell.end - cell.start) / 2 or halves_differ(kept):
            return found | {"reason": f"{name} changed throughout"}
    return {
        "state": "steady",
        "reason": f"{why} was different before or after" if why else "",
        "from_s": (begin - cell.start) / 1e9,
        "to_s": (stop - cell.start) / 1e9,
        "cut_share": 1 - (stop - begin) / (cell.end - cell.start),
        "part": part(cell, begin, stop) if why else None,
    }


def all_series(cell: Cell) -> list[tuple[str, list[int], list[float]]]:
    """TTFT, tokens and requests in flight in the order of time."""
    name = "ttft_ms" if cell.closed else "ttft_due_ms"
    pairs = [(one["due_ns"], values(one)[name]) for one in cell.answered]
    known = sorted(((at, v) for at, v in pairs if v is not None), key=lambda pair: pair[0])
    each = -(-len(known) // 2000)
    whole = [known[at : at + each] for at in range(0, len(known) // each * each, each)]
    edges = line(cell.start, cell.end, 200)
    at = [int(edge) for edge in edges[:-1]]
    return [
        ("TTFT", [group[0][0] for group in whole], [mean([v for _, v in g]) for g in whole]),
        ("tokens/s", at, tokens_per_part(cell, edges)),
        ("requests in flight", at, flying(cell, edges)),
    ]


def flying(cell: Cell, edges: Sequence[float]) -> list[float]:
    """Mean number of requests between sent and done in each part."""
    found = [0.0] * (len(edges) - 1)
    width = edges[1] - edges[0]
    for one in cell.samples:
        if one["sent_ns"] is not None:
            begin, end = one["sent_ns"], one["done_ns"]
            end = edges[-1] if end is None else end
            low = max(0, bisect_right(edges, begin) - 1)
            for at in range(low, len(found)):
                inside = min(end, edges[at + 1]) - max(begin, edges[at])
                if inside <= 0:
                    break
                found[at] += inside / width
    return found


def batches(those: Sequence[float]) -> list[float]:
    """Means of five."""
    return [mean(those[at : at + 5]) for at in range(0, len(those) // 5 * 5, 5)]


def left_out(those: Sequence[float]) -> int | None:
    """How many values MSER-5 leaves out at the front; None if a half does not suffice."""
    means = batches(those)
    if not means:
        return 0
    errors = []
    for cut in range(len(means) // 2 + 1):
        rest = means[cut:]
        level = mean(rest)
        errors.append(math.fsum((one - level) ** 2 for one in rest) / len(rest) ** 2)
    cut = 5 * errors.index(min(errors))
    if not cut or p_alike(batches(those[:cut]), batches(those[cut:])) >= 0.01:
        return 0
    return None if cut >= len(means) // 2 * 5 else cut


def halves_differ(those: Sequence[float]) -> bool:
    means = batches(those)
    one, other = means[: len(means) // 2], means[len(means) // 2 :]
    if not one:
        return True
    low, high = sorted((median(one), median(other)))
    return high - low > 0.1 * high and p_alike(one, other) < 0.01


def p_alike(one: Sequence[float], other: Sequence[float]) -> float:
    if not one or not other or len({*one, *other}) == 1:
        return 1.0
    return float(mannwhitneyu(one, other, method="asymptotic").pvalue)


def part(cell: Cell, begin: int, stop: int) -> Record:
    """The metrics of what is left."""
    inside = [one for one in cell.answered if begin <= one["due_ns"] < stop]
    own = [values(one) for one in inside]
    name = "ttft_ms" if cell.closed else "ttft_due_ms"
    edges = line(cell.start, cell.end, 200)
    tokens, seconds = [], []
    for low, high, made in zip(edges, edges[1:], tokens_per_part(cell, edges), strict=False):
        if low >= begin and high <= stop:
            tokens.append(made)
            seconds.append((high - low) / 1e9)
    return {
        "ttft_ms": describe([one[name] for one in own], "steady ttft"),
        "e2e_ms": describe([one["e2e_ms"] for one in own], "steady e2e"),
        "itl_ms": describe_pooled([one["chunk_ns"] for one in inside], "steady itl", 1e6),
        "aggregate_tps": sum(tokens) / sum(seconds) if seconds else 0.0,
    }


# --- drift ---------------------------------------------------------------------------------------


def drifted(cell: Cell, found: Record, *, stable: bool) -> bool:
    """Whether the caveat `drifted` is due."""
    sessions = cell.plan["after"] is not None
    if cell.drive.get("elsewhere_s") or not stable or sessions or changing_load(cell):
        return False
    if found["state"] == "none":
        return True
    answers = [one for one in cell.answered if one["first_ns"] is not None and one["chunk_ns"]]
    gap = [(one["last_ns"] - one["first_ns"]) / len(one["chunk_ns"]) for one in answers]
    series = [gap]
    if cell.closed:
        each = [(one["last_ns"] - one["sent_ns"]) / (len(one["chunk_ns"]) + 1) for one in answers]
        series.append(each)
    return any(changes(parts(cell, answers, those)) for those in series)


def parts(cell: Cell, answers: list[Record], those: Sequence[float]) -> list[float]:
    """The median of each part of the window, by when requests were sent; none with too few."""
    inside = [
        (one["sent_ns"], value, one["last_ns"] - one["sent_ns"])
        for one, value in zip(answers, those, strict=True)
        if cell.start <= one["sent_ns"] < cell.end
    ]
    if not inside:
        return []
    took = median([span for _, _, span in inside])
    count = min(20, len(inside) // 5, int((cell.end - cell.start) / max(took, 1.0)))
    if count < 10:
        return []
    groups: dict[int, list[float]] = {}
    for sent, value, _ in inside:
        at = int((sent - cell.start) / (cell.end - cell.start) * count)
        groups.setdefault(at, []).append(value)
    medians = [median(groups[at]) for at in sorted(groups)]
    return medians if cell.closed else medians[1:-1]


def changes(those: Sequence[float]) -> bool:
    """Whether a line through the logarithms surely rises or falls, by 5 % and more."""
    n = len(those)
    if n < 8 or min(those) <= 0:
        return False
    logs = np.log(those)
    at = np.arange(n) - (n - 1) / 2
    slope = float(at @ logs / (at @ at))
    if math.expm1(abs(slope) * (n - 1)) < 0.05:
        return False
    off = logs - np.polyval(np.polyfit(at, logs, 2), at)
    around = float(off @ off)
    alike = lag_one(off.tolist()) if around else 0.0
    alike = min(max(alike + 2.5 * (1 + 4 * alike) / n, 0.0), 0.8)
    inflated = (1 + alike) / (1 - alike)
    error = math.sqrt(around / (n - 3) * inflated / float(at @ at))
    if not error:
        return True
    return bool(2 * stdtr(max((n - 3) / inflated, 4.0), -abs(slope) / error) < 0.0005)
