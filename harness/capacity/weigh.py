"""From a run's folder to `capacity.json`: what the probes that lie there come to. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from harness.capacity.attainment import allowed_share
from harness.capacity.cells import read_probe
from harness.capacity.request import CONVERSATIONS
from harness.capacity.result import (
    CAPACITY_FILE,
    SCHEMA,
    Capacity,
    Found,
    LimitShown,
    Probe,
    Saturation,
)
from harness.capacity.search import (
    PRECISION,
    PROBES,
    Answer,
    Scout,
    Search,
    Tried,
    breaks,
    shares_of,
)
from harness.errors import BadInputError
from harness.evidence.evidence import LoadRun
from harness.evidence.weights import weights_of
from harness.measuring.measurement import Caveat
from harness.measuring.remeasure import numbers_of, read_facts
from harness.measuring.slo import Slo, parse_slo
from harness.rundir import CELLS, read_json
from harness.sizing.asked import read_asked
from harness.sizing.predicted import checked, models_of
from harness.sizing.searched import supplies_of_search
from harness.sizing.sizing import size
from harness.sizing.supply import turns_each
from loadprofiles.errors import RecordError
from loadprofiles.profile import Profile

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from harness.measuring.measurement import CellMeasurement
    from harness.rundir import RunFolder


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a search was asked, by its run's manifest."""

    slo: Slo
    profile: Profile
    probes: int
    precision: float

    @classmethod
    def of(cls, run: RunFolder) -> Asked:
        """Read it.

        Raises:
            BadInputError: the run is no search.
        """
        manifest: Any = run.read_manifest()
        request = manifest.get("request") or {}
        asked = request.get("search")
        if not asked:
            raise BadInputError(
                f"{run.path} is no run of harness capacity: its manifest has no search"
            )
        return cls(
            slo=parse_slo(request["slo"], recorded=True),
            profile=Profile.model_validate(manifest["profile"]),
            probes=asked.get("probes", PROBES),
            precision=asked.get("precision", PRECISION),
        )

    @property
    def unit(self) -> Literal["requests/s", "sessions/s"]:
        """Of the rates."""
        return "requests/s" if self.profile.session is None else "sessions/s"

    @property
    def allowed(self) -> tuple[float, ...]:
        """The share that may break each limit."""
        return tuple(map(allowed_share, self.slo.limits))


def search_of(asked: Asked, read: Sequence[Scout | Tried]) -> Search:
    """Return the search at one server by its probes, in their order."""
    return Search(
        allowed=asked.allowed,
        names=tuple(limit.text for limit in asked.slo.limits),
        arrival=asked.profile.arrival,
        scouts=[one for one in read if isinstance(one, Scout) and not one.empty],
        tried=[one for one in read if isinstance(one, Tried) and not one.empty],
        probes=asked.probes,
        precision=asked.precision,
        unit=asked.unit,
    )


def weigh(run: RunFolder) -> Capacity:
    """Compute all that `capacity.json` says.

    Raises:
        BadInputError: the run is no search, or its files are damaged.
    """
    measured = LoadRun(folder=run, manifest=run.read_manifest(), measurements=numbers_of(run))
    return _predicted(measured, _sized(measured, found_in(measured)))


def found_in(measured: LoadRun) -> Capacity:
    """Compute what the probes come to, without what a demand takes and what is predicted.

    Raises:
        BadInputError: as `weigh`.
    """
    run, numbers = measured.folder, measured.measurements
    asked = Asked.of(run)
    builds = list(dict.fromkeys(cell.build for cell in numbers.cells))
    servers: Any = measured.manifest.get("servers") or {}
    found: list[Found] = []
    told: list[Caveat] = []
    for build in builds:
        cells = [cell for cell in numbers.cells if cell.build == build]
        read = [_read(run, asked, cell) for cell in cells]
        probes = [_probe(run, asked, cell, one) for cell, one in zip(cells, read, strict=True)]
        weights = weights_of(servers.get(build) or {})
        best = max(cells, key=lambda one: one.metrics.request_rate)
        search, turns = search_of(asked, read), turns_each(run.path, best)
        found.append(_found(build, weights, search, probes, turns))
        interrupted = {cell.id for cell in cells if _is_interrupted(cell)}
        told += _told(found[-1], search, interrupted)
    first = found[0] if found else None
    return Capacity(
        run=numbers.run,
        slo=str(asked.slo),
        unit=asked.unit,
        precision=asked.precision,
        max_rate=first.max_rate if first else None,
        max_rate_ci95=first.max_rate_ci95 if first else None,
        outcome=first.outcome if first else None,
        probes=first.probes if first else [],
        saturation=first.saturation if first else None,
        builds=found,
        caveats=[*numbers.caveats, *told],
    )


def _sized(measured: LoadRun, capacity: Capacity) -> Capacity:
    """Add what the demand in the run's folder takes, where there is one."""
    sized_for = read_asked(measured.folder)
    if sized_for is None:
        return capacity
    supplies = supplies_of_search(measured, capacity)
    if not supplies:
        return capacity
    sizing = size(supplies, capacity.slo, sized_for.demand, sized_for.terms)
    return msgspec.structs.replace(
        capacity,
        replicas=sizing.replicas,
        replicas_range=sizing.replicas_range,
        cost_per_million_tokens=sizing.cost_per_million_tokens,
        sizing=sizing,
    )


