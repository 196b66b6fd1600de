"""Builds of one load run side by side, in tables and sentences for all formats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.comparing import words
from harness.comparing.telling import work_line
from harness.reports.comparison.words import MARKS, crossovers, pairs
from harness.reports.figures import NOTHING, count, figure, plain
from harness.reports.sheets import Sheet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.comparing.rows import Difference, Interval, LevelRow, SideBySide, Value

TITLE: Final = "Side by side"
METRICS: Final = (
    "ttft_p50_ms", "ttft_p95_ms", "itl_p50_ms", "itl_p95_ms", "tpot_p50_ms", "e2e_p50_ms",
    "e2e_p95_ms", "sequence_p50_tps", "aggregate_tps", "prefill_fixed_ms", "prefill_per_1000_ms",
)  # fmt: skip
"""Rows of the table of a level, where there is a number."""
_OPEN: Final = ("ttft_due_p50_ms", "ttft_due_p95_ms")
LEGEND: Final = (
    "Each build: the value over its repeats, then how many times the first build's it is (▲ "
    "better, ▼ worse, no mark: no difference is shown) with the 95 % interval of that; of the "
    "first build the interval of its value."
)
FEW: Final = "† of too few answers in a cell: it lies below the truth, and decides nothing."
LINE: Final = (
    "The line: TTFT = TTFT of no prompt + prompt tokens · TTFT per 1,000 tokens ÷ 1,000, by least "
    "squared relative residuals through the medians above (docs/method.md)."
)
TTFT: Final = "ttft_p50_ms"
BENDS: Final = 0.15
"""The line is off by a larger share of a median where the curve is none."""
_FIXED: Final = "prefill_fixed_ms"
_SLOPE: Final = "prefill_per_1000_ms"


def sheets(found: SideBySide) -> Iterator[Sheet]:
    """Yield the tables: a level each, TTFT by prompt length, what a server takes."""
    for level in _levels(found):
        yield _level(found, level)
    if found.prefill:
        yield _prefill(found)
    if (servers := _servers(found)).rows:
        yield servers


def told(found: SideBySide) -> Iterator[str]:
    """Yield what stands below the tables: pairs, crossings, whether the work was the same."""
    yield from pairs(found)
    yield from crossovers(found)
    yield from (plain(work_line(row, found.baseline)) for row in found.work)


def legend(found: SideBySide) -> str:
    """What stands in the tables."""
    few = any(one.few for row in found.load for one in row.metrics.values())
    return f"{LEGEND} {FEW}" if few else LEGEND


def line_told(found: SideBySide) -> str:
    """What the line is, and how far it is off, where there is one."""
    off = {build: away for build in found.builds if (away := _off(found, build)) is not None}
    if not off:
        return ""
    listed = ", ".join(f"{plain(build)} {figure(100 * away)} %" for build, away in off.items())
    bends = [plain(build) for build, away in off.items() if away > BENDS]
    more = f" The curve of {words.listed(bends)} bends: read the table there." if bends else ""
    return f"{LINE} The most that it is off from one of them: {listed}.{more}"


def line_of(found: SideBySide, build: str) -> tuple[float, float] | None:
    """Return a build's line: ms of no prompt, and ms per prompt token."""
    rows = (row.metrics for row in found.load if row.build == build and _SLOPE in row.metrics)
    metrics = next(rows, {})
    fixed, slope = metrics.get(_FIXED), metrics.get(_SLOPE)
    if fixed is None or slope is None or fixed.value is None or slope.value is None:
        return None
    return fixed.value, slope.value / 1000


def _off(found: SideBySide, build: str) -> float | None:
    line = line_of(found, build)
    steps = [
        (row.level["prompt_tokens"], value.value)
        for row in found.prefill
        if row.build == build and (value := row.metrics.get(TTFT)) and value.value
    ]
    if line is None or not steps:
        return None
    return max(abs((line[0] + line[1] * tokens) / ms - 1) for tokens, ms in steps)


def _levels(found: SideBySide) -> list[dict[str, float]]:
    rows = sorted(found.load, key=lambda row: next(iter(row.level.values())))
    return [dict(one) for one in dict.fromkeys(tuple(row.level.items()) for row in rows)]


