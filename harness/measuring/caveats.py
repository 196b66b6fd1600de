"""What a reader must mind about a cell besides the client: each rule looks at one thing.

The rules that judge the client itself are in `harness.measuring.validity`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from harness.measuring import stats
from harness.measuring.arrivals import departures
from harness.measuring.drift import drifts
from harness.measuring.endpoints import replicas_failed
from harness.measuring.measurement import Caveat
from harness.measuring.outputs import answers_repeat, tokens_impossible
from harness.measuring.prompts import PROMPT_RULES
from harness.measuring.request import NS_PER_MS, NS_PER_S, silent_counts
from harness.measuring.server_stats import ServerUse

if TYPE_CHECKING:
    from harness.measuring.arrival_stats import Arrivals
    from harness.measuring.backlog import Backlog
    from harness.measuring.measurement import Metrics, Outputs, Requests, Stalls, Stat, Steady
    from harness.measuring.merges import Merges
    from harness.measuring.samples import Samples
    from harness.measuring.server_stats import Reconciliation
    from launchers.telemetry.records import Reading
    from loadprofiles.records import DrivePlan, DriveReport

DROPPED: Final = "departures_dropped"
DROPPED_SHARE: Final = 0.001
UNSTREAMED_SHARE: Final = 0.5
SILENT_SHARE: Final = 0.01
CONNECTED_SHARE: Final = 0.05
CONNECTED_MS: Final = 1.0
"""Opening connections that took less than this changed nothing that a reader would see."""
SHORT_PINNED: Final = 0.01
SHORT_FREE: Final = 0.05
OWN_CORE: Final = (
    "give the driver a CPU of its own, ask for less load, or drive from another machine"
)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What `harness.measuring.measure` has found out already, and what it was told."""

    requests: Requests
    metrics: Metrics
    in_flight_mean: float
    offered_rate: float
    queue: Backlog
    max_fail_ratio: float
    shared_machine: bool
    prompt_length_estimated: bool
    output_pinned: bool
    ended_with_grading: bool = False
    interleaved_with: Sequence[str] = ()
    ended_when_decided: bool = False
    natural: bool = False
    """Answers were to end where the model ends them."""
    outputs: Outputs | None = None
    stalls: Stalls | None = None
    steady: Steady | None = None
    arrivals: Arrivals | None = None
    prompts_unique: bool = False
    """No two prompts of the cell begin alike by plan."""
    readings: Sequence[Reading] = ()
    readings_problem: str = ""
    """Why there are none, where there should be."""
    server: ServerUse = ServerUse()  # noqa: RUF009 - frozen
    reconciliation: Reconciliation | None = None


@dataclass(frozen=True, kw_only=True)
class Case:
    """Everything a rule looks at."""

    plan: DrivePlan
    drive: DriveReport
    evidence: Evidence
    found: int
    """Samples that were read, of all phases."""
    measured: Samples
    answered: Samples
    window_s: float
    clock: Literal["kernel", "user"]
    merges: Merges
    lag: Stat
    slip: Stat
    cpu: float
    run_delay: float | None


Rule = Callable[[Case], Iterator[Caveat]]


def _samples_lost(case: Case) -> Iterator[Caveat]:
    missing = case.drive.samples - case.found
    if not missing and case.plan.due_ns is not None and case.drive.ended == "done":
        first = len(case.plan.due_ns)  # behind them: turns that are sent if they are due in time
        missing = first - int((case.measured.column("seq") < first).sum())
    if missing:
        yield Caveat(
            "samples_lost",
            f"The driver reported {case.drive.samples} samples and {case.found} were read, of "
            f"{len(case.measured)} measured requests. The numbers are not those of the whole "
            "cell: look at drive.log and at the free space on the disk, and run it again.",
            invalidates=True,
        )


def _interrupted(case: Case) -> Iterator[Caveat]:
    if case.drive.ended == "interrupted" and case.evidence.ended_with_grading:
        yield Caveat(
            "ended_with_grading",
            f"The cell ran beside the grading and ended with it, after {case.window_s:.1f} s.",
        )
    elif case.drive.ended == "interrupted" and case.evidence.ended_when_decided:
        yield Caveat(
            "ended_when_decided",
            f"This probe of a search was ended after {case.window_s:.1f} s, when it had shown "
            "clearly on which side of the limits its rate lies.",
        )
    elif case.drive.ended == "interrupted":
        asked = f" of {case.plan.duration_ns / NS_PER_S:g} s" if case.plan.duration_ns else ""
        yield Caveat(
            "interrupted",
            f"The cell was ended early (Ctrl-C, or the server died), after {case.window_s:.1f} s"
            f"{asked}. Its numbers cover what was done until then; run it again for the whole.",
        )
    elif case.drive.ended == "stopped":
        cut = case.evidence.requests.errors.get("aborted", 0)
        yield Caveat(
            "drain_cut",
            f"The drain ended after {case.plan.drain_s:g} s with {cut} requests unanswered, which "
            "count as failed (aborted). Allow a longer drain, or ask for less load.",
        )


