"""What evaluations say of the builds' answers, as rows of a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.comparing.comparison import QualityPart, QualityRow
from harness.measuring.measurement import Caveat

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from evals.compare.records import GroupScore, Part
    from harness.evidence.evidence import Evidence
    from harness.quality.evaluation import Against, SuiteResult

PERPLEXITY: Final = "perplexity"


def quality_rows(
    evidence: Evidence, builds: Sequence[str], baseline: str
) -> tuple[list[QualityRow], list[Caveat]]:
    """Return a row a suite and build; the last evaluation of a suite counts.

    A baseline that was only asked, and not itself examined, has the score over the pairs.
    """
    found: dict[tuple[str, str], QualityRow] = {}
    theirs: dict[str, QualityRow] = {}
    caveats: list[Caveat] = []
    for run in evidence.quality:
        for one in run.evaluations:
            if one.server.build not in builds:
                continue
            valid = not any(caveat.invalidates for caveat in one.caveats)
            for suite in one.suites:
                against = suite.baseline
                if against is not None and against.build != baseline:
                    against = None
                found[suite.suite, one.server.build] = _row(
                    one.server.build, suite, against, valid=valid
                )
                if against is not None:
                    theirs[suite.suite] = _of_baseline(suite, against)
    for name, row in theirs.items():
        found.setdefault((name, baseline), row)
    suites = list(dict.fromkeys(suite for suite, _ in found))
    for name in suites:
        unpaired = [
            build
            for build in builds
            if build != baseline
            and (name, build) in found
            and found[name, build].noninferiority is None
        ]
        if unpaired and (name, baseline) in found:
            caveats.append(
                Caveat(
                    "no_pairs",
                    f"{name}: {', '.join(unpaired)} and {baseline} were not asked in one run, so "
                    "their answers are not compared on pairs. `harness eval --baseline` or "
                    "`harness compare` asks both.",
                )
            )
    ordered = [found[name, build] for name in suites for build in builds if (name, build) in found]
    return ordered, caveats


def is_perplexity(row: QualityPart) -> bool:
    """Whether less is better, and builds are compared by the ratio."""
    return isinstance(row, QualityRow) and (row.kind == PERPLEXITY or PERPLEXITY in row.metric)


def _row(build: str, suite: SuiteResult, against: Against | None, *, valid: bool) -> QualityRow:
    parts = against.categories if against else {}
    tasks = against.tasks if against else {}
    row = QualityRow(
        build=build,
        suite=suite.suite,
        kind=suite.kind,
        route=suite.route,
        metric=suite.metric,
        score=suite.score,
        ci95=suite.ci95,
        items=suite.items,
        categories=_parts(suite.categories, parts),
        tasks=_parts(suite.tasks, tasks),
        valid=valid and not any(caveat.invalidates for caveat in suite.caveats),
    )
    if against is None:
        return row
    ratio = against.perplexity
    worst = against.worst
    lost = (parts | tasks).get(worst) if worst else None
    test = against.noninferiority
    return QualityRow(
        **{name: getattr(row, name) for name in _OF_BUILD},
        baseline_score=against.score,
        difference=against.difference,
        difference_ci95=against.difference_ci95,
        retained=against.retained,
        retained_ci95=against.retained_ci95,
        noninferiority=test,
        perplexity_ratio=ratio.ratio if ratio else None,
        perplexity_ratio_ci95=ratio.ci95 if ratio else None,
        verdict=against.verdict,
        items_needed=test.items_needed if test else None,
        regressed=list(against.regressed),
        worst=worst,
        worst_difference=lost.difference if lost else None,
        worst_ci95=lost.difference_ci95 if lost else None,
        flips=against.flips,
    )


_OF_BUILD: Final = (
    "build", "suite", "kind", "route", "metric", "score", "ci95", "items", "categories", "tasks",
    "valid",
)  # fmt: skip


def _of_baseline(suite: SuiteResult, against: Against) -> QualityRow:
    def part(one: Part) -> QualityPart:
        return QualityPart(items=one.pairs, score=one.baseline_score)

    return QualityRow(
        build=against.build,
        suite=suite.suite,
        kind=suite.kind,
        route=suite.route,
        metric=suite.metric,
        score=against.score,
        items=against.pairs,
        categories={name: part(one) for name, one in against.categories.items()},
        tasks={name: part(one) for name, one in against.tasks.items()},
    )


def _parts(
    groups: Mapping[str, GroupScore], compared: Mapping[str, Part]
) -> dict[str, QualityPart]:
    found = {}
    for name, group in groups.items():
        one = compared.get(name)
        found[name] = QualityPart(
            items=group.items,
            score=group.score,
            ci95=group.ci95,
            baseline_score=one.baseline_score if one else None,
            difference=one.difference if one else None,
            difference_ci95=one.difference_ci95 if one else None,
            retained=one.retained.share if one and one.retained else None,
            retained_ci95=one.retained.ci95 if one and one.retained else None,
            noninferiority=one.noninferiority if one else None,
        )
    return found
