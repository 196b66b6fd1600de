"""Which build to ship, why, and what could not be told.

A build is eligible where it holds every limit, and no category of a suite lost more than the
margin. On suites for which the user sets no limit, the margin that the evaluation tested counts.
Of the eligible the one of the least cost is taken where prices are given, else the one of most
tokens a second; where two are not shown to differ, the one with more of the baseline's quality;
then the one with less memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.comparing import words
from harness.comparing.comparison import LimitResult, Recommendation
from harness.comparing.held import speaks_of, verdict
from harness.comparing.quality import is_perplexity
from harness.evidence.limits import parse_limit

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence

    from evals.compare.records import Verdict
    from harness.comparing.comparison import Comparison, QualityRow
    from harness.comparing.rows import Difference, Value
    from harness.evidence.limits import Limit

_SAID: Final = ("e2e_p50_ms", "ttft_p95_ms")
"""Latencies that a reason names."""


def recommend(comparison: Comparison, limits: Sequence[Limit]) -> Recommendation:
    """Return what follows from the numbers.

    Args:
        comparison: all but its recommendation is looked at.
        limits: the user's own; suites' margins are added where they name no limit on answers.
    """
    held = limit_results(comparison, limits)
    doubted = _doubted(comparison)
    verdicts = {build: _verdict(held[build], doubted=build in doubted) for build in held}
    passed = [build for build in comparison.builds if verdicts[build] == "PASS"]
    best, how = None, ""
    reasons: list[str] = []
    if not comparison.load and len(comparison.builds) > 1:
        decided, headline = _by_answers(comparison, verdicts, held)
        for build in passed:
            reasons += [f"{build} holds {o.limit}: {o.text}" for o in held[build] if o.value]
    elif passed:
        decided = "PASS"
        best, how = _best(comparison, passed)
        kept = best == comparison.baseline and len(comparison.builds) > 1
        headline = f"stay with {best}" if kept else f"ship {best}"
        reasons += _for(comparison, best, held[best])
        for build in passed:
            reasons += _behind(comparison, best, build) if build != best else []
    else:
        decided, headline = _none(comparison.builds, verdicts, held)
    for build in comparison.builds:
        failed = [one for one in held[build] if one.verdict == "FAIL"]
        reasons += [f"do not ship {build}: {one.text} (limit {one.limit})" for one in failed]
    unknown = [f"{build}: {why}" for build, why in doubted.items()]
    if decided == "PASS" and not comparison.valid:
        decided = "INCONCLUSIVE"
        headline = f"no recommendation yet; what is known so far says: {headline}"
        unknown.insert(0, "what the invalid or missing parts would show: measure them again")
    unknown += _unknown(comparison, held)
    if not any(one.kind == "load" for one in limits) and comparison.load:
        unknown.append("no limits on latency or throughput were given: none was held to any")
    return Recommendation(
        build=best,
        verdict=decided,
        headline=headline,
        reasons=reasons,
        limits=held,
        preferred_by=how,
        unknown=unknown,
    )


def _none(
    builds: Sequence[str],
    verdicts: Mapping[str, Verdict],
    held: Mapping[str, Sequence[LimitResult]],
) -> tuple[Verdict, str]:
    """Return what is said where no build holds all limits."""
    undecided = [build for build in builds if verdicts[build] == "INCONCLUSIVE"]
    if not undecided:
        return "FAIL", "ship none of them: each breaks a limit"
    headline = f"cannot tell yet whether {_or(undecided)} can be shipped"
    settle = [
        f"{build} takes {one.settle}" for build in undecided for one in held[build] if one.more
    ]
    return "INCONCLUSIVE", "; ".join([headline, *settle[:2]])


def _by_answers(
    comparison: Comparison,
    verdicts: Mapping[str, Verdict],
    held: Mapping[str, Sequence[LimitResult]],
) -> tuple[Verdict, str]:
    """Return what is said where nothing but answers was compared."""
    if not any(held.values()):
        return "INCONCLUSIVE", "nothing was measured, so no build is told from another"
    others = [build for build in comparison.builds if build != comparison.baseline]
    passed = [build for build in others if verdicts[build] == "PASS"]
    if not passed:
        return _none(others, verdicts, held)
    return "PASS", (
        f"{words.listed(passed)} can take the place of {comparison.baseline} by the answers; "
        "no load was measured, so none is preferred"
    )


def limit_results(comparison: Comparison, limits: Sequence[Limit]) -> dict[str, list[LimitResult]]:
    """Hold every build to the user's limits and the suites' own margins."""
    margins = list(_margins(comparison, limits))
    found: dict[str, list[LimitResult]] = {}
    for build in comparison.builds:
        found[build] = [verdict(one, build, comparison) for one in limits]
        found[build] += [verdict(one, build, comparison) for one in margins]
        broken = {
            one.suite
            for one, result in zip([*limits, *margins], found[build], strict=True)
            if result.verdict == "FAIL"
        }
        found[build] += _lost_parts(comparison, build, broken)
    return found


def _margins(comparison: Comparison, limits: Sequence[Limit]) -> Iterator[Limit]:
    """Yield the margins that evaluations tested, of suites that no limit speaks of."""
    for suite in dict.fromkeys(row.suite for row in comparison.quality):
        rows = [r for r in comparison.quality if r.suite == suite and r.noninferiority]
        if any(speaks_of(one, row) for one in limits for row in rows):
            continue
        for row in rows[:1]:
            assert row.noninferiority is not None  # noqa: S101 - just filtered
            margin = 100 * row.noninferiority.margin
            if is_perplexity(row):
                yield parse_limit(f"perplexity_rise({suite})<={margin:.6g}%")
            else:
                yield parse_limit(f"difference({suite})>=-{margin:.6g}%")


def _lost_parts(
    comparison: Comparison, build: str, broken: Container[str | None]
) -> Iterator[LimitResult]:
    """Yield a failed limit for each category that lost more than the margin, noise apart.

    Suites on which a limit is `broken` name their categories there.
    """
    for row in comparison.quality:
        if row.build != build or row.suite in broken:
            continue
        parts = row.categories | row.tasks
        for name in row.regressed:
            part = parts.get(name)
            test = part.noninferiority if part else None
            if part is None or test is None or test.verdict != "FAIL" or part.difference is None:
                continue
            yield LimitResult(
                limit=f"difference({row.suite}/{name})>=-{100 * test.margin:.6g}%",
                verdict="FAIL",
                value=part.difference,
                ci95=part.difference_ci95,
                text=f"category {name} of {row.suite} "
                f"{words.loss(part.difference, part.difference_ci95)}",
            )


def _doubted(comparison: Comparison) -> dict[str, str]:
    """Return builds with numbers that must not be believed, and which."""
    found: dict[str, list[str]] = {}
    for row in comparison.load:
        if not row.valid:
            found.setdefault(row.build, []).append(words.level(row.level))
    for graded in comparison.quality:
        if not graded.valid:
            found.setdefault(graded.build, []).append(graded.suite)
    return {
        build: f"what was measured at {words.listed(where)} is invalid; "
        "a valid measurement would tell"
        for build, where in found.items()
    }


def _verdict(found: Sequence[LimitResult], *, doubted: bool) -> Verdict:
    verdicts: set[Verdict] = {one.verdict for one in found}
    if doubted:
        verdicts.add("INCONCLUSIVE")
    if "FAIL" in verdicts:
        return "FAIL"
    return "INCONCLUSIVE" if "INCONCLUSIVE" in verdicts else "PASS"


# --- which of the eligible -----------------------------------------------------------------------


def _best(comparison: Comparison, passed: Sequence[str]) -> tuple[str, str]:
    """Return the build to take, and what decided."""
    costs = {build: comparison.costs[build] for build in passed if build in comparison.costs}
    if len(costs) == len(passed):
        first = min(costs, key=lambda build: costs[build].value or 0.0)
        alike = [b for b in passed if b == first or not _apart(costs[b], costs[first])]
        if len(alike) == 1:
            return first, "the least cost per token"
        best = _by_quality(comparison, alike)
        return best, f"quality, {words.listed(alike)} not being shown to differ in cost per token"
    speeds = {build: found for build in passed if (found := _throughput(comparison, build))}
    if len(speeds) == len(passed) and speeds:
        first = max(speeds, key=lambda build: speeds[build].value or 0.0)
        alike = [b for b in passed if b == first or not _faster(comparison, first, b, speeds)]
        if len(alike) == 1:
            return first, "the most tokens a second"
        best = _by_quality(comparison, alike)
        return best, f"quality, {words.listed(alike)} not being shown to differ in tokens a second"
    best = _by_quality(comparison, passed)
    return best, "quality; what they take was not measured of each"


def _throughput(comparison: Comparison, build: str) -> Value | None:
    """Return tokens a second at the highest level that all builds have."""
    level = _highest(comparison)
    for row in comparison.load:
        if row.build == build and words.level(row.level) == level:
            return row.metrics.get("aggregate_tps")
    return None


def _highest(comparison: Comparison) -> str | None:
    builds = {row.build for row in comparison.load}
    levels = dict.fromkeys(words.level(row.level) for row in comparison.load)
    whole = [
        level
        for level in levels
        if {row.build for row in comparison.load if words.level(row.level) == level} == builds
    ]
    return whole[-1] if whole else None


def _faster(comparison: Comparison, a: str, b: str, speeds: Mapping[str, Value]) -> bool:
    """Whether a makes more tokens a second than b by more than noise."""
    level = _highest(comparison)
    for build, other, side in ((a, b, "better"), (b, a, "worse")):
        if other == comparison.baseline:
            against = _against(comparison, build, level, "aggregate_tps")
            return against is not None and against.side == side
    return _apart(speeds[a], speeds[b])


def _against(
    comparison: Comparison, build: str, level: str | None, metric: str
) -> Difference | None:
    for row in comparison.load:
        if row.build == build and words.level(row.level) == level:
            return row.against.get(metric)
    return None


def _apart(a: Value, b: Value) -> bool:
    if a.ci95 is None or b.ci95 is None:
        return False
    return a.ci95[1] < b.ci95[0] or b.ci95[1] < a.ci95[0]


def _by_quality(comparison: Comparison, builds: Sequence[str]) -> str:
    """Return the build that keeps most of the baseline's quality, then the one of less memory."""

    def kept(build: str) -> float:
        rows = [row for row in comparison.quality if row.build == build]
        shares = [row.retained for row in rows if row.retained is not None]
        return sum(shares) / len(shares) if shares else 1.0

    def memory(build: str) -> float:
        for one in comparison.servers:
            if one.build == build and one.memory_peak_gib and one.memory_peak_gib.value:
                return one.memory_peak_gib.value
        return 0.0

    return max(builds, key=lambda build: (kept(build), -memory(build)))