def _few_samples(case: Case) -> Iterator[Caveat]:
    n = case.evidence.requests.ok
    if case.drive.ended == "failed":
        yield Caveat(
            "warmup_failed",
            f"Nothing was measured: {case.drive.problem}. See the server's log.",
            invalidates=True,
        )
    elif not n and case.drive.ended == "worker_lost":
        return  # that is why, and told
    elif not n:
        yield Caveat(
            "few_samples",
            "Not one measured request was answered, so there is nothing to report. See the "
            "failures, the server's log and drive.log.",
            invalidates=True,
        )
    elif n < stats.PRECISE_AT["p95"]:
        names = {name: name.replace("_", ".") for name in stats.PERCENTILES}
        missing = [names[name] for name, least in stats.AT_LEAST.items() if n < least]
        rough = [
            names[name]
            for name, least in stats.PRECISE_AT.items()
            if n < least and names[name] not in missing
        ]
        parts = [
            f"{', '.join(group)} {word}"
            for group, word in ((missing, "cannot be given"), (rough, "imprecise"))
            if group
        ]
        yield Caveat(
            "few_samples",
            f"Only {n} requests were answered: {'; '.join(parts)}. Measure longer: p95 wants "
            f"{stats.PRECISE_AT['p95']} answers.",
        )


def _failures(case: Case) -> Iterator[Caveat]:
    requests = case.evidence.requests
    kinds = {kind: count for kind, count in requests.errors.items() if count}
    if case.drive.ended in {"interrupted", "worker_lost"}:  # cut off by us, no fault of the server
        kinds.pop("aborted", None)
    failed = sum(kinds.values())
    if not failed:
        return
    ratio, limit = failed / requests.sent, case.evidence.max_fail_ratio
    listed = ", ".join(f"{kind} {count}" for kind, count in kinds.items())
    over = f", more than the {limit:.1%} that --max-fail-ratio allows" if ratio > limit else ""
    broken = case.measured.where(case.measured.is_in("error", kinds))
    example = next(filter(None, broken.texts("detail")), None)
    said = f' One said: "{example}".' if example else ""
    yield Caveat(
        "failures",
        f"{failed} of {requests.sent} requests failed ({ratio:.1%}{over}): {listed}.{said} "
        "Latencies are those of the answered ones; metrics_with_failures counts the others.",
        invalidates=ratio > limit,
    )


def _dropped(case: Case) -> Iterator[Caveat]:
    dropped, planned = case.evidence.requests.dropped, case.evidence.requests.planned
    if dropped and case.drive.ended not in {"interrupted", "worker_lost"}:
        yield Caveat(
            DROPPED,
            f"{dropped} of {planned} requests were due and never left the client, so the server "
            f"had less load than asked. See drive.log; {OWN_CORE}.",
            invalidates=dropped > DROPPED_SHARE * planned,
        )


def _unstable(case: Case) -> Iterator[Caveat]:
    queue, offered = case.evidence.queue, case.evidence.offered_rate
    if not queue.stable:
        yield Caveat(
            "unstable",
            f"Unstable: the backlog grew by {queue.growth_rps:.2f} requests/s while {offered:.2f} "
            "requests/s were offered. This load is above what the server can do; how long a "
            "request waits then depends on how long was measured, so TTFT, e2e and speed per "
            "sequence have no percentiles. Ask for a lower rate.",
        )


def _arrivals(case: Case) -> Iterator[Caveat]:
    yield from departures(case.evidence.arrivals)


def _replayed(case: Case) -> Iterator[Caveat]:
    replay = case.plan.replay
    if replay is None:
        return
    parts = [
        (replay.thinned, "were left out at random to come to the rate asked for"),
        (replay.skipped, "were left out because they are too long or empty"),
        (replay.clipped, "were made to fit"),
        (replay.unsorted, "stood in the file behind a later one and were put in order"),
    ]
    told = "; ".join(f"{count} {what}" for count, what in parts if count)
    if told:
        yield Caveat(
            "trace_changed", f"The trace was not replayed as it is. Of its requests {told}."
        )


def _retried(case: Case) -> Iterator[Caveat]:
    again = int(case.measured.retried.sum())
    if again:
        yield Caveat(
            "retried",
            f"{again} requests were sent a second time because the server had closed an idle "
            "connection; TTFT counts from the second time, TTFT from due from the first. Raise "
            "the server's keep-alive time.",
        )


def _connected(case: Case) -> Iterator[Caveat]:
    late = case.measured.column("connect_ns")[case.measured.has("connect_ns")] / NS_PER_MS
    if late.size > CONNECTED_SHARE * len(case.measured) and late.max() >= CONNECTED_MS:
        yield Caveat(
            "connected_in_window",
            f"{late.size} of {len(case.measured)} requests had to open a connection first (up to "
            f"{late.max():.1f} ms, in TTFT from due and e2e but not in TTFT): the server closes "
            "connections, or more were needed at once than had been opened ahead. Raise its "
            "keep-alive time.",
        )


