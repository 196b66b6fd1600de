"""What a reader must mind about the server of a cell, by its own account. Pure; docs/method.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from harness.measuring.measurement import Caveat
from harness.measuring.request import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.measuring.caveats import Case, Rule
    from harness.measuring.server_stats import Counted, Reconciliation

TOKENS_OFF: Final = 0.01
"""Share by which the token totals of server and client may differ."""
TTFT_MS: Final = 5.0
TTFT_SHARE: Final = 0.1
"""The mean TTFTs differ by more than 5 ms and by more than 10 % of the client's."""
HITS_SHARE: Final = 0.01
"""Share of unique prompts that a prefix cache may hold: a chat template's beginning, say."""
KV_FULL: Final = 0.95
GAP_S: Final = 2.0
GAP_FACTOR: Final = 3.0
"""Nobody looked for a time when that is longer than 2 s and than three usual intervals."""
_TOLD: Final = 3
"""So many problems are told in full."""
_PROMPTS_COMPUTED: Final = frozenset({"llama.cpp"})
"""Engines whose prompt tokens leave out those that the prefix cache had."""


def _unread(case: Case) -> Iterator[Caveat]:
    problems = dict.fromkeys(
        one.problem for one in case.evidence.readings if one.problem
    )  # each once, in order
    if case.evidence.readings_problem:
        yield Caveat(
            "telemetry_damaged",
            f"{case.evidence.readings_problem} Nothing is said of the server's side.",
        )
    if problems:
        told = "; ".join(list(problems)[:_TOLD])
        more = f"; and {len(problems) - _TOLD} more" if len(problems) > _TOLD else ""
        yield Caveat(
            "telemetry_problem",
            f"Not all of the server could be seen: {told}{more}. The load and its numbers are not "
            "touched by that; what is missing is null.",
        )


def _gaps(case: Case) -> Iterator[Caveat]:
    readings = case.evidence.readings
    pages = [one.engine.at_ns for one in readings if one.engine is not None]
    looks = [("server", [one.at_ns for one in readings]), ("engine’s metrics page", pages)]
    for what, times in looks:
        gap = _longest_gap(times, case.drive.window_start_ns, case.drive.window_end_ns)
        if gap is not None:
            yield Caveat(
                "telemetry_gap",
                f"From {gap[0]:.1f} s to {gap[1]:.1f} s of the window nobody saw the {what}: a "
                "peak may have been missed. The server, or this machine, was too busy to answer.",
            )


def _longest_gap(times: Sequence[int], start_ns: int, end_ns: int) -> tuple[float, float] | None:
    """The longest time without a look in seconds of the window, if it is unusual."""
    if len(times) < 2:  # noqa: PLR2004 - a pair
        return None  # never or once: said elsewhere
    inside = [at for at in times if start_ns < at < end_ns]
    edges = np.array([max(times[0], start_ns), *inside, end_ns], dtype=np.int64)
    gaps = np.diff(edges) / NS_PER_S
    usual = float(np.median(np.diff(np.array(times)))) / NS_PER_S
    at = int(np.argmax(gaps))
    if gaps[at] <= max(GAP_S, GAP_FACTOR * usual):
        return None
    begin, end = ((edges[at : at + 2] - start_ns) / NS_PER_S).tolist()
    return begin, end


def _whose(case: Case) -> Iterator[Caveat]:
    gpus = [gpu for one in case.evidence.readings for gpu in one.gpus]
    told = [gpu for gpu in gpus if gpu.memory_used_bytes is not None]
    whole = sorted({gpu.index for gpu in told if gpu.memory_server_bytes is None})
    if whole:
        yield Caveat(
            "gpus_of_anyone",
            f"NVML does not tell which processes on GPU {', '.join(map(str, whole))} are the "
            "server’s (in a container, or somebody else’s): memory, power and energy are those of "
            "the whole cards, whoever uses them. Keep others off them, and name the server’s cards "
            "in CUDA_VISIBLE_DEVICES.",
        )


def _compared(case: Case) -> Reconciliation | None:
    """What is held against the samples; None where these are not all that was asked."""
    found = case.evidence.reconciliation
    graded = case.evidence.ended_with_grading  # its requests are no samples
    lost = case.drive.ended == "worker_lost" or case.drive.samples != case.found
    return None if graded or lost else found


def _not_reconciled(case: Case) -> Iterator[Caveat]:
    found = _compared(case)
    if found is not None and found.problem:
        yield Caveat(
            "not_reconciled",
            f"The server's own counts cannot be held against the client's: {found.problem}.",
        )


