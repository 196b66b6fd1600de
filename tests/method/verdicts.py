"""The table of section "Validity of the client": which caveats a cell has, and which invalidate."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import TYPE_CHECKING

import client as own
import server
from arithmetic import LEAST, SHARES, median, quantile
from one_request import silent, tokens_of
from steady import drifted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from client import Merges
    from reading import Cell, Record

Verdict = tuple[str, bool]
"""A caveat's code, and whether it makes the cell invalid."""


def verdicts(cell: Cell, found: Record, merged: Merges) -> list[Verdict]:
    """All of a cell.

    Args:
        cell: its files.
        found: what was computed of it, but for this.
        merged: who merged its chunks.
    """
    return [
        *counts(cell, found),
        *the_client(cell, found, merged),
        *the_load(cell, found),
        *the_answers(cell, found, merged),
        *the_server(cell, found),
        *circumstances(cell),
    ]


def counts(cell: Cell, found: Record) -> Iterator[Verdict]:
    drive, plan, requests = cell.drive, cell.plan, found["requests"]
    lost = drive["samples"] != len(cell.samples)
    if not lost and plan["due_ns"] is not None and drive["ended"] == "done":
        first = len(plan["due_ns"])
        lost = sum(one["seq"] < first for one in cell.measured) != first
    if lost:
        yield "samples_lost", True
    yield from ending(cell)
    if drive["ended"] == "failed":
        yield "warmup_failed", True
    elif requests["ok"] < 200 and (requests["ok"] or drive["ended"] != "worker_lost"):
        yield "few_samples", not requests["ok"]
    kinds = Counter(requests["errors"])
    if drive["ended"] in {"interrupted", "worker_lost"}:
        del kinds["aborted"]
    failed = sum(kinds.values())
    if failed:
        yield "failures", failed / requests["sent"] > cell.facts["max_fail_ratio"]
        if plan["replicas"]:
            yield "replicas_failed", False
    dropped = requests["dropped"]
    if dropped and drive["ended"] not in {"interrupted", "worker_lost"}:
        yield "departures_dropped", dropped > 0.001 * requests["planned"]


def ending(cell: Cell) -> Iterator[Verdict]:
    ended, facts = cell.drive["ended"], cell.facts
    if ended == "worker_lost":
        yield "worker_lost", True
    if any(abs(one["clock_offset_ns"]) > one["clock_error_ns"] for one in cell.drive["workers"]):
        yield "worker_clocks", False
    if ended == "interrupted":
        graded, decided = facts["ended_with_grading"], facts["ended_when_decided"]
        yield (
            "ended_with_grading" if graded else "ended_when_decided" if decided else "interrupted",
            False,
        )
    elif ended == "stopped":
        yield "drain_cut", False


def the_client(cell: Cell, found: Record, merged: Merges) -> Iterator[Verdict]:
    client, user = found["client"], found["client"]["clock"] == "user"
    if merged.smear > 0.001:
        yield "itl_smeared", merged.smear > 0.01
    if not cell.closed:
        yield from late_departures(*own.felt(cell))
    elif cell.answered and cell.whole_s and cell.drive["ended"] != "worker_lost":
        yield from not_held(cell, found["in_flight_mean"])
    if any(one["clock"] == "user" for one in cell.answered):
        yield "user_clock", False
    if abs(cell.drive["clock_step_ns"]) > 50_000:
        yield "clock_step", False
    lag, usual = client["lag_ms"]["p99"], merged.usual_ns
    told = lag is not None and usual is not None and merged.smear <= 0.001
    if told and lag > max(1.0, 0.5 * usual / 1e6):
        yield "client_lagged", False
    yield from starved(client, user=user)


def starved(client: Record, *, user: bool) -> Iterator[Verdict]:
    if client["cpu"] > 0.85:
        yield "cpu_busy", user
    if client["run_delay"] is not None and client["run_delay"] > 0.02:
        yield "run_delay", user
    if client["gc_collections"]:
        yield "gc_ran", False


def late_departures(felt: Sequence[float], slips: Sequence[float]) -> Iterator[Verdict]:
    if not felt:
        return
    n, moved = len(felt), False
    seen, punctual = sorted(felt), sorted(a - b for a, b in zip(felt, slips, strict=True))
    for name in ("p50", "p95", "p99"):
        if n >= LEAST[name] * (10 if name == "p99" else 1):
            without = quantile(punctual, SHARES[name])
            later = quantile(seen, SHARES[name]) - without
            moved = moved or later > max(1.0, 0.1 * without)
    if moved or quantile(sorted(slips), 0.99) > max(1.0, 0.1 * median(felt)):
        yield "late_departures", moved