# --- in words ------------------------------------------------------------------------------------


def _for(comparison: Comparison, build: str, held: Sequence[LimitResult]) -> Iterator[str]:
    """Yield what speaks for a build."""
    yield from _speeds(comparison, build)
    if build in comparison.costs:
        cost = comparison.costs[build]
        yield (
            f"USD {words.amount('', cost.value)} per million output tokens"
            f"{words.between(cost.ci95)} at {comparison.cost_levels[build]}"
        )
    for one in held:
        if not one.text.endswith("the baseline itself"):
            yield f"holds {one.limit}: {one.text}"
    for crossover in comparison.crossovers:
        if crossover.level is not None and build in {crossover.build, crossover.baseline}:
            yield f"but mind where it crosses with another, {crossover.text}"
    for quality in comparison.quality:
        if quality.build == build and quality.regressed:
            yield f"but see {_regressed(quality)}"


def _speeds(comparison: Comparison, build: str) -> Iterator[str]:
    """Yield throughput and latencies at the highest level."""
    level = _highest(comparison)
    for row in comparison.load:
        if row.build != build or words.level(row.level) != level:
            continue
        for metric in ("aggregate_tps", *_SAID):
            own = row.metrics.get(metric)
            if own is None or own.value is None:
                continue
            text = (
                f"{words.label(metric)} {words.amount(metric, own.value)}"
                f"{words.between(own.ci95)} {words.at_level(row.level)}"
            )
            against = row.against.get(metric)
            if against is not None and against.ratio is not None:
                text += (
                    f": {words.ratio(against.ratio)} of {comparison.baseline}"
                    f"{words.between(against.ratio_ci95)}, {words.sided(metric, against.side)}"
                )
            yield text


