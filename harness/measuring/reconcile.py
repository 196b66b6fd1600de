"""The engine's counters and histograms against the client's samples. Pure; see docs/method.md.

Both are taken over the whole cell: the engine's pages of just before the first request and just
after the last one, and the samples of every phase.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from harness.measuring import stats
from harness.measuring.request import NS_PER_MS, chunk_counts
from harness.measuring.server_stats import Counted, Reconciliation, TimeShares, TtftCompared
from harness.measuring.server_use import grown
from launchers.telemetry.records import Histogram

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.measuring.samples import Floats, Samples
    from harness.measuring.server_stats import Bounds
    from launchers.telemetry.records import EnginePage, Reading
    from loadprofiles.records import DrivePlan

_MS_PER_S: Final = 1000.0
_SLACK: Final = 1e-9
"""Of a count that went through floating point."""


def reconcile(
    readings: Sequence[Reading], plan: DrivePlan, samples: Samples
) -> Reconciliation | None:
    """Hold the engine's page against the samples; None where there is no page.

    Args:
        readings: of the cell, in the order of time.
        plan: the cell's.
        samples: of all phases.
    """
    pages = [one.engine for one in readings if one.engine is not None]
    sent = samples.where(samples.has("sent_ns"))
    if not pages or not len(sent):
        return None
    engine = pages[0].engine
    if problem := _not_whole(pages, sent):
        return Reconciliation(engine=engine, problem=problem)
    histograms = _grown_histograms(pages[0], pages[-1])
    requests, by = _requests(pages, histograms, sent)
    return Reconciliation(
        engine=engine,
        requests=requests,
        requests_by=by,
        prompt_tokens=_prompt_tokens(grown(pages, "prompt_tokens"), plan, sent),
        output_tokens=_output_tokens(grown(pages, "generation_tokens"), sent),
        ttft=_ttft(histograms.get("ttft_s"), sent),
        time=_time(pages, histograms, sent),
    )


def _not_whole(pages: Sequence[EnginePage], sent: Samples) -> str:
    """Say why first and last page do not enclose the cell's requests; empty where they do."""
    first, last = pages[0], pages[-1]
    if len(pages) == 1:
        return "the page was read only once"
    late = first.at_ns - int(sent.column("sent_ns").min())
    if late > 0:
        return f"the first page came {late / NS_PER_MS:.0f} ms after the first request was sent"
    done = sent.column("done_ns")[sent.has("done_ns")]
    early = int(done.max()) - (last.at_ns - last.took_ms * NS_PER_MS) if done.size else 0
    if early > 0:
        return f"the last page is {early / NS_PER_MS:.0f} ms older than the last answer"
    if first.restarts != last.restarts:
        return "a counter of it fell, as if an engine had been started anew"
    for name in ("prompt_tokens", "generation_tokens", "finished"):
        told = getattr(first, name), getattr(last, name)
        if None not in told and grown(pages, name) is None:
            return f"its counter {name} fell, as if the engine had been started anew"
    return ""


# --- counts --------------------------------------------------------------------------------------


def _requests(
    pages: Sequence[EnginePage], histograms: dict[str, Histogram], sent: Samples
) -> tuple[Counted | None, Literal["finished", "first tokens"] | None]:
    """Requests as both counted them: those that ended or, where that is unknown, that began."""
    finished, answered = grown(pages, "finished"), len(sent.answered)
    if finished is not None:
        return _counted(finished, answered, len(sent)), "finished"
    if (ttft := histograms.get("ttft_s")) is not None:
        begun = max(int(sent.has("first_ns").sum()), answered)
        return _counted(ttft.count, begun, len(sent)), "first tokens"
    return None, None


def _output_tokens(server: float | None, sent: Samples) -> Counted | None:
    """Tokens made; None unless the server counted every answer for us."""
    answered = sent.answered
    if server is None or not answered or not answered.is_in("token_source", {"server"}).all():
        return None
    if not answered.has("output_tokens").all():
        return None
    own = int(answered.column("output_tokens").sum())
    if not own:  # so the server did not count
        return None
    others = sent.where(~sent.is_in("error", {None}))
    chunks = int(chunk_counts(answered).sum())
    seen = chunk_counts(others) * (own / chunks if chunks else 1.0)
    most = np.maximum(others.column("planned_output_tokens"), seen)
    return _counted(server, own + float(seen.sum()), own + float(most.sum()))


def _prompt_tokens(server: float | None, plan: DrivePlan, sent: Samples) -> Counted | None:
    """Tokens read; None unless the server counted the prompt of every answer for us.

    A request that got text had its prompt read whole, one without text any part of it. Its prompt
    is as long as planned, in the server's way to count: between the least and the most that an
    answered prompt had of what was planned for it.
    """
    answered = sent.answered
    if server is None or not answered or not answered.has("prompt_tokens").all():
        return None
    told = answered.column("prompt_tokens")
    own = int(told.sum())
    if not own:  # so the server did not count
        return None
    others = sent.where(~sent.is_in("error", {None}))
    planned = np.asarray(plan.prompt_tokens or [], dtype=np.float64)
    theirs = planned[answered.column("body")] if planned.size else np.zeros(0)
    if theirs.size and theirs.all():
        lengths, ratios = planned[others.column("body")], told / theirs
    else:
        lengths, ratios = np.ones(len(others)), told / 1.0
    least = own + float(lengths[others.has("first_ns")].sum()) * float(ratios.min())
    return _counted(server, least, own + float(lengths.sum()) * float(ratios.max()))


