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
STALL_SHARE: Final = 0.5
"""Half of the stalls of a gap or more leave a lag above this share of the gap."""


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
    with a lag above half a gap; no more merges than that are held against the client, and none
    where its lag always stayed below. Without lags (user clock) nothing is late.
    """
    gaps = [np.asarray(sample.chunk_ns, dtype=np.int64) for sample in answered]
    together = np.concatenate(gaps) if gaps else np.empty(0, dtype=np.int64)
    seen = together[together > 0]
    usual_ns = float(np.median(seen)) if seen.size else None
    totals = np.zeros(6, dtype=np.int64)
    if usual_ns is not None and seen.size < together.size:
        for sample, own in zip(answered, gaps, strict=True):
            totals += _of_request(sample, own, usual_ns)
    elif together.size:  # every answer came in one read: nothing says who did that
        totals[0] = sum(own.size > 0 for own in gaps) if usual_ns is None else 0
    stalls = totals[5] / (1 - STALL_SHARE)
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


def _of_request(
    sample: Sample, gaps: npt.NDArray[np.int64], usual_ns: float
) -> npt.NDArray[np.int64]:
    """Return merged reads, late ones, late gaps, first late, last late, reads after a stall."""
    merged = np.flatnonzero(gaps == 0)
    begins = np.diff(merged, prepend=-2) > 1
    if len(sample.lag_us) != gaps.size + 1:
        return np.array([begins.sum(), 0, 0, 0, 0, 0], dtype=np.int64)
    seen = gaps[gaps > 0]
    typical_ns = float(np.median(seen)) if seen.size else usual_ns
    lag = np.asarray(sample.lag_us, dtype=np.int64) * 1000 / typical_ns
    stalled = (lag > STALL_SHARE) & np.concatenate([[True], gaps > 0])  # one of a read's chunks
    late = lag[merged] > LATE_SHARE
    first = late[:1].any() and merged[0] == 0
    last = late[-1:].any() and merged[-1] == gaps.size - 1
    counts = [begins.sum(), (late & begins).sum(), late.sum(), first, last, stalled.sum()]
    return np.array(counts, dtype=np.int64)
