"""From the samples of a cell to its numbers. Pure; every definition is in docs/method.md.

Latencies are those of the measured requests that were answered. Throughput and requests in
flight are about the window: they count what every phase did within it. Of interleaved builds each
has its own turns for a window.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
import numpy as np

from harness.foreign import FolderName  # noqa: TC001 - msgspec reads it at run time
from harness.measuring import stats
from harness.measuring.arrivals import arrivals_of
from harness.measuring.backlog import Backlog, backlog, in_flight
from harness.measuring.caveats import Evidence
from harness.measuring.endpoints import endpoints_of
from harness.measuring.findings import find
from harness.measuring.measurement import CellMeasurement, Metrics, Requests, Stat
from harness.measuring.reconcile import reconcile
from harness.measuring.request import NS_PER_MS, NS_PER_S, chunk_counts, columns_of
from harness.measuring.samples import Samples
from harness.measuring.server_stats import ServerUse
from harness.measuring.server_use import server_use
from harness.measuring.sessions import prompt_count, sessions_of
from harness.measuring.validity import judge

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from harness.measuring.samples import Bools, Floats, Ints
    from harness.measuring.slo import Slo
    from launchers.telemetry.records import Reading
    from loadprofiles.records import DrivePlan, DriveReport, Sample

PER_REQUEST: Final[Mapping[str, stats.Slow]] = {
    "ttft_ms": "high",
    "ttft_due_ms": "high",
    "ttfa_ms": "high",
    "stall_ms": "high",
    "tpot_ms": "high",
    "e2e_ms": "high",
    "sequence_tps": "low",
    "decode_tps": "low",
}
"""Metrics with one value a request, and the side on which they hurt."""
WAITING: Final = ("ttft_ms", "ttft_due_ms", "ttfa_ms", "e2e_ms", "sequence_tps")
"""Metrics that hold the time a request waits, which only grows while the queue does."""
WITH_FAILURES: Final = ("ttft_due_ms", "e2e_ms")
MAX_FAIL_RATIO: Final = 0.05


@dataclass(frozen=True, kw_only=True)
class CellFacts:
    """What is known of a cell before its samples are read."""

    id: FolderName
    build: str
    engine: str
    engine_version: str | None
    model: str
    profile: str
    repeat: int
    level: dict[str, Annotated[float, msgspec.Meta(ge=0, le=1e9)]]
    max_fail_ratio: float = MAX_FAIL_RATIO
    """Share of failed requests above which the cell is invalid."""
    shared_machine: bool = False
    """Server and client run on one machine and share its CPUs, caches or memory."""
    prompt_length_estimated: bool = False
    """Prompts were made without the model's tokenizer."""
    output_pinned: bool = False
    """The requests told the engine to make exactly the planned number of tokens."""
    weights: str | None = None
    """What the build's weights are, and the kernel that multiplies them, by its server."""
    lengths: Literal["forced", "natural"] = "forced"
    """Natural: nothing was asked of the engine but to stop at the planned length."""
    ended_with_grading: bool = False
    """It ran beside answers being graded, and was ended when those had come."""
    interleaved_with: list[str] = field(default_factory=list)
    """Builds that were up at the same time and asked by turns with this one."""
    prompts_unique: bool = False
    """By the profile no two prompts begin alike: no sessions, shared prefixes, dataset or trace."""
    ended_when_decided: bool = False
    """It was a probe, and was ended when it had shown what it was to show."""
    server: ServerUse = field(default_factory=ServerUse)


