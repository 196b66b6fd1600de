"""Section "The server's side": telemetry in the window, and the page against the samples."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from arithmetic import mean, quantile
from one_request import chunks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reading import Cell, Record

USE = (
    "memory_peak_gib", "memory_kind", "kv_cache_tokens", "kv_cache_peak", "running_peak",
    "waiting_peak", "preemptions", "prefix_cache_hit_rate", "prompt_tokens", "generation_tokens",
    "power_w_mean", "energy_j", "joules_per_output_token", "gpus", "gpu_utilization_mean",
    "cpu_cores_used", "readings",
)  # fmt: skip


def pages_of(cell: Cell) -> list[Record]:
    return [one["engine"] for one in cell.readings if one.get("engine")]


def whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def use(cell: Cell, aggregate_tps: float) -> Record:
    """`server`: what facts.json knew before, overruled by what was seen."""
    found = dict.fromkeys(USE) | cell.facts["server"]
    if not cell.readings:
        return found
    start, end, pages = cell.start, cell.end, pages_of(cell)
    within = [one for one in cell.readings if start <= one["at_ns"] <= end]
    inside = [one for one in pages if start <= one["at_ns"] <= end]
    on = [*inside, *[one for one in pages if one["at_ns"] > end][:1]]
    around = [*[one for one in pages if one["at_ns"] < start][-1:], *on]
    gpus = gpus_of(cell.readings)
    memory, kind = memory_of(within or cell.readings, gpus)
    known = {
        "memory_peak_gib": max(memory, default=0) / 2**30 or None,
        "memory_kind": kind,
        "kv_cache_tokens": whole(largest(pages, "kv_cache_tokens")),
    }
    looked, hits = grown(on, "prefix_cache_queries"), grown(on, "prefix_cache_hits")
    power = power_of(within, gpus)
    turns = cell.drive.get("elsewhere_s")
    used = [
        gpu["utilization"]
        for one in within
        for gpu in one.get("gpus", ())
        if gpu["uuid"] in gpus and gpu.get("utilization") is not None
    ]
    per_token = power is not None and aggregate_tps and not turns
    return found | {name: value for name, value in known.items() if value is not None} | {
        "kv_cache_peak": largest(inside, "kv_cache_use"),
        "running_peak": whole(largest(inside, "running")),
        "waiting_peak": whole(largest(inside, "waiting")),
        "preemptions": whole(grown(around, "preemptions")),
        "prefix_cache_hit_rate": hits / looked if looked and hits is not None else None,
        "prompt_tokens": whole(grown(pages, "prompt_tokens")),
        "generation_tokens": whole(grown(pages, "generation_tokens")),
        "power_w_mean": power,
        "energy_j": None if power is None or turns else power * cell.whole_s,
        "joules_per_output_token": power / aggregate_tps if per_token else None,
        "gpus": len(gpus) or None,
        "gpu_utilization_mean": mean(used) if used else None,
        "cpu_cores_used": rate([(one["at_ns"], one.get("cpu_s")) for one in within]),
        "readings": len(within),
    }  # fmt: skip


def largest(pages: Sequence[Record], name: str) -> float | None:
    return max((one[name] for one in pages if one.get(name) is not None), default=None)


def grown(pages: Sequence[Record], name: str) -> float | None:
    """Growth of a counter from the first page to the last; None if unknown, or if it fell."""
    counts = [one.get(name) for one in pages]
    known = [one for one in counts if one is not None]
    if len(known) < 2 or counts[0] is None or counts[-1] is None:
        return None
    restarted = pages[0].get("restarts", 0) != pages[-1].get("restarts", 0)
    if restarted or any(b < a for a, b in pairwise(known)):
        return None
    return counts[-1] - counts[0]


def rate(points: Sequence[tuple[int, float | None]]) -> float | None:
    known = [(at, value) for at, value in points if value is not None]
    if len(known) < 2 or known[-1][0] <= known[0][0]:
        return None
    found = (known[-1][1] - known[0][1]) / ((known[-1][0] - known[0][0]) / 1e9)
    return found if found >= 0 else None


def gpus_of(readings: Sequence[Record]) -> set[str]:
    """The GPUs on which the server held something; all of which NVML does not tell whose it is."""
    own: dict[str, list[int]] = {}
    for one in readings:
        for gpu in one.get("gpus", ()):
            held = gpu.get("memory_server_bytes")
            own.setdefault(gpu["uuid"], []).extend([] if held is None else [held])
    return {uuid for uuid, known in own.items() if any(known) or not known}


def memory_of(readings: Sequence[Record], gpus: set[str]) -> tuple[list[int], str | None]:
    """Bytes at each look, and of what."""
    on_gpus = []
    for one in readings:
        held = [
            gpu["memory_used_bytes"]
            if gpu.get("memory_server_bytes") is None
            else gpu["memory_server_bytes"]
            for gpu in one.get("gpus", ())
            if gpu["uuid"] in gpus
        ]
        known = [each for each in held if each is not None]
        on_gpus += [sum(known)] if known else []
    if any(on_gpus):
        return on_gpus, "vram"
    resident = [one["memory_bytes"] for one in readings if one.get("memory_bytes") is not None]
    return resident, "rss" if resident else None


def power_of(readings: Sequence[Record], gpus: set[str]) -> float | None:
    """Mean power of the GPUs together: by their energy counters, else by their power over time."""
    found = []
    for uuid in sorted(gpus):
        seen = [(r["at_ns"], g) for r in readings for g in r.get("gpus", ()) if g["uuid"] == uuid]
        own = rate([(at, gpu.get("energy_j")) for at, gpu in seen])
        told = [(at, gpu["power_w"]) for at, gpu in seen if gpu.get("power_w") is not None]
        if own is None and told:
            span = told[-1][0] - told[0][0]
            area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(told))
            own = area / span if span else told[0][1]
        found.append(own)
    return sum(found) if found and None not in found else None


# --- the page against the samples ----------------------------------------------------------------


def reconciliation(cell: Cell) -> Record | None:
    pages, sent = pages_of(cell), [one for one in cell.samples if one["sent_ns"] is not None]
    if not pages or not sent:
        return None
    names = ("requests", "requests_by", "prompt_tokens", "output_tokens", "ttft", "time")
    found: Record = dict.fromkeys(names) | {"engine": pages[0]["engine"], "problem": ""}
    if problem := not_whole(pages, sent):
        return found | {"problem": problem}
    histograms = grown_histograms(pages[0], pages[-1])
    answered = [one for one in sent if one["error"] is None]
    finished, begun = grown(pages, "finished"), histograms.get("ttft_s")
    if finished is not None:
        found["requests"] = counted(finished, len(answered), len(sent))
        found["requests_by"] = "finished"
    elif begun is not None:
        started = max(sum(one["first_ns"] is not None for one in sent), len(answered))
        found["requests"] = counted(begun["count"], started, len(sent))
        found["requests_by"] = "first tokens"
    return found | {
        "prompt_tokens": prompts(cell, grown(pages, "prompt_tokens"), sent),
        "output_tokens": outputs(grown(pages, "generation_tokens"), sent),
        "ttft": ttft(begun, sent),
        "time": time(pages, histograms, sent),
    }


def not_whole(pages: Sequence[Record], sent: Sequence[Record]) -> str:
    first, last = pages[0], pages[-1]
    if len(pages) == 1:
        return "the page was read only once"
    late = first["at_ns"] - min(one["sent_ns"] for one in sent)
    if late > 0:
        return f"the first page came {late / 1e6:.0f} ms after the first request was sent"
    done = [one["done_ns"] for one in sent if one["done_ns"] is not None]
    early = max(done) - (last["at_ns"] - last["took_ms"] * 1e6) if done else 0
    if early > 0:
        return f"the last page is {early / 1e6:.0f} ms older than the last answer"
    if first.get("restarts", 0) != last.get("restarts", 0):
        return "a counter of it fell, as if an engine had been started anew"
    for name in ("prompt_tokens", "generation_tokens", "finished"):
        known = first.get(name) is not None and last.get(name) is not None
        if known and grown(pages, name) is None:
            return f"its counter {name} fell, as if the engine had been started anew"
    return ""


def counted(server: float, client: float, most: float) -> Record:
    low, high = math.floor(client), math.ceil(most)
    off = 0.0
    if server > high:
        off = (server - high) / max(high, 1)
    elif server < low:
        off = (server - low) / low
    return {"server": round(server), "client": low, "client_most": high, "off": off}


def outputs(server: float | None, sent: Sequence[Record]) -> Record | None:
    answered = [one for one in sent if one["error"] is None]
    known = all(
        one["token_source"] == "server" and one["output_tokens"] is not None for one in answered
    )
    own = sum(one["output_tokens"] for one in answered) if known else 0
    if server is None or not own:
        return None
    total = sum(map(chunks, answered))
    usual = own / total if total else 1.0
    others = [one for one in sent if one["error"] is not None]
    seen = [chunks(one) * usual for one in others]
    most = [max(one["planned_output_tokens"], at) for one, at in zip(others, seen, strict=True)]
    return counted(server, own + sum(seen), own + sum(most))


def prompts(cell: Cell, server: float | None, sent: Sequence[Record]) -> Record | None:
    answered = [one for one in sent if one["error"] is None]
    told = [one["prompt_tokens"] for one in answered]
    if server is None or not told or None in told or not sum(told):
        return None
    planned, others = cell.plan["prompt_tokens"], [one for one in sent if one["error"] is not None]
    if planned and all(planned[one["body"]] for one in answered):
        ratios = [one["prompt_tokens"] / planned[one["body"]] for one in answered]
        lengths = [planned[one["body"]] for one in others]
    else:
        ratios, lengths = [float(one) for one in told], [1] * len(others)
    text = [one["first_ns"] is not None for one in others]
    least = sum(n for n, has in zip(lengths, text, strict=True) if has) * min(ratios)
    return counted(server, sum(told) + least, sum(told) + sum(lengths) * max(ratios))


def grown_histograms(first: Record, last: Record) -> Record:
    found = {}
    for name, after in last.get("histograms", {}).items():
        before = first.get("histograms", {}).get(name)
        fell = before is None or after["sum_s"] < before["sum_s"]
        if fell or after["count"] <= before["count"]:
            continue
        earlier = dict(map(tuple, before.get("buckets", [])))
        bounds = [bound for bound, _ in after.get("buckets", [])]
        buckets = [
            [bound, count - earlier.get(bound, 0.0)] for bound, count in after.get("buckets", [])
        ]
        if list(earlier) != bounds and (earlier or before["count"]):
            buckets = []
        found[name] = {
            "sum_s": after["sum_s"] - before["sum_s"],
            "count": after["count"] - before["count"],
            "buckets": buckets,
        }
    return found


def bucket(histogram: Record, share: float) -> list[float | None] | None:
    """Between which bounds, in ms, the value of rank ⌈share · n⌉ lies."""
    rank, low = math.ceil(share * histogram["count"] - 1e-9), 0.0
    for bound, count in histogram["buckets"]:
        if count >= rank:
            return [low, None if bound is None else bound * 1000]
        low = low if bound is None else bound * 1000
    return [low, None] if histogram["buckets"] else None


def ttft(server: Record | None, sent: Sequence[Record]) -> Record | None:
    begun = [one for one in sent if one["first_ns"] is not None]
    if server is None or not begun:
        return None
    own = sorted((one["first_ns"] - one["sent_ns"]) / 1e6 for one in begun)
    told = server["sum_s"] / server["count"] * 1000
    return {
        "server_n": round(server["count"]),
        "client_n": len(own),
        "server_mean_ms": told,
        "client_mean_ms": mean(own),
        "difference_ms": mean(own) - told,
        "client_p50_ms": quantile(own, 0.5),
        "client_p95_ms": quantile(own, 0.95),
        "server_p50_ms": bucket(server, 0.5),
        "server_p95_ms": bucket(server, 0.95),
    }


def time(pages: Sequence[Record], histograms: Record, sent: Sequence[Record]) -> Record | None:
    those = [one for one in sent if one["error"] is None and one["last_ns"] is not None]
    if not those:
        return None
    took = [(one["last_ns"] - one["sent_ns"]) / 1e6 for one in those]
    own = mean(took + ended_as_cut(histograms, sent, len(those)))
    means = {name: one["sum_s"] / one["count"] * 1000 for name, one in histograms.items()}
    for name in ("prefill_s", "decode_s"):
        total = grown(pages, name)
        if name not in means and total is not None:
            means[name] = total / len(those) * 1000
    parts = [means.get(name) for name in ("queue_s", "prefill_s", "decode_s")]
    e2e = means.get("e2e_s")
    if own <= 0 or (e2e is None and parts == [None] * 3):
        return None
    spent = None if None in parts else sum(parts)
    inside = spent if e2e is None else e2e
    shares = [None if one is None else one / own for one in parts]
    rest = None if e2e is None or spent is None else round((e2e - spent) / own, 9)
    return {
        "client_e2e_ms": own,
        "server_e2e_ms": e2e,
        **dict(zip(("queue", "prefill", "decode"), shares, strict=True)),
        "engine_rest": rest,
        "outside": None if inside is None else round((own - inside) / own, 9),
    }


def ended_as_cut(histograms: Record, sent: Sequence[Record], answered: int) -> list[float]:
    """What the engine ended beyond the answered, as cut off with the fewest tokens left."""
    more = round(histograms["e2e_s"]["count"]) - answered if "e2e_s" in histograms else 0
    cut = [one for one in sent if one["error"] and None not in (one["first_ns"], one["done_ns"])]
    cut.sort(key=lambda one: one["planned_output_tokens"] - chunks(one))
    if more < 0 or more > len(cut):
        return []
    return [(one["done_ns"] - one["sent_ns"]) / 1e6 for one in cut[:more]]
