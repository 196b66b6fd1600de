"""Does a run of a million requests fit in 1 GiB when it is measured and reported?

    python benchmarks/million.py [--requests 1000000] [--tokens 16]

Writes a run folder of one cell with that many made-up samples, then measures it and renders its
reports, each in a process of its own, and prints the most memory that each held and how long it
took. The folder takes some 600 bytes a sample.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np

from harness.measuring.measure import CellFacts
from harness.measuring.measurement import Measurements, RunInfo
from harness.measuring.remeasure import write_facts
from harness.rundir import RunFolder
from loadprofiles.records import (
    DRIVE_FILE,
    PLAN_FILE,
    SAMPLES_FILE,
    DrivePlan,
    DriveReport,
    Sample,
)

LIMIT_MIB = 1024
S = 1_000_000_000
START = 50 * S
RATE = 2000.0
CELL = "mock-steady-r2000-1"


def write_run(parent: Path, requests: int, tokens: int) -> RunFolder:
    """Write a run folder with one open-loop cell, as the driver would have."""
    run = RunFolder(parent / "million")
    folder = run.cell(CELL)
    rng = np.random.default_rng(1)
    window_ns = round(requests / RATE * S)
    due = np.sort(rng.integers(0, window_ns, requests))
    plan = DrivePlan(
        host="127.0.0.1", port=1, path="/v1/completions", dialect="openai-completions",
        mode="open", due_ns=due.tolist(), duration_ns=window_ns, warmup=0, drain_s=30.0,
        timeout_s=60.0, output_tokens=[tokens] * requests,
        bursts_ns=[(at, at + 5 * S) for at in range(10 * S, window_ns, 100 * S)],
    )  # fmt: skip
    (folder / PLAN_FILE).write_bytes(msgspec.json.encode(plan))
    encode = msgspec.json.Encoder().encode
    with (folder / SAMPLES_FILE).open("wb") as file:
        for seq, offset in enumerate(due.tolist()):
            file.write(encode(sample(seq, START + offset, tokens, rng)) + b"\n")
    drive = DriveReport(
        ended="done", window_start_ns=START, window_end_ns=START + window_ns, clock="kernel",
        wall_minus_monotonic_ns=0, clock_step_ns=0, cpu_s=1.0, run_delay_s=0.0,
        gc_collections=0, connections=1, samples=requests, versions={},
    )  # fmt: skip
    (folder / DRIVE_FILE).write_bytes(msgspec.json.encode(drive))
    facts = CellFacts(
        id=CELL, build="mock", engine="mock", engine_version=None, model="mock",
        profile="steady", repeat=1, level={"rate": RATE},
    )  # fmt: skip
    write_facts(folder, facts)
    run.write_manifest({"run": {}, "cells": [{"id": CELL}]})
    info = RunInfo(
        id="million", path=str(run.path), started="2026-01-01T00:00:00+00:00", command="",
        seed=0, harness_version="0",
    )  # fmt: skip
    run.write_measurements(Measurements(run=info, cells=[], valid=True))
    return run


def sample(seq: int, due: int, tokens: int, rng: np.random.Generator) -> Sample:
    """One answer: some 50 ms to the first token, some 10 ms from one to the next."""
    gaps = (5_000_000 + rng.integers(0, 10_000_000, tokens - 1)).tolist()
    sent = due + 100_000
    first = sent + int(rng.integers(30_000_000, 90_000_000))
    last = first + sum(gaps)
    return Sample(
        seq=seq, body=seq, request_id=f"0123456789ab-m{seq}", phase="measured", due_ns=due,
        submitted_ns=due, sent_ns=sent, first_ns=first, first_answer_ns=first, last_ns=last,
        end_ns=last, done_ns=last + 50_000, status=200, finish_reason="length",
        prompt_tokens=int(rng.integers(50, 1000)), output_tokens=tokens,
        planned_output_tokens=tokens, chunk_ns=gaps,
        lag_us=rng.integers(20, 400, tokens).tolist(), output_chars=4 * tokens,
        output_hash=f"{int(rng.integers(0, 1 << 60)):016x}", compression=1.2,
    )  # fmt: skip


STEPS = {
    "measured": "from harness.measuring.remeasure import remeasure\n"
    "run.write_measurements(remeasure(run))",
    "report.html": "from harness.reports import load_report\nload_report('html').render(run)",
    "report.md": "from harness.reports import load_report\nload_report('markdown').render(run)",
}
PROLOGUE = """
import pathlib, sys
from harness.rundir import RunFolder
run = RunFolder(pathlib.Path(sys.argv[1]))
"""


def peak(run: RunFolder, code: str) -> tuple[float, float]:
    """Run code in a process of its own; return the most memory it held in MiB, and seconds."""
    began = time.monotonic()
    command = [sys.executable, "-c", PROLOGUE + code, str(run.path)]
    with subprocess.Popen(command) as child:
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"failed with {child.returncode}")
    return usage.ru_maxrss / 1024, time.monotonic() - began


def main() -> None:
    """Write the run, measure it, report it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--tokens", type=int, default=16)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        run = write_run(Path(place), asked.requests, asked.tokens)
        size = (run.path / "cells" / CELL / SAMPLES_FILE).stat().st_size
        print(f"{asked.requests:,} requests of {asked.tokens} tokens, {size / 1e6:,.0f} MB")
        worst = 0.0
        for name, code in STEPS.items():
            mib, seconds = peak(run, code)
            worst = max(worst, mib)
            print(f"{name:12} {mib:7,.0f} MiB {seconds:7.1f} s")
        cells = json.loads((run.path / "measurements.json").read_text())["cells"]
        assert cells[0]["requests"]["ok"] == asked.requests
        within = worst <= LIMIT_MIB
        print(f"{'within' if within else 'ABOVE'} {LIMIT_MIB} MiB")
    sys.exit(0 if within else 1)


if __name__ == "__main__":
    main()
