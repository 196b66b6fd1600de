"""Builds side by side: their figures, differences against the baseline, limits, Pareto front."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.reports.figures import NOTHING, count, figure, plain
from harness.reports.page.panels import Panel, hue, panel
from harness.reports.page.svg import Chart, dot, fitting, linear
from harness.reports.page.verdict import spread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from evals.compare.records import Interval
    from harness.comparing.comparison import (
        Comparison,
        Difference,
        LevelRow,
        QualityRow,
        ServerFigures,
        Value,
    )
    from harness.reports.page.svg import Pen

_GLANCE: Final = ("ttft_p95_ms", "ttft_due_p95_ms", "itl_p95_ms", "e2e_p95_ms", "aggregate_tps")
_FIRST: Final = (
    "ttft_p50_ms", "ttft_p95_ms", "ttft_due_p50_ms", "ttft_due_p95_ms", "itl_p50_ms", "itl_p95_ms",
    "tpot_p50_ms", "tpot_p95_ms", "e2e_p50_ms", "e2e_p95_ms", "sequence_tps_p50",
    "aggregate_tps", "request_rate", "goodput", "error_rate", "memory_peak_gib",
)  # fmt: skip
"""Metrics that come first in the table of all, in this order."""
_NAMES: Final = {
    "ttft": "TTFT", "ttft_due": "TTFT from due", "ttfa": "first answer text", "itl": "ITL",
    "stall": "longest gap", "tpot": "TPOT", "e2e": "e2e", "sequence_tps": "per sequence",
    "decode_tps": "decode", "aggregate_tps": "tokens in all", "request_rate": "requests",
    "goodput": "goodput", "error_rate": "failed share", "memory_peak_gib": "peak memory",
    "kv_cache_peak": "KV cache, peak share", "perplexity": "perplexity", "quality": "quality",
    "retained": "retained", "cost_per_million_tokens": "cost per million tokens",
}  # fmt: skip
_UNITS: Final = {
    "aggregate_tps": "tok/s", "sequence_tps": "tok/s", "decode_tps": "tok/s",
    "request_rate": "per s", "goodput": "per s", "memory_peak_gib": "GiB",
}  # fmt: skip
_PARTS: Final = re.compile(r"(?P<base>.+?)(?:_(?P<q>p\d+(?:_\d+)?|mean|max))?(?:_(?P<unit>ms))?")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number of one build: with its interval, and how it stands to the baseline's."""

    text: str
    spread: str = ""
    change: str = ""
    change_spread: str = ""
    side: str = ""
    """`good` or `bad`, where the interval leaves no doubt."""
    verdict: str | None = None


@dataclass(frozen=True, kw_only=True)
class Line:
    """One metric of all builds."""

    name: str
    where: str
    cells: list[Cell]


def title(metric: str) -> str:
    """Return a metric's name and unit for people, e.g. `TTFT p95, ms`."""
    found = _PARTS.fullmatch(metric)
    base = found["base"] if found else metric
    name = _NAMES.get(base, base.replace("_", " "))
    quantile = f" {found['q'].replace('_', '.')}" if found and found["q"] else ""
    unit = found["unit"] if found else None
    if unit is None:
        unit = _UNITS.get(base)
    return plain(f"{name}{quantile}" + (f", {unit}" if unit else ""))


def glance(comparison: Comparison) -> list[Line]:
    """Quality, then load at the lowest and highest level, then what a server takes."""
    lines = [*_quality(comparison)]
    levels = _levels(comparison)
    for profile, level in dict.fromkeys((levels[:1] + levels[-1:]) if levels else ()):
        lines += _load(comparison, profile, level, _GLANCE)
    return lines + _servers(comparison)


def everything(comparison: Comparison) -> list[Line]:
    """All metrics of all levels."""
    return [
        line
        for profile, level in _levels(comparison)
        for line in _load(comparison, profile, level, None)
    ]


