"""Chunks that came in one read: who caused that, the server or a late client. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from harness.samples import Samples

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.samples import Floats, Ints
    from loadprofiles.records import Sample

LATE_SHARE: Final = 0.1
"""Lag, as a share of the usual gap, up to which a read was in time."""
HALF, UPPER = 0.5, 0.85
"""Shares of the gap. Of the stalls of a gap or more, 1 − x leave a lag above the share x."""
SURE: Final = 2.33
"""Standard errors of a one-sided test at 1 %."""
_BLOCK = 8192


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
    together. But a stall of a gap or more leaves an even lag on every stream that it meets,
    whether it merged two chunks there or not. So there were about twice as many of them as reads
    with a lag above half a gap, and no more merges than that are held against the client. A
    client that is slow and never stalls a whole gap has such lags too, but leaves the upper end
    of [0, gap) empty: where that is certain, the reads above 85 % of a gap tell. Without lags
    (user clock) nothing is late.
    """
    samples = Samples.of(answered)
    together = samples.values("chunk_ns")
    hidden = bool((together == 0).any())
    usual_ns = usual_gap_ns(samples)
    totals = np.zeros(7, dtype=np.int64)
    read_at: list[Ints] = []
    if usual_ns is not None and hidden:
        for block in samples.blocks(_BLOCK):
            totals += _of_block(block, usual_ns, read_at)
    elif together.size and usual_ns is None:  # all came in one read: nothing says who did that
        totals[0] = int((samples.lengths("chunk_ns") > 0).sum())
    stalls = _stalls(int(totals[5]), int(totals[6]), read_at, usual_ns or 0.0)
    share = min(1.0, stalls / totals[1]) if totals[1] else 0.0
    return Merges(
        requests=len(samples),
        gaps=int(together.size),
        median_gap_ms=None if usual_ns is None else usual_ns / 1e6,
        reads=int(totals[0]),
        late_reads=math.ceil(totals[1] * share),
        late_gaps=math.ceil(totals[2] * share),
        late_first=math.ceil(totals[3] * share),
        late_last=math.ceil(totals[4] * share),
    )


def usual_gap_ns(answered: Samples) -> float | None:
    """Return the median of the gaps that were seen; None without any."""
    gaps = answered.values("chunk_ns")
    seen = gaps[gaps > 0]
    return float(np.median(seen, overwrite_input=True)) if seen.size else None


def _stalls(half: int, upper: int, read_at: Sequence[Ints], usual_ns: float) -> float:
    """How many reads followed a stall of a gap or more.

    Args:
        half: reads with a lag above half a gap.
        upper: those with one above 85 % of it.
        read_at: when the former were read, in ns. One stall delays many streams, and those of one
            batch by as much, so it is moments that count as independent.
        usual_ns: the usual gap.
    """
    if not half:
        return 0.0
    times = np.sort(np.concatenate(read_at))
    moments = 1 + int((np.diff(times) > usual_ns).sum())
    expected = (1 - UPPER) / (1 - HALF)
    least = expected - SURE * math.sqrt(expected * (1 - expected) / moments)
    return upper / (1 - UPPER) if upper / half < least else half / (1 - HALF)


def _of_block(samples: Samples, usual_ns: float, read_at: list[Ints]) -> Ints:
    """Return merged reads, late ones, late gaps, first late, last late, reads above both shares.

    Appends to `read_at` when those above half a gap were read.
    """
    lengths = samples.lengths("chunk_ns")
    gaps = samples.values("chunk_ns").astype(np.int64)
    starts = np.cumsum(lengths) - lengths
    first_gap = np.zeros(gaps.size, dtype=np.bool_)
    first_gap[starts[lengths > 0]] = True
    begins = (gaps == 0) & (first_gap | (np.concatenate([[1], gaps[:-1]]) != 0))
    with_lag = samples.lengths("lag_us") == lengths + 1
    reads = int(begins.sum())
    found = np.array([reads, 0, 0, 0, 0, 0, 0], dtype=np.int64)
    told = np.repeat(with_lag, lengths)
    samples, gaps, begins, lengths = (
        samples.where(with_lag), gaps[told], begins[told], lengths[with_lag],
    )  # fmt: skip
    if not len(samples):
        return found
    starts = np.cumsum(lengths) - lengths
    typical_ns = _medians_seen(gaps, lengths, usual_ns)
    # one value a chunk: the first chunk of each request, then one for each of its gaps
    owner = np.repeat(np.arange(lengths.size), lengths + 1)
    first = starts + np.arange(lengths.size)
    rest = np.ones(owner.size, dtype=np.bool_)
    rest[first] = False
    before = np.zeros(owner.size, dtype=np.int64)
    before[rest] = gaps
    lag_ns = samples.values("lag_us").astype(np.int64) * 1000
    lag = lag_ns / typical_ns[owner]
    alone = ~rest | (before > 0)  # one of a read's chunks
    half = alone & (lag > HALF)
    if half.any():
        begun = np.where(samples.has("first_ns"), samples.column("first_ns"), 0)
        elapsed = np.cumsum(before)
        arrived = begun[owner] + elapsed - elapsed[first][owner]
        read_at.append((arrived + lag_ns)[half])
    followed = np.ones(owner.size, dtype=np.bool_)
    followed[first + lengths] = False
    late = (gaps == 0) & (lag[followed] > LATE_SHARE)
    some = lengths > 0
    last = (starts + lengths - 1)[some]
    found[1:] = [
        (late & begins).sum(), late.sum(), late[starts[some]].sum(), late[last].sum(),
        half.sum(), (alone & (lag > UPPER)).sum(),
    ]  # fmt: skip
    return found


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
