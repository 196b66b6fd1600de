"""When tokens came: counted in bins of time, a block of requests at a time. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from harness.measuring.request import chunk_counts

if TYPE_CHECKING:
    from harness.measuring.samples import Floats, Ints, Samples

_BLOCK: Final = 8192
_FEW: Final = 512


def chunk_stamps(samples: Samples) -> tuple[Ints, Ints]:
    """Return when each generated chunk arrived, and how many chunks each sample has."""
    samples = samples.where(samples.has("first_ns"))
    counts = chunk_counts(samples)
    steps = np.zeros(int(counts.sum()), dtype=np.int64)
    firsts = np.cumsum(counts) - counts
    rest = np.ones(steps.size, dtype=np.bool_)
    rest[firsts] = False
    steps[rest] = samples.values("chunk_ns")
    elapsed = np.cumsum(steps)
    stamps = elapsed + np.repeat(samples.column("first_ns") - elapsed[firsts], counts)
    return stamps, counts


def tokens_per_bin(samples: Samples, edges: Ints | Floats) -> Floats:
    """Count the tokens of the answers among `samples` that came in each bin.

    Bins take in their lower edge and not their upper one. A request's tokens are spread evenly
    over its chunks; without a count from the server a chunk is a token. Those of an answer in one
    document are taken as made evenly from sent to its end.
    """
    found = np.zeros(edges.size - 1, dtype=np.float64)
    for block in samples.answered.blocks(_BLOCK):
        some = block.where(block.has("first_ns"))
        stamps, chunks = chunk_stamps(some)
        tokens = np.where(some.has("output_tokens"), some.column("output_tokens"), chunks)
        weights = np.repeat(tokens / np.maximum(chunks, 1), chunks)
        at = np.searchsorted(edges, stamps, side="right") - 1
        inside = (at >= 0) & (at < found.size)
        found += np.bincount(at[inside], weights=weights[inside], minlength=found.size)
    whole = samples.answered
    whole = whole.where(~whole.has("first_ns") & whole.has("sent_ns") & whole.has("last_ns"))
    for block in whole.blocks(_FEW):
        found += np.diff(_made_by(block, edges))
    return found


def _made_by(samples: Samples, edges: Ints | Floats) -> Floats:
    """How many tokens answers in one document had by each moment, if made evenly."""
    sent, last = samples.column("sent_ns")[:, None], samples.column("last_ns")[:, None]
    tokens = np.where(samples.has("output_tokens"), samples.column("output_tokens"), 0)[:, None]
    part = (np.clip(edges, sent, last) - sent) / np.maximum(last - sent, 1)
    return np.asarray((tokens * part).sum(axis=0), dtype=np.float64)