def _not_streamed(case: Case) -> Iterator[Caveat]:
    found = case.merges
    gaps = found.gaps
    together = int((case.answered.values("chunk_ns") == 0).sum()) - found.late_gaps
    if together > UNSTREAMED_SHARE * gaps:
        yield Caveat(
            "not_streamed",
            f"{together} of {gaps} chunks came together with the one before, and that was not the "
            "client's doing: the server or a proxy holds answers back. ITL, TPOT and TTFT say "
            "nothing then; e2e and throughput stand. Switch off buffering on the way.",
        )


def _one_document(case: Case) -> Iterator[Caveat]:
    if not case.plan.stream:
        yield Caveat(
            "one_document",
            "Answers were asked for as one document each (--no-stream): there is no TTFT, ITL or "
            "TPOT, e2e ends with an answer's last byte, and tokens/s over time takes its tokens "
            "as made evenly.",
        )


def _silent(case: Case) -> Iterator[Caveat]:
    tokens = int(case.answered.column("output_tokens")[case.answered.has("output_tokens")].sum())
    silent = int(silent_counts(case.answered).sum())
    if silent > SILENT_SHARE * tokens:
        yield Caveat(
            "tokens_without_text",
            f"{silent} of {tokens} tokens came without text (special tokens, parts of a "
            "character): TPOT and speeds count them, ITL and e2e end with the last text. Compare "
            "this build's TPOT rather than its ITL.",
        )


def _answers(case: Case) -> Iterator[Caveat]:
    counted = case.answered.where(case.answered.is_in("token_source", {"server"}))
    if len(counted) < len(case.answered):
        yield Caveat(
            "tokens_from_chunks",
            f"The server did not count the tokens of {len(case.answered) - len(counted)} answers; "
            + (
                "their generated chunks are counted instead, too few where a chunk holds several "
                "tokens"
                if case.plan.stream
                else "they are missing in tokens/s"
            )
            + ". Use a server or dialect that sends usage.",
        )
    yield from tokens_impossible(counted)
    tokens = np.where(counted.has("output_tokens"), counted.column("output_tokens"), 0)
    planned = counted.column("planned_output_tokens")
    made, asked, short = int(tokens.sum()), int(planned.sum()), int((tokens < planned).sum())
    if case.evidence.output_pinned and short > SHORT_PINNED * len(counted):
        yield Caveat(
            "short_answers",
            f"{short} of {len(counted)} answers were shorter than asked ({made} of {asked} tokens) "
            "although the length was pinned: the server ignores the pin or ran out of context. Do "
            "not compare this build's speed with one that did all the work.",
        )
    elif (
        not (case.evidence.output_pinned or case.evidence.natural)
        and made < (1 - SHORT_FREE) * asked
    ):
        yield Caveat(
            "short_answers",
            f"The answers have {made} of the {asked} tokens planned, since this server cannot be "
            "told to ignore the end of text. Compare builds by time per token, not per request.",
        )


def _repeating(case: Case) -> Iterator[Caveat]:
    found = case.evidence.outputs
    if found is not None:
        yield from answers_repeat(found)


def _stalls_in_doubt(case: Case) -> Iterator[Caveat]:
    found = case.evidence.stalls
    if found is not None and found.maybe_client:
        yield Caveat(
            "stalls_in_doubt",
            f"{found.maybe_client} of {found.count} stalls have chunks behind them that were read "
            "together: a client that read late would show the same, and the server none. To tell "
            f"them apart {OWN_CORE}.",
        )


def _circumstances(case: Case) -> Iterator[Caveat]:
    if case.evidence.shared_machine:
        yield Caveat(
            "shared_machine",
            "Server and client ran on one machine and shared it. Drive from a second machine, or "
            "leave cores to the client, for figures to size a deployment with.",
        )
    if others := case.evidence.interleaved_with:
        yield Caveat(
            "interleaved",
            f"{', '.join(others)} {'was' if len(others) == 1 else 'were'} up at the same time and "
            "asked by turns, one request at a time: the builds' difference is what counts. Alone "
            "it may be faster, as it then shares memory and caches with nobody. Throughput is per "
            "second of its own turns.",
        )
    if case.plan.tls and not case.plan.tls_verify:
        yield Caveat(
            "tls_unverified",
            "No certificate was checked (--insecure): whoever answered need not be the server that "
            "was named, and was sent the prompts and the key. Name its authority: --ca-file FILE.",
        )
    if case.evidence.prompt_length_estimated:
        yield Caveat(
            "prompt_length_estimated",
            "Prompts were made without the model's tokenizer, so their lengths are estimates; "
            "prompt_tokens has the server's count. Pass --tokenizer to make them exact.",
        )


COUNT_RULES: Final[tuple[Rule, ...]] = (
    _samples_lost, _interrupted, _few_samples, _failures, replicas_failed, _dropped,
)  # fmt: skip
OTHER_RULES: Final[tuple[Rule, ...]] = (
    _unstable, drifts, _arrivals, _replayed, _retried, _connected, _not_streamed, _one_document,
    _silent, _answers, _repeating, _stalls_in_doubt, *PROMPT_RULES, _circumstances,
)  # fmt: skip
