"""The figures that this project promises of its load client, each measured, with PASS or FAIL.

    python benchmarks/figures.py [--only exact,ladder] [--quick] [--json | --page]

The server (`python -m launchers.mock`, which writes down what it sent when) runs on the first CPU,
the driver on the last, nothing else should run. On a machine that others use at the same time p50
and the CPU per token still mean something; p99 then shows how long neighbours kept the driver off
its CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import exactness
import msgspec
import numpy as np
import rig
from cases import Case, Result, run_case
from comparison import AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.measuring.truth import Spread


EXACT_P50_US, EXACT_P99_US, HOG_P99_US = 10.0, 50.0, 100.0
LATE_P99_US = 500.0
TOKENS_PER_S, WORKERS_GAIN = 60_000, 1.7
CPU_US = 12.0
HELD = 0.97
STREAM_KB = 40.0
RUN_REQUESTS, RUN_MIB = 1_000_000, 1024
SHORT = {"ttft_ms": 4.0, "itl_ms": 2.0, "jitter_ms": 2.0}
FAST = {"ttft_ms": 50.0, "itl_ms": 1000 / 97, "jitter_ms": 1000 / 97}
"""97 tokens/s of each stream."""
SLOW = {"ttft_ms": 50.0, "itl_ms": 50.0, "jitter_ms": 50.0}
BRIEF = {"ttft_ms": 1.0, "itl_ms": 1.0}


@dataclass(frozen=True)
class Figure:
    """One row: what was promised, and what was measured."""

    what: str
    goal: str
    measured: str
    passed: bool | None
    """None: nothing was promised."""
    note: str = ""


class Bench:
    """Runs cases, says so as it goes, and keeps what came of them."""

    def __init__(self, *, quick: bool) -> None:
        self.cpus = rig.claim_cpus()
        self.quick = quick
        self.results: list[Result] = []

    def run(self, case: Case) -> Result:
        """Run one case."""
        if self.quick:
            case = replace(case, seconds=min(case.seconds, 2.0))
        result = run_case(case, self.cpus)
        self.results.append(result)
        text = result.problem or (
            f"{result.tokens_per_s:,.0f} tokens/s, TTFT {pair(result.ttft)}, ITL "
            f"{pair(result.itl)}, late {pair(result.late)} µs, {result.cpu_us_per_token:.1f} µs a "
            f"token, core {result.core:.0%}, server {result.server_core:.0%}, "
            f"{'valid' if result.valid else 'invalid: ' + ', '.join(result.caveats)}"
        )
        print(f"{case.name}: {text}", file=sys.stderr)
        return result


def pair(spread: Spread | None) -> str:
    """Return p50/p99."""
    if spread is None:
        return "–"
    return f"{spread.p50:g}/{'–' if spread.p99 is None else f'{spread.p99:g}'}"


def within(spread: Spread | None, p50: float | None, p99: float) -> bool:
    """Whether p50 and p99 (with few values the largest) keep to their limits."""
    if spread is None:
        return False
    worst = spread.max if spread.p99 is None else spread.p99
    return worst <= p99 and (p50 is None or spread.p50 <= p50)


def exact(bench: Bench) -> Iterator[Figure]:
    """TTFT and ITL against the truth, from 1 to 1,024 streams; CPU per token beside."""
    cases = [Case("1 stream", "closed", 1, tokens=11, server=SHORT)]
    cases += [Case(f"{n} streams, staggered", "closed", n) for n in (32, 256, 1024)]
    cases += [
        Case(f"{n} streams, all speak at once", "closed", n, server=AT_ONCE)
        for n in (32, 256, 1024)
    ]
    # Without a warm-up the window opens with all connections.
    cases += [Case("1024 streams, connect storm", "closed", 1024, seconds=3.0, warmup=0)]
    goal = f"≤ {EXACT_P50_US:g}/{EXACT_P99_US:g} µs"
    for case in cases:
        result = bench.run(case)
        for name, spread in (("TTFT", result.ttft), ("ITL", result.itl)):
            passed = within(spread, EXACT_P50_US, EXACT_P99_US)
            yield Figure(f"{name} error, {case.name}", goal, f"{pair(spread)} µs", passed)
        if case.level >= 256 and case.warmup is None:
            yield Figure(
                f"CPU per token, {case.name}",
                f"≤ {CPU_US:g} µs",
                f"{result.cpu_us_per_token:.1f} µs",
                result.problem is None and result.cpu_us_per_token <= CPU_US,
            )


def hog(bench: Bench) -> Iterator[Figure]:
    """The same while another process computes on the client's CPU."""
    result = bench.run(Case("256 streams, CPU hog", "closed", 256, hog=True))
    for name, spread in (("TTFT", result.ttft), ("ITL", result.itl)):
        yield Figure(
            f"{name} error, 256 streams, a CPU hog on the client's core",
            f"p99 ≤ {HOG_P99_US:g} µs",
            f"{pair(spread)} µs",
            within(spread, None, HOG_P99_US),
            f"user stamps {pair(result.ttft_user)} µs" if name == "TTFT" else "",
        )


