"""Numbers and names as text. No unit stands in a figure: units are in the headers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal

from harness.measuring.measurement import Stat

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.measuring.measurement import CellMeasurement

Percentile = Literal["p50", "p90", "p95", "p99", "p99_9"]
QUANTILES: Final[dict[Percentile, float]] = {
    "p50": 0.5,
    "p90": 0.9,
    "p95": 0.95,
    "p99": 0.99,
    "p99_9": 0.999,
}
NOTHING: Final = "–"
INFINITE: Final = "∞"
UNSTABLE: Final = "unstable"
_SMALL: Final = -4
"""The least power of ten that is written out."""
_ONE_TOKEN: Final = 0.02
"""How far tokens per chunk may be from 1: the end token often has no chunk of its own."""


def figure(value: float | None) -> str:
    """Three significant digits, two below 0.1, whole numbers in full; an en dash for None.

    Below 0.0001 as in `4.9e-15`.
    """
    if value is None or math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return INFINITE
    if value == 0:
        return "0"
    exponent = int(f"{value:.2e}".partition("e")[2])
    if exponent < _SMALL:
        digits, _, power = f"{value:.1e}".partition("e")
        return f"{digits}e{int(power)}"
    return f"{value:,.{max(0, 2 - exponent if exponent >= -1 else 1 - exponent)}f}"


def share(value: float | None) -> str:
    """A share as a percentage, e.g. `8.1 %`; an en dash for None."""
    return NOTHING if value is None else f"{figure(100 * value)} %"


def count(value: int | None) -> str:
    """A whole number, thousands separated; an en dash for None."""
    return NOTHING if value is None else f"{value:,}"


def imprecise(stat: Stat, name: Percentile) -> bool:
    """True when there are fewer than 10 / (1 − q) values for percentile q (docs/method.md)."""
    return stat.n < round(10 / (1 - QUANTILES[name]))


def percentile(stat: Stat, name: Percentile) -> str:
    """A percentile as text; `~` before an imprecise one, an en dash where there is none.

    `∞` where its rank falls among values that were counted as infinite; `unstable` where the
    queue grew throughout.
    """
    if stat.unstable:
        return UNSTABLE
    value: float | None = getattr(stat, name)
    if value is None and stat.n_infinite and stat.n >= round(1 / (1 - QUANTILES[name])):
        value = math.inf
    text = figure(value)
    return f"~{text}" if value is not None and imprecise(stat, name) else text


def extreme(stat: Stat, name: Literal["mean", "max"]) -> str:
    """The mean or the largest value as text: `∞` as soon as one value was counted as infinite."""
    if stat.unstable:
        return UNSTABLE
    value: float | None = getattr(stat, name)
    return INFINITE if stat.n_infinite else figure(value)


def interval(stat: Stat, name: Percentile) -> str:
    """The 95 % interval of p50 or p95 as `lo–hi`; empty where there is none."""
    if name not in stat.ci95 or getattr(stat, name) is None:
        return ""
    low, high = stat.ci95[name]
    return f"{figure(low)}–{figure(high)}"


def level_value(cell: CellMeasurement) -> float:
    """The level's number: streams or requests a second."""
    return next(iter(cell.level.values()), 0.0)


def series_of(cell: CellMeasurement) -> str:
    """What a line of a chart stands for: the build, and whether its answers had natural length."""
    return f"{cell.build} (natural)" if cell.lengths == "natural" else cell.build


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


def all_metrics(cell: CellMeasurement, itl: str) -> list[tuple[str, str, Stat]]:
    """Title, unit and values of each metric that has one value a request or a gap."""
    metrics = cell.metrics
    return [
        ("TTFT", "ms", metrics.ttft_ms),
        ("TTFT from due", "ms", metrics.ttft_due_ms),
        ("first answer text", "ms", metrics.ttfa_ms),
        (itl, "ms", metrics.itl_ms),
        ("longest gap", "ms", metrics.stall_ms),
        ("TPOT", "ms", metrics.tpot_ms),
        ("e2e", "ms", metrics.e2e_ms),
        ("per sequence", "tok/s", metrics.sequence_tps),
        ("decode", "tok/s", metrics.decode_tps),
    ]


def with_failures(cell: CellMeasurement) -> list[tuple[str, str, Stat]]:
    """The same of the metrics in which each failed or dropped request counts as +∞."""
    found = cell.metrics_with_failures
    return [
        (title, "ms", found.get(key, Stat()))
        for key, title in (("ttft_due_ms", "TTFT from due"), ("e2e_ms", "e2e"))
    ]


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


def tame(value: object) -> object:
    """Return what a template shows: text that is not markup yet, plain but for its lines."""
    if type(value) is not str or value.isprintable():
        return value
    return "".join(one if one in "\n\t" else plain(one) for one in value)


def plain_lines(text: str) -> str:
    """Plain text whose line breaks stay."""
    return "\n".join(map(plain, text.splitlines()))