def not_held(cell: Cell, held: float) -> Iterator[Verdict]:
    asked, window_s = cell.plan["streams"], cell.whole_s
    connecting = sum(one["connect_ns"] or 0 for one in cell.measured) / 1e9 / window_s
    thinking = cell.drive["thinking_s"] / window_s

    def idle(busy: float) -> bool:
        return busy < 0.99 * asked and (asked - busy) * window_s / asked > 0.02

    if idle(held + thinking + cell.drive["paused_s"] / window_s + connecting):
        yield "streams_not_held", True
    elif idle(held + thinking):
        yield "streams_not_held", False


def the_load(cell: Cell, found: Record) -> Iterator[Verdict]:
    if not found["stable"]:
        yield "unstable", False
    if drifted(cell, found["steady"], stable=found["stable"]):
        yield "drifted", False
    yield from departed(found["arrivals"])
    replay = cell.plan["replay"]
    if replay and any(replay[name] for name in ("thinned", "skipped", "clipped", "unsorted")):
        yield "trace_changed", False
    if any(one["retried"] for one in cell.measured):
        yield "retried", False
    connects = [one["connect_ns"] for one in cell.measured if one["connect_ns"] is not None]
    if len(connects) > 0.05 * len(cell.measured) and max(connects) >= 1e6:
        yield "connected_in_window", False
    yield from prompts(cell, found)


def departed(arrivals: Record | None) -> Iterator[Verdict]:
    if arrivals is None or arrivals["planned"]["n"] < 50:
        return
    planned, realised = arrivals["planned"], arrivals["realised"]
    off = abs(realised["n"] - planned["n"]) > max(1, 0.01 * planned["n"])
    stray = arrivals["lateness_std_ms"]
    if stray is not None and stray > 0.5:
        least = {"dispersion": 0.1}
        if planned["gap_cv"] is not None and planned["gap_cv"] < 0.05:
            off = off or stray > 0.05 * 1000 / planned["rate"]
        else:
            least |= {"gap_cv": 0.05, "autocorrelation": 0.1}
        for name, limit in least.items():
            if planned[name] is not None and realised[name] is not None:
                apart = abs(realised[name] - planned[name])
                off = off or apart > max(limit, limit * planned[name])
    if off:
        yield "arrivals_departed", False
    tests = arrivals["tests"] or {}
    if any(p is not None and p < 1e-5 for name, p in tests.items() if name != "kind"):
        yield "arrivals_unlikely", False


def prompts(cell: Cell, found: Record) -> Iterator[Verdict]:
    dataset, counted = cell.plan["dataset"], found["prompts"]
    if dataset and dataset["again"]:
        yield "prompts_reused", False
    bodies = [one["body"] for one in cell.measured if one["sent_ns"] is not None]
    if len(bodies) > len(set(bodies)):
        yield "prompts_reused", False
    if dataset and dataset["longer"]:
        yield "dataset_changed", False
    off = counted["counted"] - counted["planned"] if counted else 0
    if counted and cell.plan["prompts_exact"] and abs(off) > 0.01 * counted["planned"]:
        yield "prompt_tokens_differ", False
    if found["sessions"] and found["sessions"]["broken"]:
        yield "sessions_broken", False


def the_answers(cell: Cell, found: Record, merged: Merges) -> Iterator[Verdict]:
    gaps = [gap for one in cell.answered for gap in one["chunk_ns"]]
    if gaps.count(0) - merged.late_gaps > 0.5 * len(gaps):
        yield "not_streamed", False
    if not cell.plan["stream"]:
        yield "one_document", False
    if sum(map(silent, cell.answered)) > 0.01 * sum(map(tokens_of, cell.answered)):
        yield "tokens_without_text", False
    counted = [one for one in cell.answered if one["token_source"] == "server"]
    if len(counted) < len(cell.answered):
        yield "tokens_from_chunks", False
    if any(map(impossible, counted)):
        yield "tokens_impossible", True
    made, asked = map(sum, zip(*map(lengths, counted), strict=True)) if counted else (0, 0)
    short = sum(tokens_of(one) < one["planned_output_tokens"] for one in counted)
    if cell.facts["output_pinned"]:
        if short > 0.01 * len(counted):
            yield "short_answers", False
    elif cell.facts["lengths"] != "natural" and made < 0.95 * asked:
        yield "short_answers", False
    yield from texts(found)


def texts(found: Record) -> Iterator[Verdict]:
    outputs = found["outputs"]
    if outputs["repeating"] > 0.05 * outputs["compared_texts"]:
        yield "answers_repeat", False
    if found["stalls"] and found["stalls"]["maybe_client"]:
        yield "stalls_in_doubt", False
    compared = outputs["compared"]
    p = compared["p_shorter"] if compared else None
    if p is not None and p < 0.01 and compared["length_ratio"] < 0.98:
        yield "stops_early", False


def impossible(sample: Record) -> bool:
    """More tokens than were asked for, and than the answer's bytes and silent chunks."""
    made, asked = lengths(sample)
    return 0 < asked < made - 1 and made > 4 * sample["output_chars"] + sample["silent_chunks"]


def lengths(sample: Record) -> tuple[int, int]:
    return tokens_of(sample), sample["planned_output_tokens"]


