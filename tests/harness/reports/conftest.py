"""Synthetic run folders: plausible samples, and measurements computed from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from benchmarks.made.load import BURSTY, START, Cell, S, closed_run, closed_samples, sample, write
from harness.measuring.measurement import Caveat
from launchers.telemetry.records import EnginePage, Gpu, Histogram, Reading
from loadprofiles.arrivals.bursty import Bursty
from loadprofiles.traffic.schedule import schedule

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from harness.rundir import RunFolder
    from loadprofiles.records import Sample

HOSTILE = "</script><script>alert(1)</script>\x1b[31m|`@all`\u202e"


def fail(one: Sample, error: str) -> Sample:
    return msgspec.structs.replace(
        one,
        error=error,
        status=500 if error == "http_500" else 0,
        detail="out of memory" if error == "http_500" else None,
        first_ns=None,
        first_answer_ns=None,
        last_ns=None,
        done_ns=(one.sent_ns or one.due_ns) + 3 * S,
        output_tokens=None,
        chunk_ns=[],
        lag_us=[],
    )


def open_samples(
    due_ns: list[int], speed: float, seed: int, *, tokens: int = 48, late_ns: int = 0
) -> list[Sample]:
    rng = np.random.default_rng(seed)
    busy: list[int] = []
    found = []
    for seq, offset in enumerate(due_ns):
        due = START + offset
        busy = [end for end in busy if end > due]
        late = int(late_ns * rng.random()) if late_ns else 0
        one = sample(seq, due + late, len(busy), speed, rng, tokens)
        found.append(msgspec.structs.replace(one, due_ns=due))
        busy.append(found[-1].done_ns or 0)
    return sorted(found, key=lambda one: one.done_ns or 0)


def bursty_run(
    parent: Path, *, rate: float = 10, window_s: float = 30, late: bool = False, failing: int = 0
) -> RunFolder:
    due = schedule(Bursty(**BURSTY), rate, window_s, 7).tolist()
    samples = open_samples(due, 0.75, 1, late_ns=60_000_000 if late else 0)
    if failing:
        samples = [fail(s, "truncated") if s.seq % failing == 0 else s for s in samples]
    one = Cell("awq", {"rate": rate}, samples, window_s, due)
    return write(parent, [one], arrival=BURSTY)


def failed_run(parent: Path) -> RunFolder:
    due = schedule(Bursty(**BURSTY), 5, 20, 3).tolist()
    samples = open_samples(due, 1.0, 2)
    samples = [fail(s, ("http_500", "connect", "dropped")[s.seq % 3]) for s in samples]
    return write(parent, [Cell("fp16", {"rate": 5.0}, samples, 20, due)], arrival=BURSTY)


def zeros_run(parent: Path) -> RunFolder:
    """Answers that came at once and whole, but for one chunk."""
    due = schedule(Bursty(**BURSTY), 5, 20, 3).tolist()
    samples = [
        msgspec.structs.replace(
            one,
            sent_ns=one.due_ns,
            first_ns=one.due_ns + 2_000_000 * (one.seq == 1),
            chunk_ns=[5_000_000 * (one.seq == 1), *[0] * 46],
        )
        for one in open_samples(due, 1.0, 2)
    ]
    return write(parent, [Cell("fp16", {"rate": 5.0}, samples, 20, due)], arrival=BURSTY)


def unstable_run(parent: Path) -> RunFolder:
    """20 requests/s for a server that answers 9.5/s, and a rate that it holds beside it."""
    cells = []
    for rate in (5.0, 20.0):
        due = [int(n * S / rate) for n in range(int(rate * 10))]
        samples = []
        for one in open_samples(due, 1.0, 2):
            turn_ns = START + int(one.seq * S / 9.5) - one.due_ns
            late = max(0, turn_ns) if rate > 9.5 else 0
            moved = {
                name: getattr(one, name) + late
                for name in ("first_ns", "first_answer_ns", "last_ns", "done_ns")
            }
            samples.append(msgspec.structs.replace(one, **moved))
        cells.append(Cell("awq", {"rate": rate}, samples, 10, due))
    return write(parent, cells, arrival={"kind": "constant"}, profile="constant")


def watched_run(parent: Path) -> RunFolder:
    """A server looked at every second, on a GPU: its KV cache ran full, and it pushed back."""
    window_s, streams = 8, 8
    samples = closed_samples(streams, window_s, 1.0, 3)
    n, tokens = len(samples), sum(one.output_tokens or 0 for one in samples)

    def page(second: int) -> EnginePage:
        ended = second > window_s
        part = 0 if second < 0 else n if ended else round(n * second / window_s)
        times = {
            "ttft_s": 0.012,
            "e2e_s": 0.1,
            "queue_s": 0.02,
            "prefill_s": 0.01,
            "decode_s": 0.07,
        }
        return EnginePage(
            at_ns=START + second * S, took_ms=0.0, engine="vllm",
            running=min(part, streams), waiting=3.0 * (second == 4),
            kv_cache_use=0.98 if second in {4, 5} else 0.4,
            preemptions=10 + 2 * (second >= 5), finished=part,
            prompt_tokens=48 * part, generation_tokens=tokens * part // n,
            prefix_cache_queries=48 * part, prefix_cache_hits=12 * part,
            histograms={
                name: Histogram(sum_s=mean * part, count=part, buckets=[(0.05, part), (None, part)])
                for name, mean in times.items()
            } if ended or second < 0 else {},
        )  # fmt: skip

    readings = tuple(
        Reading(
            at_ns=START + second * S, took_ms=1.0, memory_bytes=2 << 30, cpu_s=100.0 + 3 * second,
            gpus=[Gpu(index=0, uuid="GPU-a", memory_used_bytes=9 << 30,
                      memory_server_bytes=(5 + second % 3) << 30, power_w=250.0, utilization=0.5)],
            engine=page(second),
        )
        for second in range(-2, window_s + 4)
    )  # fmt: skip
    cell = Cell("awq", {"concurrency": 8.0}, samples, window_s, readings=readings)
    return write(parent, [cell], arrival={"kind": "closed"}, profile="closed")


def empty_run(parent: Path) -> RunFolder:
    return write(parent, [Cell("fp16", {"rate": 5.0}, [], 20, [])], arrival=BURSTY)


MAKERS = {
    "bursty": bursty_run,
    "invalid": lambda parent: bursty_run(parent, late=True, failing=9),
    "closed-4x4": closed_run,
    "one-build": lambda parent: closed_run(parent, builds=("awq",)),
    "one-level": lambda parent: closed_run(parent, levels=(8,)),
    "repeats": lambda parent: closed_run(parent, builds=("awq", "gptq"), levels=(1, 8), repeats=3),
    "all-failed": failed_run,
    "zeros": zeros_run,
    "unstable": unstable_run,
    "watched": watched_run,
    "empty-cell": empty_run,
    "no-cells": lambda parent: write(parent, [], arrival=BURSTY),
}


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    """One run folder of each kind; read only."""
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in MAKERS.items()}


@pytest.fixture(scope="session")
def make_bursty() -> Callable[..., RunFolder]:
    return bursty_run


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run whose every name tries to be more than text."""
    due = schedule(Bursty(**BURSTY), 10, 10, 7).tolist()
    samples = [
        msgspec.structs.replace(s, error="http_500", detail=f"=cmd|{HOSTILE}", request_id="=1+1")
        if s.seq % 2
        else s
        for s in open_samples(due, 0.75, 1)
    ]
    return write(
        tmp_path_factory.mktemp("hostile"),
        [Cell(HOSTILE, {"rate": 10.0}, samples, 10, due, folder="hostile-1")],
        arrival=BURSTY,
        profile=f"p{HOSTILE}",
        command=f"harness load {HOSTILE} ```",
        caveats=(Caveat(HOSTILE, f"say {HOSTILE}"),),
    )