def _levels(comparison: Comparison) -> list[tuple[str, tuple[str, float]]]:
    found = {
        (row.profile, (next(iter(row.level), ""), next(iter(row.level.values()), 0.0)))
        for row in comparison.load
    }
    return sorted(found)


def _level_name(level: tuple[str, float]) -> str:
    unit, value = level
    if unit == "rate":
        return f"{value:,g}/s"
    return f"{value:,g} stream" if value == 1 else f"{value:,g} streams"


def _load(
    comparison: Comparison,
    profile: str,
    level: tuple[str, float],
    wanted: Iterable[str] | None,
) -> list[Line]:
    rows: dict[str, LevelRow] = {
        row.build: row
        for row in comparison.load
        if row.profile == profile and level in row.level.items()
    }
    there = dict.fromkeys(name for row in rows.values() for name in row.metrics)
    names: list[str] = [name for name in _FIRST if name in there]
    names += [name for name in there if name not in names]
    if wanted is not None:
        names = [name for name in names if name in tuple(wanted)]
        if level[0] == "rate" and "ttft_due_p95_ms" in names:
            names = [name for name in names if name != "ttft_p95_ms"]
        elif "ttft_p95_ms" in names:
            names = [name for name in names if name != "ttft_due_p95_ms"]
    profiles = {row.profile for row in comparison.load}
    where = _level_name(level) if len(profiles) == 1 else f"{profile} · {_level_name(level)}"
    return [
        Line(
            name=title(name),
            where=plain(where),
            cells=[_level_cell(rows.get(build), name) for build in comparison.builds],
        )
        for name in names
    ]


def _level_cell(row: LevelRow | None, name: str) -> Cell:
    value = None if row is None else row.metrics.get(name)
    if row is None or value is None:
        return Cell(text=NOTHING)
    return _cell(value, row.against.get(name))


def _cell(value: Value | None, against: Difference | None = None) -> Cell:
    if value is None:
        return Cell(text=NOTHING)
    if against is None:
        return Cell(text=figure(value.value), spread=spread(value.ci95))
    change, around = _beyond_one(against.ratio, against.ratio_ci95)
    return Cell(
        text=figure(value.value),
        spread=spread(value.ci95),
        change=change,
        change_spread=around,
        side={"better": "good", "worse": "bad"}.get(against.side, ""),
    )


def _change(value: float | None, ci95: Interval | None, unit: str = "") -> tuple[str, str]:
    """A change in hundredths and its interval, as text."""
    if value is None:
        return "", ""
    around = "" if ci95 is None else f"{100 * ci95[0]:+.1f} … {100 * ci95[1]:+.1f}"
    return f"{100 * value:+.1f}{unit}".replace("-", "−"), around.replace("-", "−")


def _beyond_one(ratio: float | None, ci95: Interval | None) -> tuple[str, str]:
    """How far a ratio, and its interval, are from 1, in per cent."""
    return _change(
        None if ratio is None else ratio - 1,
        None if ci95 is None else (ci95[0] - 1, ci95[1] - 1),
        " %",
    )


def _quality(comparison: Comparison) -> list[Line]:
    suites = dict.fromkeys((row.suite, row.metric) for row in comparison.quality)
    rows = {(row.suite, row.metric, row.build): row for row in comparison.quality}
    return [
        Line(
            name=plain(suite),
            where=plain(metric.partition(",")[0]),
            cells=[_quality_cell(rows.get((suite, metric, b))) for b in comparison.builds],
        )
        for suite, metric in suites
    ]


def _quality_cell(row: QualityRow | None) -> Cell:
    if row is None or row.score is None:
        return Cell(text=NOTHING)
    if "perplexity" in row.metric:
        ratio, ci95 = row.perplexity_ratio, row.perplexity_ratio_ci95
        change, around = _beyond_one(ratio, ci95)
        text, own = figure(row.score), spread(row.ci95)
        side = _side(ci95, 1.0, less="good")
    else:
        change, around = _change(row.difference, row.difference_ci95)
        text = f"{100 * row.score:.1f} %"
        own = "" if row.ci95 is None else f"{100 * row.ci95[0]:.1f}–{100 * row.ci95[1]:.1f}"
        side = _side(row.difference_ci95, 0.0, less="bad")
    return Cell(
        text=text,
        spread=own,
        change=change,
        change_spread=around,
        side=side,
        verdict=row.verdict,
    )


