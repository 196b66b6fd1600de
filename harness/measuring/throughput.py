"""A cell's throughput with its standard error, over the steady part of its window. Pure.

The error is that of batch means (G. S. Fishman, Principles of Discrete Event Simulation (1978), ch.
5): the window in equal parts, their variance times (1 + r) / (1 - r) for neighbours' correlation r.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from harness.measuring.request import NS_PER_S
from harness.measuring.sweep import Throughput
from harness.measuring.tokens import tokens_per_bin

if TYPE_CHECKING:
    from harness.measuring.measurement import Steady
    from harness.measuring.samples import Floats, Samples
    from loadprofiles.records import DriveReport

BATCHES: Final = 20
FILLS: Final = 0.2
"""Where the queue grew, the share of the window in which the server fills, which is left out."""
_ALIKE: Final = (-0.5, 0.8)
"""Within these a correlation counts: answers that come in waves make neighbours differ."""


def measure_throughput(
    samples: Samples, drive: DriveReport, steady: Steady, *, stable: bool
) -> Throughput | None:
    """Measure tokens/s and answers/s; None without a window, or where builds took turns in it."""
    start, end = drive.window_start_ns, drive.window_end_ns
    if end <= start or drive.elsewhere_s:
        return None
    begin, stop = start if stable else start + round(FILLS * (end - start)), end
    if steady.state == "steady" and steady.to_s > steady.from_s:
        begin = start + round(steady.from_s * NS_PER_S)
        stop = min(end, start + round(steady.to_s * NS_PER_S))
    edges = np.linspace(begin, stop, BATCHES + 1)
    each_s = (stop - begin) / BATCHES / NS_PER_S
    answers = np.histogram(samples.answered.column("last_ns"), edges)[0].astype(np.float64)
    tps, tps_se = _mean(tokens_per_bin(samples, edges) / each_s)
    rate, rate_se = _mean(answers / each_s)
    return Throughput(
        tps=tps,
        tps_se=tps_se,
        rate=rate,
        rate_se=rate_se,
        from_s=(begin - start) / NS_PER_S,
        to_s=(stop - start) / NS_PER_S,
    )


def _mean(values: Floats) -> tuple[float, float]:
    """Return the mean of batches in the order of time, and its standard error."""
    off = values - values.mean()
    around = float((off**2).sum())
    alike = float((off[1:] * off[:-1]).sum()) / around if around else 0.0
    alike = min(max(alike, _ALIKE[0]), _ALIKE[1])
    variance = around / (values.size - 1) * (1 + alike) / (1 - alike)
    return float(values.mean()), math.sqrt(variance / values.size)