def _others(case: Case) -> Iterator[Caveat]:
    found = _compared(case)
    counted = found.requests if found else None
    if found is None or counted is None or not counted.off:
        return
    if counted.off > 0:
        ends = "ended" if found.requests_by == "finished" else "began"
        yield Caveat(
            "other_requests",
            f"Somebody else uses this server: {counted.server} requests {ends} there while this "
            f"cell sent {counted.client_most}. Latencies and throughput are of a server with more "
            "load than asked for: measure while it is left alone.",
        )
    else:
        yield Caveat(
            "server_requests_differ",
            f"The server counted {counted.server} requests and the client {counted.client}: its "
            "page is not of the server, or not of all the servers, that answered (a gateway, "
            "replicas behind one address). Do not trust what it says.",
        )


def _tokens(case: Case) -> Iterator[Caveat]:
    found = _compared(case)
    if found is None:
        return
    prompts = None if found.engine in _PROMPTS_COMPUTED else found.prompt_tokens
    for what, counted in (("prompt", prompts), ("output", found.output_tokens)):
        if counted is not None and abs(counted.off) > TOKENS_OFF and not _explained(found, counted):
            yield Caveat(
                "server_tokens_differ",
                f"The server's page counted {counted.server} {what} tokens and its answers said "
                f"{_range(counted)} ({counted.off:+.1%}). One of the two is wrong: compare a "
                "single request's usage with the page before you trust tokens/s.",
            )


def _explained(found: Reconciliation, counted: Counted) -> bool:
    """Whether others' requests, which are told already, explain what is too many or too few."""
    requests = found.requests
    return requests is not None and requests.off * counted.off > 0


def _range(counted: Counted) -> str:
    if counted.client == counted.client_most:
        return str(counted.client)
    return f"{counted.client} to {counted.client_most}"


def _ttft(case: Case) -> Iterator[Caveat]:
    found = _compared(case)
    ttft = found.ttft if found else None
    if ttft is None:
        return
    apart = abs(ttft.difference_ms)
    if apart <= max(TTFT_MS, TTFT_SHARE * ttft.client_mean_ms):
        return
    if ttft.difference_ms > 0:
        why = (
            "The rest went on the way (network, proxy, HTTP), in the server's front end, or a "
            "first token without text. Users wait as the client did"
        )
    else:
        why = "A server cannot be slower than its client sees it: do not trust its page"
    yield Caveat(
        "server_ttft_differs",
        f"The mean TTFT was {ttft.server_mean_ms:.1f} ms by the server's histogram and "
        f"{ttft.client_mean_ms:.1f} ms by the client. {why}.",
    )


def _prefix_hits(case: Case) -> Iterator[Caveat]:
    rate = case.evidence.server.prefix_cache_hit_rate
    if rate is None or rate <= HITS_SHARE or not case.evidence.prompts_unique:
        return
    bodies = case.measured.column("body")[case.measured.has("sent_ns")]
    if bodies.size > np.unique(bodies).size:
        return  # told as prompts_reused
    yield Caveat(
        "prefix_cache_hits",
        f"The server found {rate:.1%} of the prompt tokens in its prefix cache, though no two "
        "prompts of this cell begin alike. A chat template's beginning explains a few tokens each; "
        "more means that it has seen these prompts before (an earlier run with the same seed, or "
        "others' requests), and TTFT is too good. Restart the server, or take another --seed.",
    )


def _preempted(case: Case) -> Iterator[Caveat]:
    count = case.evidence.server.preemptions
    if count:
        yield Caveat(
            "preempted",
            f"The server pushed back {count} requests under way since its KV cache was full, and "
            "computed them anew: stalls in mid-answer, and work done twice. Give it more memory, "
            "fewer sequences at once, or shorter contexts.",
        )


def _kv_full(case: Case) -> Iterator[Caveat]:
    peak = case.evidence.server.kv_cache_peak
    if peak is not None and peak > KV_FULL:
        yield Caveat(
            "kv_cache_full",
            f"{peak:.1%} of the KV cache were taken at the most: at this load memory, and not "
            "computing, decides how many requests run at once.",
        )


SERVER_RULES: Final[tuple[Rule, ...]] = (
    _unread, _gaps, _whose, _not_reconciled, _others, _tokens, _ttft, _prefix_hits, _preempted,
    _kv_full,
)  # fmt: skip