def _regressed(row: QualityRow) -> str:
    parts = row.categories | row.tasks
    listed = []
    for name in row.regressed:
        part = parts.get(name)
        if part is None or part.difference is None:
            listed.append(name)
        else:
            listed.append(f"{name}, which {words.loss(part.difference, part.difference_ci95)}")
    return f"{row.suite}: {'; '.join(listed)}"


def _behind(comparison: Comparison, best: str, build: str) -> Iterator[str]:
    """Yield how an eligible build compares with the one that is taken."""
    ours, theirs = _throughput(comparison, build), _throughput(comparison, best)
    if ours is None or theirs is None or not ours.value or not theirs.value:
        yield f"{build} holds all limits, too"
        return
    level = _highest(comparison)
    shown = _faster(comparison, best, build, {best: theirs, build: ours})
    word = "" if shown else ", which is not shown to be a difference"
    yield (
        f"{build} holds all limits, too, with {words.ratio(ours.value / theirs.value)} of the "
        f"tokens a second of {best} at {level}{word}"
    )


def _unknown(comparison: Comparison, held: Mapping[str, Sequence[LimitResult]]) -> Iterator[str]:
    for build, found in held.items():
        for one in found:
            if one.verdict == "INCONCLUSIVE":
                settle = f"; to settle it: {one.settle}" if one.settle else ""
                yield f"{build}: whether {one.limit} holds ({one.text}){settle}"
    if comparison.front is not None and comparison.front.doubtful:
        yield (
            f"whether {words.listed(comparison.front.doubtful)} "
            f"{'is' if len(comparison.front.doubtful) == 1 else 'are'} on the Pareto front: "
            "differences between them and others are within the noise"
        )
    alone = {row.build for row in comparison.load if row.repeats == 1}
    if alone:
        yield "how much runs differ: there is one repeat; two or more would tell"


def _or(names: Sequence[str]) -> str:
    return words.listed(names).replace(" and ", " or ")