def late(bench: Bench) -> Iterator[Figure]:
    """Departures of a Poisson schedule."""
    for rate, tokens in ((50, 16), (200, 16), (1000, 16), (2000, 8)):
        result = bench.run(Case(f"{rate} requests/s", "poisson", rate, tokens=tokens))
        yield Figure(
            f"departures late, {rate} requests/s",
            f"p99 ≤ {LATE_P99_US:g} µs",
            f"{pair(result.late)} µs",
            within(result.late, None, LATE_P99_US),
        )


def ladder(bench: Bench) -> Iterator[Figure]:
    """More and more streams until the run is invalid, or the server is full."""
    best, ended = None, "the ladder"
    for streams in (1024, 1536, 2048, 2560, 3072, 4096):
        result = bench.run(Case(f"ladder, {streams} streams", "closed", streams))
        if not result.valid:
            result = bench.run(Case(f"ladder, {streams} streams again", "closed", streams))
        if not result.valid:
            ended = f"{streams} streams: {result.problem or ', '.join(result.caveats)}"
            break
        best = result
        offered = streams * 40 / (0.0625 + 39 * 0.025)
        if result.tokens_per_s < 0.93 * offered and result.server_core > 0.9:
            ended = f"{streams} streams: the server is full"
            break
    speed = best.tokens_per_s if best else 0.0
    yield Figure(
        "streamed tokens/s before the run is invalid, one core",
        f"≥ {TOKENS_PER_S:,}",
        f"{speed:,.0f}",
        speed >= TOKENS_PER_S,
        f"ended by {ended}" + (f"; the server used {best.server_core:.0%}" if best else ""),
    )


def pace(bench: Bench) -> Iterator[Figure]:
    """1,024 streams at 97 tokens/s each, on one core and by two workers."""
    offered = 1024 * 80 / (0.05 + 0.5 / 97 + 79 / 97)
    for workers in (1, 2):
        name = "one core" if workers == 1 else "two workers, two cores with the server"
        case = Case(f"1024 × 97 tokens/s, {name}", "closed", 1024, 80, server=FAST, workers=workers)
        result = bench.run(case)
        share = result.tokens_per_s / offered
        yield Figure(
            f"tokens/s at 1,024 streams × 97 tokens/s, {name}",
            f"≥ {HELD:.0%} of {offered:,.0f}" if workers == 2 else "said",
            f"{result.tokens_per_s:,.0f} ({share:.0%})",
            result.valid and share >= HELD if workers == 2 else None,
            f"{_verdict(result)}; core {result.core:.2f}, server {result.server_core:.2f}",
        )


def workers(bench: Bench) -> Iterator[Figure]:
    """Two workers against one that has half of the load."""
    one = bench.run(Case("1024 streams, one worker", "closed", 1024, server=SLOW))
    two = bench.run(Case("2048 streams, two workers", "closed", 2048, server=SLOW, workers=2))
    if two.problem or not two.cpu_us_per_token:
        yield Figure("two workers", f"≥ {WORKERS_GAIN} ×", two.problem or "nothing", passed=False)
        return
    gain = 2 * one.cpu_us_per_token / two.cpu_us_per_token
    flowed = two.tokens_per_s / one.tokens_per_s if one.tokens_per_s else 0.0
    yield Figure(
        "what two workers on two cores can carry ÷ one",
        f"≥ {WORKERS_GAIN} ×",
        f"{min(gain, flowed):.2f} ×",
        one.valid and two.valid and min(gain, flowed) >= WORKERS_GAIN,
        f"the lesser of CPU per token ({gain:.2f} ×) and tokens/s at twice the streams "
        f"({flowed:.2f} ×): alone {_cost(one)}; with two {_cost(two)}; the server took "
        f"{two.server_core:.2f} of the same two cores",
    )


def held(bench: Bench) -> Iterator[Figure]:
    """Streams in flight at the server, of all closed cases so far."""
    # Not of BRIEF answers, whose streams are between two requests most of the time.
    closed = [
        one
        for one in bench.results
        if one.case.kind == "closed" and not one.problem and one.case.server is not BRIEF
    ]
    short = [one for one in closed if one.held < 0.99 * one.case.level and one.valid]
    worst = min(closed, key=lambda one: one.held / one.case.level, default=None)
    if worst is None:
        return
    yield Figure(
        "streams held of those asked",
        "all, or invalid",
        f"{worst.held / worst.case.level:.1%} or more in {len(closed)} cases",
        not short,
        f"fewest: {worst.case.name}, {'valid' if worst.valid else 'said to be invalid'}",
    )


