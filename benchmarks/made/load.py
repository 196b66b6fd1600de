"""Load runs that nobody measured: plausible samples, and the numbers that they give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from harness.measuring.measure import CellFacts, measure
from harness.measuring.measurement import Caveat, CellMeasurement, Measurements, RunInfo
from harness.measuring.server_stats import ServerUse
from harness.rundir import RunFolder
from launchers.telemetry.records import TELEMETRY_FILE, Reading
from loadprofiles.arrivals.bursty import Bursty
from loadprofiles.records import DrivePlan, DriveReport, Sample

if TYPE_CHECKING:
    from pathlib import Path

S = 1_000_000_000
START = 5_000 * S
BURSTY = {"kind": "bursty", "burst_factor": 6.0, "burst_s": 2.0, "burst_every_s": 10.0}
SPEED = {"fp16": 1.0, "gptq": 0.8, "awq": 0.75, "nf4": 1.6}
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
    """One cell of a run that is to be written."""

    build: str
    level: dict[str, float]
    samples: list[Sample]
    window_s: float
    due_ns: list[int] | None = None
    repeat: int = 1
    readings: tuple[Reading, ...] = ()
    folder: str = ""
    """Where the build's name is none for a folder."""


def sample(
    seq: int, due: int, load: int, speed: float, rng: np.random.Generator, tokens: int
) -> Sample:
    """One answered request of a server that is slower the more it has to do."""
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


def closed_samples(streams: int, window_s: float, speed: float, seed: int) -> list[Sample]:
    """The requests of streams that are always open, those before the window included."""
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
    [(kind, number)] = one.level.items()
    folder = run.cell(one.folder or f"{one.build}-{profile}-{kind[0]}{number:g}-{one.repeat}")
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
    """What a manifest says of a build's server."""
    return {
        "engine": "vllm",
        "engine_version": "0.32.0",
        "model": f"models/{build}",
        "scheme": "float16" if build == "fp16" else "4-bit, group 128, asym",
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


def closed_run(
    parent: Path,
    *,
    builds: tuple[str, ...] = tuple(SPEED),
    levels: tuple[int, ...] = (1, 8, 32, 64),
    repeats: int = 1,
    window_s: float = 2,
) -> RunFolder:
    """A closed-loop run of builds at levels, and of one cell that was not measured yet."""
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
