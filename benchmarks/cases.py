"""One load of this project's own driver against the known-timing server, held to the truth."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np
import psutil
from comparison import STAGGERED
from rig import ROOT, Served, read_truth, serving

from harness.ladder import mock_facts
from harness.load.child import COMMAND, MASTER
from harness.measuring.remeasure import measure_folder, write_facts
from harness.measuring.truth import Spread, join
from harness.measuring.truth import read_truth as read_sends
from loadprofiles.plan import Target, make_plan
from loadprofiles.profile import Profile
from loadprofiles.records import Fleet, read_drive_report, read_samples

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.measuring.measurement import CellMeasurement
    from loadprofiles.records import DriveReport

_LIMIT_S = 120.0
_SAMPLE_S = 0.25
_MIB = 2**20


@dataclass(frozen=True)
class Case:
    """One load."""

    name: str
    kind: Literal["closed", "poisson"]
    level: float
    tokens: int = 40
    seconds: float = 5.0
    server: dict[str, float] = field(default_factory=lambda: STAGGERED)
    warmup: int | None = None
    """None: as the profile says, and each stream first finishes one request; 0: neither."""
    hog: bool = False
    """Another process computes on the client's CPU all the while."""
    workers: int = 1


@dataclass(frozen=True)
class Result:
    """What came of it. Times in µs where the name does not say."""

    case: Case
    problem: str | None = None
    valid: bool = False
    caveats: tuple[str, ...] = ()
    told: str | None = None
    """What the driver itself said went wrong."""
    tokens_per_s: float = 0.0
    ttft: Spread | None = None
    """Kernel stamp − truth."""
    ttft_user: Spread | None = None
    itl: Spread | None = None
    late: Spread | None = None
    cpu_us_per_token: float = 0.0
    core: float = 0.0
    server_core: float = 0.0
    server_us_per_token: float = 0.0
    run_delay: float | None = None
    held: float = 0.0
    """Mean number of requests in flight at the server within the window."""
    unsure: int = 0
    """Tokens whose `send` was itself held up: when they left is not known, and they are in no
    error."""
    tokens: int = 0
    lost: int = 0
    """Samples that the driver wrote and nobody can read, or answers that no sample is about."""
    answers: int = 0
    finished: int = 0
    """Requests of all phases."""
    rss_mib: tuple[float, ...] = ()
    """Of the driver, every 0.25 s."""
    rss_peak_mib: float = 0.0


def run_case(case: Case, cpus: tuple[int, int]) -> Result:
    """Run the server on the first CPU and the driver on the second; several workers on both."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        cell, truth = folder / "cell", folder / "truth.jsonl"
        cell.mkdir()
        client_cpu = cpus[1]
        # Beside several workers it may float: each of them keeps to a core of its own.
        server_cpus = {cpus[0]} if case.workers == 1 else set(cpus)
        url = stack.enter_context(serving(server_cpus, truth, **case.server))
        port = int(url.split(":")[2].split("/")[0])
        children = psutil.Process().children()
        (server,) = [one for one in children if "launchers.mock" in one.cmdline()]
        make_plan(
            cell,
            profile=_profile(case),
            level=case.level,
            repeat=1,
            seed=1,
            target=Target(host="127.0.0.1", port=port, path="/v1", model="mock"),
            dialect="openai-completions",
            cpus=[client_cpu] if case.workers == 1 else list(cpus),
        )
        write_facts(cell, mock_facts("known-timing", case.level, closed=case.kind == "closed"))
        if case.hog:
            stack.enter_context(_hog(client_cpu))
        before = server.cpu_times()
        rss, log = drive(cell, case.workers)
        after = server.cpu_times()
        if not (cell / "drive.json").exists():
            return Result(case, problem=(log.strip() or "no report").splitlines()[-1])
        server_s = after.user + after.system - before.user - before.system
        return _result(case, cell, truth, server_s, rss)


def drive(cell: Path, workers: int = 1) -> tuple[list[float], str]:
    """Drive the cell; return the driver's resident memory over time, and what it complained of."""
    argv = [*COMMAND, str(cell)]
    if workers > 1:
        argv = [*MASTER, msgspec.json.encode(Fleet(local=workers)).decode(), str(cell)]
    rss: list[float] = []
    with (
        (cell / "drive.log").open("wb") as log,
        subprocess.Popen(
            argv,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=log,
        ) as process,
    ):
        driver = psutil.Process(process.pid)
        for _ in range(int(_LIMIT_S / _SAMPLE_S)):
            try:
                process.wait(_SAMPLE_S)
                break
            except subprocess.TimeoutExpired:
                rss.append(driver.memory_info().rss / _MIB)
        else:
            process.kill()
    return rss, (cell / "drive.log").read_text(errors="replace")


@contextmanager
def _hog(cpu: int) -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        os.sched_setaffinity(process.pid, {cpu})
        os.sched_setscheduler(process.pid, os.SCHED_OTHER, os.sched_param(0))
        try:
            yield
        finally:
            process.kill()


def _profile(case: Case) -> Profile:
    fields = {
        "name": "known-timing",
        "arrival": {"kind": case.kind},
        "levels": [case.level],
        "prompt_tokens": 64,
        "output_tokens": case.tokens,
        "duration_s": case.seconds,
    }
    if case.warmup is not None:
        fields["warmup_requests"] = case.warmup
    return Profile.model_validate(fields)


def _result(case: Case, cell: Path, truth_file: Path, server_s: float, rss: list[float]) -> Result:
    measured, report = measure_folder(cell, None), read_drive_report(cell)
    samples = list(read_samples(cell))
    served, truth = read_truth(truth_file), read_sends(truth_file)
    found = join(samples, truth, report.window_start_ns, report.window_end_ns)
    window_s = (report.window_end_ns - report.window_start_ns) / 1e9 or 1.0
    sent = sum(one.sent_ns.size for one in served) or 1
    known = {one.request_id for one in samples}
    lost = report.samples - len(samples) + sum(name not in known for name in truth)
    return Result(
        case=case,
        valid=measured.client.valid,
        caveats=_reasons(measured),
        told=report.problem,
        tokens_per_s=found.tokens / window_s,
        ttft=Spread.of(found.ttft_kernel),
        ttft_user=Spread.of(found.ttft_user),
        itl=Spread.of(found.itl_kernel),
        late=Spread.of(found.late) if case.kind == "poisson" else None,
        cpu_us_per_token=report.cpu_s * 1e6 / max(found.tokens, 1),
        core=report.cpu_s / window_s,
        server_core=server_s * found.tokens / sent / window_s,
        server_us_per_token=server_s * 1e6 / sent,
        run_delay=measured.client.run_delay,
        held=_held(served, report),
        unsure=found.unsure,
        tokens=found.tokens,
        lost=lost + found.unmatched,
        answers=found.answers,
        finished=len(samples),
        rss_mib=tuple(rss),
        rss_peak_mib=report.rss_peak_mib or max(rss, default=0.0),
    )


def _reasons(measured: CellMeasurement) -> tuple[str, ...]:
    return tuple(caveat.code for caveat in measured.client.caveats if caveat.invalidates)


def _held(served: list[Served], report: DriveReport) -> float:
    """Mean number of requests in flight at the server within the window."""
    start, end = report.window_start_ns, report.window_end_ns
    begins = np.array([one.received_ns for one in served], dtype=np.int64)
    ends = np.array([one.sent_ns[-1] for one in served], dtype=np.int64)
    inside = np.clip(ends, start, end) - np.clip(begins, start, end)
    return float(inside.sum() / (end - start)) if end > start else 0.0
