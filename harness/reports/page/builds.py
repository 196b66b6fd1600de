"""Builds side by side: their figures, differences against the baseline, limits, Pareto front."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.comparing import words as told
from harness.comparing.front import COST
from harness.comparing.quality import is_perplexity
from harness.reports.figures import NOTHING, count, figure, plain
from harness.reports.page.axes import fitting, linear
from harness.reports.page.panels import Panel, hue, panel
from harness.reports.page.svg import Chart, dot
from harness.reports.page.verdict import spread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from evals.compare.records import Interval
    from harness.comparing.comparison import Comparison, Front, QualityRow
    from harness.comparing.rows import Difference, LevelRow, ServerFigures, Value
    from harness.reports.page.svg import Pen

_LATENCIES: Final = ("itl", "e2e")
_FIRST: Final = (
    "ttft_p50_ms", "ttft_p95_ms", "ttft_due_p50_ms", "ttft_due_p95_ms", "itl_p50_ms", "itl_p95_ms",
    "tpot_p50_ms", "tpot_p95_ms", "e2e_p50_ms", "e2e_p95_ms", "sequence_p50_tps",
    "aggregate_tps", "request_rate", "goodput", "error_rate", "memory_peak_gib",
)  # fmt: skip
"""Metrics that come first in the table of all, in this order."""
_MOST_PLANES: Final = 6
_HUNDREDFOLD: Final = 100
_ERRORS: Final = "error_rate"


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
    unit = "%" if metric == _ERRORS else told.unit(metric)
    return plain(told.label(metric) + (f", {unit}" if unit else ""))


def glance(comparison: Comparison) -> list[Line]:
    """Quality, then load at the lowest and highest level, then what a server takes."""
    lines = [*_quality(comparison)]
    levels = _levels(comparison)
    for profile, level in dict.fromkeys(levels[:1] + levels[-1:]):
        lines += _load(comparison, profile, level, glance_only=True)
    return lines + _servers(comparison)


def everything(comparison: Comparison) -> list[Line]:
    """All metrics of all levels."""
    return [
        line for profile, level in _levels(comparison) for line in _load(comparison, profile, level)
    ]


def _levels(comparison: Comparison) -> list[tuple[str, tuple[str, float]]]:
    """Profile and level of all rows, ascending."""
    return sorted({(row.profile, next(iter(row.level.items()))) for row in comparison.load})


def _load(
    comparison: Comparison,
    profile: str,
    level: tuple[str, float],
    *,
    glance_only: bool = False,
) -> list[Line]:
    rows: dict[str, LevelRow] = {
        row.build: row
        for row in comparison.load
        if row.profile == profile and level in row.level.items()
    }
    there = dict.fromkeys(
        name
        for row in rows.values()
        for name, value in row.metrics.items()
        if value.value is not None
    )
    names: list[str] = [name for name in _FIRST if name in there]
    names += [name for name in there if name not in names]
    if glance_only:
        names = _few(names, "ttft_due" if level[0] == "rate" else "ttft")
    where = told.at_level(dict([level]))
    if len({row.profile for row in comparison.load}) > 1:
        where = f"{profile} {where}"
    return [
        Line(
            name=title(name),
            where=plain(where),
            cells=[_level_cell(rows.get(build), name) for build in comparison.builds],
        )
        for name in names
    ]


def _few(names: Sequence[str], ttft: str) -> list[str]:
    """Return the metrics of a glance: latencies at p95, or at p50 where nothing has a p95."""
    found = []
    for stem in (ttft, *_LATENCIES):
        known = [name for name in (f"{stem}_p95_ms", f"{stem}_p50_ms") if name in names]
        found += known[:1]
    return [*found, *(name for name in names if name == "aggregate_tps")]


def _level_cell(row: LevelRow | None, name: str) -> Cell:
    value = None if row is None else row.metrics.get(name)
    if row is None or value is None:
        return Cell(text=NOTHING)
    if name == _ERRORS:  # a share, and not as a ratio: it may be of nothing
        return Cell(text=figure(None if value.value is None else 100 * value.value))
    return _cell(value, row.against.get(name))


def _cell(value: Value | None, against: Difference | None = None) -> Cell:
    if value is None:
        return Cell(text=NOTHING)
    text = f"{figure(value.value)}{'†' if value.few else ''}"
    if against is None:
        return Cell(text=text, spread=spread(value.ci95))
    change, around = _beyond_one(against.ratio, against.ratio_ci95)
    return Cell(
        text=text,
        spread=spread(value.ci95),
        change=change,
        change_spread=around,
        side={"better": "good", "worse": "bad"}.get(against.side, ""),
    )


def _change(value: float | None, ci95: Interval | None, unit: str = "") -> tuple[str, str]:
    """A change in hundredths and its interval, as text."""
    if value is None:
        return "", ""
    around = "" if ci95 is None else " … ".join(map(_hundredths, ci95))
    return _hundredths(value) + unit, around


def _hundredths(value: float) -> str:
    """A change in hundredths with its sign; beyond a hundredfold the digits say nothing."""
    if value > _HUNDREDFOLD:
        return f"> +{100 * _HUNDREDFOLD:,}"
    return f"{100 * value:+.1f}".replace("-", "−")


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
    if is_perplexity(row):
        ratio, ci95 = row.perplexity_ratio, row.perplexity_ratio_ci95
        change, around = _beyond_one(ratio, ci95)
        text, own = f"{row.score:,.3f}", spread(row.ci95)
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
        ("Quantization", lambda row: Cell(text=plain(row.scheme or NOTHING))),
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
    """The Pareto front: answers against each of the other objectives."""
    found = comparison.front
    if found is None or len(found.objectives) < 2:  # noqa: PLR2004 - a plane has two axes
        return []
    suites = {row.suite for row in comparison.quality}
    graded = sorted((n for n in found.objectives if n in suites), key=_graded_first(found))
    up = graded[0] if graded else next(iter(found.objectives))
    others = [name for name in found.objectives if name not in suites and name != up]
    planes = [_plane(pen, comparison, across, up) for across in others[:_MOST_PLANES]]
    return [plane for plane in planes if plane is not None]


def _graded_first(found: Front) -> Callable[[str], bool]:
    """Perplexities come after what was right or wrong."""
    return lambda name: found.objectives[name] == "least"


def _objective(comparison: Comparison, name: str) -> tuple[str, float]:
    """An objective's name for people, and what its values are to be multiplied with."""
    if name in {row.suite for row in comparison.quality if not is_perplexity(row)}:
        return f"{plain(name)}, %", 100.0
    if name == COST:
        return "USD per million output tokens", 1.0
    metric, _, level = name.partition("@")
    if metric in {row.suite for row in comparison.quality}:
        return f"{plain(name)}, perplexity", 1.0
    return title(metric) + (f" at {plain(level)}" if level else ""), 1.0


def _plane(pen: Pen, comparison: Comparison, across: str, up: str) -> Panel | None:
    found = comparison.front
    if found is None:
        return None
    (x_name, x_scale), (y_name, y_scale) = (_objective(comparison, n) for n in (across, up))
    points = []
    for build in comparison.builds:
        values = found.values.get(build, {})
        a, b = values.get(across), values.get(up)
        if a is not None and b is not None:
            points.append((build, x_scale * a, y_scale * b))
    if not points:
        return None
    x = fitting([a for _, a, _ in points], log_from=20)
    y = linear([b for _, _, b in points], zero=False)
    better = {"least": "less is better", "most": "more is better"}
    chart = Chart(
        title=f"{y_name.partition(',')[0]} and {x_name.partition(',')[0]}",
        x=x,
        y=y,
        unit=f"{x_name} ({better[found.objectives[across]]})",
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
    return panel(pen, chart, f"{y_name} ({better[found.objectives[up]]})")
