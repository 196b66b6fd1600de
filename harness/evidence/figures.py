"""Every number of every build as one flat list: what rules, histories and tables pick from."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from evals.compare.records import Interval  # noqa: TC001 - msgspec reads it
from harness.evidence.machines import machine_word
from harness.evidence.metrics import (
    DISTRIBUTIONS,
    METRICS,
    SERVER,
    Better,
    canonical,
)
from harness.measuring.slo import error_rate
from launchers.telemetry.records import GIB

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from evals.compare.records import GroupScore, Part
    from harness.evidence.evidence import Evidence, LoadRun, QualityRun
    from harness.measuring.measurement import CellMeasurement
    from harness.quality.evaluation import Against, Evaluation, SuiteResult
    from harness.quality.record import SuiteFacts

_DIGEST: Final = 8
_PERPLEXITY: Final = "perplexity"
_NO_TRAFFIC: Final = frozenset(("name", "description", "levels"))
"""What a profile says beside what is sent when."""
_NO_ANSWERS: Final = frozenset(("name", "description", "report_by"))
"""What a suite says beside what decides its answers and scores."""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One number of one build in one run, and all that decides whether two may be compared."""

    build: str
    metric: str
    """A name of `harness.evidence.metrics.METRICS`."""
    value: float | None
    """None where it could not be told: too few requests, or a queue that grew throughout."""
    ci95: Interval | None = None
    better: Better | None = None
    """None: neither is better by itself."""
    profile: str | None = None
    level: dict[str, float] | None = None
    repeat: int | None = None
    suite: str | None = None
    category: str | None = None
    task: str | None = None
    baseline: str | None = None
    """Whom `retained`, `difference` and their like are against."""
    route: str | None = None
    """How it was asked: a suite's route; of a load cell its dialect and what departs from the
    usual, e.g. `openai-completions, natural lengths`."""
    conditions: str | None = None
    """Digest of what was asked: the profile's traffic without its level, or the suite's settings
    and number of items. None where neither plays a part."""
    engine: str | None = None
    engine_version: str | None = None
    model: str | None = None
    machine: str
    """One word for the machine, equal for equal machines: CPU, cores, limits and GPUs."""
    run: str
    started: str
    """ISO 8601."""
    valid: bool
    """Whether the run says that this number may be believed."""


def figures(evidence: Evidence, *, metrics: Collection[str] | None = None) -> list[Figure]:
    """Return the figures, run by run in the order of the evidence.

    Args:
        evidence: finished runs.
        metrics: only these, by any of their spellings; None: all.
    """
    wanted = METRICS.keys() if metrics is None else {canonical(name) for name in metrics}
    found: list[Figure] = []
    for load in evidence.load:
        found += _of_load(load, wanted)
    for quality in evidence.quality:
        found += _of_quality(quality, wanted)
    return found if metrics is None else [one for one in found if one.metric in wanted]


def _of_load(run: LoadRun, wanted: Collection[str]) -> Iterator[Figure]:
    manifest = run.manifest
    request = _table(manifest.get("request"))
    info = run.measurements.run
    servers = _table(manifest.get("servers"))
    profile = _table(manifest.get("profile"))
    traffic = _told({name: at for name, at in profile.items() if name not in _NO_TRAFFIC})
    conditions = _digest(traffic) if traffic else None
    words = {name: machine_word(manifest.get("host"), _table(servers[name])) for name in servers}
    here = machine_word(manifest.get("host"))
    for cell in run.measurements.cells:
        frame = _frame(cell) | {
            "route": _route(cell, request),
            "conditions": conditions,
            "machine": words.get(cell.build, here),
            "run": info.id,
            "started": info.started,
            "valid": cell.client.valid,
        }
        yield from _of_cell(cell, frame, wanted)
    asked = {cell.build: cell for cell in reversed(run.measurements.cells)}
    for build, facts in _starts(manifest):
        first = asked.get(build)
        told = {name: facts.get(name) for name in ("engine", "engine_version", "model")}
        frame = told | ({} if first is None else {name: getattr(first, name) for name in told})
        frame |= {
            "build": build,
            "repeat": facts.get("visit"),
            "machine": words.get(build, here),
            "run": info.id,
            "started": info.started,
            "valid": True,
        }
        yield from _of_server(facts, frame)


