"""Numbers and names as text. No unit stands in a figure: units are in the headers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.measurement import CellMeasurement, Stat

Percentile = Literal["p50", "p90", "p95", "p99", "p99_9"]
QUANTILES: Final[dict[Percentile, float]] = {
    "p50": 0.5,
    "p90": 0.9,
    "p95": 0.95,
    "p99": 0.99,
    "p99_9": 0.999,
}
NOTHING: Final = "–"
_HUNDRED, _TEN = 100.0, 10.0
_ONE_TOKEN: Final = 0.02
"""How far tokens per chunk may be from 1: the end token often has no chunk of its own."""


def figure(value: float | None) -> str:
    """About three significant digits, thousands separated; an en dash for None."""
    if value is None or math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "∞"
    size = abs(value)
    if size == 0:
        return "0"
    if size >= _HUNDRED:
        return f"{value:,.0f}"
    if size >= _TEN:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 1 else f"{value:.3f}"


def count(value: int | None) -> str:
    """A whole number, thousands separated; an en dash for None."""
    return NOTHING if value is None else f"{value:,}"


def imprecise(stat: Stat, name: Percentile) -> bool:
    """True when there are fewer than 10 / (1 − q) values for percentile q (docs/method.md)."""
    return stat.n < round(10 / (1 - QUANTILES[name]))


def percentile(stat: Stat, name: Percentile) -> str:
    """A percentile as text; `~` before an imprecise one, an en dash where there is none."""
    value: float | None = getattr(stat, name)
    text = figure(value)
    return f"~{text}" if value is not None and imprecise(stat, name) else text


def interval(stat: Stat, name: Percentile) -> str:
    """The 95 % interval of p50 or p95 as `lo–hi`; empty where there is none."""
    if name not in stat.ci95 or getattr(stat, name) is None:
        return ""
    low, high = stat.ci95[name]
    return f"{figure(low)}–{figure(high)}"


def level_value(cell: CellMeasurement) -> float:
    """The level's number: streams or requests a second."""
    return next(iter(cell.level.values()), 0.0)


def is_open(cell: CellMeasurement) -> bool:
    """True for an open loop: the level is a rate, and latencies count from due."""
    return "rate" in cell.level


def level(cell: CellMeasurement) -> str:
    """The level with its unit, e.g. `32 streams` or `10/s`."""
    value = level_value(cell)
    if is_open(cell):
        return f"{value:,g}/s"
    return f"{value:,g} stream" if value == 1 else f"{value:,g} streams"


def headline_ttft(cell: CellMeasurement) -> Stat:
    """TTFT from due in an open loop (what a user felt), from sent in a closed one."""
    return cell.metrics.ttft_due_ms if is_open(cell) else cell.metrics.ttft_ms


def itl_name(cells: Iterable[CellMeasurement]) -> str:
    """`ITL`; `inter-chunk` when some cell's chunks were not of one token each."""
    ratios = (cell.tokens_per_chunk for cell in cells)
    whole = all(ratio is None or abs(ratio - 1) <= _ONE_TOKEN for ratio in ratios)
    return "ITL" if whole else "inter-chunk"


def duration(seconds: float) -> str:
    """A duration in words of s, min and h, e.g. `1 min 30 s`."""
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (rest, "s")]
    return " ".join(f"{number} {unit}" for number, unit in parts if number)


def plain(text: object) -> str:
    r"""Text in which nothing can steer a terminal or hide: control characters become `\x1b`."""
    return "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape", "backslashreplace").decode("ascii")
        for character in str(text)
    )
