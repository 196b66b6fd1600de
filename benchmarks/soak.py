"""A million requests, 2,000 streams at once, 10,000 arrivals in one second: by `harness load`.

    python benchmarks/soak.py [--requests 1000000] [--rate 2500] [--only soak,streams,arrivals]
                              [--realtime] [--kept 2000]

Each is a run of the command line against the known-timing server (`python -m launchers.mock`, one
token an answer, on the first CPU; the driver on the last). What is looked at from outside: the
driver's memory at each moment (VmRSS, VmHWM), and that of what measures and reports afterwards.
Everything else comes of the run's own samples.jsonl, line by line: whether each request is there
exactly once, and the client's lag (user − kernel stamp) in the first and in the last tenth of the
window. Prints a line a figure, and ends with 1 where one does not reach its goal. The folder takes
some 700 bytes a request. On a machine that others use lag is theirs: --realtime puts server and
driver before them.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import psutil
import rig

from harness.measuring.measurement import CellMeasurement, Measurements
from loadprofiles.records import read_drive_report, read_samples

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

LIMIT_MIB = 1024
GROWN_MIB = 16
"""The driver's memory may end so much above its first tenth's mean."""
DRIFT, HELD = 0.10, 0.99
TENTHS = 10
STREAMS, ARRIVALS = 2000, 10_000
_LOOK_S = 0.25
_KIB = 1024
BRIEF = {"ttft_ms": 0.5, "itl_ms": 0.5}
LONG = {"ttft_ms": 3000.0, "itl_ms": 1.0}


@dataclass(frozen=True)
class Place:
    """Where a run takes place."""

    folder: Path
    cpus: tuple[int, int]
    """The server's and the driver's."""
    realtime: bool

    def prefer(self, pid: int) -> None:
        """Have a process go before all others, if that is wanted."""
        if self.realtime:
            os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(10))


@dataclass
class Looked:
    """What a process came to, seen from outside."""

    peak_mib: float = 0.0
    at_s: list[float] = field(default_factory=list)
    rss_mib: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Ran:
    """One run of the command line."""

    folder: Path
    driver: Looked
    harness_mib: float
    """The most that `harness load` held, which measured it, too."""
    code: int
    wall_s: float
    cell: CellMeasurement


def status(pid: int) -> dict[str, float]:
    """VmRSS and VmHWM of a process in MiB."""
    text = Path(f"/proc/{pid}/status").read_text()
    found = (line.split() for line in text.splitlines() if line.startswith(("VmRSS", "VmHWM")))
    return {name.rstrip(":"): int(kib) / _KIB for name, kib, _ in found}


def watch(harness: psutil.Process, place: Place, looked: Looked, closing: threading.Event) -> None:
    """Bind the load driver below `harness` to its CPU when it is there; then look at its memory."""
    driver: psutil.Process | None = None
    while not closing.wait(_LOOK_S):
        try:
            if driver is None:
                children = harness.children()
                found = [one for one in children if "loadprofiles.drive" in one.cmdline()]
                if not found:
                    continue
                (driver,) = found
                driver.cpu_affinity([place.cpus[1]])
                place.prefer(driver.pid)
            seen = status(driver.pid)
        except (psutil.Error, OSError):
            continue
        if seen:  # a process that has just ended has none
            looked.at_s.append(time.perf_counter())
            looked.rss_mib.append(seen["VmRSS"])
            looked.peak_mib = max(looked.peak_mib, seen["VmHWM"])


def run(place: Place, server: dict[str, float], *flags: str) -> Ran:
    """Run `harness load` at a server of its own; return what was seen.

    Args:
        place: its folder is empty.
        server: the mock's options.
        flags: of `harness load`.
    """
    looked, closing, folder = Looked(), threading.Event(), place.folder
    with rig.serving({place.cpus[0]}, None, **server) as url:
        for child in psutil.Process().children():
            place.prefer(child.pid)
        argv = [sys.executable, "-m", "harness", "load", "--url", url, "--model", "mock"]
        argv += ["--prompt-tokens", "8", "--quiet", "--json", "--out", str(folder), *flags]
        began = time.monotonic()
        with (
            (folder / "said.json").open("wb") as said,
            subprocess.Popen(
                argv, cwd=folder, env=os.environ | {"PYTHONPATH": str(rig.ROOT)}, stdout=said
            ) as process,
        ):
            args = (psutil.Process(process.pid), place, looked, closing)
            thread = threading.Thread(target=watch, args=args, daemon=True)
            thread.start()
            _, state, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(state)
            closing.set()
            thread.join()
        wall_s = time.monotonic() - began
    if process.returncode not in {0, 4}:  # 4: the run says that its client was late
        sys.exit(f"{' '.join(argv)} ended with {process.returncode}")
    told = msgspec.json.decode((folder / "said.json").read_bytes(), type=Measurements)
    path = folder / Path(told.run.path).name
    [cell] = told.cells
    return Ran(path, looked, usage.ru_maxrss / _KIB, process.returncode, wall_s, cell)


@dataclass(frozen=True)
class Read:
    """What stands in samples.jsonl, of the measured requests."""

    once: bool
    """Each planned number is there exactly once."""
    lines: int
    errors: dict[str, int]
    due_ns: NDArray[np.int64]
    lag_us: NDArray[np.int64]
    """The worst of each request."""
    late_us: NDArray[np.int64]
    at_once: int
    """The most that were sent and had not ended."""


def read(cell: Path, planned: int) -> Read:
    """Read a cell's samples line by line."""
    seen = np.zeros(planned, dtype=np.int64)
    due, sent, done, lag = (np.zeros(planned, dtype=np.int64) for _ in range(4))
    errors: dict[str, int] = {}
    lines = 0
    for one in read_samples(cell):
        if one.phase != "measured":
            continue
        lines += 1
        if one.error is not None:
            errors[one.error] = errors.get(one.error, 0) + 1
        if one.seq < planned:
            seen[one.seq] += 1
            due[one.seq] = one.due_ns
            sent[one.seq], done[one.seq] = one.sent_ns or one.due_ns, one.done_ns or one.due_ns
            lag[one.seq] = max(one.lag_us or [0])
    once = lines == planned and bool((seen == 1).all())
    moments = np.concatenate((done, sent))
    steps = np.repeat((-1, 1), planned)[np.argsort(moments, kind="stable")]
    late = (sent - due) // 1000
    return Read(once, lines, errors, due, lag, late, int(steps.cumsum().max()))


