"""What a build holds by the cells of finished load runs: the highest level that held the limits."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from harness.capacity.settling import turns_of
from harness.errors import BadInputError
from harness.evidence.evidence import LoadRun
from harness.measuring.measurement import Caveat, CellMeasurement
from harness.measuring.slo import Slo, observed
from harness.rundir import CELLS
from harness.sizing.facts import facts_of
from harness.sizing.record import Supply
from harness.sizing.replicas import add_up
from loadprofiles.records import read_plan

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.measuring.slo import Limit
    from harness.sizing.record import Unit

Measured = tuple[LoadRun, CellMeasurement]
Basis = Literal["search", "open levels", "closed levels", "nothing held"]
DECIDING: Final = frozenset(
    ("interleaved", "kv_cache_full", "other_requests", "preempted", "prefix_cache_hits",
     "prompt_tokens_differ", "prompts_reused", "replicas_failed", "shared_machine",
     "short_answers", "tokens_from_chunks")
)  # fmt: skip
"""Caveats of a cell that say that the same rate need not hold in a deployment."""
_LIMITS: Final = {"<=": math.inf, ">=": 0.0}


@dataclass(frozen=True, kw_only=True)
class Level:
    """One level of one build over its repeats."""

    value: float
    """Streams or arrivals/s."""
    cells: tuple[Measured, ...]
    held: bool
    """In every repeat."""

    @property
    def rate(self) -> float:
        """Arrivals/s; in a closed loop as many as its answers/s are, the least of the repeats."""
        if self.is_open:
            return self.value
        return min(
            cell.metrics.request_rate / turns_each(run.folder.path, cell)
            for run, cell in self.cells
        )

    @property
    def is_open(self) -> bool:
        """Whether arrivals do not wait for answers."""
        return "rate" in self.cells[0][1].level


def supplies(cells: Sequence[Measured], slo: Slo) -> list[Supply]:
    """Return what each build holds by its cells, in the order of appearance.

    Args:
        cells: of finished load runs.
        slo: the limits.

    Raises:
        BadInputError: there is no load, or a build's cells are of several profiles.
    """
    by_build: dict[str, list[Measured]] = defaultdict(list)
    for one in cells:
        by_build[one[1].build].append(one)
    if not by_build:
        raise BadInputError(
            "these runs hold no load cells, so nothing says how much a server holds",
            hint="Measure with harness capacity or harness load first.",
        )
    return [supply_of_levels(build, of, slo) for build, of in by_build.items()]


def supply_of_levels(build: str, cells: Sequence[Measured], slo: Slo) -> Supply:
    """Return what one build holds: of the most servers that were measured together.

    Open-loop cells are taken where there are some: closed-loop ones make no queue.

    Raises:
        BadInputError: the cells are of several profiles, or models.
    """
    opened = [one for one in cells if "rate" in one[1].level]
    chosen = opened or list(cells)
    for what, names in (
        ("profiles", {cell.profile for _, cell in chosen}),
        ("models", {cell.model for _, cell in chosen}),
    ):
        if len(names) > 1:
            raise BadInputError(
                f"{build}: the runs are of several {what}: {', '.join(sorted(names))}",
                hint="Give the runs of one at a time.",
            )
    valid = [one for one in chosen if one[1].client.valid]
    caveats = []
    if left_out := len(chosen) - len(valid):
        caveats.append(
            Caveat(
                "invalid_cells",
                f"{build}: {left_out} of {len(chosen)} cells are invalid (the client was the "
                "bottleneck) and count for nothing.",
            )
        )
    by_servers: dict[int, list[Measured]] = defaultdict(list)
    for one in valid:
        by_servers[servers_of(one[1])].append(one)
    found = [_of_levels(build, servers, of, slo) for servers, of in by_servers.items()]
    if not any(one.rate for one in found):
        lowest = min(chosen, key=lambda one: next(iter(one[1].level.values())))
        nothing = supply_at(build, lowest, "nothing held", servers_of(lowest[1]))
        return msgspec.structs.replace(nothing, caveats=[*caveats, *nothing.caveats])
    most = add_up(found)
    return msgspec.structs.replace(most, caveats=[*caveats, *most.caveats])


def _of_levels(build: str, servers: int, cells: Sequence[Measured], slo: Slo) -> Supply:
    """What so many servers hold together."""
    best, broke, told = _held(cells, slo)
    if best is None:
        return supply_at(build, cells[0], "nothing held", servers)
    found = supply_at(
        build, best.cells[0], "open levels" if best.is_open else "closed levels", servers
    )
    return msgspec.structs.replace(
        found,
        rate=best.rate,
        rate_between=(best.rate, None if broke is None else max(broke.rate, best.rate)),
        caveats=[
            *(Caveat(code, f"{build}: {text}") for code, text in told.items()),
            *found.caveats,
        ],
    )


def supply_at(build: str, measured: Measured, basis: Basis, servers: int) -> Supply:
    """Return what the cell at the highest rate says of a server; the rate is for others to say."""
    run, cell = measured
    known = facts_of(run, build)
    ok = cell.requests.ok
    tokens = None if cell.prompt_tokens is None or not ok else cell.prompt_tokens / ok
    own_cache = cell.server.kv_cache_tokens
    cache = known.kv_cache_tokens if own_cache is None else own_cache
    unit: Unit = "requests/s" if cell.sessions is None else "sessions/s"
    return Supply(
        build=build,
        engine=cell.engine,
        model=cell.model,
        basis=basis,
        unit=unit,
        servers=servers,
        rate=None,
        cell=cell.id,
        run=run.folder.path.name,
        prompt_tokens=tokens,
        output_tokens=cell.output_tokens / ok if ok else None,
        turns=turns_each(run.folder.path, cell),
        served_rate=cell.metrics.request_rate,
        in_flight=cell.in_flight_mean / servers,
        in_flight_peak=cell.in_flight_peak / servers,
        power_w=cell.server.power_w_mean,
        joules_per_output_token=cell.server.joules_per_output_token,
        gpus=None if cell.server.gpus is None else cell.server.gpus // servers or None,
        memory_peak_gib=cell.server.memory_peak_gib,
        memory_kind=cell.server.memory_kind,
        weights_gib=known.weights_gib,
        kv_cache_gib=known.kv_cache_gib,
        kv_cache_tokens=None if cache is None else cache / servers,
        kv_bytes_per_token=known.kv_bytes_per_token,
        kv_window_tokens=known.kv_window_tokens,
        kv_bytes_beyond_window=known.kv_bytes_beyond_window,
        kv_block_tokens=known.kv_block_tokens,
        max_model_len=known.max_model_len,
        caveats=[
            Caveat(one.code, f"{build}: {one.text}")
            for one in cell.client.caveats
            if one.code in DECIDING
        ],
    )


def turns_each(run: Path, cell: CellMeasurement) -> float:
    """How many requests an arrival is: the turns of a session as planned; 1 without sessions.

    Args:
        run: its folder.
        cell: one of its cells.

    Raises:
        BadInputError: the cell's plan, which says it, is missing or broken.
    """
    if cell.sessions is None:
        return 1.0
    try:
        return turns_of(read_plan(run / CELLS / cell.id))
    except (OSError, msgspec.DecodeError) as error:
        raise BadInputError(
            f"{run}: the plan of {cell.id}, which says how many turns a session has, cannot be "
            f"read: {error}"
        ) from error


def servers_of(cell: CellMeasurement) -> int:
    """How many addresses a cell asked."""
    return max(1, len(cell.endpoints))


def holds(cell: CellMeasurement, slo: Slo) -> bool:
    """Whether a cell held all limits; no, where a limit has no value, or the queue grew.

    Latencies count failures as infinite.
    """
    if "rate" in cell.level and not cell.stable:
        return False
    for limit in slo.limits:
        value = held_value(limit, cell)
        if value is None or not limit.holds(value):
            return False
    return True


def held_value(limit: Limit, cell: CellMeasurement) -> float | None:
    """What a limit is held against in a cell: of latencies with failures as infinite ones."""
    stat = cell.metrics_with_failures.get(limit.metric)
    if stat is None or stat.unstable:
        return observed(limit, cell)
    value: float | None = getattr(stat, limit.statistic or "p95")
    if value is None and stat.n_infinite:
        return _LIMITS[limit.operator]
    return value


def _held(cells: Sequence[Measured], slo: Slo) -> tuple[Level | None, Level | None, dict[str, str]]:
    """Return the highest level that held with all below it, the lowest above that did not, why."""
    by_level: dict[float, list[Measured]] = defaultdict(list)
    for one in cells:
        by_level[next(iter(one[1].level.values()))].append(one)
    levels = [
        Level(value=value, cells=tuple(of), held=all(holds(cell, slo) for _, cell in of))
        for value, of in sorted(by_level.items())
    ]
    broken = next((place for place, level in enumerate(levels) if not level.held), len(levels))
    below, above = levels[:broken], levels[broken:]
    best = max(below, key=lambda level: level.rate, default=None)
    told = {}
    if again := [level for level in above if level.held]:
        told["not_monotone"] = (
            f"the limits broke at {above[0].value:g} and held again at {again[-1].value:g}: what "
            "counts is what held below the first break. More repeats settle it."
        )
    if best is not None and not best.is_open:
        told["closed_loop"] = (
            "the rate is of a closed loop, in which arrivals wait for answers; real arrivals "
            "queue, and the limits hold at a lower rate. harness capacity --server, or levels of "
            "--profile steady, measure that."
        )
    return best, above[0] if above else None, told