def _predicted(measured: LoadRun, capacity: Capacity) -> Capacity:
    """Add what the simulator says of each build, and of the fleet that it was sized to."""
    names = [one.build for one in capacity.builds]
    cells = [(measured, cell) for cell in measured.measurements.cells]
    models, caveats = models_of(names, cells)
    slo, sizing = parse_slo(capacity.slo, recorded=True), capacity.sizing
    if sizing is not None:
        sizing = checked(sizing, models, slo)
        told = {one.build: one.prediction for one in sizing.builds}
    else:
        told = {build: model.prediction(None, slo) for build, model in models.items()}
    builds = [
        msgspec.structs.replace(one, prediction=told.get(one.build)) for one in capacity.builds
    ]
    return msgspec.structs.replace(
        capacity,
        builds=builds,
        sizing=sizing,
        prediction=builds[0].prediction if builds else None,
        caveats=[*capacity.caveats, *caveats],
    )


def write_capacity(run: RunFolder) -> Capacity:
    """Compute `capacity.json` and write it.

    Raises:
        BadInputError: as `weigh`, or the folder cannot be written.
    """
    found = weigh(run)
    run.write_json(CAPACITY_FILE, found)
    return found


def read_capacity(run: RunFolder) -> Capacity:
    """Read `capacity.json`.

    Raises:
        BadInputError: it is missing, broken, or of a newer harness.
    """
    return read_json(run.path / CAPACITY_FILE, Capacity, SCHEMA)


def _found(
    build: str, weights: str | None, search: Search, probes: list[Probe], turns: float
) -> Found:
    answer = search.answer(ended=isinstance(search.next(), Answer))
    held = [one.rate for one in search.shown if not breaks(one, search.allowed)]
    best = max(probes, key=lambda one: one.served_rate)
    saturation = None
    if best.served_rate > 0:
        saturation = Saturation(
            rate=best.served_rate,
            arrivals_rate=None if turns == 1 else best.served_rate / turns,
            cell=best.cell,
        )
    return Found(
        build=build,
        weights=weights,
        outcome=answer.outcome,
        text=answer.text,
        max_rate=answer.max_rate,
        max_rate_ci95=answer.interval,
        held_rate=max(held, default=None),
        probes=probes,
        saturation=saturation,
        control=search.estimate.control if search.shown else None,
    )


def _read(run: RunFolder, asked: Asked, cell: CellMeasurement) -> Scout | Tried:
    try:
        read_facts(run.path / CELLS / cell.id)  # `_probe` does
        return read_probe(run.path / CELLS / cell.id, cell, asked.slo)
    except (OSError, RecordError) as error:
        raise BadInputError(
            f"the probe {cell.id} of {run.path} cannot be read: {error}",
            hint="A search is computed from the files of all of its probes.",
        ) from error


def _probe(run: RunFolder, asked: Asked, cell: CellMeasurement, one: Scout | Tried) -> Probe:
    shares: Sequence[float] | None = None
    if isinstance(one, Scout):
        shares = None if one.empty else one.shares
    elif one.shown is not None:
        shares = shares_of(one.shown)
    limits = [
        LimitShown(limit=limit.text, allowed=most, broken=share)
        for limit, most, share in zip(asked.slo.limits, asked.allowed, shares or (), strict=False)
    ]
    return Probe(
        cell=cell.id,
        rate=one.rate if isinstance(one, Tried) else None,
        streams=one.streams if isinstance(one, Scout) else None,
        met=None if shares is None else all(one.broken <= one.allowed for one in limits),
        limits=limits,
        requests=cell.requests.due,
        window_s=cell.window_s,
        served_rate=cell.metrics.request_rate,
        ended_early=read_facts(run.path / CELLS / cell.id).ended_when_decided,
        empty=one.empty,
    )


def _is_interrupted(cell: CellMeasurement) -> bool:
    """Whether it ended neither by itself nor as decided: Ctrl-C, or a dead server."""
    return any(caveat.code == "interrupted" for caveat in cell.client.caveats)


def _told(found: Found, search: Search, interrupted: Collection[str] = ()) -> list[Caveat]:
    """What a reader must know of one build's answer.

    Args:
        found: the answer.
        search: that found it.
        interrupted: cells that were cut off, whose length says nothing of what was asked.
    """
    caveats = []
    slow = [one for one in found.probes if one.client_was_slow]
    if slow:
        rates = ", ".join(dict.fromkeys(f"{one.rate:g}" for one in slow))
        caveats.append(
            Caveat(
                "client_too_slow",
                f"{found.build}: the client was the bottleneck at {rates}/s, and those probes "
                "count for nothing. Give it a core of its own, or --workers.",
            )
        )
    whole = [
        one
        for one in found.probes
        if one.rate is not None and not one.ended_early and one.cell not in interrupted
    ]
    until_s = search.scouts[0].conversation_s if search.scouts else 0.0
    if any(one.window_s < 2 * until_s for one in whole):
        caveats.append(
            Caveat(
                "sessions_cut",
                f"{found.build}: it takes {until_s:.3g} s until most turns of a session are due, "
                "and a probe was less than twice as long: its load never came to its full height, "
                f"and the rate may be too high. Give --duration {CONVERSATIONS * until_s:.0f}.",
            )
        )
    if found.outcome == "imprecise" and found.max_rate_ci95 is not None:
        low, high = found.max_rate_ci95
        caveats.append(
            Caveat(
                "imprecise",
                f"{found.build}: the interval {low:.4g} to {high:.4g} is wider than asked after "
                f"{len(found.probes)} probes. Give each more time (--duration), or allow more "
                "(--probes).",
            )
        )
    return caveats
