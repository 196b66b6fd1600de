"""A sizing by finished runs: searches, and load runs of any levels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from harness.capacity.weigh import found_in
from harness.errors import BadInputError
from harness.evidence.evidence import read_evidence
from harness.measuring.measurement import Caveat
from harness.measuring.slo import Slo, parse_slo
from harness.sizing.predicted import checked, models_of
from harness.sizing.searched import of_most_servers, supplies_of_search
from harness.sizing.sizing import check_builds, size
from harness.sizing.supply import servers_of, supplies

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from harness.evidence.evidence import Evidence, LoadRun
    from harness.rundir import RunFolder
    from harness.sizing.record import Demand, Sizing, Supply, Terms


def size_runs(
    runs: Sequence[RunFolder],
    slo: str | None,
    demand: Demand | None,
    terms: Terms,
    *,
    besides: Collection[str] = (),
) -> Sizing:
    """Size by what runs hold; nothing is started, and nothing is written.

    Args:
        runs: of harness capacity, load, compare or gate. A build of which there is a search is
            sized by that; where the limits are other ones than the search's, by its probes as
            levels.
        slo: the limits; None: those that the runs were asked.
        demand: what is to be served.
        terms: reserve, growth and prices.
        besides: builds that terms may name although they are not in the runs.

    Raises:
        BadInputError: a run is broken, the limits are not known or not the same, or a build's
            cells are of several profiles.
    """
    evidence = read_evidence(runs)
    check_builds({cell.build for _, cell in evidence.cells}, terms, besides=besides)
    limits = _limits(evidence, slo)
    searches = [run for run in evidence.load if _searched(run) == str(limits)]
    deployments = [
        deployment
        for run in searches
        for deployment in {(cell.build, servers_of(cell)) for cell in run.measurements.cells}
    ]
    for name, servers in deployments:
        if deployments.count((name, servers)) > 1:
            raise BadInputError(
                f"there are several searches of {name}", hint="Give the one that is to count."
            )
    names = {name for name, _ in deployments}
    searched: list[Supply] = []
    told: list[Caveat] = []
    for run in searches:
        capacity = found_in(run)
        searched += supplies_of_search(run, capacity)
        told += capacity.caveats
    rest = [(run, cell) for run, cell in evidence.cells if cell.build not in names]
    levels = supplies(rest, limits) if rest or not searched else []
    told += _left_out(evidence, searches, names)
    known = {supply.build: supply for supply in (*of_most_servers(searched), *levels)}
    order = dict.fromkeys(cell.build for _, cell in evidence.cells)
    found = size([known[name] for name in order if name in known], str(limits), demand, terms)
    models, unfit = models_of([one.build for one in found.builds], evidence.cells)
    found = checked(found, models, limits)
    return msgspec.structs.replace(found, caveats=[*told, *found.caveats, *unfit])


def _left_out(
    evidence: Evidence, searches: Sequence[LoadRun], names: Collection[str]
) -> Iterator[Caveat]:
    """Yield what is not counted, since a search says how much a build holds."""
    others = [run for run in evidence.load if run not in searches]
    builds = {cell.build: run.folder.path.name for run in others for cell in run.measurements.cells}
    for build, name in builds.items():
        if build in names:
            yield Caveat(
                "levels_left_out",
                f"{build} is sized by its search, and the levels of {name} are not counted. To "
                "size it by those, leave the search out; how several servers add up is told by "
                "searches of one and of several, or by levels of both.",
            )


def _searched(run: LoadRun) -> str | None:
    """The limits of a search; None of another run."""
    request = run.manifest.get("request")
    if not isinstance(request, dict) or "search" not in request:
        return None
    return str(parse_slo(str(request.get("slo")), recorded=True))


def _limits(evidence: Evidence, slo: str | None) -> Slo:
    """The limits that are given, or those of all the runs."""
    if slo is not None:
        return parse_slo(slo)
    asked = {}
    for run in evidence.load:
        request: Any = run.manifest.get("request")
        text = request.get("slo") if isinstance(request, dict) else None
        if text:
            asked[str(parse_slo(text, recorded=True))] = run.folder.path.name
    if not asked:
        raise BadInputError(
            "these runs were asked for no limits",
            hint='Say them: --slo "ttft_due_p95_ms<=500,itl_p95_ms<=50".',
        )
    if len(asked) > 1:
        raise BadInputError(
            f"the runs were asked for different limits: {'; '.join(asked)}",
            hint="Say which count: --slo …",
        )
    return parse_slo(next(iter(asked)), recorded=True)
