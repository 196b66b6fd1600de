"""Whether repeats of a level within one run agree as well as their windows would allow. Pure.

Cochran's Q over the repeats' logarithms (W. G. Cochran, Biometrics 10 (1954) 101-129): of closed
loops of their throughput, whose error allows for neighbours being alike; of open ones, whose
throughput is the arrivals', of the median TPOT, whose interval does not, so that it must differ by
more.
"""

from __future__ import annotations

import math
from itertools import groupby
from typing import TYPE_CHECKING, Final

import numpy as np

from harness.measuring.measurement import Caveat

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.measuring.measurement import CellMeasurement

REPEATS_DIFFER: Final = "repeats_differ"
APART: Final = {"closed": 0.05, "open": 0.15}
"""Largest ÷ smallest − 1 below which it is not worth a word."""
SURE: Final = 0.001
_SHOWN: Final = 3
_REACH_95: Final = 1.96
_DF: Final = 5
"""Degrees of freedom of a window's error: of twenty parts, whose neighbours are alike."""


def repeats_differ(cells: Sequence[CellMeasurement]) -> list[Caveat]:
    """Tell of levels whose repeats differ by more than chance within their windows.

    Args:
        cells: all of a run. Invalid ones, and those in which the queue grew, are not looked at.
    """
    sound = [cell for cell in cells if cell.client.valid and cell.stable]
    found = sorted(
        (
            told
            for _, group in groupby(sorted(sound, key=_key), key=_key)
            for told in _told([*group])
        ),
        reverse=True,
    )
    if not found:
        return []
    more = f" And {len(found) - _SHOWN} more." if len(found) > _SHOWN else ""
    said = " ".join(text for _, text in found[:_SHOWN])
    return [
        Caveat(
            REPEATS_DIFFER,
            f"{said}{more} Something changed from one to the next that no single window's interval "
            "has in it (clocks, heat, neighbours, placement). Take more repeats, look what else "
            "runs there, and compare builds by harness compare, which takes turns and has it in "
            "its intervals.",
        )
    ]


def _key(cell: CellMeasurement) -> tuple[str, str, str, str]:
    return cell.profile, cell.build, cell.lengths, str(sorted(cell.level.items()))


def _told(repeats: Sequence[CellMeasurement]) -> Iterator[tuple[float, str]]:
    """Yield by how much a level's repeats are apart, and that in words, where it is too much."""
    opened = "rate" in repeats[0].level
    known = [one for cell in repeats if (one := _median_tpot(cell) if opened else _speed(cell))]
    if len(known) < 2:  # noqa: PLR2004 - one repeat is none
        return
    values, errors = np.array(known).T
    logs, weights = np.log(values), 1 / errors**2
    away = float(weights @ (logs - weights @ logs / weights.sum()) ** 2)
    apart = float(values.max() / values.min() - 1)
    if apart < APART["open" if opened else "closed"] or not _sure(away, len(known)):
        return
    unit, what = (" ms", "median TPOT") if opened else ("", "tokens/s")
    reach = math.expm1(_REACH_95 * float(np.median(errors)))
    (value,) = repeats[0].level.values()
    level = f"{value:g}/s" if opened else f"{value:g} stream{'' if value == 1 else 's'}"
    each = ", ".join(f"{one:.4g}{unit}" for one in values)
    text = (
        f"{repeats[0].build} at {level}: {what} of its repeats, "
        f"{each}, are {apart:.0%} apart, where each is known to ±{reach:.1%} in its window."
    )
    yield apart, text


def _speed(cell: CellMeasurement) -> tuple[float, float] | None:
    """A cell's tokens/s and the standard error of its logarithm."""
    found = cell.throughput
    if found is None or found.tps <= 0 or found.tps_se <= 0:
        return None
    return found.tps, found.tps_se / found.tps


def _median_tpot(cell: CellMeasurement) -> tuple[float, float] | None:
    stat = cell.metrics.tpot_ms
    ends = stat.ci95.get("p50")
    if stat.p50 is None or ends is None or not 0 < ends[0] < ends[1]:
        return None
    return stat.p50, math.log(ends[1] / ends[0]) / (2 * _REACH_95)


def _sure(away: float, repeats: int) -> bool:
    """Whether Q is more than chance, by F: errors out of a window are themselves not well known."""
    from scipy.special import fdtrc  # slow to load

    return bool(fdtrc(repeats - 1, _DF * repeats, away / (repeats - 1)) < SURE)