def the_server(cell: Cell, found: Record) -> Iterator[Verdict]:
    if any(one.get("problem") for one in cell.readings):
        yield "telemetry_problem", False
    for times in ([one["at_ns"] for one in cell.readings], [
        one["at_ns"] for one in server.pages_of(cell)
    ]):  # fmt: skip
        if nobody_looked(cell, times):
            yield "telemetry_gap", False
    told = [gpu for one in cell.readings for gpu in one.get("gpus", ())]
    told = [gpu for gpu in told if gpu.get("memory_used_bytes") is not None]
    if any(gpu.get("memory_server_bytes") is None for gpu in told):
        yield "gpus_of_anyone", False
    lost = cell.drive["ended"] == "worker_lost" or cell.drive["samples"] != len(cell.samples)
    if found["reconciliation"] and not (lost or cell.facts["ended_with_grading"]):
        yield from held_against(found["reconciliation"])
    use = found["server"]
    hits = use["prefix_cache_hit_rate"]
    bodies = [one["body"] for one in cell.measured if one["sent_ns"] is not None]
    once = cell.facts["prompts_unique"] and len(bodies) == len(set(bodies))
    if once and hits is not None and hits > 0.01:
        yield "prefix_cache_hits", False
    if use["preemptions"]:
        yield "preempted", False
    if use["kv_cache_peak"] is not None and use["kv_cache_peak"] > 0.95:
        yield "kv_cache_full", False


def nobody_looked(cell: Cell, times: Sequence[int]) -> bool:
    if len(times) < 2:
        return False
    inside = [at for at in times if cell.start < at < cell.end]
    edges = [max(times[0], cell.start), *inside, cell.end]
    gaps = [b - a for a, b in itertools.pairwise(edges)]
    usual = median([b - a for a, b in itertools.pairwise(times)])
    return max(gaps) > max(2e9, 3 * usual)


def held_against(page: Record) -> Iterator[Verdict]:
    if page["problem"]:
        yield "not_reconciled", False
    requests, ttft = page["requests"], page["ttft"]
    off = requests["off"] if requests else 0.0
    if off:
        yield "other_requests" if off > 0 else "server_requests_differ", False
    for name in ("prompt_tokens", "output_tokens"):
        counted = page[name]
        computed = name == "prompt_tokens" and page["engine"] == "llama.cpp"
        if counted and not computed and abs(counted["off"]) > 0.01 and off * counted["off"] <= 0:
            yield "server_tokens_differ", False
    if ttft and abs(ttft["difference_ms"]) > max(5.0, 0.1 * ttft["client_mean_ms"]):
        yield "server_ttft_differs", False


def circumstances(cell: Cell) -> Iterator[Verdict]:
    facts, plan = cell.facts, cell.plan
    told = {
        "shared_machine": facts["shared_machine"],
        "interleaved": facts["interleaved_with"],
        "tls_unverified": plan["tls"] and not plan["tls_verify"],
        "prompt_length_estimated": facts["prompt_length_estimated"],
    }
    yield from ((code, False) for code, so in told.items() if so)


# --- of the run ----------------------------------------------------------------------------------


def repeats_differ(cells: Sequence[Record]) -> bool:
    """Whether repeats of a level are further apart than their windows allow."""
    from scipy.stats import f

    groups: dict[str, list[Record]] = {}
    for one in cells:
        if one["client"]["valid"] and one["stable"]:
            key = [one[name] for name in ("profile", "build", "lengths", "level")]
            groups.setdefault(str(key), []).append(one)
    for those in groups.values():
        opened = "rate" in those[0]["level"]
        pairs = [known for one in those if (known := told(one, opened=opened))]
        if len(pairs) < 2:
            continue
        logs, weights = [math.log(v) for v, _ in pairs], [1 / e**2 for _, e in pairs]
        level = sum(w * y for w, y in zip(weights, logs, strict=True)) / sum(weights)
        q = sum(w * (y - level) ** 2 for w, y in zip(weights, logs, strict=True))
        apart = max(v for v, _ in pairs) / min(v for v, _ in pairs) - 1
        df = len(pairs) - 1
        if apart >= (0.15 if opened else 0.05) and f.sf(q / df, df, 5 * len(pairs)) < 0.001:
            return True
    return False


def told(cell: Record, *, opened: bool) -> tuple[float, float] | None:
    """What repeats are compared by, and the standard error of its logarithm."""
    if not opened:
        speed = cell["throughput"]
        known = speed and speed["tps"] > 0 and speed["tps_se"] > 0
        return (speed["tps"], speed["tps_se"] / speed["tps"]) if known else None
    tpot = cell["metrics"]["tpot_ms"]
    low, high = tpot["ci95"].get("p50", (0, 0))
    if tpot["p50"] is None or not 0 < low < high:
        return None
    return tpot["p50"], math.log(high / low) / (2 * 1.96)
