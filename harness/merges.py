"""Chunks that came in one read: who caused that, the server or a late client. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from loadprofiles.records import Sample

LATE_SHARE: Final = 0.1
"""Lag, as a share of the usual gap, up to which a read was in time."""
HALF, UPPER = 0.5, 0.85
"""Shares of the gap. Of the stalls of a gap or more, 1 − x leave a lag above the share x."""
SURE: Final = 2.33
"""Standard errors of a one-sided test at 1 %."""


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


def find_merges(answered: Sequence[Sample]) -> Merges:
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
    gaps = [np.asarray(sample.chunk_ns, dtype=np.int64) for sample in answered]
    together = np.concatenate(gaps) if gaps else np.empty(0, dtype=np.int64)
    seen = together[together > 0]
    usual_ns = float(np.median(seen)) if seen.size else None
    totals = np.zeros(7, dtype=np.int64)
    read_at: list[npt.NDArray[np.int64]] = []
    if usual_ns is not None and seen.size < together.size:
        for sample, own in zip(answered, gaps, strict=True):
            totals += _of_request(sample, own, usual_ns, read_at)
    elif together.size:  # every answer came in one read: nothing says who did that
        totals[0] = sum(own.size > 0 for own in gaps) if usual_ns is None else 0
    stalls = _stalls(int(totals[5]), int(totals[6]), read_at, usual_ns or 0.0)
    share = min(1.0, stalls / totals[1]) if totals[1] else 0.0
    return Merges(
        requests=len(answered),
        gaps=int(together.size),
        median_gap_ms=None if usual_ns is None else usual_ns / 1e6,
        reads=int(totals[0]),
        late_reads=math.ceil(totals[1] * share),
        late_gaps=math.ceil(totals[2] * share),
        late_first=math.ceil(totals[3] * share),
        late_last=math.ceil(totals[4] * share),
    )


def _stalls(
    half: int, upper: int, read_at: Sequence[npt.NDArray[np.int64]], usual_ns: float
) -> float:
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


def _of_request(
    sample: Sample,
    gaps: npt.NDArray[np.int64],
    usual_ns: float,
    read_at: list[npt.NDArray[np.int64]],
) -> npt.NDArray[np.int64]:
    """Return merged reads, late ones, late gaps, first late, last late, reads above both shares.

    Appends to `read_at` when those above half a gap were read.
    """
    merged = np.flatnonzero(gaps == 0)
    begins = np.diff(merged, prepend=-2) > 1
    if len(sample.lag_us) != gaps.size + 1:
        return np.array([begins.sum(), 0, 0, 0, 0, 0, 0], dtype=np.int64)
    seen = gaps[gaps > 0]
    typical_ns = float(np.median(seen)) if seen.size else usual_ns
    lag_ns = np.asarray(sample.lag_us, dtype=np.int64) * 1000
    lag = lag_ns / typical_ns
    alone = np.concatenate([[True], gaps > 0])  # one of a read's chunks
    half = alone & (lag > HALF)
    if half.any():
        arrived = (sample.first_ns or 0) + np.concatenate([[0], np.cumsum(gaps)])
        read_at.append((arrived + lag_ns)[half])
    late = lag[merged] > LATE_SHARE
    first = late[:1].any() and merged[0] == 0
    last = late[-1:].any() and merged[-1] == gaps.size - 1
    return np.array(
        [
            begins.sum(), (late & begins).sum(), late.sum(), first, last,
            half.sum(), (alone & (lag > UPPER)).sum(),
        ],
        dtype=np.int64,
    )  # fmt: skip
