"""How long `harness history` takes over 1,000 runs, and how often its change points are right.

    python benchmarks/history.py [--runs 1000] [--series 1000]

The runs are made up: each is a load run of two builds at four levels, of the size that a real one
has. A series without a change may be said to have one in 5 of 100 at most.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from harness.history.changes import LEVEL, change_points
from harness.measuring.measurement import (
    CellMeasurement,
    Client,
    Metrics,
    Requests,
    RunInfo,
    Stat,
    measurements,
)
from harness.measuring.server_stats import ServerUse
from harness.rundir import RunFolder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    Draw = Callable[[np.random.Generator, int], npt.NDArray[np.float64]]

SEED = 20261126
BUILDS, LEVELS = ("fp16", "awq"), (1, 8, 32, 64)
SLOWER_FROM = 0.7
"""Share of the runs after which awq is slower by a tenth."""
DRAWS: dict[str, Draw] = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "t, 2 degrees": lambda rng, n: rng.standard_t(2, n),
    "three values": lambda rng, n: rng.integers(0, 3, n).astype(float),
}
STEPS = ((10, 5, 3.0), (30, 15, 3.0), (30, 15, 2.0), (30, 26, 3.0), (60, 30, 1.5))
"""(runs, first one after the step, step in standard deviations)."""


def cell(build: str, level: int, ttft_ms: float) -> CellMeasurement:
    """A cell with all metrics, all of one value but TTFT."""
    stat = Stat(
        mean=10.0, p50=10.0, p90=12.0, p95=13.0, p99=15.0, p99_9=17.0, max=20.0, n=5000,
        ci95={"p50": (9.9, 10.1), "p95": (12.7, 13.3)},
    )  # fmt: skip
    names = (name for name in Metrics.__struct_fields__ if name.endswith(("_ms", "_tps")))
    stats = {name: stat for name in names if name != "aggregate_tps"}
    metrics = Metrics(
        **stats | {"ttft_ms": msgspec.structs.replace(stat, p50=ttft_ms)},
        aggregate_tps=900.0, request_rate=20.0,
    )  # fmt: skip
    return CellMeasurement(
        id=f"{build}-closed-c{level}-1", build=build, engine="vllm", engine_version="0.32.0",
        model=f"demo-{build}", profile="closed", repeat=1, level={"concurrency": float(level)},
        requests=Requests(planned=600, sent=600, ok=600, failed=0, dropped=0, errors={},
                          truncated=0, empty=0),
        offered_rate=20.0, achieved_rate=20.0, in_flight_mean=float(level), in_flight_peak=level,
        backlog_growth_rps=0.0, stable=True, window_s=30.0, prompt_tokens=76800,
        output_tokens=28800, token_source="server",  # noqa: S106
        tokens_per_chunk=1.0, metrics=metrics,
        metrics_with_failures={"ttft_due_ms": stat, "e2e_ms": stat},
        client=Client(clock="kernel", lag_ms=stat, slip_ms=stat, merged_reads=0, late_merges=0,
                      streams_held=float(level), cpu=0.1, run_delay=0.0, gc_collections=0,
                      valid=True),
        server=ServerUse(memory_peak_gib=2.4, memory_kind="rss", kv_cache_tokens=524288),
    )  # fmt: skip


def make_runs(folder: Path, runs: int) -> int:
    """Write so many run folders; return the bytes of one's numbers."""
    rng = np.random.default_rng(SEED)
    size = 0
    for number in range(runs):
        day, minute = divmod(number, 1440)
        info = RunInfo(
            id=f"run-{number:05}", path=str(folder / f"run-{number:05}"), seed=0,
            started=f"2026-{1 + day // 28:02}-{1 + day % 28:02}T{minute // 60:02}:{minute % 60:02}"
            ":00+00:00",
            command="harness load --server fp16,awq --profile closed", harness_version="0",
        )  # fmt: skip
        cells = []
        for build in BUILDS:
            slow = 1.1 if build == "awq" and number >= SLOWER_FROM * runs else 1.0
            cells += [
                cell(build, level, 50.0 * slow * (1 + 0.02 * float(rng.standard_normal())))
                for level in LEVELS
            ]
        run = RunFolder(folder / info.id)
        run.path.mkdir()
        servers: dict[str, Any] = {
            build: {"engine": "vllm", "argv": ["--dtype=float16"] * 10, "ready_s": 24.0}
            for build in BUILDS
        }
        host = {"cpu": "CPU", "cores_usable": 2, "gpus": []}
        request = {"dialect": "openai-completions"}
        profile = {"name": "closed", "prompt_tokens": {"low": 64, "high": 256}}
        run.write_manifest({"run": info, "host": host, "request": request, "profile": profile,
                            "servers": servers})  # fmt: skip
        run.write_measurements(measurements(info, cells, len(cells), []))
        size = (run.path / "measurements.json").stat().st_size
    return size


def timed(folder: Path, *arguments: str) -> tuple[float, float, str]:
    """Run `harness history` in a process of its own; return seconds, CPU seconds and its output."""
    command = [sys.executable, "-m", "harness", "history", "--runs", str(folder), *arguments]
    began, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, now = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime, done.stdout


def speeds(runs: int) -> Iterator[str]:
    """Yield a line a command."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = make_runs(folder, runs)
        yield f"{runs:,} runs, {size / 1024:.0f} KiB of numbers each"
        for arguments in (
            (),
            ("--metric", "ttft_p50_ms"),
            ("--metric", "ttft_p50_ms", "--build", "awq", "--level", "8"),
            ("--format", "html"),
            ("--format", "csv"),
        ):
            seconds, cpu_s, text = timed(folder, *arguments)
            shown = " ".join(("harness history", *arguments))
            size = len(text) / 1024
            yield f"{seconds:6.1f} s, {cpu_s:5.1f} s of CPU  {shown}  ({size:,.0f} KiB)"


def false_alarms(series: int) -> Iterator[str]:
    """Yield how often series without a change are said to have one."""
    for name, draw in DRAWS.items():
        for n in (8, 15, 30, 60):
            rng = np.random.default_rng(SEED)
            alarms = sum(bool(change_points(draw(rng, n))) for _ in range(series))
            doubt = 2 * (LEVEL * (1 - LEVEL) / series) ** 0.5  # of as many draws
            verdict = "PASS" if alarms / series <= LEVEL + doubt else "FAIL"
            rate = f"{100 * alarms / series:5.1f} %"
            yield f"{rate}  of series of {n} without a change ({name}) have one  {verdict}"


def found_steps(series: int) -> Iterator[str]:
    """Yield how often a step is found at most one run away from where it is."""
    for n, at, step in STEPS:
        rng = np.random.default_rng(SEED)
        hits = 0
        for _ in range(series):
            values = rng.standard_normal(n)
            values[at:] += step
            hits += any(abs(change.at - at) <= 1 for change in change_points(values))
        yield (
            f"{100 * hits / series:5.1f} %  of steps of {step:g} standard deviations found, "
            f"{at} runs before and {n - at} after"
        )


def main() -> int:
    """Print all figures; 1 if one misses its goal."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--series", type=int, default=1000)
    asked = parser.parse_args()
    missed = False
    for lines in (speeds(asked.runs), false_alarms(asked.series), found_steps(asked.series)):
        for line in lines:
            missed |= line.endswith("FAIL")
            print(line, flush=True)
        print()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
