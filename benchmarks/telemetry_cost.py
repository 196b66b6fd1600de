"""What looking at the server costs the load engine: pairs of cells with and without telemetry.

    python benchmarks/telemetry_cost.py [--pairs 6] [--duration 10] [--concurrency 64]

Each pair drives the same cell twice at the known-timing server, once beside `sample_telemetry` as
a run has it and once without, in the order AB BA AB … The driver has a CPU of its own; server and
harness share another, as on any small machine. Printed are the ratios with/without: geometric mean
over the pairs with its 95 % interval (Student's t on the logarithms).
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
import tomllib
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table
from rig import claim_cpus, conditions, serving
from scipy import stats

from harness.load.child import Driver
from launchers.telemetry.records import TELEMETRY_FILE, read_telemetry
from launchers.telemetry.sampler import sample_telemetry
from launchers.telemetry.scraping import PageSource
from loadprofiles.plan import Target, make_plan
from loadprofiles.profile import Overrides, Profile, builtin_profiles
from loadprofiles.records import read_drive_report, read_samples

PROMISED = 1.02
"""The most that telemetry may cost the driver in CPU time, as a ratio."""
CPU = "driver's CPU per token"


class Bench:
    """One server, asked again and again by the same cell."""

    def __init__(
        self, url: str, folder: Path, client_cpu: int, options: argparse.Namespace
    ) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._target = Target(host=parts.hostname, port=parts.port, path=parts.path, model="mock")
        self._page = PageSource(urls=(f"{url.removesuffix('/v1')}/metrics",))
        self._folder, self._cpu, self._level = folder, client_cpu, options.concurrency
        text = builtin_profiles()["closed"].read_text()
        overrides = Overrides(duration_s=options.duration)
        self._profile = Profile.model_validate(tomllib.loads(text)).with_overrides(overrides)
        self._driven = 0
        self.readings = 0
        self.pages_ms: list[float] = []
        self.readings_ms: list[float] = []
        self.own_cpu: dict[bool, list[float]] = {True: [], False: []}

    def drive(self, server_pid: int, *, sampled: bool) -> dict[str, float]:
        """Drive the cell once; return CPU per token in µs and latencies in ms."""
        self._driven += 1
        folder = self._folder / str(self._driven)
        folder.mkdir()
        make_plan(
            folder, profile=self._profile, level=self._level, repeat=1, seed=1,
            target=self._target, dialect="openai-completions", cpus=[self._cpu],
        )  # fmt: skip
        with ExitStack() as stack:
            driver = stack.enter_context(Driver(folder))
            if sampled:
                file = folder / TELEMETRY_FILE
                stack.enter_context(sample_telemetry(file, server_pid, self._page))
            began_s, used_s = time.monotonic(), time.process_time()
            driver.drive(lambda _: None, lambda: True)
            share = (time.process_time() - used_s) / (time.monotonic() - began_s)
            self.own_cpu[sampled].append(share)
        for one in read_telemetry(folder):
            self.readings += 1
            self.readings_ms.append(one.took_ms)
            self.pages_ms += [one.engine.took_ms] if one.engine else []
        report = read_drive_report(folder)
        ttft, gaps, tokens = [], [], 0
        for sample in read_samples(folder):
            if sample.phase == "measured" and sample.first_ns and sample.sent_ns:
                ttft.append((sample.first_ns - sample.sent_ns) / 1e6)
                gaps += [gap / 1e6 for gap in sample.chunk_ns]
                tokens += sample.output_tokens or 0
        return {
            CPU: report.cpu_s / tokens * 1e6,
            **{f"TTFT p{p}": float(np.percentile(ttft, p)) for p in (50, 95, 99)},
            **{f"ITL p{p}": float(np.percentile(gaps, p)) for p in (50, 95, 99)},
        }


def ratio(pairs: list[tuple[float, float]]) -> tuple[float, float, float]:
    """Return the geometric mean of with/without and its 95 % interval."""
    logs = np.log([a / b for a, b in pairs])
    mean = float(np.mean(logs))
    half = 0.0
    if len(logs) > 1:
        half = float(
            stats.t.ppf(0.975, len(logs) - 1) * np.std(logs, ddof=1) / math.sqrt(len(logs))
        )
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--duration", type=float, default=10)
    parser.add_argument("--concurrency", type=int, default=64)
    options = parser.parse_args()
    if options.pairs < 2:
        parser.error("--pairs must be at least 2")
    said = conditions()
    server_cpu, client_cpu = claim_cpus()
    pairs: list[tuple[dict[str, float], dict[str, float]]] = []
    console = Console(width=110)
    with (
        tempfile.TemporaryDirectory() as folder,
        serving({server_cpu}, ttft_ms=50, itl_ms=10) as url,
    ):
        bench = Bench(url, Path(folder), client_cpu, options)
        pid = _server_pid(url)
        bench.drive(pid, sampled=False)
        bench.own_cpu[False].clear()
        for pair in range(options.pairs):
            order = (True, False) if pair % 2 == 0 else (False, True)
            found = {sampled: bench.drive(pid, sampled=sampled) for sampled in order}
            pairs.append((found[True], found[False]))
    table = Table(title=f"With telemetry / without, {options.pairs} pairs")
    for column in ("figure", "with", "without", "ratio", "95 % interval"):
        table.add_column(column)
    for name in pairs[0][0]:
        values = [(a[name], b[name]) for a, b in pairs]
        middle, low, high = ratio(values)
        means = [f"{np.mean(side):.3f}" for side in zip(*values, strict=True)]
        table.add_row(name, *means, f"{middle:.4f}", f"{low:.4f} … {high:.4f}")
    console.print(table)
    own = {sampled: 100 * float(np.mean(shares)) for sampled, shares in bench.own_cpu.items()}
    console.print(
        f"{bench.readings} readings, median {np.median(bench.readings_ms):.2f} ms; "
        f"{len(bench.pages_ms)} pages, median {np.median(bench.pages_ms):.2f} ms. "
        f"The harness's own process: {own[True]:.2f} % of a CPU with, {own[False]:.2f} % without."
    )
    middle, low, high = ratio([(a[CPU], b[CPU]) for a, b in pairs])
    verdict = "PASS" if high <= PROMISED else "FAIL" if low > PROMISED else "INCONCLUSIVE"
    console.print(f"{CPU}: {middle:.4f} ({low:.4f} … {high:.4f}), ≤ {PROMISED}: {verdict}")
    moved = [
        name for name in pairs[0][0]
        if name != CPU and _apart(ratio([(a[name], b[name]) for a, b in pairs]))
    ]  # fmt: skip
    console.print(f"latencies whose interval leaves out 1: {', '.join(moved) or 'none'}")
    console.print(said)


def _apart(found: tuple[float, float, float]) -> bool:
    return not found[1] <= 1 <= found[2]


def _server_pid(url: str) -> int:
    """Who listens there: a child of this process."""
    port = urlsplit(url).port
    for child in psutil.Process().children():
        if any(one.laddr and one.laddr.port == port for one in child.net_connections()):
            return child.pid
    raise SystemExit("the server is not a child of this process")


if __name__ == "__main__":
    main()
