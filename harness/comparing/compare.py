"""From the evidence to a comparison: the same bytes for the same runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from harness.comparing import words
from harness.comparing.alike import check_alike, of_evidence, together, unlike
from harness.comparing.comparison import Comparison, Recommendation
from harness.comparing.front import costs, front, objectives
from harness.comparing.held import verdict
from harness.comparing.pairs import one_start, pair_rows
from harness.comparing.quality import quality_rows
from harness.comparing.recommend import recommend
from harness.comparing.rows import Value
from harness.comparing.servers import server_figures
from harness.comparing.tested import with_tests
from harness.comparing.values import grids
from harness.comparing.weighed import weigh_load
from harness.errors import BadInputError, did_you_mean
from harness.evidence.limits import metrics_of, parse_limits
from harness.evidence.model_code import MODEL_CODE
from harness.gap import RESUMED
from harness.measuring.measurement import Caveat
from harness.measuring.repeats import REPEATS_DIFFER
from harness.reports.figures import plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.evidence.evidence import Evidence
    from harness.evidence.limits import Limit
    from harness.measuring.measurement import RunInfo


def compare(
    evidence: Evidence,
    *,
    baseline: str,
    limits: str | None = None,
    prices: Mapping[str, float] | None = None,
    allow_different: bool = False,
    known_unlike: Sequence[str] = (),
    run: RunInfo | None = None,
) -> Comparison:
    """Weigh builds against a baseline.

    Args:
        evidence: finished, or interrupted, runs.
        baseline: the build that the others are held against.
        limits: the user's own, by the grammar of `harness.evidence.limits`.
        prices: build → USD an hour of what it runs on; "" for every build.
        allow_different: builds may differ in more than their weights; a caveat says in what.
        known_unlike: in what their TOML files differ, by `unlike_builds`.
        run: the comparison's own run; None over finished runs.

    Raises:
        BadInputError: a limit cannot be read, the baseline or a priced build is not among the
            builds, or they differ in more than their weights and may not.
    """
    prices = prices or {}
    held = parse_limits(limits, recorded=True) if limits else ()
    builds = _builds(evidence, baseline, prices)
    facts = of_evidence(evidence, builds)
    lines = together(known_unlike, unlike(facts, baseline))
    caveats = check_alike(lines, allow_different=allow_different)
    sorted_cells = grids(evidence, builds, metrics_of(held))
    weighed = weigh_load(sorted_cells, baseline, held)
    quality, more = quality_rows(evidence, builds, baseline)
    quality = with_tests(quality, evidence, baseline, held)
    comparison = Comparison(
        run=run,
        runs=[
            *(str(part.folder.path) for part in evidence.load),
            *(str(part.folder.path) for part in evidence.quality),
        ],
        baseline=baseline,
        builds=builds,
        servers=server_figures(evidence, builds, sorted_cells, facts),
        load=weighed.rows,
        quality=quality,
        pairs=pair_rows(evidence, baseline),
        crossovers=weighed.crossovers,
        recommendation=Recommendation(
            build=None, verdict="INCONCLUSIVE", headline="", reasons=[], limits={}
        ),
        valid=_valid(evidence),
        caveats=[
            *caveats,
            *_of_sources(evidence, builds),
            *more,
            *weighed.caveats,
            *one_start(evidence),
            *_of_runs(evidence),
        ],
    )
    return _decided(comparison, held, prices)


def _decided(
    comparison: Comparison, limits: Sequence[Limit], prices: Mapping[str, float]
) -> Comparison:
    """Add costs, front and recommendation."""
    load = [row for row in comparison.load if row.valid]
    found, where = costs(load, prices, _broken(comparison, limits))
    known, missing = objectives(
        comparison.builds, load, comparison.quality, comparison.servers, found
    )
    comparison = msgspec.structs.replace(
        comparison,
        costs={build: Value(value=usd, ci95=ci95) for build, (usd, ci95) in found.items()},
        cost_levels=where,
        front=front(comparison.builds, known, missing),
    )
    return msgspec.structs.replace(comparison, recommendation=recommend(comparison, limits))


def _builds(evidence: Evidence, baseline: str, prices: Mapping[str, float]) -> list[str]:
    """Return all builds, the baseline first."""
    there = evidence.builds
    asked = [
        suite.baseline.build
        for run in evidence.quality
        for one in run.evaluations
        for suite in one.suites
        if suite.baseline is not None
    ]
    known = list(dict.fromkeys([*there, *asked]))
    if baseline not in known:
        raise BadInputError(
            f'the baseline "{baseline}" is not among the builds of these runs'
            f"{did_you_mean(baseline, known)}",
            hint=f"Builds: {', '.join(known) or 'none'}.",
        )
    odd = [build for build in prices if build and build not in known]
    if odd:
        raise BadInputError(
            f'a price is given for "{odd[0]}", which is not among the builds'
            f"{did_you_mean(odd[0], known)}",
            hint=f"Builds: {', '.join(known)}.",
        )
    return [baseline, *(build for build in there if build != baseline)]


def _broken(comparison: Comparison, limits: Sequence[Limit]) -> dict[str, set[str]]:
    """Return the levels at which a build breaks a limit on its load."""
    found: dict[str, set[str]] = {}
    of_load = [one for one in limits if one.kind == "load"]
    for row in comparison.load:
        alone = msgspec.structs.replace(comparison, load=[row])
        for one in of_load:
            speaks = one.level is None or one.level.is_(row.level)
            if speaks and verdict(one, row.build, alone).verdict == "FAIL":
                found.setdefault(row.build, set()).add(words.level(row.level))
    return found


def _valid(evidence: Evidence) -> bool:
    return (
        not evidence.missing
        and all(run.measurements.valid for run in evidence.load)
        and all(run.result.valid for run in evidence.quality)
    )


def _of_sources(evidence: Evidence, builds: Sequence[str]) -> list[Caveat]:
    """Return caveats about which runs the numbers are of."""
    if len(builds) == 1:
        return [
            Caveat(
                "one_build",
                f"Only {builds[0]} has numbers here, so nothing is compared with it; one build at "
                "different times is for `harness history`.",
            )
        ]
    there = [{cell.build for cell in run.measurements.cells} for run in evidence.load]
    if all(some == there[0] for some in there):
        return []
    listed = "; ".join(
        f"{', '.join(build for build in builds if build in some)}: {run.measurements.run.started}"
        for run, some in zip(evidence.load, there, strict=True)
    )
    return [
        Caveat(
            "apart",
            "The builds were driven in different runs, so whatever changed between them is taken "
            f"for a difference of the builds ({listed}). `harness compare` with the builds' names "
            "takes them by turns.",
        )
    ]


def _of_runs(evidence: Evidence) -> list[Caveat]:
    """Return what invalidates a run that this is made of, and that one was resumed."""
    found = [
        Caveat("missing_part", f"The part {plain(name)} is not there.", invalidates=True)
        for name in evidence.missing
    ]
    for load in evidence.load:
        told = load.measurements.caveats  # how repeats differ is in a comparison's own intervals
        found += [one for one in told if one.code != REPEATS_DIFFER]
        bad = [cell.id for cell in load.measurements.cells if not cell.client.valid]
        if bad:
            found.append(
                Caveat(
                    "invalid_cells",
                    f"Cells that must not be believed: {', '.join(bad)}; the load run's report "
                    "says why.",
                    invalidates=True,
                )
            )
    for graded in evidence.quality:
        found += [one for one in graded.result.caveats if one.invalidates]
        found += [
            one for each in graded.evaluations for one in each.caveats if one.code == MODEL_CODE
        ]
        if RESUMED not in {one.code for one in found}:
            found += [one for one in graded.result.caveats if one.code == RESUMED]
        found += [
            Caveat(one.code, f"{each.server.build}, {suite.suite}: {one.text}", invalidates=True)
            for each in graded.evaluations
            for suite in each.suites
            for one in suite.caveats
            if one.invalidates
        ]
    return list(dict.fromkeys(found))
