"""Answers that stood still in the middle. Pure. Definitions: docs/method.md, `stalls`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from harness.measuring.measurement import Stalls
from harness.measuring.request import NS_PER_MS

if TYPE_CHECKING:
    from harness.measuring.samples import Ints, Samples

LEAST_MS: Final = 200.0
TIMES_USUAL: Final = 5.0
_BLOCK: Final = 8192


def measure_stalls(answered: Samples, usual_gap_ns: float | None) -> Stalls | None:
    """Count the gaps that are stalls: above 200 ms and above five usual gaps.

    Args:
        answered: the measured requests that were answered.
        usual_gap_ns: the median over all gaps that were seen; None without any.
    """
    if usual_gap_ns is None:
        return None
    threshold_ns = max(LEAST_MS * NS_PER_MS, TIMES_USUAL * usual_gap_ns)
    count = requests = frozen_ns = decode_ns = merged = longest = 0
    begun: list[Ints] = []
    ended: list[Ints] = []
    for block in answered.blocks(_BLOCK):
        gaps = block.values("chunk_ns").astype(np.int64)
        decode_ns += int(gaps.sum())
        at = np.flatnonzero(gaps > threshold_ns)
        if not at.size:
            continue
        lengths = block.lengths("chunk_ns")
        stops = np.cumsum(lengths)
        owner = np.searchsorted(stops, at, side="right")
        within = np.cumsum(gaps)
        began = stops[owner] - lengths[owner]
        offset = within[at] - np.where(began > 0, within[began - 1], 0)
        end = block.column("first_ns")[owner] + offset
        begun.append(end - gaps[at])
        ended.append(end)
        count += at.size
        requests += np.unique(owner).size
        frozen_ns += int(gaps[at].sum())
        longest = max(longest, int(gaps[at].max()))
        merged += _explained(gaps, at, stops[owner], threshold_ns, usual_gap_ns)
    return Stalls(
        threshold_ms=threshold_ns / NS_PER_MS,
        count=count,
        requests=requests,
        frozen_share=frozen_ns / decode_ns if decode_ns else 0.0,
        longest_ms=longest / NS_PER_MS,
        at_once=_at_once(begun, ended),
        maybe_client=merged,
    )


def _explained(gaps: Ints, at: Ints, stops: Ints, threshold_ns: float, usual_ns: float) -> int:
    """How many stalls would be none if each gap of 0 after them took its usual share of them.

    A client that reads late finds several chunks under the last one's stamp: one long gap, then
    zeros.
    """
    count = 0
    for where, stop in zip(at.tolist(), stops.tolist(), strict=True):
        seen = np.flatnonzero(gaps[where + 1 : stop])
        zeros = int(seen[0]) if seen.size else stop - where - 1
        count += bool(zeros and gaps[where] - zeros * usual_ns <= threshold_ns)
    return count


def _at_once(begun: list[Ints], ended: list[Ints]) -> int:
    """The most stalls under way at one moment."""
    if not begun:
        return 0
    times = np.concatenate([*ended, *begun])  # at equal times an end comes first
    count = times.size // 2
    steps = np.concatenate([np.full(count, -1), np.full(count, 1)])
    return int(np.cumsum(steps[np.argsort(times, kind="stable")]).max())