@dataclass(frozen=True)
class Figure:
    """One row."""

    what: str
    goal: str
    measured: str
    passed: bool | None = None


def tenths(values: NDArray[Any], at: NDArray[Any]) -> list[NDArray[Any]]:
    """Values by the tenth of the time in which they were."""
    edges = np.linspace(at.min(), at.max() + 1, TENTHS + 1)
    return [values[(at >= low) & (at < high)] for low, high in itertools.pairwise(edges)]


def soak(place: Place, asked: argparse.Namespace) -> Iterator[Figure]:
    """So many requests at a constant rate, one cell."""
    seconds = asked.requests / asked.rate
    open_loop = ("--profile", "constant", "--rate", f"{asked.rate:g}", "--duration", f"{seconds}")
    ran = run(place, BRIEF, *open_loop, "--output-tokens", "1", "--warmup", "64")
    [cell] = (ran.folder / "cells").iterdir()
    found, report = read(cell, asked.requests), read_drive_report(cell)
    core = report.cpu_s / ((report.window_end_ns - report.window_start_ns) / 1e9)
    yield Figure(
        "requests, each in samples.jsonl exactly once", f"{asked.requests:,}",
        f"{found.lines:,}, {'each once' if found.once else 'NOT each once'}", found.once,
    )  # fmt: skip
    yield Figure(
        "rate", "said", f"{ran.cell.achieved_rate:,.0f}/s, {seconds:.0f} s; driver {core:.0%} "
        f"of a core, {(report.run_delay_s or 0) / seconds:.1%} of the time it waited for one",
    )  # fmt: skip
    yield Figure("errors", "none", str(found.errors or "none"), not found.errors)
    begin, end = report.window_start_ns / 1e9, report.window_end_ns / 1e9
    at, rss = np.array(ran.driver.at_s), np.array(ran.driver.rss_mib)
    inside = (at >= begin) & (at <= end)
    memory = tenths(rss[inside], at[inside])
    first, last = float(memory[0].mean()), float(memory[-1].mean())
    told = ", ".join(f"{part.mean():.0f}" for part in memory if part.size)
    peak = ran.driver.peak_mib
    yield Figure(
        "driver's peak memory (VmHWM)", f"< {LIMIT_MIB} MiB", f"{peak:,.0f} MiB", peak < LIMIT_MIB
    )
    yield Figure(
        "its memory by tenths of the window", f"last ≤ first + {GROWN_MIB} MiB",
        f"{told} MiB: {(last - first) * _KIB**2 / asked.requests * TENTHS / (TENTHS - 1):+.1f} "
        "bytes a request", last - first <= GROWN_MIB,
    )  # fmt: skip
    lags = [np.percentile(part, 99) for part in tenths(found.lag_us, found.due_ns)]
    change = lags[-1] / lags[0] - 1
    yield Figure(
        "client's lag p99 by tenths", f"last ≤ first + {DRIFT:.0%}",
        f"{', '.join(f'{lag:,.0f}' for lag in lags)} µs: {change:+.0%}", change <= DRIFT,
    )  # fmt: skip
    late = [np.percentile(part, 99) for part in tenths(found.late_us, found.due_ns)]
    yield Figure(
        "departures late, p99 by tenths", "said", f"{', '.join(f'{x:,.0f}' for x in late)} µs"
    )
    yield Figure("the run's own verdict", "said", verdict(ran))
    yield Figure(
        "harness load, which also measured: its peak", f"< {LIMIT_MIB} MiB",
        f"{ran.harness_mib:,.0f} MiB, {ran.wall_s:.0f} s in all", ran.harness_mib < LIMIT_MIB,
    )  # fmt: skip


