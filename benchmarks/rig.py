"""What every benchmark here needs: the known-timing server on one CPU, a client on another.

The server is `python -m launchers.mock`; it writes down when it received each request and when it
sent each token. The client may be any program: what it and all its descendants used is measured
from outside.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from launchers.telemetry.tree import TreeReader  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_PR_SET_CHILD_SUBREAPER = 36
_GRACE_S = 2.0
_LOOK_S = 0.1
BUSY = 0.5
"""A load average above this is somebody else's."""
_TAIL = 2000


@dataclass(frozen=True)
class Served:
    """One request as the server saw it, CLOCK_MONOTONIC in ns."""

    request_id: str
    received_ns: int
    sent_ns: NDArray[np.int64]
    """One stamp a token, taken just before its `send`."""


@dataclass(frozen=True)
class Used:
    """What a program and all its descendants came to."""

    status: int | None
    """Exit status; None when it was killed for being too slow."""
    wall_s: float
    cpu_s: float
    """User and system time."""
    peak_mib: float | None
    times_ns: tuple[int, ...]
    """When the CPU time was looked at, CLOCK_MONOTONIC."""
    cpu_until_s: tuple[float, ...]
    """The CPU time until then."""
    tail: str
    """The last of what it printed."""

    def cpu_between(self, begin_ns: int, end_ns: int) -> float:
        """Return the CPU time between two moments, by a straight line between two looks."""
        if not self.times_ns:
            return 0.0
        until_s = np.maximum.accumulate(self.cpu_until_s)  # of what has just ended there is none
        begin, end = np.interp((begin_ns, end_ns), self.times_ns, until_s)
        return float(end - begin)


def claim_cpus() -> tuple[int, int]:
    """Return the CPUs of the server and of the client, and keep this process off the latter.

    Exits when there is only one.
    """
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        sys.exit("needs two CPUs: one for the server, one for the client")
    os.sched_setaffinity(0, {cpus[0]})
    return cpus[0], cpus[-1]


def conditions() -> str:
    """Return date, machine and how busy it is, in words; ask before the work begins."""
    load = os.getloadavg()[0]
    busy = f"; load average before {load:.1f}: others used this machine" if load > BUSY else ""
    cpu = next(
        line.split(":")[1].strip()
        for line in [*Path("/proc/cpuinfo").read_text().splitlines(), "model name: unknown"]
        if line.startswith("model name")
    )
    return (
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} CPUs ({cpu}), Linux {platform.release()}, "
        f"Python {platform.python_version()}{busy}"
    )


@contextmanager
def serving(cpus: set[int], truth: Path | None = None, **options: float) -> Iterator[str]:
    """Serve on these CPUs until the context closes; yield the URL (ends in /v1).

    `options` are the server's flags: `ttft_ms=50` is `--ttft-ms 50`.
    """
    argv = [sys.executable, "-m", "launchers.mock"]
    argv += [] if truth is None else ["--truth", str(truth)]
    for name, value in options.items():
        argv += ["--" + name.replace("_", "-"), f"{value:g}"]
    with subprocess.Popen(
        argv,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            os.sched_setaffinity(process.pid, cpus)
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            if not url:
                sys.exit(f"the server did not start: {' '.join(argv)}")
            yield url
        finally:
            process.kill()


def read_truth(path: Path) -> list[Served]:
    """Read the server's log, in the order in which the requests arrived."""
    served = []
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        stamps = np.array(entry["sent_ns"], dtype=np.int64)
        if stamps.size:
            served.append(Served(entry["request_id"], entry["received_ns"], stamps))
    return sorted(served, key=lambda one: one.received_ns)


def run_client(
    argv: list[str], folder: Path, cpu: int, env: dict[str, str], limit_s: float
) -> Used:
    """Run a program bound to one CPU and wait for it and for all its descendants.

    It gets a session of its own; whatever is left of it at its end, or after `limit_s`, is killed.
    """
    with _adopting_orphans():
        return _run_client(argv, folder, cpu, env, limit_s)


def _run_client(
    argv: list[str], folder: Path, cpu: int, env: dict[str, str], limit_s: float
) -> Used:
    others = {one.pid for one in _descendants()}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    with (
        tempfile.TemporaryFile() as output,
        subprocess.Popen(
            ["taskset", "--cpu-list", str(cpu), *argv],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        with _watching(process.pid) as looks:
            try:
                status: int | None = process.wait(limit_s)
            except subprocess.TimeoutExpired:
                status = None
            finally:
                wall_s = time.perf_counter() - began
                _end(process, others)
        output.seek(max(0, output.seek(0, os.SEEK_END) - _TAIL))
        tail = output.read().decode(errors="replace")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Used(
        status=status,
        wall_s=wall_s,
        cpu_s=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        peak_mib=max((look[2] for look in looks), default=0) / 2**20 or None,
        times_ns=tuple(look[0] for look in looks),
        cpu_until_s=tuple(look[1] for look in looks),
        tail=tail,
    )


@contextmanager
def _watching(pid: int) -> Iterator[list[tuple[int, float, int]]]:
    """Look at a process tree until the context closes: when, its CPU time in s, its bytes."""
    looks: list[tuple[int, float, int]] = []
    closing = threading.Event()
    reader = TreeReader(pid)

    def look() -> None:
        while not closing.wait(_LOOK_S):
            now, cpu_s = time.perf_counter_ns(), 0.0
            for member in _tree(pid):
                with suppress(psutil.Error):
                    # With what members that have ended used, once they are waited for.
                    cpu_s += sum(member.cpu_times()[:4])
            tree = reader.read()
            looks.append((now, cpu_s, tree.memory_bytes if tree else 0))

    thread = threading.Thread(target=look, name="watch", daemon=True)
    thread.start()
    try:
        yield looks
    finally:
        closing.set()
        thread.join()


def _tree(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


@contextmanager
def _adopting_orphans() -> Iterator[None]:
    """Be the parent of descendants whose own parent ends, so that their time is counted."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _end(process: subprocess.Popen[bytes], others: set[int]) -> None:
    """End what is left of the program, and wait for it: only then the kernel adds its CPU time."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        left = [one for one in _descendants() if one.pid not in others]
        for one in left:
            with suppress(psutil.Error):
                one.send_signal(number)
        psutil.wait_procs(left, timeout=_GRACE_S)
    process.wait()
    for one in psutil.Process().children():
        if one.pid not in others:
            with suppress(OSError):
                os.waitpid(one.pid, 0)


def _descendants() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)
