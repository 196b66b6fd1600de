"""One client under one load: what it reported against what the server knows."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from client import Client, Load, Reported, python_of
from rig import ROOT, Served, Used, read_truth, run_client, serving

from launchers.environments import ISOLATED

if TYPE_CHECKING:
    from numpy.typing import NDArray

STAGGERED = {"ttft_ms": 50.0, "itl_ms": 25.0, "jitter_ms": 25.0}
"""Each stream speaks at its own moments."""
AT_ONCE = {"step_ms": 25.0}
"""An engine's steps: all streams speak at once."""
LIMIT_S = 120.0
"""A client that takes longer for one load is ended: its row says so."""
QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "NO_PROXY": "127.0.0.1,localhost",
    "no_proxy": "127.0.0.1,localhost",
}
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
WINDOW = 10
"""Mean number of arrivals in the windows of the dispersion."""
Pair = tuple[float, float]


@dataclass(frozen=True)
class Arrivals:
    """How requests reached the server in an open loop."""

    rate: float
    """Realised ÷ asked."""
    slip_ms: Pair | None
    """p50 and p99 of the distance to an even spacing; None for a random process."""
    dispersion: float
    """Variance ÷ mean of the counts in windows of ten mean gaps: 0 even, 1 Poisson."""
    autocorrelation: float
    """Of successive gaps: 0 for Poisson."""


@dataclass(frozen=True)
class Outcome:
    """What came of one client under one load. Errors are reported − true, in ms, p50 and p99."""

    client: str
    load: Load
    problem: str | None = None
    ttft: Pair | None = None
    itl: Pair | None = None
    itl_mean: bool = False
    """Whether the client only has a mean gap for each request, and was compared with that."""
    e2e: Pair | None = None
    requests: int = 0
    """That the server answered to the end."""
    tokens: int = 0
    tokens_per_s: float = 0.0
    held: float = 0.0
    """Mean number of requests in flight in the middle half of the run."""
    held_peak: int = 0
    wall_s: float = 0.0
    idle_s: float = 0.0
    """Of `wall_s`, what was before the first arrival or after the last token."""
    cpu_s: float = 0.0
    """All of it, from start to exit."""
    cpu_us_per_token: float = 0.0
    """From the first arrival until the client has read the last token."""
    peak_mib: float | None = None
    arrivals: Arrivals | None = None


def compare(
    name: str, client: Client, load: Load, cpus: tuple[int, int], server: dict[str, float]
) -> Outcome:
    """Run one client once against a fresh server with those options, and compare."""
    python = python_of(client)
    if python is None:
        return Outcome(name, load, f"not installed: benchmarks/peers.py install {name}")
    with tempfile.TemporaryDirectory() as folder_name:
        folder, truth = Path(folder_name), Path(folder_name) / "truth.jsonl"
        work = folder / "client"
        work.mkdir()
        with serving({cpus[0]}, truth, **server) as url:
            load = replace(load, url=url)
            argv = client.argv(python.parent, load, work)
            used = run_client(argv, work, cpus[1], _environment(client), LIMIT_S)
        outcome = Outcome(name, load, wall_s=used.wall_s, cpu_s=used.cpu_s, peak_mib=used.peak_mib)
        served = read_truth(truth)
        if served:
            outcome = _with_cpu(_flow(outcome, served), served, used)
        if used.status is None:
            return replace(outcome, problem=f"ended after {LIMIT_S:g} s")
        try:
            reported = client.read(work, load)
        except (OSError, LookupError, ValueError, TypeError, sqlite3.Error) as error:
            last = used.tail.strip().splitlines()[-1:] or [""]
            text = f"no result (exit {used.status}): {type(error).__name__}; {last[0][:160]}"
            return replace(outcome, problem=text)
        if not served:
            return replace(outcome, problem="the server saw no complete request")
        return _with_cpu(_errors(outcome, reported, served), served, used)


def _environment(client: Client) -> dict[str, str]:
    if client.environment is None:
        return os.environ | QUIET | {"PYTHONPATH": str(ROOT)}
    return os.environ | ISOLATED | QUIET | (OFFLINE if client.offline else {})