def _starts(manifest: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Each start of a server with its build: every visit, or the one that older runs tell."""
    visits = manifest.get("visits")
    if isinstance(visits, list) and visits:
        return [(str(one.get("build")), one) for one in map(_table, visits)]
    return [(name, _table(one)) for name, one in _table(manifest.get("servers")).items()]


def _of_quality(run: QualityRun, wanted: Collection[str]) -> Iterator[Figure]:
    manifest = run.manifest
    facts = {suite.name: suite for suite in manifest.suites}
    for one in run.evaluations:
        known = manifest.servers.get(one.server.build)
        server = known.provenance if known else {}
        frame = {
            "build": one.server.build,
            "engine": one.server.engine,
            "engine_version": one.server.engine_version,
            "model": one.server.model,
            "machine": machine_word(manifest.host, server),
            "run": one.run.id,
            "started": one.run.started,
        }
        believed = not any(caveat.invalidates for caveat in one.caveats)
        for suite in one.suites:
            valid = believed and not any(caveat.invalidates for caveat in suite.caveats)
            asked = {
                "suite": suite.suite,
                "route": suite.route,
                "conditions": _asked(suite, facts.get(suite.suite), manifest.seed),
                "valid": valid,
            }
            yield from _of_suite(suite, frame | asked)
            yield from _under_load(one, suite, frame | asked)
        yield from _beside(one, frame, wanted)
        yield from _of_server(server, frame | {"valid": True})


def _beside(one: Evaluation, frame: dict[str, Any], wanted: Collection[str]) -> Iterator[Figure]:
    """The load cells that ran while suites were graded."""
    for cell in one.load:
        told = {"route": "beside grading", "valid": cell.client.valid}
        yield from _of_cell(cell, frame | _frame(cell) | told, wanted)


def _frame(cell: CellMeasurement) -> dict[str, Any]:
    return {
        "build": cell.build,
        "profile": cell.profile,
        "level": cell.level,
        "repeat": cell.repeat,
        "engine": cell.engine,
        "engine_version": cell.engine_version,
        "model": cell.model,
    }


def _of_cell(
    cell: CellMeasurement, frame: dict[str, Any], wanted: Collection[str]
) -> Iterator[Figure]:
    for name, metric in DISTRIBUTIONS.items():
        if name not in wanted:
            continue
        stat = getattr(cell.metrics, metric.field)
        yield Figure(
            metric=name,
            value=getattr(stat, metric.statistic),
            ci95=stat.ci95.get(metric.statistic),
            better=metric.better,
            **frame,
        )
    metrics, server = cell.metrics, cell.server
    whole: dict[str, float | None] = {
        "aggregate_tps": metrics.aggregate_tps,
        "request_rate": metrics.request_rate,
        "goodput": metrics.goodput,
        "error_rate": error_rate(cell),
        "offered_rate": cell.offered_rate,
        "achieved_rate": cell.achieved_rate,
        "in_flight_mean": cell.in_flight_mean,
        "in_flight_peak": cell.in_flight_peak,
        "backlog_growth_rps": cell.backlog_growth_rps,
        "tokens_per_chunk": cell.tokens_per_chunk,
        "memory_peak_gib": server.memory_peak_gib,
        "kv_cache_tokens": server.kv_cache_tokens,
        "kv_cache_peak": server.kv_cache_peak,
        "running_peak": server.running_peak,
        "waiting_peak": server.waiting_peak,
        "preemptions": server.preemptions,
        "prefix_cache_hit_rate": server.prefix_cache_hit_rate,
        "cpu_cores_used": server.cpu_cores_used,
        "power_w_mean": server.power_w_mean,
        "joules_per_output_token": server.joules_per_output_token,
    }
    yield from _known({name: whole[name] for name in whole if name in wanted}, frame)
    if cell.prefill is not None and (line := cell.prefill.line) is not None:
        for name, value, ci95 in (
            ("prefill_fixed_ms", line.fixed_ms, line.fixed_ci95),
            ("prefill_per_1000_ms", line.per_1000_ms, line.per_1000_ci95),
        ):
            if name in wanted:
                yield from _one(name, value, ci95, frame)


def _of_server(facts: Mapping[str, Any], frame: dict[str, Any]) -> Iterator[Figure]:
    reported = _table(facts.get("reported"))
    found = {name: _number(facts.get(name, reported.get(name))) for name in SERVER}
    size = _number(_table(facts.get("weights")).get("bytes"))
    held = _number(reported.get("model_memory_gib"))
    on_disk = None if size is None or "weights_gib" in facts else size / GIB
    sizes = (held, found["weights_gib"], on_disk)
    found["weights_gib"] = next((one for one in sizes if one is not None), None)
    yield from _known(found, frame)


def _of_suite(suite: SuiteResult, frame: dict[str, Any]) -> Iterator[Figure]:
    ratio = _PERPLEXITY in suite.metric
    yield from _score(suite, frame, ratio=ratio)
    for name, value in suite.further.items():
        yield from _one(name, value, suite.further_ci95.get(name), frame)
    against = suite.baseline
    if against is not None:
        yield from _against(against, frame | {"baseline": against.build}, ratio=ratio)
    for field, groups, parts in (
        ("category", suite.categories, against.categories if against else {}),
        ("task", suite.tasks, against.tasks if against else {}),
    ):
        for name, group in groups.items():
            yield from _score(group, frame | {field: name}, ratio=ratio)
        for name, part in parts.items():
            told = {field: name, "baseline": against.build if against else None}
            yield from _part(part, frame | told, ratio=ratio)


def _under_load(one: Evaluation, suite: SuiteResult, frame: dict[str, Any]) -> Iterator[Figure]:
    effect = suite.load
    if effect is None:
        return
    beside = {
        "profile": effect.profile,
        "level": next((cell.level for cell in one.load if cell.id in effect.cells), None),
        "valid": frame["valid"] and effect.valid,
    }
    name = "perplexity_under_load" if _PERPLEXITY in suite.metric else "score_under_load"
    yield from _one(name, effect.score, None, frame | beside)


def _score(group: GroupScore, frame: dict[str, Any], *, ratio: bool) -> Iterator[Figure]:
    yield from _one("perplexity" if ratio else "score", group.score, group.ci95, frame)


def _against(against: Against, frame: dict[str, Any], *, ratio: bool) -> Iterator[Figure]:
    name = "perplexity_difference" if ratio else "difference"
    yield from _one(name, against.difference, against.difference_ci95, frame)
    yield from _one("retained", against.retained, against.retained_ci95, frame)
    if against.flips is not None:
        yield from _one("flip_rate", against.flips.rate, None, frame)
    if against.perplexity is not None:
        ratios = against.perplexity
        rise = (ratios.ci95[0] - 1, ratios.ci95[1] - 1) if ratios.ci95 else None
        yield from _one("perplexity_rise", ratios.ratio - 1, rise, frame)
    if against.divergence is not None:
        found = against.divergence
        yield from _one("kl_mean", found.kl_mean, found.kl_mean_ci95, frame)
        yield from _one("top1", found.top1, found.top1_ci95, frame)


def _part(part: Part, frame: dict[str, Any], *, ratio: bool) -> Iterator[Figure]:
    name = "perplexity_difference" if ratio else "difference"
    yield from _one(name, part.difference, part.difference_ci95, frame)
    if part.retained is not None:
        yield from _one("retained", part.retained.share, part.retained.ci95, frame)
    if part.flips is not None:
        yield from _one("flip_rate", part.flips.rate, None, frame)


def _known(values: Mapping[str, float | None], frame: dict[str, Any]) -> Iterator[Figure]:
    """Numbers without intervals; those that this engine or machine does not tell are left out."""
    for name, value in values.items():
        if value is not None:
            yield from _one(name, value, None, frame)


def _one(
    name: str,
    value: float | None,
    ci95: Interval | None,
    frame: dict[str, Any],
) -> Iterator[Figure]:
    yield Figure(metric=name, value=value, ci95=ci95, better=_better(name), **frame)


def _better(name: str) -> Better | None:
    known = METRICS.get(name)  # a suite may have further units, which have no side
    return known.better if known else None


def _route(cell: CellMeasurement, request: Mapping[str, Any]) -> str | None:
    dialect = (request.get("dialects") or {}).get(cell.build, request.get("dialect"))
    if dialect is None:
        return None
    words = [str(dialect)]
    words += ["not streamed"] if request.get("no_stream") else []
    words += ["natural lengths"] if cell.lengths == "natural" else []
    words += ["interleaved"] if cell.interleaved_with else []
    return ", ".join(words)


def _asked(suite: SuiteResult, facts: SuiteFacts | None, seed: int) -> str:
    """Digest of what decides which items were asked, how, and how they were graded."""
    settings = facts.settings if facts else {}
    told = {name: value for name, value in settings.items() if name not in _NO_ANSWERS}
    return _digest({"settings": told, "planned": suite.planned, "seed": seed})


def _digest(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()[:_DIGEST]


def _told(table: dict[str, Any]) -> dict[str, Any]:
    """A table without what is null: a field that an older harness did not know is no difference."""
    return {
        name: _told(value) if isinstance(value, dict) else value
        for name, value in table.items()
        if value is not None
    }


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: object) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number else None  # type: ignore[arg-type]  # just looked at
