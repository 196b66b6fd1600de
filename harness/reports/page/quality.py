"""Scores by suite and category, and what changed against the baseline, drawn beside the numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from harness.reports.evaluation import words
from harness.reports.figures import count, plain
from harness.reports.page.axes import Scale, Tick, linear
from harness.reports.page.panels import hue
from harness.reports.page.svg import Strip

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from markupsafe import Markup

    from evals.compare.records import Interval, Part
    from harness.quality.evaluation import Evaluation, SuiteResult
    from harness.reports.page.material import Material

FEW: Final = 40
"""Rows of a suite's table that stand open; of more, the parts are folded."""
_MOST_ROWS: Final = 480


@dataclass(frozen=True, kw_only=True)
class Row:
    """One build's answers to one part of a suite, as text and pictures."""

    build: str
    colour: int
    items: str
    score: str
    spread: str
    strip: Markup
    difference: str = ""
    difference_spread: str = ""
    difference_strip: Markup | None = None
    p: str = ""
    regressed: bool = False


@dataclass(frozen=True, kw_only=True)
class Group:
    """One part of a suite: the whole, a task, a category or a tag's value."""

    label: str
    rows: list[Row]


@dataclass(frozen=True, kw_only=True)
class Table:
    """One suite."""

    suite: str
    metric: str
    unit: str
    difference_unit: str
    score_axis: Markup
    difference_axis: Markup | None
    whole: list[Group]
    parts: list[Group]
    left_out: int = 0
    baseline: str | None = None

    @property
    def open(self) -> bool:
        """Whether its parts stand open: where they are few, and compared if the whole is."""
        rows = [row for group in self.parts for row in group.rows]
        compared = self.difference_axis is None or any(row.difference for row in rows)
        return len(rows) <= FEW and compared

    @property
    def lost(self) -> list[Group]:
        """The parts in which some build lost more than noise."""
        return [group for group in self.parts if any(row.regressed for row in group.rows)]


@dataclass
class _Value:
    """One number of one part."""

    build: str
    suite: SuiteResult
    items: int
    score: float | None
    ci95: Interval | None
    difference: float | None = None
    difference_ci95: Interval | None = None
    p: float | None = None
    regressed: bool = False


@dataclass
class _Parts:
    """The values of a suite, by part."""

    whole: list[_Value] = field(default_factory=list)
    parts: dict[str, list[_Value]] = field(default_factory=dict)


def tables(material: Material) -> list[Table]:
    """Return a table a suite, every build in it."""
    found = [one for run in material.evidence.quality for one in run.evaluations]
    names = dict.fromkeys((s.suite, s.metric) for one in found for s in one.suites)
    return [
        table
        for name, metric in names
        if (table := _table(material, name, metric, found)) is not None
    ]