def measure(
    facts: CellFacts,
    plan: DrivePlan,
    samples: Iterable[Sample],
    drive: DriveReport,
    slo: Slo | None = None,
    readings: Sequence[Reading] = (),
    readings_problem: str = "",
) -> CellMeasurement:
    """Compute everything that `measurements.json` says of one cell.

    `readings` are of its server, in the order of time; `readings_problem` says why there are none
    where there should be. The order of `samples` does not matter, and the same samples give the
    same bytes. A cell without a single answer has empty statistics and is invalid; nothing is
    raised.
    """
    samples = Samples.of(samples)
    measured = samples.measured
    answered = measured.answered
    start_ns, end_ns = drive.window_start_ns, drive.window_end_ns
    whole_s = max(0.0, (end_ns - start_ns) / NS_PER_S)
    window_s = max(0.0, whole_s - drive.elsewhere_s)
    mean_in_flight, peak = in_flight(samples, start_ns, end_ns)
    if drive.elsewhere_s and window_s:
        mean_in_flight *= whole_s / window_s
    queue = Backlog(growth_rps=0.0, stable=True)
    if plan.mode == "open":
        queue = backlog(samples, start_ns, end_ns)
    requests = _requests(plan, measured)
    values = columns_of(answered)
    # A closed loop of N requests goes on with others until the last of the N is answered.
    asked = samples if plan.mode == "closed" else measured
    offered = _count_within(asked.column("due_ns"), start_ns, end_ns)
    if plan.due_ns is not None:  # also those whose sample is missing
        offered = max(offered, sum(offset < end_ns - start_ns for offset in plan.due_ns))
    sent_in_window = _count_within(asked.column("sent_ns"), start_ns, end_ns)
    metrics = Metrics(
        itl_ms=stats.describe_runs(
            answered.values("chunk_ns"),
            answered.lengths("chunk_ns"),
            rng=stats.rng_for("itl_ms"),
            scale=1 / NS_PER_MS,
        ),
        aggregate_tps=_per_second(_tokens_within(samples, drive), window_s),
        request_rate=_per_second(
            _count_within(samples.answered.column("last_ns"), start_ns, end_ns), window_s
        ),
        goodput=_goodput(plan, measured, drive, _per_second(offered, window_s), slo),
        **{
            name: _describe(name, values, stable=queue.stable or name not in WAITING)
            for name in PER_REQUEST
        },
    )
    found = find(plan, samples, drive, values, stable=queue.stable)
    arrivals = arrivals_of(plan, measured, drive)
    server = server_use(readings, drive, facts.server, metrics.aggregate_tps)
    reconciliation = reconcile(readings, plan, samples)
    return CellMeasurement(
        id=facts.id,
        build=facts.build,
        engine=facts.engine,
        engine_version=facts.engine_version,
        weights=facts.weights,
        model=facts.model,
        profile=facts.profile,
        repeat=facts.repeat,
        level=facts.level,
        requests=requests,
        offered_rate=_per_second(offered, window_s),
        achieved_rate=_per_second(sent_in_window, window_s),
        in_flight_mean=mean_in_flight,
        in_flight_peak=peak,
        backlog_growth_rps=queue.growth_rps,
        stable=queue.stable,
        window_s=window_s,
        prompt_tokens=_prompt_tokens(answered),
        output_tokens=int(_tokens(answered).sum()),
        token_source=_token_source(answered),
        tokens_per_chunk=_tokens_per_chunk(answered),
        metrics=metrics,
        metrics_with_failures=_with_failures(measured, values, drive, stable=queue.stable),
        client=judge(
            plan,
            samples,
            drive,
            Evidence(
                requests=requests,
                metrics=metrics,
                in_flight_mean=mean_in_flight,
                offered_rate=_per_second(offered, window_s),
                queue=queue,
                max_fail_ratio=facts.max_fail_ratio,
                shared_machine=facts.shared_machine,
                prompt_length_estimated=facts.prompt_length_estimated,
                output_pinned=facts.output_pinned,
                natural=facts.lengths == "natural",
                ended_with_grading=facts.ended_with_grading,
                interleaved_with=facts.interleaved_with,
                ended_when_decided=facts.ended_when_decided,
                outputs=found.outputs,
                stalls=found.stalls,
                steady=found.steady,
                arrivals=arrivals,
                prompts_unique=facts.prompts_unique,
                readings=readings,
                readings_problem=readings_problem,
                server=server,
                reconciliation=reconciliation,
            ),
        ),
        server=server,
        lengths=facts.lengths,
        interleaved_with=facts.interleaved_with,
        bursts=found.bursts,
        mixture=found.mixture,
        prefill=found.prefill if facts.prompts_unique else None,
        stalls=found.stalls,
        steady=found.steady,
        outputs=found.outputs,
        prompts=prompt_count(plan, answered),
        arrivals=arrivals,
        sessions=sessions_of(plan, measured, stable=queue.stable),
        endpoints=endpoints_of(plan, measured, stable=queue.stable),
        reconciliation=reconciliation,
        throughput=found.throughput,
    )


def _requests(plan: DrivePlan, measured: Samples) -> Requests:
    """Count the measured requests. One that could not connect was sent in vain: it failed."""
    kinds = Counter({kind: n for kind, n in measured.counts("error").items() if kind is not None})
    dropped = kinds.pop("dropped", 0)
    failed = sum(kinds.values())
    planned = len(measured)
    if plan.due_ns is not None:
        first = len(plan.due_ns)
        planned = first + int((measured.column("seq") >= first).sum())  # turns due in the window
    elif plan.requests is not None:
        planned = plan.requests
    return Requests(
        planned=planned,
        sent=len(measured) - dropped,
        ok=len(measured) - dropped - failed,
        failed=failed,
        dropped=dropped,
        errors={"timeout": 0} | dict(sorted(kinds.items())),
        truncated=kinds["truncated"],
        empty=kinds["empty"],
    )


def _count_within(times: Ints, start_ns: int, end_ns: int) -> int:
    """Count the times in [start, end); one that is missing is in no window."""
    return int(((times >= start_ns) & (times < end_ns)).sum())


def _tokens(samples: Samples) -> Ints:
    return np.where(samples.has("output_tokens"), samples.column("output_tokens"), 0)


