"""How exact is the load client? Prints its errors against a server whose timing is known.

Runs `python -m launchers.mock` on one CPU and `python -m loadprofiles.drive` on another, joins the
driver's samples with the mock's own log of when it sent each token, and compares them with the
figures that this project promises. On a machine that others use at the same time p50 and the CPU
per token still mean something; p99 then shows how long the neighbours kept the driver off its CPU
(see `run delay` and `merged`): the kernel keeps one stamp for what it merged meanwhile.

    python benchmarks/known_timing.py [--seconds 10] [--cases closed-32,open-200] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from harness.truth import Spread, join, read_truth  # noqa: E402
from loadprofiles.plan import Target, make_plan  # noqa: E402
from loadprofiles.profile import Profile  # noqa: E402
from loadprofiles.records import (  # noqa: E402
    DriveReport,
    Sample,
    read_drive_report,
    read_samples,
)

_HEADINGS: tuple[str, ...] = (
    "case", "answers", "tokens/s", "TTFT err kernel", "TTFT err user", "ITL err", "lag", "late",
    "CPU/token", "core", "run delay", "merged", "",
)  # fmt: skip
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TOKENS = 80
TTFT_MS, ITL_MS = 50.0, 25.0


@dataclass(frozen=True)
class Case:
    """One load, and what it promises (µs, tokens/s)."""

    name: str
    kind: str
    level: float
    tokens: int = TOKENS
    ttft_p50_us: float | None = None
    ttft_p99_us: float | None = None
    late_p99_us: float | None = None
    tokens_per_s: float | None = None


CASES = (
    Case("closed-32", "closed", 32, ttft_p50_us=10, ttft_p99_us=50),
    Case("closed-256", "closed", 256, ttft_p50_us=10, ttft_p99_us=50),
    Case("open-200", "poisson", 200, tokens=16, late_p99_us=500),
    Case("closed-1100", "closed", 1100, tokens_per_s=40_000),
)


@dataclass
class Result:
    """What one case came to. Errors are stamps minus the server's own; `*_user` add the lag."""

    case: str
    answers: int
    failed: int
    tokens_per_s: float
    ttft_kernel: Spread | None
    ttft_user: Spread | None
    itl_kernel: Spread | None
    lag: Spread | None
    late: Spread | None
    cpu_us_per_token: float
    core: float
    run_delay: float | None
    merged: float
    clock: str
    verdict: str = "PASS"
    misses: list[str] = field(default_factory=list)