def _counted(server: float, client: float, most: float) -> Counted:
    low, high = math.floor(client), math.ceil(most)
    off = 0.0
    if server > high + _SLACK:
        off = (server - high) / max(high, 1)
    elif server < low - _SLACK:
        off = (server - low) / low
    return Counted(server=round(server), client=low, client_most=high, off=off)


# --- histograms ----------------------------------------------------------------------------------


def _grown_histograms(first: EnginePage, last: EnginePage) -> dict[str, Histogram]:
    """What came into each histogram between two pages; without those that fell."""
    found = {}
    for name, after in last.histograms.items():
        before = first.histograms.get(name)
        if before is not None and after.count > before.count and after.sum_s >= before.sum_s:
            found[name] = Histogram(
                sum_s=after.sum_s - before.sum_s,
                count=after.count - before.count,
                buckets=_grown_buckets(before, after),
            )
    return found


def _grown_buckets(before: Histogram, after: Histogram) -> list[tuple[float | None, float]]:
    """Differences of the buckets; none where their bounds changed.

    A histogram into which nothing has come yet may be without its buckets.
    """
    if not before.buckets and not before.count:
        return after.buckets
    if [bound for bound, _ in before.buckets] != [bound for bound, _ in after.buckets]:
        return []
    pairs = zip(before.buckets, after.buckets, strict=True)
    return [(bound, later - earlier) for (_, earlier), (bound, later) in pairs]


def percentile_bounds(histogram: Histogram, share: float) -> Bounds | None:
    """Return the bucket, in ms, that holds the value of rank ⌈share·n⌉; None without buckets."""
    rank = math.ceil(share * histogram.count - _SLACK)
    low = 0.0
    for bound, count in histogram.buckets:
        if count >= rank:
            return low, None if bound is None else bound * _MS_PER_S
        if bound is not None:
            low = bound * _MS_PER_S
    return (low, None) if histogram.buckets else None


def _ttft(server: Histogram | None, sent: Samples) -> TtftCompared | None:
    """TTFT of all requests that got text; the client's from sent, as a server cannot know due."""
    begun = sent.where(sent.has("first_ns"))
    if server is None or not begun:
        return None
    own = (begun.column("first_ns") - begun.column("sent_ns")) / NS_PER_MS
    ordered = np.sort(own)
    told = server.sum_s / server.count * _MS_PER_S
    mean = _mean(own)
    return TtftCompared(
        server_n=round(server.count),
        client_n=own.size,
        server_mean_ms=told,
        client_mean_ms=mean,
        difference_ms=mean - told,
        client_p50_ms=stats.percentile(ordered, 0.5),
        client_p95_ms=stats.percentile(ordered, 0.95),
        server_p50_ms=percentile_bounds(server, 0.5),
        server_p95_ms=percentile_bounds(server, 0.95),
    )


def _time(
    pages: Sequence[EnginePage], histograms: dict[str, Histogram], sent: Samples
) -> TimeShares | None:
    """Where the time of the mean answer went."""
    answered = sent.answered
    answered = answered.where(answered.has("last_ns"))
    if not answered:
        return None
    took = (answered.column("last_ns") - answered.column("sent_ns")) / NS_PER_MS
    if (ended := histograms.get("e2e_s")) is not None:
        took = np.concatenate([took, _cut_but_ended(sent, round(ended.count) - took.size)])
    own = _mean(took)
    found = {
        name: histogram.sum_s / histogram.count * _MS_PER_S
        for name, histogram in histograms.items()
    }
    for name in ("prefill_s", "decode_s"):  # of engines that count seconds only
        total = grown(pages, name)
        if name not in found and total is not None:
            found[name] = total / len(answered) * _MS_PER_S
    parts = [found.get(name) for name in ("queue_s", "prefill_s", "decode_s")]
    whole = found.get("e2e_s")
    if own <= 0 or (whole is None and not any(part is not None for part in parts)):
        return None
    known = [part for part in parts if part is not None]
    spent = sum(known) if len(known) == len(parts) else None
    inside = spent if whole is None else whole
    queue, prefill, decode = (None if part is None else part / own for part in parts)
    return TimeShares(
        client_e2e_ms=own,
        server_e2e_ms=whole,
        queue=queue,
        prefill=prefill,
        decode=decode,
        engine_rest=None if whole is None or spent is None else _share(whole - spent, own),
        outside=None if inside is None else _share(own - inside, own),
    )


def _cut_but_ended(sent: Samples, count: int) -> Floats:
    """Time, in ms, of so many requests that the client gave up and the server ended.

    A server ends those whose last token it has made, read by the client or not. So they are, of
    those cut off, the ones with the fewest tokens left; each ended about when it was given up.
    """
    others = sent.where(~sent.is_in("error", {None}) & sent.has("first_ns") & sent.has("done_ns"))
    if not 0 < count <= len(others):
        return np.zeros(0)
    left = others.column("planned_output_tokens") - chunk_counts(others)
    chosen = np.argsort(left, kind="stable")[:count]
    return (others.column("done_ns") - others.column("sent_ns"))[chosen] / NS_PER_MS


def _share(left: float, own: float) -> float:
    """A difference as a share, without what is left of its digits where it is none."""
    return round(left / own, 9)


def _mean(values: Floats) -> float:
    return float(np.cumsum(values)[-1] / values.size)