def _goodput(
    plan: DrivePlan,
    measured: Samples,
    drive: DriveReport,
    offered_rate: float,
    slo: Slo | None,
) -> float | None:
    """Requests/s, of those due in the window, that were answered within all limits.

    In a closed loop that is the measured requests' share of good ones times the rate of all that
    began in the window: if it is to last for N requests, others begin in it, too.
    """
    if slo is None or not any(limit.per_request for limit in slo.limits):
        return None
    start_ns, end_ns = drive.window_start_ns, drive.window_end_ns
    at = measured.column("due_ns")
    due = measured.where((at >= start_ns) & (at < end_ns))
    good = sum(slo.met_by(sample) for sample in due)
    if plan.mode == "closed":
        return offered_rate * good / len(due) if due else 0.0
    return _per_second(good, max(0.0, (end_ns - start_ns) / NS_PER_S))


def _describe(
    name: str, values: Mapping[str, Floats], failures: int = 0, *, stable: bool = True
) -> Stat:
    numbers = values[name][~np.isnan(values[name])]
    if not stable:
        return Stat(n=numbers.size + failures, n_infinite=failures, unstable=True)
    numbers = np.concatenate([numbers, np.full(failures, inf)])
    return stats.describe(numbers, rng=stats.rng_for(name), slow=PER_REQUEST[name])


def _with_failures(
    measured: Samples, values: Mapping[str, Floats], drive: DriveReport, *, stable: bool
) -> dict[str, Stat]:
    """Count each failed and each dropped request as infinite; not those that the user cut off."""
    failures = int((~measured.is_in("error", {None}) & ~_cut_off(measured, drive)).sum())
    return {name: _describe(name, values, failures, stable=stable) for name in WITH_FAILURES}


def _cut_off(samples: Samples, drive: DriveReport) -> Bools:
    """Which requests failed only because the cell was over, or the user interrupted it."""
    over = samples.is_in("phase", {"cooldown"}) | (drive.ended == "interrupted")
    return over & samples.is_in("error", {"aborted", "dropped"})


def _tokens_within(samples: Samples, drive: DriveReport) -> float:
    """Tokens whose chunk arrived in the window, an answer's tokens spread evenly over its chunks.

    Those of requests under way at the end of the cell count too, so many for each chunk as in
    the whole answers. The tokens of an answer without chunks, which came as one document, are
    spread evenly over the time from sent to its end.
    """
    start_ns, end_ns = drive.window_start_ns, drive.window_end_ns
    usual = _tokens_per_chunk(samples.answered) or 1.0
    first, last = samples.column("first_ns"), samples.column("last_ns")
    counted = samples.is_in("error", {None}) | _cut_off(samples, drive)
    counted &= samples.has("first_ns") & samples.has("last_ns")
    counted &= (last >= start_ns) & (first < end_ns)
    unstreamed = _tokens_spread(samples, start_ns, end_ns)
    samples, first, last = samples.where(counted), first[counted], last[counted]
    chunks = chunk_counts(samples)
    tokens = np.where(samples.is_in("error", {None}), _tokens(samples), usual * chunks)
    for at in np.flatnonzero((first < start_ns) | (last >= end_ns)).tolist():
        stamps = first[at] + np.cumsum([0, *samples[at].chunk_ns], dtype=np.int64)
        tokens[at] = tokens[at] * _count_within(stamps, start_ns, end_ns) / chunks[at]
    tokens = np.append(tokens, unstreamed)
    return float(np.cumsum(tokens)[-1]) if tokens.size else 0.0  # added up one by one: exact


def _tokens_spread(samples: Samples, start_ns: int, end_ns: int) -> Floats:
    """Of each answer without chunks, the tokens made in the window if it made them evenly."""
    whole = samples.is_in("error", {None}) & ~samples.has("first_ns")
    whole &= samples.has("sent_ns") & samples.has("last_ns")
    samples = samples.where(whole)
    sent, last = samples.column("sent_ns"), samples.column("last_ns")
    inside = np.clip(last, start_ns, end_ns) - np.clip(sent, start_ns, end_ns)
    return np.asarray(_tokens(samples) * inside / np.maximum(last - sent, 1), dtype=np.float64)


def _prompt_tokens(answered: Samples) -> int | None:
    """Sum over the answers; None unless the server counted every one."""
    told = answered.has("prompt_tokens")
    return int(answered.column("prompt_tokens").sum()) if told.size and told.all() else None


def _token_source(answered: Samples) -> Literal["server", "chunks"]:
    """One answer whose server did not count is enough to say so."""
    return "server" if answered.is_in("token_source", {"server"}).all() else "chunks"


def _tokens_per_chunk(answered: Samples) -> float | None:
    chunks = int(chunk_counts(answered).sum())
    return int(_tokens(answered).sum()) / chunks if chunks else None


def _per_second(count: float, window_s: float) -> float:
    return count / window_s if window_s else 0.0
