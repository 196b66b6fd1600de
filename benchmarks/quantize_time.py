"""docs/quantize.md: how long GPTQ and AWQ take for the demo model, mixed calibration, start to end.

Run from the repository root, on a quiet machine: `python benchmarks/quantize_time.py`. It wants the
managed environment (`harness engines install llm-compressor`), and leaves nothing behind.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

METHODS = ("gptq", "awq")
LIMIT_S = 240.0
"""What both together may take."""


class Took(NamedTuple):
    """One quantization."""

    wall_s: float
    cpu_s: float
    card: dict[str, Any]


def quantize(method: str, more: list[str], folder: Path) -> Took:
    """Quantize once, from the command's start to its end."""
    argv = [sys.executable, "-m", "harness", "quantize", "fp16", "--method", method]
    argv += ["--sequence-length", "128", "--pack", "--out", method, "--quiet", "--json", *more]
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    done = subprocess.run(argv, cwd=folder, env=environment, stdout=subprocess.PIPE, check=True)
    wall_s = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Took(wall_s, cpu_s, json.loads(done.stdout))


def main() -> None:
    """Read the command line, quantize by both methods, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, help="default: as many as `harness quantize` takes")
    parser.add_argument("--threads", type=int, help="default: as many as `harness quantize` takes")
    args = parser.parse_args()
    more = [] if args.samples is None else ["--samples", str(args.samples)]
    more += [] if args.threads is None else ["--threads", str(args.threads)]
    print(f"cores {os.cpu_count()}, load average {os.getloadavg()[0]:.1f} before")
    total_s = 0.0
    for method in METHODS:
        with tempfile.TemporaryDirectory(prefix="quantize-time-") as folder:
            took = quantize(method, more, Path(folder))
        total_s += took.wall_s
        calibration, parts = took.card["calibration"], took.card["seconds"]
        shown = ", ".join(f"{name} {seconds:.1f}" for name, seconds in parts.items())
        print(
            f"{method}: {took.wall_s:.1f} s from start to end, {took.cpu_s:.1f} s of CPU, threads "
            f"{took.card['threads']}, {calibration['samples']} samples, {calibration['tokens']} "
            f"tokens; {shown}"
        )
    word = "under" if total_s < LIMIT_S else "NOT under"
    after = os.getloadavg()[0]
    print(f"both: {total_s:.1f} s, {word} {LIMIT_S:.0f}; load average {after:.1f} after")


if __name__ == "__main__":
    main()
