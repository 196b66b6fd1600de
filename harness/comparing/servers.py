"""What each build's server is, and what it takes before the first request."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from harness.comparing.noise import interval, own_spread
from harness.comparing.rows import ServerFigures, Value
from harness.evidence.weights import kernel_of
from launchers.telemetry.records import GIB

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.comparing.alike import Facts
    from harness.comparing.values import Grid, RepeatKey
    from harness.evidence.evidence import Evidence

_TIMES: Final = ("ready_s", "first_token_s")
_MEMORY: Final = "memory_peak_gib"


def server_figures(
    evidence: Evidence, builds: Sequence[str], grids: Sequence[Grid], facts: Facts
) -> list[ServerFigures]:
    """Return the figures of each build's server; None where a server does not tell.

    Args:
        evidence: finished runs.
        builds: whose.
        grids: their load cells.
        facts: of `alike.of_evidence`.
    """
    visits = {build: _visits(evidence, build) for build in builds}
    times = {name: _over_visits(name, visits) for name in _TIMES}
    peaks = _over_repeats({build: _peaks(grids, build) for build in builds})
    return [
        _figures(
            evidence,
            build,
            visits[build],
            {name: found[build] for name, found in times.items()},
            peaks[build],
            {name: ", ".join(values) for name, values in facts.get(build, {}).items()},
        )
        for build in builds
    ]


def _figures(
    evidence: Evidence,
    build: str,
    visits: Sequence[Mapping[str, Any]],
    times: Mapping[str, Value | None],
    peak: Value | None,
    arguments: dict[str, Any],
) -> ServerFigures:
    first = visits[0] if visits else {}
    reported = _table(first.get("reported"))
    cells = [cell for _, cell in evidence.cells if cell.build == build]
    kinds = [cell.server.memory_kind for cell in cells if cell.server.memory_kind]
    size = _number(_table(first.get("weights")).get("bytes"))
    tokens = _number(reported.get("kv_cache_tokens")) or next(
        (cell.server.kv_cache_tokens for cell in cells if cell.server.kv_cache_tokens), None
    )
    return ServerFigures(
        build=build,
        engine=first.get("engine") or (cells[0].engine if cells else None),
        engine_version=first.get("engine_version") or (cells[0].engine_version if cells else None),
        model=first.get("model") or (cells[0].model if cells else None),
        quantization=first.get("quantization"),
        scheme=first.get("scheme"),
        kernel=kernel_of(first),
        ready_s=times["ready_s"],
        first_token_s=times["first_token_s"],
        weights_gib=_number(reported.get("model_memory_gib"))
        or _number(first.get("weights_gib"))
        or (None if size is None or "weights_gib" in first else size / GIB),
        kv_cache_gib=_number(reported.get("kv_cache_gib")) or _number(first.get("kv_cache_gib")),
        kv_cache_tokens=None if tokens is None else int(tokens),
        memory_peak_gib=peak,
        memory_kind=kinds[0] if kinds else None,
        arguments=arguments,
    )


def _visits(evidence: Evidence, build: str) -> list[dict[str, Any]]:
    """Return what each server of a build said of itself, every time that it was brought up.

    A load run that brings servers up several times keeps `visits` in its manifest, each with its
    `build` and what `servers` has of the first.
    """
    found: list[dict[str, Any]] = []
    for run in evidence.load:
        visits = run.manifest.get("visits")
        several = [_table(one) for one in visits] if isinstance(visits, list) else []
        told = [one | _table(one.get("server")) for one in several if one.get("build") == build]
        one = _table(run.manifest.get("servers")).get(build)
        own = _table(one).get("visits")
        told = told or ([_table(visit) for visit in own] if isinstance(own, list) else [])
        found += told or ([_table(one)] if one else [])
    for graded in evidence.quality:
        if build in graded.manifest.servers:
            found.append(graded.manifest.servers[build].provenance)
    return _once(found)


def _once(visits: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out what is told twice: a server that answered an evaluation and then a load."""
    found: list[dict[str, Any]] = []
    for one in visits:
        argv, ready = one.get("argv"), one.get("ready_s")
        if not any(ready and (argv, ready) == (o.get("argv"), o.get("ready_s")) for o in found):
            found.append(one)
    return found


def _over_visits(
    name: str, visits: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[str, Value | None]:
    listed = {
        build: [found for one in those if (found := _number(one.get(name))) is not None]
        for build, those in visits.items()
    }
    return _over_repeats(listed)


def _over_repeats(listed: Mapping[str, Sequence[float]]) -> dict[str, Value | None]:
    """Return means and intervals; the variance is pooled over builds that were up as often."""
    known = {build: list(values) for build, values in listed.items() if values}
    count = min((len(values) for values in known.values()), default=0)
    above = all(min(values) > 0 for values in known.values())
    spread = None
    if count > 1 and above:
        logs = np.log([values[:count] for values in known.values()])[:, None, :]
        spread = own_spread(logs, np.zeros(1))
    found: dict[str, Value | None] = dict.fromkeys(listed)
    for build, values in known.items():
        if not above:
            found[build] = Value(value=float(np.mean(values)), repeats=list(values))
            continue
        mean = float(np.log(values).mean())
        at = interval(mean, spread.levels[0], spread.df, len(values)) if spread else None
        found[build] = Value(
            value=values[0] if len(values) == 1 else math.exp(mean),
            ci95=None if at is None else (math.exp(at[0]), math.exp(at[1])),
            repeats=list(values),
        )
    return found


def _peaks(grids: Sequence[Grid], build: str) -> list[float]:
    """Return the largest peak memory of each repeat."""
    peaks: dict[tuple[str, RepeatKey], float] = {}
    for grid in grids:
        for level in grid.levels:
            for key, one in grid.readings(build, level, _MEMORY).items():
                at = (grid.profile, key)
                peaks[at] = max(peaks.get(at, 0.0), one.value)
    return list(peaks.values())


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)
