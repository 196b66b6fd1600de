"""The arithmetic of the comparison with the peers, against cases whose answer is known."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import comparison
import numpy as np
import psutil
import pytest
from client import Load, clients

if TYPE_CHECKING:
    from pathlib import Path


def spaced(rate: float, count: int, late_ms: float = 0.0) -> np.ndarray:
    times = np.arange(count) / rate
    times[count // 2 :] += late_ms / 1e3
    return (times * 1e9).astype(np.int64) + 10**12


def test_even_arrivals_are_not_late() -> None:
    seen = comparison.arrivals(spaced(50, 400), 50, even=True)
    assert seen.slip_ms == pytest.approx((0, 0), abs=1e-3)
    assert seen.rate == pytest.approx(1)
    assert seen.dispersion < 0.2


def test_lateness_is_seen() -> None:
    seen = comparison.arrivals(spaced(50, 400, late_ms=7.0), 50, even=True)
    assert seen.slip_ms[1] == pytest.approx(7, abs=0.01)


def test_a_rate_that_is_not_the_one_asked_for_is_seen() -> None:
    seen = comparison.arrivals(spaced(60, 400), 50, even=True)
    assert seen.rate == pytest.approx(1.2, rel=0.01)
    assert seen.slip_ms[0] > 500


def test_poisson_passes_and_a_generator_that_all_workers_seed_alike_does_not() -> None:
    draw = np.random.default_rng(7)
    gaps = draw.exponential(1 / 50, 2000)
    true = comparison.arrivals((np.cumsum(gaps) * 1e9).astype(np.int64), 50, even=False)
    assert 0.7 < true.dispersion < 1.3
    assert abs(true.autocorrelation) < 0.1
    assert true.slip_ms is None
    # Ten workers that draw the same gaps: each comes ten times, a tenth as long.
    same = np.repeat(draw.exponential(10 / 50, 200) / 10, 10)
    false = comparison.arrivals((np.cumsum(same) * 1e9).astype(np.int64), 50, even=False)
    assert false.dispersion > 1.5
    assert false.autocorrelation > 0.7


def test_streams_in_flight() -> None:
    begins = np.array([0, 0, 10, 20], dtype=np.int64)
    ends = np.array([10, 20, 20, 30], dtype=np.int64)
    assert comparison.peak_in_flight(begins, ends) == 2
    assert comparison.mean_in_flight(begins * 1000, ends * 1000) == pytest.approx(
        11 / 6
    )  # over [7.5, 22.5)
    assert comparison.mean_in_flight(begins[:1], ends[:1]) == 1


def test_a_client_that_is_not_installed_is_a_row_that_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    load = Load("closed", 1, 1, 4)
    outcome = comparison.compare("aiperf", clients()["aiperf"], load, (0, 1), {})
    assert outcome.problem == "not installed: benchmarks/peers.py install aiperf"


def test_a_program_is_measured_with_all_its_descendants(tmp_path: Path) -> None:
    burn = "import time\nend = time.process_time() + 0.6\nwhile time.process_time() < end: pass\n"
    inner = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}])"
    cpu = min(os.sched_getaffinity(0))
    argv = [sys.executable, "-c", inner]
    began = time.perf_counter_ns()
    used = comparison.run_client(argv, tmp_path, cpu, dict(os.environ), 60)
    ended = time.perf_counter_ns()
    assert used.status == 0
    assert 0.6 <= used.cpu_s < 3
    assert 0.3 <= used.cpu_between(began, ended) <= used.cpu_s
    assert used.peak_mib > 5


def test_a_program_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    inner = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(99)"
    outer = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {inner!r}],"
    outer += " start_new_session=True).wait()"
    cpu = min(os.sched_getaffinity(0))
    used = comparison.run_client(
        [sys.executable, "-c", outer], tmp_path, cpu, dict(os.environ), 3.0
    )
    assert used.status is None
    assert not psutil.pid_exists(int(note.read_text()))