def _flow(outcome: Outcome, served: list[Served]) -> Outcome:
    """Fill in what the server alone knows."""
    begins = np.array([one.received_ns for one in served], dtype=np.int64)
    ends = np.array([one.sent_ns[-1] for one in served], dtype=np.int64)
    tokens = sum(one.sent_ns.size for one in served)
    flow_s = float(ends.max() - begins[0]) / 1e9
    kind, level = outcome.load.kind, outcome.load.level
    return replace(
        outcome,
        requests=len(served),
        tokens=tokens,
        tokens_per_s=tokens / flow_s,
        held=mean_in_flight(begins, ends),
        held_peak=peak_in_flight(begins, ends),
        idle_s=outcome.wall_s - flow_s,
        arrivals=None if kind == "closed" else arrivals(begins, level, even=kind == "constant"),
    )


def _with_cpu(outcome: Outcome, served: list[Served], used: Used) -> Outcome:
    """Fill in the CPU time per token.

    A client that is late goes on reading after the server's last token, by so much as its
    end-to-end latencies are too long.
    """
    late_ms = max(0.0, *outcome.e2e) if outcome.e2e else 0.0
    end_ns = max(int(one.sent_ns[-1]) for one in served) + int(late_ms * 1e6)
    cpu_s = used.cpu_between(served[0].received_ns, end_ns)
    return replace(outcome, cpu_us_per_token=cpu_s * 1e6 / outcome.tokens)


def _errors(outcome: Outcome, reported: Reported, served: list[Served]) -> Outcome:
    if reported.request_ids is not None:
        served = [one for one in served if one.request_id in reported.request_ids]
    ttft = np.array([one.sent_ns[0] - one.received_ns for one in served]) / 1e6
    e2e = np.array([one.sent_ns[-1] - one.received_ns for one in served]) / 1e6
    gaps = [np.diff(one.sent_ns) / 1e6 for one in served if one.sent_ns.size > 1]
    if reported.itl_mean:
        gaps = [gap.mean(keepdims=True) for gap in gaps]
    itl = np.concatenate(gaps) if gaps else np.empty(0)

    def error(own: Pair | None, true: NDArray[np.float64]) -> Pair | None:
        if own is None or not true.size:
            return None
        p50, p99 = np.percentile(true, (50, 99))
        return own[0] - float(p50), own[1] - float(p99)

    return replace(
        outcome,
        ttft=error(reported.pair("ttft"), ttft),
        itl=error(reported.pair("itl"), itl),
        itl_mean=reported.itl_mean,
        e2e=error(reported.pair("e2e"), e2e),
    )


def mean_in_flight(begins: NDArray[np.int64], ends: NDArray[np.int64]) -> float:
    """Return the mean number of requests in flight in the middle half of the run."""
    first, last = int(begins.min()), int(ends.max())
    low, high = first + (last - first) // 4, last - (last - first) // 4
    inside = np.clip(ends, low, high) - np.clip(begins, low, high)
    return float(inside.sum() / (high - low)) if high > low else 0.0


def peak_in_flight(begins: NDArray[np.int64], ends: NDArray[np.int64]) -> int:
    """Return the largest number of requests in flight at once."""
    moments = np.concatenate([ends, begins])  # of equal ones an end comes first
    steps = np.concatenate([np.full(ends.size, -1), np.full(begins.size, 1)])
    return int(steps[np.argsort(moments, kind="stable")].cumsum().max())


def arrivals(times_ns: NDArray[np.int64], rate: float, *, even: bool) -> Arrivals:
    """Describe arrivals (ascending) that should come at `rate` per second.

    The even spacing that `slip_ms` refers to starts where the earliest 1 % of them say.
    """
    times = times_ns / 1e9
    gaps = np.diff(times)
    offsets = (times - times[0] - np.arange(times.size) / rate) * 1e3
    slips = np.abs(offsets - np.percentile(offsets, 1))
    width = WINDOW / rate
    windows = max(1, int((times[-1] - times[0]) / width))
    counts = np.histogram(times - times[0], windows, (0, windows * width))[0]
    correlated = gaps.size > 2 and gaps[1:].std() > 0 and gaps[:-1].std() > 0
    p50, p99 = np.percentile(slips, (50, 99))
    return Arrivals(
        rate=float((times.size - 1) / (times[-1] - times[0]) / rate) if gaps.size else 0.0,
        slip_ms=(float(p50), float(p99)) if even else None,
        dispersion=float(counts.var(ddof=1) / counts.mean()) if windows > 1 else 0.0,
        autocorrelation=float(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) if correlated else 0.0,
    )