def _table(material: Material, name: str, metric: str, found: Sequence[Evaluation]) -> Table | None:
    values = _Parts()
    first: SuiteResult | None = None
    baseline = None
    told = {one.server.build for one in found}
    for one in found:
        for suite in one.suites:
            if (suite.suite, suite.metric) != (name, metric) or suite.score is None:
                continue
            first = first or suite
            against = suite.baseline
            if against is not None:
                baseline = against.build
                if against.build not in told:
                    told.add(against.build)
                    _baseline(values, suite)
            _add(values, one.server.build, suite)
    if first is None:
        return None
    if len(values.parts) == 1 and not first.tasks:
        values.parts = {}  # the same again
    kept = dict(list(values.parts.items())[: _MOST_ROWS // max(1, len(values.whole))])
    wide = values.whole if words.is_ratio(first) else [*values.whole, *_all(kept)]
    scores = Strip(scale=_scores([*values.whole, *_all(kept)], wide, first))
    changes = _differences([*values.whole, *_all(kept)], wide)
    drawn = _Drawn(material=material, scores=scores, changes=changes)
    return Table(
        suite=plain(name),
        metric=plain(metric),
        unit="" if words.is_ratio(first) else "%",
        difference_unit="%" if words.is_ratio(first) else "points",
        score_axis=scores.axis(),
        difference_axis=None if changes is None else changes.axis(),
        whole=[drawn.group("all", values.whole)],
        parts=[drawn.group(plain(label), rows) for label, rows in kept.items()],
        left_out=len(values.parts) - len(kept),
        baseline=None if baseline is None else plain(baseline),
    )


def _all(parts: dict[str, list[_Value]]) -> Iterator[_Value]:
    for values in parts.values():
        yield from values


def _baseline(values: _Parts, suite: SuiteResult) -> None:
    """Add the baseline's own scores over the pairs, where it has no evaluation of its own."""
    against = suite.baseline
    if against is None:
        return
    values.whole.append(_Value(against.build, suite, against.pairs, against.score, None))
    for label, part in _named(against.tasks, against.categories):
        values.parts.setdefault(label, []).append(
            _Value(against.build, suite, part.pairs, part.baseline_score, None)
        )


def _add(values: _Parts, build: str, suite: SuiteResult) -> None:
    against = suite.baseline
    whole = _Value(build, suite, suite.items, suite.score, suite.ci95)
    changed: dict[str, Part] = {}
    if against is not None:
        changed = dict(_named(against.tasks, against.categories))
        whole.difference, whole.difference_ci95 = against.difference, against.difference_ci95
        if (ratio := against.perplexity) is not None:
            whole.difference, ci95 = ratio.ratio - 1, ratio.ci95
            whole.difference_ci95 = ci95 and (ci95[0] - 1, ci95[1] - 1)
    values.whole.append(whole)
    groups = [*suite.tasks.items(), *(
        (label, part) for label, part in suite.categories.items() if label not in suite.tasks
    )]  # fmt: skip
    for tag, parts in suite.tags.items():
        groups += [(f"{tag}: {value}", part) for value, part in parts.items()]
    for label, group in groups:
        value = _Value(build, suite, group.items, group.score, group.ci95)
        if (part := changed.get(label)) is not None:
            value.difference, value.difference_ci95 = part.difference, part.difference_ci95
            value.p = part.p_holm
            value.regressed = against is not None and label in against.regressed
        values.parts.setdefault(label, []).append(value)


def _named(tasks: dict[str, Part], categories: dict[str, Part]) -> Iterator[tuple[str, Part]]:
    yield from tasks.items()
    yield from ((label, part) for label, part in categories.items() if label not in tasks)


@dataclass(frozen=True, kw_only=True)
class _Drawn:
    """Turns values into rows."""

    material: Material
    scores: Strip
    changes: Strip | None

    def group(self, label: str, values: Iterable[_Value]) -> Group:
        """Return a part's rows."""
        return Group(label=label, rows=[self._row(value) for value in values])

    def _row(self, value: _Value) -> Row:
        build = plain(value.build)
        builds = self.material.builds
        colour = builds.index(build) if build in builds else len(builds)
        score, spread = words.score(value.suite, value.score), words.interval(
            value.suite, value.ci95
        )  # fmt: skip
        change = words.difference(value.suite, value.difference)
        change_spread = words.difference_interval(value.difference_ci95)
        strip = None
        if self.changes is not None and value.difference is not None:
            strip = self.changes.draw(
                value=value.difference,
                ci=value.difference_ci95,
                kind=hue(colour),
                told=f"difference {change}" + f" ({change_spread})" * bool(change_spread),
            )
        return Row(
            build=build,
            colour=colour,
            items=count(value.items),
            score=score,
            spread=spread,
            strip=self.scores.draw(
                value=value.score, ci=value.ci95, kind=hue(colour),
                told=score + f" ({spread})" * bool(spread),
            ),
            difference=change if value.difference is not None else "",
            difference_spread=change_spread,
            difference_strip=strip,
            p=words.p_value(value.p) if value.p is not None else "",
            regressed=value.regressed,
        )  # fmt: skip


def _scores(values: Iterable[_Value], wide: Iterable[_Value], suite: SuiteResult) -> Scale:
    """Return an axis for all scores.

    A few texts' perplexity may be anything up to hundreds: such intervals are cut, not all
    others flattened.
    """
    there = [value.score for value in values if value.score is not None]
    there += [limit for value in wide for limit in value.ci95 or ()]
    if words.is_ratio(suite):
        return linear(there or [1.0, 2.0], zero=False)
    low = max(0.0, math.floor(min(there, default=0.0) * 10) / 10)
    high = max(min(1.0, math.ceil(max(there, default=1.0) * 10) / 10), low + 0.1)
    middle = (low + high) / 2
    ticks = [Tick(at, f"{100 * v:g}") for at, v in ((0.0, low), (0.5, middle), (1.0, high))]
    return Scale(low=low, high=high, ticks=ticks)


def _differences(values: Iterable[_Value], wide: Iterable[_Value]) -> Strip | None:
    there = [abs(value.difference) for value in values if value.difference is not None]
    if not there:
        return None
    there += [abs(limit) for value in wide for limit in value.difference_ci95 or ()]
    most = linear([0, max(there) or 0.01]).high
    ticks = [Tick(0, f"−{100 * most:g}"), Tick(0.5, "0"), Tick(1, f"+{100 * most:g}")]
    return Strip(scale=Scale(low=-most, high=most, ticks=ticks), zero=0.0)
