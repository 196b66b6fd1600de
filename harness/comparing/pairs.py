"""Interleaved builds, request by request: the same prompt to both, one right after the other.

What a machine does to both requests of a pair is not in their ratio. docs/method.md has the
statistics and how they were checked.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
from scipy import stats

from harness.comparing.rows import PairRow, Ratio
from harness.measuring.measurement import Caveat
from harness.measuring.request import columns_of
from harness.measuring.samples import Samples
from harness.rundir import CELLS
from loadprofiles.records import read_samples

if TYPE_CHECKING:
    from pathlib import Path

    from harness.evidence.evidence import Evidence, LoadRun
    from harness.measuring.measurement import CellMeasurement
    from harness.measuring.samples import Floats

METRICS: Final = ("ttft_ms", "tpot_ms", "e2e_ms")
"""Of which each pair of requests has a ratio."""
LEAST: Final = 6
"""Pairs below which no two of them enclose the median with 95 %: 1 − 2 · 2⁻⁵ is 93.75 %."""


def pair_rows(evidence: Evidence, baseline: str) -> list[PairRow]:
    """Return every build's pairs with the baseline, of all repeats together.

    Reads the samples of the cells that were interleaved, and no others; where they are gone there
    are no pairs.
    """
    there = {
        (id(run), cell.profile, cell.repeat, cell.lengths): cell
        for run, cell in evidence.cells
        if cell.build == baseline and cell.interleaved_with
    }
    logs: dict[tuple[str, str], dict[str, list[Floats]]] = defaultdict(lambda: defaultdict(list))
    for run, cell in evidence.cells:
        other = there.get((id(run), cell.profile, cell.repeat, cell.lengths))
        if other is None or baseline not in cell.interleaved_with:
            continue
        for metric, ratios in _log_ratios(run, cell, other).items():
            if len(ratios):
                logs[cell.build, cell.profile][metric].append(ratios)
    return [
        PairRow(
            build=build,
            profile=profile,
            level={"concurrency": 1},
            ratios={metric: ratio_of(np.concatenate(parts)) for metric, parts in found.items()},
        )
        for (build, profile), found in logs.items()
    ]


def one_start(evidence: Evidence) -> list[Caveat]:
    """Return what intervals of interleaved builds do not hold."""
    if not any(cell.interleaved_with for _, cell in evidence.cells):
        return []
    return [
        Caveat(
            "one_start",
            "The builds were interleaved: all were up at once, started but once. What one start "
            "of a server differs by from the next is in no interval here; without --interleave "
            "each repeat starts anew.",
        )
    ]


def ratio_of(logs: Floats) -> Ratio:
    """Return the median ratio and its 95 % interval.

    The interval is made of two of the ratios, by the binomial distribution of how many lie below
    the median: W. J. Conover, *Practical Nonparametric Statistics*, 3rd ed. 1999, section 3.2. It
    asks nothing of their distribution, and outliers move it by one place each.

    Args:
        logs: logarithms of the pairs' ratios, one at least.
    """
    found = stats.quantile_test(logs, p=0.5).confidence_interval(0.95)
    ci95 = None
    if len(logs) >= LEAST:
        ci95 = (float(np.exp(found.low)), float(np.exp(found.high)))
    return Ratio(pairs=len(logs), ratio=float(np.exp(np.median(logs))), ci95=ci95)


def _log_ratios(run: LoadRun, ours: CellMeasurement, theirs: CellMeasurement) -> dict[str, Floats]:
    """Return metric → ln(ours ÷ theirs) of the prompts that both have answered."""
    try:
        own, other = (_values(run.folder.path / CELLS / cell.id) for cell in (ours, theirs))
    except (OSError, msgspec.DecodeError):
        return {}
    both = sorted(own.keys() & other.keys())
    found = {}
    for place, metric in enumerate(METRICS):
        a, b = (np.array([values[seq][place] for seq in both]) for values in (own, other))
        fit = (a > 0) & (b > 0)  # not where it is NaN: a time that this answer does not have
        found[metric] = np.log(a[fit] / b[fit])
    return found


def _values(cell: Path) -> dict[int, tuple[float, ...]]:
    """Return position among the measured requests → the metrics of its answer, NaN where none."""
    answered = Samples.of(read_samples(cell)).measured.answered
    columns = columns_of(answered)
    rows = zip(*(columns[metric].tolist() for metric in METRICS), strict=True)
    return dict(zip(answered.column("seq").tolist(), rows, strict=True))