def _side(ci95: Interval | None, same: float, *, less: str) -> str:
    """On which side of “the same” an interval lies: `less`, its opposite, or neither."""
    if ci95 is None or ci95[0] <= same <= ci95[1]:
        return ""
    return less if ci95[1] < same else {"good": "bad", "bad": "good"}[less]


def _servers(comparison: Comparison) -> list[Line]:
    rows = {row.build: row for row in comparison.servers}
    there = [rows.get(build) for build in comparison.builds]
    kinds = {row.memory_kind for row in rows.values() if row.memory_kind}
    memory = f"Peak memory ({', '.join(sorted(kinds)).upper()})" if kinds else "Peak memory"
    wanted: list[tuple[str, Callable[[ServerFigures], Cell]]] = [
        (f"{memory}, GiB", lambda row: _cell(row.memory_peak_gib)),
        ("Ready after, s", lambda row: _cell(row.ready_s)),
        ("First token after, s", lambda row: _cell(row.first_token_s)),
        ("Weights, GiB", lambda row: Cell(text=figure(row.weights_gib))),
        ("KV cache, GiB", lambda row: Cell(text=figure(row.kv_cache_gib))),
        ("KV cache, tokens", lambda row: Cell(text=count(row.kv_cache_tokens))),
        ("Kernel", lambda row: Cell(text=plain(row.kernel or NOTHING))),
    ]
    lines = [
        Line(
            name=name,
            where="",
            cells=[Cell(text=NOTHING) if row is None else cell_of(row) for row in there],
        )
        for name, cell_of in wanted
    ]
    return [line for line in lines if any(cell.text != NOTHING for cell in line.cells)]


def front(pen: Pen, comparison: Comparison) -> list[Panel]:
    """The Pareto front: quality against each of the other objectives."""
    found = comparison.front
    if found is None or len(found.objectives) < 2:  # noqa: PLR2004 - a plane has two axes
        return []
    quality = next(
        (n for n in found.objectives if any(w in n for w in ("quality", "score", "retained"))),
        next(iter(found.objectives)),
    )
    return [
        drawn
        for other in found.objectives
        if other != quality and (drawn := _plane(pen, comparison, other, quality)) is not None
    ]


def _plane(pen: Pen, comparison: Comparison, across: str, up: str) -> Panel | None:
    found = comparison.front
    if found is None:
        return None
    points = []
    for build in comparison.builds:
        values = found.values.get(build, {})
        a, b = values.get(across), values.get(up)
        if a is not None and b is not None:
            points.append((build, a, b))
    if not points:
        return None
    x = fitting([a for _, a, _ in points], log_from=20)
    y = linear([b for _, _, b in points], zero=False)
    better = {"least": "less is better", "most": "more is better"}
    chart = Chart(
        title=f"{title(up)} and {title(across)}",
        x=x,
        y=y,
        unit=f"{title(across)} ({better[found.objectives[across]]})",
        described="; ".join(f"{plain(n)}: {figure(b)} at {figure(a)}" for n, a, b in points) + ".",
    )
    for build, a, b in points:
        index = comparison.builds.index(build)
        member = build in found.members
        kind = f"{hue(index)} big" if member else f"{hue(index)} big hollow"
        name = plain(build) + ("" if member else " (dominated)")
        chart.marks.append(dot((a, b), x, y, kind, name))
        if not member:
            chart.marks.append(dot((a, b), x, y, "hole", name))
        chart.names.append(((a, b), plain(build)))
    return panel(pen, chart, f"{title(up)} ({better[found.objectives[up]]})")
