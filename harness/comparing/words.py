"""Numbers of a comparison in words, as they stand in its texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.evidence.metrics import METRICS
from harness.reports.figures import NOTHING, figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from evals.compare.records import Interval
    from harness.comparing.rows import Side

_NAMES: Final = {
    "ttft": "TTFT", "ttft_due": "TTFT from due", "ttfa": "TTFA", "itl": "ITL",
    "stall": "longest gap", "tpot": "TPOT", "e2e": "e2e", "sequence": "tokens/s per sequence",
    "decode": "decoding tokens/s",
}  # fmt: skip
_WHOLE: Final = {
    "aggregate_tps": ("tokens/s in all", ""),
    "request_rate": ("requests/s", ""),
    "goodput": ("goodput", "/s"),
    "error_rate": ("error rate", ""),
    "prefill_fixed_ms": ("TTFT of no prompt, by the line", "ms"),
    "prefill_per_1000_ms": ("TTFT per 1,000 prompt tokens", "ms"),
    "memory_peak_gib": ("peak memory", "GiB"),
    "weights_gib": ("weights", "GiB"),
    "kv_cache_gib": ("KV cache", "GiB"),
    "kv_cache_tokens": ("KV cache", "tokens"),
    "ready_s": ("time to ready", "s"),
    "first_token_s": ("time to the first token", "s"),
}
_PER_SECOND: Final = frozenset(("tps", "rps"))


def label(metric: str) -> str:
    """A metric's name for a reader, e.g. `TTFT p95`."""
    if metric in _WHOLE:
        return _WHOLE[metric][0]
    known = METRICS.get(metric)
    if known is None or not known.field:
        return metric.replace("_", " ")
    stem = known.field.rpartition("_")[0]
    return f"{_NAMES.get(stem, stem)} {known.statistic.replace('_', '.')}"


def unit(metric: str) -> str:
    """Its unit where the name does not hold it, e.g. `ms`."""
    if metric in _WHOLE:
        return _WHOLE[metric][1]
    found = METRICS[metric].unit if metric in METRICS else ""
    return "" if found in _PER_SECOND else found


def amount(metric: str, value: float | None) -> str:
    """A value with its unit."""
    if value is None:
        return NOTHING
    if metric == "error_rate":
        return f"{figure(100 * value)} %"
    return f"{figure(value)} {unit(metric)}".rstrip()


def between(ci95: Interval | None, scale: float = 1.0) -> str:
    """An interval as ` (95 % 4.1–7.9)`; empty without one."""
    if ci95 is None:
        return ""
    low, high = (figure(scale * value).replace("-", "−") for value in ci95)
    dash = " to " if min(ci95) < 0 else "–"
    return f" (95 % {low}{dash}{high})"


def ratio(value: float | None) -> str:
    """A ratio, e.g. `×1.24`."""
    return NOTHING if value is None else f"×{value:.2f}" if value < 10 else f"×{figure(value)}"  # noqa: PLR2004


def ratio_exactly(value: float, ci95: Interval | None) -> str:
    """A ratio to a tenth of a per cent, with its interval: `×1.034 (95 % 1.029–1.041)`."""
    if ci95 is None:
        return f"×{value:.3f}"
    return f"×{value:.3f} (95 % {ci95[0]:.3f}–{ci95[1]:.3f})"


def points(value: float | None) -> str:
    """A difference of scores in points, with its sign."""
    return NOTHING if value is None else f"{100 * value:+.1f}".replace("-", "−")


def points_between(ci95: Interval | None) -> str:
    """Its interval, e.g. ` (95 % −7.9 to −4.1)`."""
    return "" if ci95 is None else f" (95 % {points(ci95[0])} to {points(ci95[1])})"


def loss(difference: float, ci95: Interval | None) -> str:
    """A loss, e.g. `lost 6.0 points (95 % 4.1–7.9)`."""
    text = f"lost {-100 * difference:.1f} points"
    if ci95 is None:
        return text
    low, high = (f"{-100 * value:.1f}".replace("-", "−") for value in (ci95[1], ci95[0]))
    return f"{text} (95 % {low}{'–' if ci95[1] <= 0 else ' to '}{high})"


def more(count: int, one: str, several: str) -> str:
    """A number of things, to two digits where they are many: it is an estimate."""
    if count == 1:
        return f"1 {one}"
    digits = len(str(count)) - 2
    return f"{round(count, -max(0, digits)):,} {several}"


def level(at: Mapping[str, float]) -> str:
    """A level, short: `c8`, `r2.5`."""
    [(kind, value)] = at.items()
    return f"{kind[0]}{value:g}"


def at_level(at: Mapping[str, float]) -> str:
    """A level in words: `at 8 streams`, `at 2.5 requests/s`."""
    [(kind, value)] = at.items()
    if kind == "rate":
        return f"at {value:,g} requests/s"
    return f"at {value:,g} stream{'' if value == 1 else 's'}"


def sided(metric: str, side: Side) -> str:
    """What a side of a metric means: faster, slower, more, less."""
    if side == "unlike":
        return "not shown to differ"
    better = METRICS[metric].better if metric in METRICS else None
    speed = metric.endswith(("_ms", "_tps", "_s")) or metric in {"request_rate", "goodput"}
    if speed:
        return "faster" if side == "better" else "slower"
    return ("less" if side == "better" else "more") if better == "less" else side


def listed(names: Sequence[str]) -> str:
    """Return "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
