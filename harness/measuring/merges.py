"""Chunks that came in one read: who caused that, the server or a late client. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from harness.measuring.samples import Samples

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.measuring.samples import Floats, Ints
    from loadprofiles.records import Sample

LATE_SHARE: Final = 0.1
"""Lag, as a share of the usual gap, up to which a read was in time."""
HALF, UPPER = 0.5, 0.85
"""Shares of the gap. Of the stalls of a gap or more, 1 − x leave a lag above the share x."""
SURE: Final = 2.33
"""Standard errors of a one-sided test at 1 %."""
_BLOCK = 8192
_FIRST, _LAST, _OTHER = range(3)


@dataclass(frozen=True, kw_only=True)
class Merges:
    """Merged reads among the answered requests of a cell."""

    requests: int
    gaps: int
    median_gap_ms: float | None
    """Over all gaps that were seen (not 0)."""
    reads: int = 0
    """Reads with more than one generated chunk."""
    late_reads: int = 0
    """Those that the client caused."""
    late_gaps: int = 0
    """Gaps that were not seen because of the client."""
    late_first: int = 0
    """Requests whose first chunk came in such a read: their TTFT is too long."""
    late_last: int = 0
    """The same for the last chunk and its predecessor."""


def find_merges(answered: Iterable[Sample]) -> Merges:
    """Count merged reads and judge who caused them.

    The kernel stamps the last segment of what it queued. A client that stalls past a gap finds
    two chunks, and since it wakes at any moment of the next gap, its lag behind that stamp is
    spread evenly over [0, gap); a server that sends two chunks at once is read at the client's
    usual lag. So a merge may be late if its lag exceeds 10 % of the request's median gap.

    That alone would also blame a client that was a little late for what the server sent
    together. So two things are asked for more:

    - What the server sends together it sends together also when the client is in time. The share
      of merges among reads that were in time is expected of the late ones too, and only what
      exceeds it counts: of first, last and other reads each, and not where most were late, since
      then those in time are the client's own.
    - A stall of a gap or more leaves an even lag on every stream that it meets, whether it merged
      two chunks there or not. So there were about twice as many of them as reads with a lag above
      half a gap, and no more merges than that are held against the client. A client that is slow
      and never stalls a whole gap has such lags too, but leaves the upper end of [0, gap) empty:
      where that is certain, the reads above 85 % of a gap tell.

    Without lags (user clock) nothing is late.

    Where most gaps are 0, those that were seen are no measure: a client that reads each stream
    every seventh gap sees gaps seven times too long. Then a request's mean gap is the usual one:
    the zeros are in it, and it is right whoever caused them.
    """
    samples = Samples.of(answered)
    together = samples.values("chunk_ns")
    hidden = bool((together == 0).any())
    usual_ns = usual_gap_ns(samples)
    found = _Reads(buried=2 * int((together == 0).sum()) > together.size)
    if usual_ns is not None and hidden:
        for block in samples.blocks(_BLOCK):
            found.add(block, usual_ns)
    elif together.size and usual_ns is None:  # all came in one read: nothing says who did that
        found.merged = int((samples.lengths("chunk_ns") > 0).sum())
    late = found.excess()
    reads, gaps = late.sum(axis=0)
    share = min(1.0, found.stalls(usual_ns or 0.0) / reads) if reads else 0.0
    return Merges(
        requests=len(samples),
        gaps=int(together.size),
        median_gap_ms=None if usual_ns is None else usual_ns / 1e6,
        reads=found.merged,
        late_reads=_whole(reads * share),
        late_gaps=_whole(gaps * share),
        late_first=_whole(late[_FIRST, 0] * share),
        late_last=_whole(late[_LAST, 0] * share),
    )


def _whole(count: float) -> int:
    return math.ceil(round(float(count), 6))


def usual_gap_ns(answered: Samples) -> float | None:
    """Return the median of the gaps that were seen; None without any."""
    gaps = answered.values("chunk_ns")
    seen = gaps[gaps > 0]
    return float(np.median(seen, overwrite_input=True)) if seen.size else None


class _Reads:
    """What is counted of the reads of a cell.

    Args:
        buried: whether most gaps are 0, so that those that were seen are no measure.

    Attributes:
        merged: reads of several chunks, those without a lag among them.
        counts: [first, last, other reads] × [in time, late] × [reads, merged ones, gaps in them].
        half: reads with a lag above half a gap.
        upper: those with one above 85 % of it.
        half_at: when the former were read, in ns.
    """

    def __init__(self, *, buried: bool) -> None:
        self.buried = buried
        self.merged = 0
        self.counts = np.zeros((3, 2, 3), dtype=np.int64)
        self.half = self.upper = 0
        self.half_at: list[Ints] = []

    def add(self, samples: Samples, usual_ns: float) -> None:
        """Count the reads of some requests."""
        self.merged += _merged_reads(samples)
        samples = samples.where(samples.lengths("lag_us") == samples.lengths("chunk_ns") + 1)
        if not len(samples):
            return
        lengths = samples.lengths("chunk_ns")
        gaps = samples.values("chunk_ns").astype(np.int64)
        # one value a chunk: the first chunk of each request, then one for each of its gaps
        owner = np.repeat(np.arange(lengths.size), lengths + 1)
        first = np.cumsum(lengths + 1) - lengths - 1
        rest = np.ones(owner.size, dtype=np.bool_)
        rest[first] = False
        before = np.zeros(owner.size, dtype=np.int64)
        before[rest] = gaps
        # one value a read
        begins = ~rest | (before > 0)
        read = np.cumsum(begins) - 1
        kind = np.full(int(read[-1]) + 1, _OTHER)
        kind[read[first + lengths]] = _LAST
        kind[read[first]] = _FIRST
        hidden = np.bincount(read) - 1
        lag_ns = samples.values("lag_us").astype(np.int64)[begins] * 1000
        usual = _medians_seen(gaps, lengths, usual_ns)
        if self.buried:
            elapsed = np.bincount(owner, weights=before, minlength=lengths.size)
            usual = np.where(elapsed > 0, elapsed / np.maximum(lengths, 1), usual)
        lag = lag_ns / usual[owner[begins]]
        late = (lag > LATE_SHARE).astype(np.int64)
        for column, values in enumerate((np.ones_like(hidden), hidden > 0, hidden)):
            np.add.at(self.counts[:, :, column], (kind, late), values)
        half = lag > HALF
        self.half += int(half.sum())
        self.upper += int((lag > UPPER).sum())
        if half.any():
            begun = np.where(samples.has("first_ns"), samples.column("first_ns"), 0)
            elapsed = np.cumsum(before)
            arrived = (begun[owner] + elapsed - elapsed[first][owner])[begins]
            self.half_at.append((arrived + lag_ns)[half])

    def excess(self) -> Floats:
        """Return late merged reads and gaps in them, of each kind, above what the server makes.

        With h gaps in n reads in time and H in N late ones, of which the server makes the share s
        of the reads and the client C: h = s·n + C·a and H = s·N + C·(1 − a), where a of the
        client's own merges look in time (`LATE_SHARE`). Solved for C·(1 − a).
        """
        reads, gaps = self.counts[:, :, 0].astype(float), self.counts[:, :, 2].astype(float)
        late = gaps[:, 1].copy()
        told = reads[:, 0] >= np.maximum(reads[:, 1], 1)
        ratio = reads[told, 1] / reads[told, 0]
        own = (late[told] - ratio * gaps[told, 0]) * (1 - LATE_SHARE)
        late[told] = np.clip(own / (1 - LATE_SHARE - LATE_SHARE * ratio), 0, late[told])
        share = late / np.maximum(gaps[:, 1], 1)
        return np.stack([share * self.counts[:, 1, 1], late], axis=1)

    def stalls(self, usual_ns: float) -> float:
        """How many reads followed a stall of a gap or more.

        One stall delays many streams, and those of one batch by as much, so it is moments, a
        usual gap apart, that count as independent.
        """
        if not self.half:
            return 0.0
        times = np.sort(np.concatenate(self.half_at))
        moments = 1 + int((np.diff(times) > usual_ns).sum())
        expected = (1 - UPPER) / (1 - HALF)
        least = expected - SURE * math.sqrt(expected * (1 - expected) / moments)
        if self.upper / self.half < least:
            return self.upper / (1 - UPPER)
        return self.half / (1 - HALF)


def _merged_reads(samples: Samples) -> int:
    lengths, gaps = samples.lengths("chunk_ns"), samples.values("chunk_ns")
    opens = np.zeros(gaps.size, dtype=np.bool_)
    opens[(np.cumsum(lengths) - lengths)[lengths > 0]] = True
    return int(((gaps == 0) & (opens | (np.concatenate([[1], gaps[:-1]]) != 0))).sum())


def _medians_seen(gaps: Ints, lengths: Ints, usual_ns: float) -> Floats:
    """Return each request's median gap above 0; the usual one where it has none."""
    owner = np.repeat(np.arange(lengths.size), lengths)[gaps > 0]
    seen = gaps[gaps > 0]
    seen = seen[np.lexsort((seen, owner))]
    counts = np.bincount(owner, minlength=lengths.size)
    starts, some = np.cumsum(counts) - counts, counts > 0
    low = seen[(starts + (counts - 1) // 2)[some]]
    high = seen[(starts + counts // 2)[some]]
    medians = np.full(lengths.size, usual_ns)
    medians[some] = (low + high) / 2
    return medians
