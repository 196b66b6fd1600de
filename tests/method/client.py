"""Section "Validity of the client": lag, slip, and who merged the chunks of a read."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import accumulate, groupby, pairwise
from typing import TYPE_CHECKING

from arithmetic import describe, describe_pooled, median
from one_request import values

if TYPE_CHECKING:
    from reading import Cell, Record

KINDS = ("first", "last", "other")


def slip_ms(sample: Record) -> float | None:
    """How late the client let a request go."""
    if sample["sent_ns"] is None or sample["retried"]:
        return None
    return (sample["sent_ns"] - sample["due_ns"] - (sample["connect_ns"] or 0)) / 1e6


@dataclass
class Read:
    """One read of an answer's stream: its chunks have one stamp."""

    kind: str
    hidden: int
    lag: float
    """As a share of the usual gap."""
    at_ns: float


@dataclass
class Merges:
    """Merged reads, and how many of them were the client's."""

    requests: int
    gaps: int
    usual_ns: float | None
    reads: int = 0
    late_reads: int = 0
    late_gaps: int = 0
    late: dict[str, int] = field(default_factory=lambda: {"first": 0, "last": 0})

    @property
    def smear(self) -> float:
        """Largest share of the gaps, or the first or last chunks, that late merges touched."""
        pairs = ((self.late_gaps, self.gaps), *((n, self.requests) for n in self.late.values()))
        return max((n / of for n, of in pairs if n >= 3), default=0.0)


def usual_gap(answered: list[Record]) -> float | None:
    seen = [gap for one in answered for gap in one["chunk_ns"] if gap > 0]
    return median(seen) if seen else None


def merges(answered: list[Record]) -> Merges:
    gaps = [gap for one in answered for gap in one["chunk_ns"]]
    found = Merges(len(answered), len(gaps), usual_gap(answered))
    zeros = gaps.count(0)
    if found.usual_ns is None:
        found.reads = sum(bool(one["chunk_ns"]) for one in answered)
        return found
    found.reads = sum(
        any(not gap for gap in run)
        for one in answered
        for _, run in groupby(one["chunk_ns"], key=bool)
    )
    if zeros:
        reads = [
            read
            for one in answered
            if len(one["lag_us"]) == len(one["chunk_ns"]) + 1
            for read in reads_of(one, found.usual_ns, buried=2 * zeros > len(gaps))
        ]
        blame(found, reads)
    return found


def reads_of(sample: Record, usual_ns: float, *, buried: bool) -> list[Read]:
    gaps = sample["chunk_ns"]
    seen = [gap for gap in gaps if gap > 0]
    usual = median(seen) if seen else usual_ns
    if buried and sum(gaps):
        usual = sum(gaps) / len(gaps)
    stamps = list(accumulate(gaps, initial=sample["first_ns"] or 0))
    begins = [at for at in range(len(stamps)) if not at or gaps[at - 1] > 0]
    found = []
    for begin, stop in zip(begins, [*begins[1:], len(stamps)], strict=True):
        lag_ns = sample["lag_us"][begin] * 1000
        kind = "first" if not begin else "last" if stop == len(stamps) else "other"
        found.append(Read(kind, stop - begin - 1, lag_ns / usual, stamps[begin] + lag_ns))
    return found


def blame(found: Merges, reads: list[Read]) -> None:
    """Rules 1 to 4."""
    late_reads, late_gaps = {}, {}
    for kind in KINDS:
        in_time = [one for one in reads if one.kind == kind and one.lag <= 0.1]
        late = [one for one in reads if one.kind == kind and one.lag > 0.1]
        h, big_h = (sum(one.hidden for one in group) for group in (in_time, late))
        own = float(big_h)
        if len(in_time) >= max(len(late), 1):
            ratio = len(late) / len(in_time)
            own = min(max((big_h - h * ratio) * 0.9 / (0.9 - 0.1 * ratio), 0), big_h)
        late_gaps[kind] = own
        merged = sum(one.hidden > 0 for one in late)
        late_reads[kind] = own / max(big_h, 1) * merged
    total = sum(late_reads.values())
    share = min(1.0, stalls(reads, found.usual_ns or 0.0) / total) if total else 0.0
    found.late_reads = whole(total * share)
    found.late_gaps = whole(sum(late_gaps.values()) * share)
    found.late = {kind: whole(late_reads[kind] * share) for kind in ("first", "last")}


def stalls(reads: list[Read], usual_ns: float) -> float:
    """How many reads followed a stall of a gap or more."""
    half = sorted(one.at_ns for one in reads if one.lag > 0.5)
    upper = sum(one.lag > 0.85 for one in reads)
    if not half:
        return 0.0
    moments = 1 + sum(b - a > usual_ns for a, b in pairwise(half))
    if upper / len(half) < 0.3 - 2.33 * math.sqrt(0.3 * 0.7 / moments):
        return upper / 0.15
    return len(half) / 0.5


def whole(count: float) -> int:
    return math.ceil(round(count, 6))


# --- the object ----------------------------------------------------------------------------------


def busiest(cell: Cell, name: str) -> float | None:
    told = [one[name] for one in cell.drive["workers"] if one[name] is not None]
    return max(told, default=cell.drive[name])


def clock(cell: Cell) -> str:
    blind = sum(one["clock"] == "user" for one in cell.answered)
    user = blind > 0.01 * len(cell.answered) if cell.answered else cell.drive["clock"] == "user"
    return "user" if user else "kernel"


def client(cell: Cell, in_flight_mean: float, found: Merges) -> Record:
    """`client` of a cell, but for its verdict."""
    window_s, delay = cell.whole_s, busiest(cell, "run_delay_s")
    thinking = cell.plan["think_ns"] and window_s
    return {
        "clock": clock(cell),
        "lag_ms": describe_pooled([one["lag_us"] for one in cell.answered], "lag_ms", 1e3),
        "slip_ms": describe([slip_ms(one) for one in cell.measured], "slip_ms"),
        "merged_reads": found.reads,
        "late_merges": found.late_reads,
        "streams_held": in_flight_mean if cell.closed else None,
        "streams_thinking": cell.drive["thinking_s"] / window_s if thinking else None,
        "cpu": (busiest(cell, "cpu_s") or 0.0) / window_s if window_s else 0.0,
        "run_delay": delay / window_s if window_s and delay is not None else None,
        "gc_collections": cell.drive["gc_collections"],
    }


def felt(cell: Cell) -> tuple[list[float], list[float]]:
    """Of each answer what its user felt in ms, and how late the client let it go."""
    name = "ttft_due_ms" if cell.plan["stream"] else "e2e_ms"
    pairs = [(values(one)[name], slip_ms(one)) for one in cell.answered]
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    return [a for a, _ in known], [b for _, b in known]