def memory(bench: Bench) -> Iterator[Figure]:
    """What an open stream and a finished request cost."""
    waiting = {"ttft_ms": 2500.0, "itl_ms": 25.0}
    few, many = (
        bench.run(Case(f"{n} open streams", "closed", n, 2, 2.0, waiting, warmup=0))
        for n in (16, 2048)
    )
    open_kb = (many.rss_peak_mib - few.rss_peak_mib) * 1024 / (2048 - 16)
    yield Figure(
        "memory of an open stream", f"≤ {STREAM_KB:g} KB", f"{open_kb:.1f} KB", open_kb <= STREAM_KB
    )
    long = bench.run(Case("short requests", "closed", 128, 2, 15.0, BRIEF))
    slope, base = growth(long)
    whole = base + slope * RUN_REQUESTS / 1024
    yield Figure(
        "driver's memory after 1 M requests, extrapolated",
        f"≤ {RUN_MIB} MiB",
        f"{whole:.0f} MiB",
        not long.problem and whole <= RUN_MIB,
        f"{slope * 1024:.0f} bytes a finished request, over {long.finished:,} of them",
    )


def growth(result: Result) -> tuple[float, float]:
    """KiB per finished request by a straight line through the later two thirds; MiB at the end."""
    rss = np.array(result.rss_mib[len(result.rss_mib) // 3 :])
    if rss.size < 4 or not result.finished:
        return 0.0, result.rss_peak_mib
    per_sample = float(np.polyfit(np.arange(rss.size), rss, 1)[0])
    requests_per_sample = result.finished / len(result.rss_mib)
    return max(0.0, per_sample * 1024 / requests_per_sample), float(rss[-1])


def lost(bench: Bench) -> Iterator[Figure]:
    """Samples of all cases so far."""
    known = [one for one in bench.results if not one.problem]
    silent = sum(one.lost for one in known if one.told is None)
    finished = sum(one.finished for one in known)
    told = [f"{one.case.name}: {one.told}" for one in known if one.told is not None]
    yield Figure(
        "samples lost without a word",
        "none",
        f"{silent} of {finished:,}",
        silent == 0 and finished > 0,
        "; ".join(told),
    )


def _cost(result: Result) -> str:
    each, speed = result.cpu_us_per_token, result.tokens_per_s
    return f"{each:.1f} µs ({speed:,.0f} tokens/s, {_verdict(result)})"


def _verdict(result: Result) -> str:
    if result.problem:
        return result.problem
    return "valid" if result.valid else "invalid: " + ", ".join(result.caveats)


FIGURES: dict[str, Callable[[Bench], Iterator[Figure]]] = {
    "exact": exact, "hog": hog, "late": late, "ladder": ladder, "pace": pace, "workers": workers,
    "memory": memory, "held": held, "lost": lost,
}  # fmt: skip


def _markdown(figures: list[Figure], how: str, elapsed_s: float) -> str:
    verdicts = {True: "PASS", False: "**FAIL**", None: ""}
    lines = ["| | goal | measured | |", "|---|---|---|---|"]
    lines += [
        f"| {one.what} | {one.goal} | {one.measured} | {verdicts[one.passed]} |" for one in figures
    ]
    lines += ["", *(f"- {one.what}: {one.note}" for one in figures if one.note)]
    lines += ["", f"Errors and lateness p50/p99. {how}{elapsed_s:.0f} s in all."]
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default=",".join(FIGURES), help="some of " + ", ".join(FIGURES))
    parser.add_argument("--quick", action="store_true", help="windows of 2 s: does it work?")
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--page", action="store_true", help="put the table into docs/exactness.md, too"
    )
    parser.add_argument(
        "--realtime",
        action="store_true",
        help="server and driver go before everything else (SCHED_FIFO): for a machine that others "
        "use; the hog then shows nothing",
    )
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := [name for name in names if name not in FIGURES]:
        parser.error(f"no figure {', '.join(unknown)}; there are {', '.join(FIGURES)}")
    if options.realtime:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))  # children inherit it
        except PermissionError:
            parser.error("--realtime: this user may not set SCHED_FIFO")
    began, where = time.monotonic(), rig.conditions()
    bench = Bench(quick=options.quick)
    figures = []
    try:
        for name in names:
            figures += FIGURES[name](bench)
    except KeyboardInterrupt:
        print("interrupted: what follows is what was measured until now", file=sys.stderr)
    if options.json:
        cases = msgspec.to_builtins(bench.results)
        print(json.dumps({"figures": [asdict(one) for one in figures], "cases": cases}))
        return
    unsure = sum(one.unsure for one in bench.results)
    of = sum(one.tokens for one in bench.results) or 1
    how = f"{unsure / of:.2%} of the tokens, whose `send` was held up, are in no error. "
    how += f"{where}. {'Server and driver at real-time priority. ' * options.realtime}"
    table = _markdown(figures, how, time.monotonic() - began)
    print(table)
    if options.page:
        exactness.write("figures", table)


if __name__ == "__main__":
    main()