def verdict(ran: Ran) -> str:
    """Whether a run says that its client was good enough, and if not, why."""
    caveats = [one.code for one in ran.cell.client.caveats if one.invalidates]
    return f"exit {ran.code}, " + (f"invalid: {', '.join(caveats)}" if caveats else "valid")


def streams(place: Place, asked: argparse.Namespace) -> Iterator[Figure]:
    """So many streams open at once, all the time."""
    level, server = asked.kept, {"ttft_ms": 500.0, "itl_ms": 100.0, "jitter_ms": 100.0}
    closed = ("--profile", "closed", "--level", str(level), "--duration", "20")
    ran = run(place, server, *closed, "--output-tokens", "40")
    yield from held(ran, f"{level:,} streams at once", level)
    mean = ran.cell.client.streams_held or 0.0
    yield Figure("held, mean", f"≥ {HELD:.0%}", f"{mean:,.0f}", mean >= HELD * level)


def arrivals(place: Place, asked: argparse.Namespace) -> Iterator[Figure]:
    """So many arrivals in one second, none answered before the last has arrived."""
    del asked
    at_once = ("--profile", "constant", "--rate", str(ARRIVALS), "--duration", "1")
    ran = run(place, LONG, *at_once, "--output-tokens", "2", "--warmup", "8")
    yield from held(ran, f"{ARRIVALS:,} arrivals in one second", ARRIVALS)


def held(ran: Ran, what: str, level: int) -> Iterator[Figure]:
    """What a load with many requests in flight at once is asked."""
    [cell] = (ran.folder / "cells").iterdir()
    planned = ran.cell.requests.planned
    found = read(cell, planned)
    peak = found.at_once
    yield Figure(
        f"{what}: requests, each exactly once", f"{planned:,}",
        f"{found.lines:,}, {'each once' if found.once else 'NOT each once'}", found.once,
    )  # fmt: skip
    yield Figure("in flight at most", f"{level:,}", f"{peak:,}", peak >= level)
    yield Figure("errors", "none", str(found.errors or "none"), not found.errors)
    yield Figure(
        "driver's peak memory (VmHWM)", f"< {LIMIT_MIB} MiB", f"{ran.driver.peak_mib:,.0f} MiB",
        ran.driver.peak_mib < LIMIT_MIB,
    )  # fmt: skip
    worst = [
        np.percentile(one, q) / 1000 for one in (found.lag_us, found.late_us) for q in (50, 99)
    ]
    yield Figure(
        "lag, and departures late, p50/p99", "said, or invalid",
        "{:.2f}/{:.2f}, {:.2f}/{:.2f} ms; ".format(*worst) + verdict(ran),
    )  # fmt: skip


PARTS = {"soak": soak, "streams": streams, "arrivals": arrivals}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--rate", type=float, default=2500.0, help="requests/s")
    parser.add_argument("--kept", type=int, default=STREAMS, help="streams at once")
    parser.add_argument("--only", default=",".join(PARTS), help="some of " + ", ".join(PARTS))
    parser.add_argument("--realtime", action="store_true", help="before all others (SCHED_FIFO)")
    asked = parser.parse_args()
    if unknown := [name for name in asked.only.split(",") if name not in PARTS]:
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    cpus, where, failed = rig.claim_cpus(), rig.conditions(), 0
    print(f"{where}{'; server and driver at real-time priority' * asked.realtime}")
    for name in asked.only.split(","):
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            place = Place(Path(folder), cpus, asked.realtime)
            for one in PARTS[name](place, asked):
                failed += one.passed is False
                mark = {True: "PASS", False: "FAIL", None: ""}[one.passed]
                print(f"{one.what}: {one.measured} ({one.goal}) {mark}".rstrip(), flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
