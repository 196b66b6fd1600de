"""Short and long prompts side by side: latency by length, and who pays for whom. Pure.

Definitions: docs/method.md, `mixture`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from harness.measuring import stats
from harness.measuring.measurement import Contrast, LengthBucket, Mixture, Stat
from harness.measuring.samples import NONE

if TYPE_CHECKING:
    from harness.measuring.samples import Bools, Floats, Ints, Samples
    from loadprofiles.records import DrivePlan

_BUCKETS: Final = 4
_LEAST: Final = 20
"""Answers of a bucket at least, and of each side of a comparison."""


def measure_mixture(
    plan: DrivePlan, samples: Samples, values: dict[str, Floats], *, stable: bool
) -> Mixture | None:
    """Describe latency by prompt length; None where lengths are unknown, or all alike.

    Args:
        plan: of the cell.
        samples: all of it.
        values: `request.columns_of` the answered measured samples.
        stable: whether the queue did not grow throughout.
    """
    measured = samples.measured.answered
    lengths, source = lengths_of(plan, measured)
    if lengths is None:
        return None
    edges = _edges(lengths)
    if not edges:
        return None
    ttft = values["ttft_due_ms" if plan.mode == "open" else "ttft_ms"]
    buckets = []
    for low, high in zip([0, *edges], [*edges, int(lengths.max()) + 1], strict=True):
        chosen = (lengths >= low) & (lengths < high)
        buckets.append(
            LengthBucket(
                low=int(lengths[chosen].min()),
                high=int(lengths[chosen].max()),
                ttft_ms=_stat(ttft[chosen], f"ttft {low}", stable=stable),
                tpot_ms=_stat(values["tpot_ms"][chosen], f"tpot {low}", stable=True),
                e2e_ms=_stat(values["e2e_ms"][chosen], f"e2e {low}", stable=stable),
            )
        )
    short, long = lengths < edges[0], lengths >= edges[-1]
    begins, ends = _prefills(plan, samples, int(edges[-1]))
    sent, first, last = (measured.column(name) for name in ("sent_ns", "first_ns", "last_ns"))
    waiting = _met(sent, first, begins, ends)
    decoding = _met(first, last, begins, ends)
    return Mixture(
        length_source=source,
        buckets=buckets,
        short_below=int(edges[0]),
        long_from=int(edges[-1]),
        long_share=float(long.mean()),
        ttft_ms=_contrast(values["ttft_ms"], short, waiting, "ttft", stable=stable),
        tpot_ms=_contrast(values["tpot_ms"], short, decoding, "tpot", stable=True),
        fairness=_jain(values["e2e_ms"], measured) if stable else None,
    )


def lengths_of(
    plan: DrivePlan, samples: Samples
) -> tuple[Ints | None, Literal["server", "planned"]]:
    """Return prompt lengths in tokens: the server's where it counted all, else the plan's."""
    told = samples.has("prompt_tokens")
    if told.size and told.all():
        return samples.column("prompt_tokens"), "server"
    if plan.prompt_tokens and told.size:
        body = samples.column("body")
        if int(body.max()) < len(plan.prompt_tokens):
            return np.array(plan.prompt_tokens, dtype=np.int64)[body], "planned"
    return None, "planned"


def _edges(lengths: Ints) -> list[int]:
    """Bounds between buckets: quartiles, or fewer where lengths repeat or answers are few."""
    for parts in range(_BUCKETS, 1, -1):
        shares = np.arange(1, parts) / parts
        edges = np.unique(np.quantile(lengths, shares, method="higher"))
        edges = edges[edges > lengths.min()]
        bins = np.bincount(np.searchsorted(edges, lengths, side="right"), minlength=edges.size + 1)
        if edges.size and bins.min() >= _LEAST:
            return [int(edge) for edge in edges]
    return []


def _prefills(plan: DrivePlan, samples: Samples, long_from: int) -> tuple[Ints, Ints]:
    """When long prompts of any phase and outcome began and ended to be read; both ascending."""
    lengths = samples.column("prompt_tokens")
    if plan.prompt_tokens and (samples.column("body") < len(plan.prompt_tokens)).all():
        planned = np.array(plan.prompt_tokens, dtype=np.int64)[samples.column("body")]
        lengths = np.where(lengths == NONE, planned, lengths)
    chosen = samples.where((lengths >= long_from) & samples.has("sent_ns"))
    end = np.where(chosen.has("first_ns"), chosen.column("first_ns"), chosen.column("done_ns"))
    begin = chosen.column("sent_ns")
    known = end > begin
    return np.sort(begin[known]), np.sort(end[known])


def _met(start: Ints, stop: Ints, begins: Ints, ends: Ints) -> Bools:
    """Whether [start, stop) overlaps with any of the spans."""
    begun = np.searchsorted(begins, stop, side="left")
    over = np.searchsorted(ends, start, side="right")
    return np.asarray(begun > over)


def _contrast(values: Floats, short: Bools, met: Bools, name: str, *, stable: bool) -> Contrast:
    rng = stats.rng_for(f"mixture {name}")
    return stats.contrast(
        values[short & met], values[short & ~met], rng, least=_LEAST, stable=stable
    )


def _stat(values: Floats, name: str, *, stable: bool) -> Stat:
    known = values[~np.isnan(values)]
    if not stable:
        return Stat(n=known.size, unstable=True)
    return stats.describe(known, rng=stats.rng_for(f"mixture {name}"))


def _jain(e2e_ms: Floats, samples: Samples) -> float | None:
    """Jain's index of e2e per output token: 1 where all wait alike, 1/n where one waits."""
    tokens = samples.column("output_tokens")
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where(tokens > 0, e2e_ms / tokens, np.nan)
    each = each[~np.isnan(each)]
    square = float((each**2).sum())
    return float(each.sum()) ** 2 / (each.size * square) if square else None
