"""Run folders whose cells a simulated engine has served."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from harness.measuring.measure import CellFacts
from harness.measuring.remeasure import write_facts
from harness.rundir import RunFolder
from harness.simulating.engine import Engine, Limits, StepCost
from loadprofiles.records import (
    DRIVE_FILE,
    PLAN_FILE,
    SAMPLES_FILE,
    DrivePlan,
    DriveReport,
    Sample,
)
from tests.harness.cells import T0, S, answer
from tests.harness.simulating.reference import cell

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ENGINE = Engine(
    cost=StepCost(base_s=4e-3, sequence_s=3e-4, prefill_token_s=6e-5, context_token_s=5e-7),
    limits=Limits(),
    overhead_s=0.01,
    overhead_each_s=2e-4,
)


def run_of(path: Path, cells: dict[str, str], **servers: object) -> RunFolder:
    """Make a run's folder with a manifest of these cells, by id, and their builds."""
    run = RunFolder.create(path, "load")
    listed = [{"id": name, "build": build} for name, build in cells.items()]
    run.write_manifest({"schema": 1, "cells": listed, "servers": servers})
    return run


def write(
    run: RunFolder,
    name: str,
    samples: Sequence[Sample],
    window_s: float = 4.0,
    rate: float = 10.0,
    build: str = "a",
    **plan: Any,  # noqa: ANN401 - a plan's fields
) -> None:
    """Write one cell of an open loop."""
    folder = run.cell(name)
    base = DrivePlan(
        host="127.0.0.1", port=1, path="/v1/completions", dialect="openai-completions",
        mode="open", due_ns=[one.due_ns - T0 for one in samples],
        duration_ns=round(window_s * S), warmup=0, drain_s=10.0, timeout_s=60.0,
        output_tokens=[4],
    )  # fmt: skip
    drive = DriveReport(
        ended="done", window_start_ns=T0, window_end_ns=T0 + round(window_s * S), clock="kernel",
        wall_minus_monotonic_ns=0, clock_step_ns=0, cpu_s=1.0, run_delay_s=0.01,
        gc_collections=0, connections=1, samples=len(samples), versions={},
    )  # fmt: skip
    facts = CellFacts(
        id=name, build=build, engine="vllm", engine_version=None, model="m", profile="p",
        repeat=1, level={"rate": rate},
    )  # fmt: skip
    lines = [msgspec.json.encode(one) for one in samples]
    (folder / PLAN_FILE).write_bytes(msgspec.json.encode(msgspec.structs.replace(base, **plan)))
    (folder / DRIVE_FILE).write_bytes(msgspec.json.encode(drive))
    (folder / SAMPLES_FILE).write_bytes(b"\n".join([*lines, b""]))
    write_facts(folder, facts)


def sweep_of(path: Path, rates: Sequence[float], window_s: float = 25.0) -> RunFolder:
    """Make a run of several rates, served by `ENGINE`."""
    run = run_of(path, {f"r{rate:g}": "a" for rate in rates})
    for seed, rate in enumerate(rates):
        one = cell(ENGINE, rate, window_s, seed)
        stamps = np.split(one.chunk_s, np.cumsum(one.chunks)[:-1])
        samples = [
            answer(
                n, float(one.sent_s[n]), float(one.first_s[n] - one.sent_s[n]) * 1000,
                (np.diff(stamps[n]) * 1000).tolist(), prompt_tokens=int(one.prompts[n]),
            )
            for n in range(one.sent_s.size)
        ]  # fmt: skip
        write(run, f"r{rate:g}", samples, window_s, rate)
    return run
