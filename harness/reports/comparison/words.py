"""What the reports of a comparison have in common: the columns, and sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.comparing import words
from harness.comparing.quality import is_perplexity
from harness.reports.figures import NOTHING, count, figure, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from evals.compare.records import Interval
    from harness.comparing.comparison import Comparison, QualityRow
    from harness.comparing.rows import Difference, LevelRow, ServerFigures, SideBySide, Value

CLOSED: Final = {
    "ttft_p95_ms": "TTFT p95",
    "itl_p95_ms": "ITL p95",
    "e2e_p50_ms": "e2e p50",
    "e2e_p95_ms": "e2e p95",
    "sequence_p50_tps": "tok/s per seq.",
    "aggregate_tps": "tok/s in all",
}
"""Metric → its column; latencies in ms."""
OPEN: Final = {"ttft_due_p95_ms": "TTFT* p95"}
MARKS: Final = {"better": "▲", "worse": "▼", "unlike": ""}
LEGEND: Final = (
    "Latencies in ms. Below each value: how many times the baseline's it is, ▲ better, ▼ worse, no "
    "mark: no difference is shown; and the 95 % interval of that."
)


FEW: Final = "† of too few answers in a cell: it lies below the truth, and decides nothing."
DUE: Final = "* from the moment at which a request was due."


def columns(found: Comparison) -> dict[str, str]:
    """Return the metrics of the table of levels, with their headers."""
    if any("rate" in row.level for row in found.load):
        rest = {name: title for name, title in CLOSED.items() if not name.startswith("ttft")}
        return OPEN | rest
    return CLOSED


def legend(found: Comparison) -> str:
    """What stands in the table of levels."""
    shown = columns(found)
    parts = [LEGEND]
    if "ttft_due_p95_ms" in shown:
        parts.append(DUE)
    if any(one.few for row in found.load for name, one in row.metrics.items() if name in shown):
        parts.append(FEW)
    return " ".join(parts)


def heading(found: Comparison) -> str:
    """What the report is called."""
    others = [build for build in found.builds if build != found.baseline]
    return f"{', '.join(map(plain, others)) or 'nothing'} against {plain(found.baseline)}"


def levels(found: Comparison) -> list[tuple[str, str, list[LevelRow]]]:
    """Return profile, level and rows by build, in the order of the builds."""
    places = dict.fromkeys((row.profile, words.level(row.level)) for row in found.load)
    return [
        (
            profile,
            level,
            [
                row
                for row in found.load
                if row.profile == profile and words.level(row.level) == level
            ],
        )
        for profile, level in places
    ]


def value(one: Value | None) -> str:
    """A value of several repeats."""
    return f"{figure(one.value)}{'†' if one.few else ''}" if one else NOTHING


def ratio(one: Difference | None) -> str:
    """A ratio with its mark, e.g. `▲ ×0.70`."""
    if one is None or one.ratio is None:
        return ""
    mark = MARKS[one.side]
    return f"{mark} {words.ratio(one.ratio)}" if mark else words.ratio(one.ratio)


def ends(ci95: Interval | None) -> str:
    """An interval of a ratio."""
    return f"{ci95[0]:.3g}–{ci95[1]:.3g}" if ci95 else ""


def change(row: QualityRow) -> tuple[str, str]:
    """What a suite lost or gained, and its interval: points, or per cent of a perplexity."""
    if is_perplexity(row):
        if row.perplexity_ratio is None:
            return NOTHING, ""
        told, ci95 = row.perplexity_ratio - 1, row.perplexity_ratio_ci95
        ends = None if ci95 is None else (ci95[0] - 1, ci95[1] - 1)
        return f"{_signed(told)} %", _range(ends)
    if row.difference is None:
        return NOTHING, ""
    return _signed(row.difference), _range(row.difference_ci95)


def _signed(value: float) -> str:
    return f"{100 * value:+.2f}".replace("-", "−")


def _range(ci95: Interval | None) -> str:
    return "" if ci95 is None else f"{_signed(ci95[0])} … {_signed(ci95[1])}"


def score(row: QualityRow) -> str:
    """A score in per cent, or a perplexity."""
    if row.score is None:
        return NOTHING
    return f"{row.score:,.3f}" if is_perplexity(row) else f"{100 * row.score:.1f} %"


def lost(row: QualityRow) -> str:
    """The categories that lost more than noise, with how much."""
    parts = row.categories | row.tasks
    told = []
    for name in row.regressed:
        difference = parts[name].difference if name in parts else None
        told.append(plain(name) + (f" {_signed(difference)}" if difference is not None else ""))
    return ", ".join(told)


def flips(row: QualityRow) -> str:
    """Answers lost and gained."""
    if row.flips is None:
        return NOTHING
    return f"−{count(row.flips.lost)} +{count(row.flips.gained)}"


def server(one: ServerFigures) -> list[str]:
    """The figures of a server, by the columns of `SERVER`."""
    return [
        value(one.ready_s),
        value(one.first_token_s),
        figure(one.weights_gib),
        figure(one.kv_cache_gib),
        count(one.kv_cache_tokens),
        value(one.memory_peak_gib),
        plain(", ".join(filter(None, [one.scheme, one.kernel])) or NOTHING),
    ]


SERVER: Final = (
    "Ready s", "First token s", "Weights GiB", "KV GiB", "KV tokens", "Peak GiB", "Weights, kernel",
)  # fmt: skip


def told(found: Comparison) -> Iterator[str]:
    """What stands below the tables."""
    yield from (*pairs(found), *crossovers(found), *front(found), *costs(found))


def pairs(found: Comparison | SideBySide) -> Iterator[str]:
    """What the requests of interleaved builds say, pair by pair."""
    for row in found.pairs:
        listed = [
            f"{title} {words.ratio_exactly(one.ratio, one.ci95)}"
            for metric, title in (("ttft_ms", "TTFT"), ("tpot_ms", "TPOT"), ("e2e_ms", "e2e"))
            if (one := row.ratios.get(metric)) is not None
        ]
        most = max((one.pairs for one in row.ratios.values()), default=0)
        yield plain(
            f"{row.build}, {row.profile}: request by request against {found.baseline}, medians of "
            f"{count(most)} pairs: {', '.join(listed) or NOTHING}"
        )


def crossovers(found: Comparison | SideBySide) -> Iterator[str]:
    """Where one build overtakes another; metrics of which the same is to be said stand together."""
    alike: dict[tuple[str, str, str], list[str]] = {}
    for one in found.crossovers:
        metric, _, finding = one.text.partition(": ")
        alike.setdefault((one.build, one.profile, finding), []).append(metric)
    for (build, profile, finding), metrics in alike.items():
        yield plain(f"{build}, {profile}: {', '.join(metrics)}: {finding}")


def front(found: Comparison) -> Iterator[str]:
    """Yield what there is to say of the Pareto front."""
    if found.front is None:
        return
    goals = ", ".join(f"{name} ({best})" for name, best in found.front.objectives.items())
    yield f"Pareto front: {', '.join(map(plain, found.front.members))}; by {plain(goals)}."
    for build, by in found.front.dominated.items():
        yield f"{plain(build)} is nowhere better than {plain(by)}."
    if found.front.doubtful:
        yield (f"Within the noise, so not settled: {', '.join(map(plain, found.front.doubtful))}.")
    if found.front.left_out:
        yield f"Not known of every build: {', '.join(map(plain, found.front.left_out))}."


def costs(found: Comparison) -> Iterator[str]:
    """Yield what a million output tokens cost."""
    for build, cost in found.costs.items():
        yield (
            f"{plain(build)}: USD {figure(cost.value)}{words.between(cost.ci95)} per million "
            f"output tokens, at {found.cost_levels[build]}."
        )


def validity(found: Comparison) -> str:
    """Whether the numbers may be believed."""
    if found.valid:
        return "Valid: every run that this is made of is."
    return "INVALID: a run that this is made of must not be believed as a whole."


def headline(found: Comparison) -> str:
    """The recommendation, and what decided."""
    advice = found.recommendation
    text = advice.headline[:1].upper() + advice.headline[1:]
    return plain(f"{text}: {advice.preferred_by}" if advice.preferred_by else text)
