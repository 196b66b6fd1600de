"""How well does the simulator predict levels that it was not fitted to, and how fast is it?

    python benchmarks/simulator.py RUN [RUN…]              cells that are there (harness load)
    python benchmarks/simulator.py --server fp16 --out DIR  measures a sweep of its own first
    python benchmarks/simulator.py --speed                  1,000 replicas, one day

A sweep of its own is a closed loop of 1 to 64 streams and Poisson arrivals at 20 to 90 % of the
most requests per second that the closed loop came to. Half of the levels are left out of the fit.
The goals: p50 and p95 of TTFT and e2e within 15 %, throughput within 5 %, up to 90 % of saturation;
a day of 1,000 replicas within 2 minutes (on a machine with nothing else to do).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from harness.simulating.observed import Observed
    from harness.simulating.prediction import HeldOut

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from harness.rundir import RunFolder  # noqa: E402 - found just above
from harness.simulating.engine import Engine, Limits, StepCost  # noqa: E402
from harness.simulating.fit import Fitted, Seen, fit  # noqa: E402
from harness.simulating.predict import predict  # noqa: E402
from harness.simulating.rehearse import METRICS, measured, rehearsed  # noqa: E402
from harness.simulating.sweep import read_sweep  # noqa: E402
from harness.simulating.traffic import Fleet, Traffic  # noqa: E402

LEVELS = "1,2,4,8,16,32,64"
SHARES = (0.2, 0.35, 0.5, 0.6, 0.7, 0.8, 0.9)
GOALS = {name: 0.05 if name == "aggregate_tps" else 0.15 for name in METRICS}
UP_TO = 0.9
DAY_S, DAY_LIMIT_S = 86_400.0, 120.0


def main() -> None:
    """Print predicted beside measured figures, and how long a day of a fleet takes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN")
    parser.add_argument("--server", help="build to measure first")
    parser.add_argument("--url", help="or a server that is up")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--duration", default="10", help="of each level, in seconds")
    parser.add_argument("--repeats", default="2", help="of each level")
    parser.add_argument("--build", help="whose cells, where the runs have several")
    parser.add_argument("--speed", action="store_true")
    asked = parser.parse_args()
    if asked.speed:
        speed()
        return
    runs = asked.runs
    if asked.server or asked.url:
        target = ["--server", asked.server] if asked.server else ["--url", asked.url]
        runs = sweep([*target, "--repeats", asked.repeats], asked.duration, asked.out)
    if not runs:
        parser.error("name a RUN, --server or --speed")
    check([RunFolder.open(run) for run in runs], asked.build)


def sweep(target: list[str], duration: str, out: Path) -> list[Path]:
    """Measure the levels of a closed and of an open loop."""
    asked = [*target, "--lengths", "forced", "--duration", duration, "--out", str(out)]
    closed = load("--profile", "closed", "--level", LEVELS, *asked)
    peak = max(cell["metrics"]["request_rate"] or 0 for cell in closed["cells"])
    rates = ",".join(f"{peak * share:.3g}" for share in SHARES)
    opened = load("--profile", "steady", "--rate", rates, *asked)
    return [Path(found["run"]["path"]) for found in (closed, opened)]


def load(*arguments: str) -> dict:
    """Run `harness load` and return its JSON; cells found invalid count too."""
    argv = [sys.executable, "-m", "harness", "load", *arguments, "--json"]
    print(" ".join(argv[3:]), file=sys.stderr)
    done = subprocess.run(argv, stdout=subprocess.PIPE, check=False)
    if done.returncode not in (0, 4):
        sys.exit(done.returncode)
    return json.loads(done.stdout)


