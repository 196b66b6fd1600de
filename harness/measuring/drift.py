"""Whether the server became slower or faster all through a cell's window. Pure.

A straight line through the logarithms of the window's equal parts, and a t test of its slope that
allows for neighbours being alike. How far they are is what a parabola leaves, so that a drift which
slackens is no noise; the correlation r of so few is seen too small, by (1 + 4r) / n (Kendall,
Biometrika 41 (1954) 403-404), and after a parabola by more. Simulated false alarms:
tests/harness/test_drift.py.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from harness.measuring.measurement import Caveat
from harness.measuring.steady import no_steady_load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.measuring.caveats import Case
    from harness.measuring.samples import Floats, Samples

DRIFTED: Final = "drifted"
CHANGED: Final = 0.05
"""Change from the window's begin to its end below which it is not worth a word."""
SURE: Final = 0.0005
_PARTS: Final = (10, 20)
_LEAST: Final = 8
_EACH: Final = 5
"""Answers that a part has on average."""
_MOST_ALIKE: Final = 0.8
_UNSEEN: Final = 2.5
_LEAST_DF: Final = 4.0
_WHY: Final = (
    "The server or its machine changed meanwhile (caches, clocks, heat, neighbours), and the "
    "numbers lie between. Warm up longer, look what else runs there, and compare builds in "
    "mirrored order with repeats, as harness compare does."
)


def drifts(case: Case) -> Iterator[Caveat]:
    """Tell of a cell whose server was steadily slower, or faster, towards the end.

    Conversations grow by themselves, and a window begins with first turns: not looked at.
    """
    alone = not case.drive.elsewhere_s and case.evidence.queue.stable
    if not alone or case.plan.after is not None or no_steady_load(case.plan):
        return
    steady = case.evidence.steady
    if steady is not None and steady.state == "none":
        yield Caveat(DRIFTED, f"There was no steady state: {steady.reason}. {_WHY}")
        return
    known = case.answered.has("first_ns") & (case.answered.lengths("chunk_ns") > 0)
    answers = case.answered.where(known)
    gaps, last = answers.lengths("chunk_ns"), answers.column("last_ns")
    times = {"gap between tokens": (last - answers.column("first_ns")) / gaps}
    if case.plan.mode == "closed":  # in an open loop the queue's length is in it
        times["answer's time per token"] = (last - answers.column("sent_ns")) / (gaps + 1)
    for what, values in times.items():
        change = trend(_parts(case, answers, values))
        if change is not None:
            grew = "longer" if change > 0 else "shorter"
            yield Caveat(
                DRIFTED,
                f"From the window's begin to its end the median {what} became {abs(change):.0%} "
                f"{grew}, by and by. {_WHY}",
            )
            return


def _parts(case: Case, answers: Samples, values: Floats) -> Floats:
    """Return the median of each part of the window, by when requests were sent.

    None, with too few answers. Parts are no shorter than half of the answers, whose time neighbours
    would share. An open loop begins and ends with fewer requests in flight: without those parts.
    """
    start, end = case.drive.window_start_ns, case.drive.window_end_ns
    sent = answers.column("sent_ns")
    inside = (sent >= start) & (sent < end)
    sent, values = sent[inside], values[inside]
    took = (answers.column("last_ns")[inside] - sent).astype(np.float64)
    if not sent.size:
        return np.empty(0)
    count = min(_PARTS[1], sent.size // _EACH, int((end - start) / max(np.median(took), 1.0)))
    if count < _PARTS[0]:
        return np.empty(0)
    part = ((sent - start) / (end - start) * count).astype(np.int64)
    medians = [np.median(values[part == n]) for n in range(count) if (part == n).any()]
    return np.array(medians if case.plan.mode == "closed" else medians[1:-1])


def trend(values: Floats) -> float | None:
    """Return by what share values change from the first to the last, where they surely do.

    None where a line through them is not sure to rise or fall, or by less than 5 %.
    """
    count = values.size
    if count < _LEAST or not (values > 0).all():
        return None
    logs = np.log(values)
    at = np.arange(count) - (count - 1) / 2
    slope = float(at @ logs / (at @ at))
    change = math.expm1(slope * (count - 1))
    if math.expm1(abs(slope) * (count - 1)) < CHANGED:
        return None
    off = logs - np.polyval(np.polyfit(at, logs, 2), at)
    around = float(off @ off)
    alike = float(off[1:] @ off[:-1]) / around if around else 0.0
    alike = min(max(alike + _UNSEEN * (1 + 4 * alike) / count, 0.0), _MOST_ALIKE)
    inflated = (1 + alike) / (1 - alike)
    error = math.sqrt(around / (count - 3) * inflated / float(at @ at))
    if error and not _sure(abs(slope) / error, max((count - 3) / inflated, _LEAST_DF)):
        return None
    return change


def _sure(t: float, df: float) -> bool:
    from scipy.special import stdtr  # slow to load

    return bool(2 * stdtr(df, -t) < SURE)