def run_case(case: Case, seconds: float, server_cpu: int, client_cpu: int) -> Result:
    """Run the mock and the driver once."""
    with tempfile.TemporaryDirectory() as name:
        folder, truth = Path(name), Path(name) / "truth.jsonl"
        command = [sys.executable, "-m", "launchers.mock", "--truth", str(truth)]
        command += ["--ttft-ms", str(TTFT_MS), "--itl-ms", str(ITL_MS), "--jitter-ms", str(ITL_MS)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as mock:
            try:
                os.sched_setaffinity(mock.pid, {server_cpu})
                assert mock.stdout is not None
                port = int(mock.stdout.readline().split(":")[2].split("/")[0])
                make_plan(
                    folder,
                    profile=_profile(case, seconds),
                    level=case.level,
                    repeat=1,
                    seed=1,
                    target=Target(host="127.0.0.1", port=port, path="/v1", model="mock"),
                    dialect="openai-completions",
                    cpus=[client_cpu],
                )
                subprocess.run(
                    [sys.executable, "-m", "loadprofiles.drive", name],
                    cwd=ROOT,
                    check=True,
                    stdout=subprocess.DEVNULL,
                    timeout=120,
                )
            finally:
                mock.kill()
        samples, report = list(read_samples(folder)), read_drive_report(folder)
        return _judge(case, _compare(case, samples, report, read_truth(truth)))


def _profile(case: Case, seconds: float) -> Profile:
    return Profile.model_validate(
        {
            "name": "known-timing",
            "arrival": {"kind": case.kind},
            "levels": [case.level],
            "prompt_tokens": 64,
            "output_tokens": case.tokens,
            "duration_s": seconds,
        }
    )


def _compare(
    case: Case, samples: list[Sample], report: DriveReport, truth: dict[str, NDArray[np.int64]]
) -> Result:
    found = join(samples, truth, report.window_start_ns, report.window_end_ns)
    assert not found.unmatched, f"{found.unmatched} answers without their tokens"
    measured = [sample for sample in samples if sample.phase == "measured"]
    answered = [sample for sample in measured if sample.error is None]
    window_s = (report.window_end_ns - report.window_start_ns) / 1e9
    gaps = sum(len(sample.chunk_ns) for sample in answered)
    merged = sum(sample.chunk_ns.count(0) for sample in answered)
    return Result(
        case=case.name,
        answers=found.answers,
        failed=len(measured) - len(answered),
        tokens_per_s=round(found.tokens / window_s),
        ttft_kernel=Spread.of(found.ttft_kernel),
        ttft_user=Spread.of(found.ttft_user),
        itl_kernel=Spread.of(found.itl_kernel),
        lag=Spread.of(found.lag),
        late=Spread.of(found.late) if case.kind != "closed" else None,
        cpu_us_per_token=round(report.cpu_s * 1e6 / max(found.tokens, 1), 1),
        core=round(report.cpu_s / window_s, 3),
        run_delay=None if report.run_delay_s is None else round(report.run_delay_s / window_s, 4),
        merged=round(merged / max(gaps, 1), 5),
        clock=report.clock,
    )


def _judge(case: Case, result: Result) -> Result:
    def miss(name: str, value: float | None, limit: float | None, sign: int = 1) -> None:
        if limit is not None and (value is None or sign * value > sign * limit):
            result.misses.append(f"{name} {value} (goal {limit:g})")

    ttft, late = result.ttft_kernel, result.late
    miss("TTFT error p50 µs", ttft.p50 if ttft else None, case.ttft_p50_us)
    miss("TTFT error p99 µs", ttft.p99 if ttft else None, case.ttft_p99_us)
    miss("late departures p99 µs", late.p99 if late else None, case.late_p99_us)
    miss("tokens/s", result.tokens_per_s, case.tokens_per_s, sign=-1)
    if result.failed or not result.answers:
        result.misses.append(f"{result.failed} failed of {result.answers + result.failed}")
    if result.misses:
        result.verdict = "FAIL"
    return result


def _print_table(results: list[Result]) -> None:
    rows = [_HEADINGS]
    for result in results:
        spreads = [result.ttft_kernel, result.ttft_user, result.itl_kernel, result.lag, result.late]
        texts = [f"{s.p50:g}/{s.p99 or s.max:g}/{s.max:g}" if s else "-" for s in spreads]
        delay = "-" if result.run_delay is None else f"{result.run_delay:.1%}"
        rows.append(
            (
                result.case,
                str(result.answers),
                f"{result.tokens_per_s:,.0f}",
                *texts,
                f"{result.cpu_us_per_token:g} µs",
                f"{result.core:.0%}",
                delay,
                f"{result.merged:.2%}",
                result.verdict,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)))
    print("errors, lag and late in µs: p50/p99/max; late: departure − due")
    for result in results:
        for text in result.misses:
            print(f"{result.case}: {text}")
    if any(result.misses and (result.run_delay or 0) > 0.005 for result in results):
        print(
            "The driver waited for its CPU (run delay): other processes used it. Times that the "
            "kernel merged meanwhile say how busy the neighbours were; repeat on a quiet machine."
        )


def main() -> None:
    """Run the cases and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=10.0, help="measured window of a case")
    parser.add_argument("--cases", help="some of " + ",".join(case.name for case in CASES))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        sys.exit("needs two CPUs: one for the server, one for the client")
    wanted = options.cases.split(",") if options.cases else [case.name for case in CASES]
    results = [
        run_case(case, options.seconds, cpus[0], cpus[-1]) for case in CASES if case.name in wanted
    ]
    if options.json:
        print(json.dumps(msgspec.to_builtins(results), indent=1))
    else:
        _print_table(results)


if __name__ == "__main__":
    main()
