"""Synthetic run folders: plausible samples, and measurements computed from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from harness.measuring.measure import CellFacts, measure
from harness.measuring.measurement import Caveat, CellMeasurement, Measurements, RunInfo
from harness.measuring.server_stats import ServerUse
from harness.rundir import RunFolder
from launchers.telemetry.records import TELEMETRY_FILE, EnginePage, Gpu, Histogram, Reading
from loadprofiles.arrivals.bursty import Bursty
from loadprofiles.records import DrivePlan, DriveReport, Sample
from loadprofiles.traffic.schedule import schedule

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

S = 1_000_000_000
START = 5_000 * S
BURSTY = {"kind": "bursty", "burst_factor": 6.0, "burst_s": 2.0, "burst_every_s": 10.0}
SPEED = {"fp16": 1.0, "gptq": 0.8, "awq": 0.75, "nf4": 1.6}
HOSTILE = "</script><script>alert(1)</script>\x1b[31m|`@all`\u202e"
HOST = {
    "cpu": "AMD EPYC 9V74 80-Core Processor",
    "cpu_flags": ["avx2", "avx512f"],
    "cores": 2,
    "memory_gib": 15.6,
    "kernel": "6.8.0",
    "gpus": [],
}
SHARED = Caveat(
    "shared_host",
    "Server and client share this machine; use a second machine to measure capacity.",
)


@dataclass(frozen=True)
class Cell:
    build: str
    level: dict[str, float]
    samples: list[Sample]
    window_s: float
    due_ns: list[int] | None = None
    repeat: int = 1
    readings: tuple[Reading, ...] = ()


def sample(
    seq: int, due: int, load: int, speed: float, rng: np.random.Generator, tokens: int
) -> Sample:
    sent = due + int(rng.gamma(2, 20_000))
    ttft = int(speed * (5 + 0.9 * load) * 1e6 * rng.lognormal(0, 0.25))
    gaps = (speed * (1.6 + 0.055 * load) * 1e6 * rng.lognormal(0, 0.18, tokens - 1)).astype(int)
    gaps[rng.random(tokens - 1) < 0.002] *= 12
    last = sent + ttft + int(gaps.sum())
    return Sample(
        seq=seq,
        body=seq,
        request_id=f"r-{seq:06d}",
        phase="measured",
        due_ns=due,
        submitted_ns=due + 9_000,
        sent_ns=sent,
        first_ns=sent + ttft,
        first_answer_ns=sent + ttft,
        last_ns=last,
        done_ns=last + 40_000,
        status=200,
        finish_reason="length",
        prompt_tokens=48,
        output_tokens=tokens,
        planned_output_tokens=tokens,
        chunk_ns=gaps.tolist(),
        lag_us=(rng.gamma(2, 15, tokens)).astype(int).tolist(),
    )


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


def closed_samples(streams: int, window_s: float, speed: float, seed: int) -> list[Sample]:
    rng = np.random.default_rng(seed)
    free = [START - int(rng.integers(0, S)) for _ in range(streams)]
    found: list[Sample] = []
    while (due := min(free)) < START + window_s * S:
        one = sample(len(found), due, streams, speed, rng, 48)
        free[free.index(due)] = one.done_ns or 0
        if due < START:
            one = msgspec.structs.replace(one, phase="warmup")
        found.append(one)
    return sorted(found, key=lambda one: one.done_ns or 0)


def cell_id(build: str, profile: str, level: dict[str, float], repeat: int) -> str:
    if HOSTILE in build:
        return "hostile-1"
    kind, number = next(iter(level.items()))
    return f"{build}-{profile}-{kind[0]}{number:g}-{repeat}"


def write(
    parent: Path,
    cells: list[Cell],
    *,
    arrival: dict[str, object],
    profile: str = "bursty",
    planned: tuple[str, ...] = (),
    command: str = "harness load --profile bursty --server awq",
    caveats: tuple[Caveat, ...] = (),
) -> RunFolder:
    """Write a run folder as the harness does, its measurements computed from the samples."""
    run = RunFolder(parent / "20261121T021500Z-load")
    run.path.mkdir(parents=True)
    measured = [write_cell(run, one, profile) for one in cells]
    builds = list(dict.fromkeys(one.build for one in measured))
    info = RunInfo(
        id=run.path.name,
        path=str(run.path),
        started="2026-11-21T02:15:00Z",
        command=command,
        seed=42,
        harness_version="0.1.0",
    )
    run.write_manifest(
        {
            "run": msgspec.to_builtins(info),
            "request": {"server": builds, "profile": profile, "duration_s": 30.0},
            "host": HOST,
            "git": {"commit": "0f5ee0c1d2", "dirty": False},
            "packages": {"locust": "2.47.0", "numpy": "2.4.6", "python": "3.11.9"},
            "profile": {"name": profile, "arrival": arrival, "output_tokens": {"mean": 48}},
            "servers": {build: provenance(build) for build in builds},
            "cells": [{"id": i} for i in [*(one.id for one in measured), *planned]],
        }
    )
    run.write_measurements(
        Measurements(
            run=info,
            cells=measured,
            valid=all(one.client.valid for one in measured),
            caveats=[SHARED, *caveats],
        )
    )
    return run


def write_cell(run: RunFolder, one: Cell, profile: str) -> CellMeasurement:
    """Write the files of a cell and return its measurement."""
    folder = run.cell(cell_id(one.build, profile, one.level, one.repeat))
    window_ns = round(one.window_s * S)
    plan = DrivePlan(
        host="127.0.0.1",
        port=8000,
        path="/v1/completions",
        dialect="openai-completions",
        mode="closed" if one.due_ns is None else "open",
        streams=None if one.due_ns is not None else int(one.level["concurrency"]),
        due_ns=one.due_ns,
        bursts_ns=[
            (round(begin * S), round(end * S))
            for begin, end in Bursty(**BURSTY).bursts(one.window_s)
            if profile == "bursty" and one.due_ns is not None
        ],
        duration_ns=window_ns,
        warmup=8,
        drain_s=30,
        timeout_s=60,
        output_tokens=[48],
    )
    drive = DriveReport(
        ended="done",
        window_start_ns=START,
        window_end_ns=START + window_ns,
        clock="kernel",
        wall_minus_monotonic_ns=1_700_000_000 * S,
        clock_step_ns=1_200,
        cpu_s=0.07 * one.window_s,
        run_delay_s=0.004 * one.window_s,
        gc_collections=0,
        connections=16,
        samples=len(one.samples),
        versions={"python": "3.11.9", "locust": "2.47.0", "kernel": "6.8.0"},
    )
    (folder / "plan.json").write_bytes(msgspec.json.encode(plan))
    (folder / "drive.json").write_bytes(msgspec.json.encode(drive))
    (folder / "samples.jsonl").write_bytes(
        b"".join(msgspec.json.encode(sample) + b"\n" for sample in one.samples)
    )
    if one.readings:
        (folder / TELEMETRY_FILE).write_bytes(
            b"".join(msgspec.json.encode(reading) + b"\n" for reading in one.readings)
        )
    facts = CellFacts(
        id=folder.name,
        build=one.build,
        engine="vllm",
        engine_version="0.32.0",
        model="demo",
        profile=profile,
        repeat=one.repeat,
        level=one.level,
        server=ServerUse(memory_peak_gib=1.93, memory_kind="rss", kv_cache_tokens=131_072),
    )
    return measure(facts, plan, one.samples, drive, readings=one.readings)


def provenance(build: str) -> dict[str, object]:
    return {
        "engine": "vllm",
        "engine_version": "0.32.0",
        "model": f"models/{build}",
        "argv": ["python", "-m", "vllm.entrypoints.openai.api_server", "--model", f"models/{build}",
                 "--max-model-len", "2048", "--dtype", "bfloat16", "--enforce-eager"],
        "environment": {"VLLM_TARGET_DEVICE": "cpu"},
        "reported": {
            "linear_kernel": None if build == "fp16" else "CPUWNA16LinearKernel",
            "dtype": "bfloat16",
            "kv_cache_tokens": 131_072,
            "engine_version": "0.32.0",
        },
        "weights": {"sha256": (build.encode().hex() * 64)[:64]},
        "ready_s": 23.4 + len(build),
    }  # fmt: skip


def bursty_run(
    parent: Path, *, rate: float = 10, window_s: float = 30, late: bool = False, failing: int = 0
) -> RunFolder:
    due = schedule(Bursty(**BURSTY), rate, window_s, 7).tolist()
    samples = open_samples(due, 0.75, 1, late_ns=60_000_000 if late else 0)
    if failing:
        samples = [fail(s, "truncated") if s.seq % failing == 0 else s for s in samples]
    one = Cell("awq", {"rate": rate}, samples, window_s, due)
    return write(parent, [one], arrival=BURSTY)


def closed_run(
    parent: Path,
    *,
    builds: tuple[str, ...] = tuple(SPEED),
    levels: tuple[int, ...] = (1, 8, 32, 64),
    repeats: int = 1,
    window_s: float = 2,
) -> RunFolder:
    cells = [
        Cell(
            build,
            {"concurrency": float(streams)},
            closed_samples(streams, window_s, SPEED.get(build, 1.0), streams + repeat),
            window_s,
            repeat=repeat,
        )
        for build in builds
        for streams in levels
        for repeat in range(1, repeats + 1)
    ]
    return write(
        parent,
        cells,
        arrival={"kind": "closed"},
        profile="closed",
        planned=("awq-closed-c128-1",),
        command=f"harness load --profile closed --server {','.join(builds)}",
    )


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
        [Cell(HOSTILE, {"rate": 10.0}, samples, 10, due)],
        arrival=BURSTY,
        profile=f"p{HOSTILE}",
        command=f"harness load {HOSTILE} ```",
        caveats=(Caveat(HOSTILE, f"say {HOSTILE}"),),
    )