def check(runs: list[RunFolder], build: str | None) -> None:
    """Fit to half of the levels; print the other half, and the fitted ones for comparison."""
    cells, limits, caveats = read_sweep(runs, build)
    began = time.perf_counter()
    fitted = fit(cells, limits)
    took = time.perf_counter() - began
    for caveat in [*caveats, *fitted.caveats]:
        print(f"note: {caveat}")
    cost, engine = fitted.engine.cost, fitted.engine
    print(
        f"step: {cost.base_s * 1e3:.3g} ms + {cost.sequence_s * 1e6:.3g} µs a sequence "
        f"+ {cost.prefill_token_s * 1e6:.3g} µs a prompt token "
        f"+ {cost.context_token_s * 1e9:.3g} ns a context token; a request "
        f"{engine.overhead_s * 1e3:.3g} ms + {engine.overhead_each_s * 1e6:.3g} µs for each other"
    )
    peak = max(measured(cell).aggregate_tps for cell in cells)
    print(
        f"fitted in {took:.1f} s to {len(fitted.fitted_on)} of {len(cells)} cells; "
        f"most tokens/s {peak:,.0f}\n"
    )
    head = "".join(f"{name.removesuffix('_ms'):>24}" for name in METRICS)
    print(f"{'level':<18}{'requests':>9}  {'':8}{head}")
    for cell in sorted(cells, key=lambda one: (one.streams is None, one.level)):
        row(cell, fitted)
    print("\nheld-out levels (means over repeats), up to 90 % of the most tokens/s, and beyond:")
    speeds = {
        (one.mode, one.level): one.measured
        for one in fitted.held_out
        if one.metric == "aggregate_tps"
    }
    for beyond in (False, True):
        for name in METRICS:
            here = [
                one
                for one in fitted.held_out
                if one.metric == name and (speeds[one.mode, one.level] > UP_TO * peak) == beyond
            ]
            if here:
                summary("beyond" if beyond else "up to", name, here)


def summary(where: str, name: str, levels: list[HeldOut]) -> None:
    """Print the errors of one number at some levels, beside by how much its repeats differ."""
    size = np.array([abs(one.error) for one in levels])
    own = np.array([abs(e) for one in levels if (e := one.error_at_own_speed) is not None])
    apart = [max(one.repeats) / min(one.repeats) - 1 for one in levels if len(one.repeats) > 1]
    differ = f"; repeats of a level differ by up to {max(apart):.0%}" if apart else ""
    print(
        f"  {where} {name:<14} largest {size.max():6.1%}, mean {size.mean():6.1%}; "
        f"{int((size <= GOALS[name]).sum())} of {size.size} within {GOALS[name]:.0%}; "
        f"at the speed of the machine in these cells largest {own.max():6.1%}, "
        f"mean {own.mean():6.1%}{differ}"
    )


def row(cell: Observed, fitted: Fitted) -> None:
    """Print one cell: predicted / measured."""
    truth, guess = measured(cell), rehearsed(cell, fitted.engine)
    text = ""
    for name in METRICS:
        was, said = getattr(truth, name), getattr(guess, name)
        text += f"{said:10,.1f}/{was:,.1f}".rjust(18) + f"{said / was - 1:+6.0%}"
    word = "fitted" if cell.id in fitted.fitted_on else "held out"
    print(f"{cell.name:<18}{int(cell.measured.sum()):>9}  {word:8}{text}")


def speed() -> None:
    """Simulate a day of 1,000 replicas: 2 requests/s each, and one of them fails at noon."""
    cost = StepCost(base_s=8e-3, sequence_s=5e-5, prefill_token_s=5e-5, context_token_s=1e-8)
    limits = Limits(max_num_seqs=256, max_num_batched_tokens=8192, kv_tokens=400_000)
    seen = Seen(batch=200.0, prompt_tokens=(1, 8000), output_tokens=(1, 4000), tokens_per_s=5e3)
    fitted = Fitted(
        engine=Engine(cost=cost, limits=limits, overhead_s=5e-3),
        fitted_on=[],
        held_out=[],
        seen=seen,
    )
    rng = np.random.default_rng(1)
    count = 1_000_000
    wave = (
        np.sort((rng.uniform(0, 1, count) + 0.1 * np.sin(rng.uniform(0, 6.28, count))) % 1) * DAY_S
    )
    traffic = Traffic(
        wave,
        rng.lognormal(6.2, 0.5, count).astype(np.int64).clip(16, 4000),
        rng.lognormal(5.0, 0.6, count).astype(np.int64).clip(1, 2000),
        DAY_S,
    )
    for routing in ("round-robin", "least-loaded"):
        began, cpu = time.perf_counter(), time.process_time()
        found = predict(
            fitted, traffic, Fleet(replicas=1000, failing=1, failure_s=DAY_S / 2),
            scale=2000 * DAY_S / count, routing=routing,
        )  # fmt: skip
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        print(
            f"{routing}: 1,000 replicas, a day, {found.requests:,} requests: {took:.0f} s, "
            f"{cpu:.0f} s of CPU "
            f"({found.replicas_simulated} replicas and {found.requests_simulated:,} requests "
            f"simulated; busy {found.busy:.0%}, TTFT p95 {found.ttft_ms.p95:.0f} ms); "
            f"goal {DAY_LIMIT_S:.0f} s: {'met' if took <= DAY_LIMIT_S else 'missed'}"
        )


if __name__ == "__main__":
    main()