def _columns(found: SideBySide) -> tuple[str, ...]:
    return (found.baseline, *found.builds[1:])


def _level(found: SideBySide, level: dict[str, float]) -> Sheet:
    rows = {row.build: row for row in found.load if row.level == level}
    names = (*(_OPEN if "rate" in level else ()), *METRICS)
    invalid = [build for build, row in rows.items() if not row.valid]
    title = f"{TITLE} {words.at_level(level)}"
    title += f" (cells of {words.listed(invalid)} are invalid)" if invalid else ""
    return Sheet(
        title,
        ("", *_columns(found)),
        [
            (_title(name), *(_cell(rows.get(build), name) for build in found.builds))
            for name in names
            if any(_known(row, name) for row in rows.values())
        ],
    )


def _title(name: str) -> str:
    unit = words.unit(name)
    return words.label(name) + (f", {unit}" if unit else "")


def _known(row: LevelRow, name: str) -> bool:
    value = row.metrics.get(name)
    return value is not None and value.value is not None


def _cell(row: LevelRow | None, name: str) -> str:
    """A value with its ratio, or its interval where there is no ratio."""
    value = None if row is None else row.metrics.get(name)
    if row is None or value is None or value.value is None:
        return NOTHING
    return f"{figure(value.value)}{'†' if value.few else ''}" + _beside(
        value, row.against.get(name)
    )


def _beside(value: Value, against: Difference | None) -> str:
    if against is None or against.ratio is None:
        return _ends(value.ci95)
    mark = MARKS[against.side]
    return f" {f'{mark} ' if mark else ''}{words.ratio(against.ratio)}{_ends(against.ratio_ci95)}"


def _ends(ci95: Interval | None) -> str:
    return f" ({figure(ci95[0])}–{figure(ci95[1])})" if ci95 else ""


def _prefill(found: SideBySide) -> Sheet:
    steps = dict.fromkeys(row.level["prompt_tokens"] for row in found.prefill)
    rows = {(row.build, row.level["prompt_tokens"]): row for row in found.prefill}
    return Sheet(
        "TTFT p50 by prompt length, ms",
        ("Prompt tokens", *_columns(found)),
        [
            (f"{step:,.0f}", *(_cell(rows.get((build, step)), TTFT) for build in found.builds))
            for step in sorted(steps)
        ],
    )


def _servers(found: SideBySide) -> Sheet:
    servers = {one.build: one for one in found.servers}
    kinds = ", ".join(sorted({kind.upper() for one in found.servers if (kind := one.memory_kind)}))
    rows = []
    for title, name in (
        ("First token after the start, s", "first_token_s"),
        ("Ready after the start, s", "ready_s"),
        (f"Peak memory{kinds and f' ({kinds})'}, GiB", "memory_peak_gib"),
    ):
        values: list[Value | None] = [
            getattr(servers.get(build), name, None) for build in found.builds
        ]
        if any(value is not None for value in values):
            rows.append((title, *map(_spread, values)))
    sizes = [getattr(servers.get(build), "weights_gib", None) for build in found.builds]
    room = [getattr(servers.get(build), "kv_cache_tokens", None) for build in found.builds]
    facts = [
        ("Weights, GiB", list(map(figure, sizes))),
        ("KV cache, tokens", list(map(count, room))),
        ("Engine", [_engine(servers.get(build)) for build in found.builds]),
    ]
    rows += [(title, *told) for title, told in facts if any(one != NOTHING for one in told)]
    return Sheet("What a server takes", ("", *_columns(found)), rows)


def _engine(one: object) -> str:
    name, version = getattr(one, "engine", None), getattr(one, "engine_version", None)
    return " ".join(filter(None, [name, version])) or NOTHING


def _spread(value: Value | None) -> str:
    """A mean of several starts, the least and the most of them, and how many."""
    if value is None or value.value is None:
        return NOTHING
    known = [one for one in value.repeats if one is not None]
    if len(known) < 2:  # noqa: PLR2004
        return figure(value.value)
    return f"{figure(value.value)} ({figure(min(known))}–{figure(max(known))}, {len(known)} times)"
