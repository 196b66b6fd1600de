"""What one probe shows of each limit: which requests broke it, and when they were due. Pure.

A limit is judged over all requests due in the probe, failures included: `ttft_p95_ms<=500` allows
5 % of them to break it, and one that failed has broken it. Definitions: docs/method.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from harness.errors import BadInputError
from harness.measuring import stats
from harness.measuring.request import NS_PER_MS, NS_PER_S, columns_of
from harness.measuring.slo import STREAMED, WHOLE_CELL

if TYPE_CHECKING:
    from harness.measuring.samples import Bools, Floats, Ints, Samples
    from harness.measuring.slo import Limit, Slo

SINCE_DUE: Final = frozenset({"ttft_due_ms", "e2e_ms"})
SINCE_SENT: Final = frozenset({"ttft_ms", "ttfa_ms"})
LEAST_SHARE: Final = 1e-4
"""An error rate of 0 cannot be shown; so much stands for it."""


@dataclass(frozen=True, kw_only=True)
class Tally:
    """One limit in one probe, a row for each request in the order of time."""

    at_s: Floats
    """When it was due, from the window's start."""
    broken: Floats
    """How much of it broke the limit: 0 or 1, or a number of gaps."""
    counted: Floats
    """Out of how much: 1, or its number of gaps."""

    @property
    def share(self) -> float:
        """Share that broke the limit; 0 of nothing."""
        total = float(self.counted.sum())
        return float(self.broken.sum()) / total if total else 0.0

    def within(self, from_s: float, to_s: float) -> Tally:
        """Return the requests due in [from_s, to_s)."""
        some = (self.at_s >= from_s) & (self.at_s < to_s)
        return Tally(at_s=self.at_s[some], broken=self.broken[some], counted=self.counted[some])


def allowed_share(limit: Limit) -> float:
    """Return how much of all may break a limit: 0.05 for a p95 and where none was named."""
    if limit.metric == "error_rate":
        return max(limit.value, LEAST_SHARE)
    return 1 - stats.PERCENTILES[limit.statistic or "p95"]


def check_limits(slo: Slo, *, stream: bool = True) -> None:
    """Look whether a highest rate can be found for these limits.

    Raises:
        BadInputError: naming the limit and what to write instead.
    """
    for limit in slo.limits:
        where = f'{limit.flag} "{limit.text}"'
        if limit.metric in WHOLE_CELL and limit.metric != "error_rate":
            raise BadInputError(
                f"{where}: {limit.metric} grows with the rate, so it has no highest rate",
                hint="Limit what gets worse under load: ttft_due_p95_ms, itl_p95_ms, error_rate.",
            )
        if limit.statistic in {"max", "mean"}:
            why = "the longer one looks, the larger it is"
            if limit.statistic == "mean":
                why = "a mean over answers leaves failures out, and one outlier decides it"
            raise BadInputError(
                f"{where}: a {limit.statistic} decides no highest rate: {why}",
                hint="Name a percentile, e.g. "
                + limit.text.replace(f"_{limit.statistic}_", "_p99_"),
            )
        if limit.metric in STREAMED and not stream:
            raise BadInputError(
                f"{where}: {limit.metric} is not known of an answer in one document"
            )


def tallies(
    slo: Slo, samples: Samples, start_ns: int, end_ns: int, *, cut: bool = False
) -> tuple[Tally, ...]:
    """Return what a cell shows of each limit, in their order.

    Args:
        slo: the limits.
        samples: of the whole cell.
        start_ns: of the measured window.
        end_ns: of the measured window.
        cut: whether the cell was ended early. What was due from the first request on of which it
            is not known whether it broke the limit is then left out.
    """
    measured = samples.measured
    due = measured.column("due_ns")
    measured = measured.where((due >= start_ns) & (due < end_ns))
    measured = measured.take(np.argsort(measured.column("due_ns"), kind="stable"))
    return tuple(_tally(limit, measured, start_ns, end_ns, cut=cut) for limit in slo.limits)


def _tally(limit: Limit, measured: Samples, start_ns: int, end_ns: int, *, cut: bool) -> Tally:
    due = measured.column("due_ns")
    at_s = (due - start_ns) / NS_PER_S
    failed = ~measured.is_in("error", {None})
    if limit.metric == "error_rate":
        broken, counted = failed.astype(np.float64), np.ones(len(measured))
    elif limit.metric == "itl_ms":
        broken, counted = _gaps(limit, measured, failed)
    else:
        broken, counted = _values(limit, measured, failed)
    if cut:
        until = np.where(measured.has("done_ns"), measured.column("done_ns"), end_ns)
        surely = (limit.metric in SINCE_DUE | SINCE_SENT) & (
            (until - due) / NS_PER_MS > limit.value
        )
        unknown = measured.is_in("error", {"aborted", "dropped"}) & ~surely
        keep = at_s < (at_s[unknown].min() if unknown.any() else np.inf)
        at_s, broken, counted = at_s[keep], broken[keep], counted[keep]
    return Tally(at_s=at_s, broken=broken, counted=counted)


def _values(limit: Limit, measured: Samples, failed: Bools) -> tuple[Floats, Floats]:
    """Which requests broke a limit on one value a request; one without that value counts not.

    An answer without any text, where a limit is on the first of it, has broken it.
    """
    values = columns_of(measured)[limit.metric]
    none = np.isnan(values) & ~failed
    if limit.metric in SINCE_DUE | SINCE_SENT:
        failed, none = failed | none, np.zeros_like(none)
    over = values > limit.value if limit.operator == "<=" else values < limit.value
    return (failed | (over & ~none)).astype(np.float64), (~none).astype(np.float64)


def _gaps(limit: Limit, measured: Samples, failed: Bools) -> tuple[Floats, Floats]:
    """How many gaps of each request broke a limit, and of how many; a failure is as many as usual.

    Gaps are pooled over requests, as in the ITL of a cell.
    """
    lengths: Ints = measured.lengths("chunk_ns")
    over = measured.values("chunk_ns") / NS_PER_MS > limit.value
    total = np.concatenate([[0], np.cumsum(over)])
    ends = np.cumsum(lengths)
    broken = (total[ends] - total[ends - lengths]).astype(np.float64)
    counted = lengths.astype(np.float64)
    usual = float(np.median(lengths[~failed])) if (~failed).any() else 1.0
    return np.where(failed, usual, broken), np.where(failed, usual, counted)
