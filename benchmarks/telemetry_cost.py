"""What looking at the server costs the load engine: blocks of one cell with and without telemetry.

    python benchmarks/telemetry_cost.py [--pairs 30] [--block 2] [--concurrency 64]

One closed loop is driven at the known-timing server, and `sample_telemetry` is put around every
second block of it as around a run's cell, in the order AB BA AB …: one driver and one server, so
that what two starts of them differ by is in no pair. Telemetry begins before its block and ends
after it, as it does around a run's load. The driver has a CPU of its own; server and
harness share another, as on any small machine. A verdict for each claim:

1. own CPU: CPU time of the harness's process with telemetry − without, ÷ time: it looks in threads
   of the harness, which is no part of the load engine, so this is what the machine may lack.
2. the driver's CPU time per token, with ÷ without.
3. TTFT and gaps between tokens, with ÷ without, at the client.
4. pages at their worst (too large, as large as is read, slow): own CPU, without load.

Medians over the pairs, with an interval that two of their ordered values make by the binomial
distribution of how many lie below the median (scipy's `quantile_test`): 95 %, the latencies'
together (Bonferroni).
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
import tomllib
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np
import psutil
from medians import middle
from rich.console import Console
from rich.table import Table
from rig import claim_cpus, conditions, serving

from harness.load.child import Driver
from launchers.telemetry.records import TELEMETRY_FILE, read_telemetry
from launchers.telemetry.sampler import sample_telemetry
from launchers.telemetry.scraping import PageSource
from loadprofiles.plan import Target, make_plan
from loadprofiles.profile import Overrides, Profile, builtin_profiles
from loadprofiles.records import read_samples

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

PROMISED = 0.02
"""The most that telemetry may cost: of a CPU, and of the driver's CPU time."""
LATENCIES = tuple(f"{what} p{p}" for what in ("TTFT", "ITL") for p in (50, 95, 99))
WARM_S = 3.0
"""Of the cell, before the first block: warm-up is over, and all streams are under way."""
PAUSE_S = 0.25
"""Around a block: telemetry begins and ends there, as before and after a run's load."""
PAGES = {
    "5 MB, which is too large": (5_000_000, 0.0),
    "3.9 MB, a tenth of it wanted": (3_900_000, 0.0),
    "0.1 MB after 0.2 s": (100_000, 0.2),
    "0.1 MB after 3 s, which is too late": (100_000, 3.0),
}
PAGE_S = 15.0
"""For how long each of these pages is asked for."""


@dataclass
class Block:
    """A part of the cell."""

    sampled: bool
    start_ns: int = 0
    end_ns: int = 0
    own_s: float = 0.0
    """CPU time of this process in it."""
    driver_s: float = 0.0
    """CPU time of the driver in it."""
    tokens: int = 0
    seen: dict[str, list[float]] = field(default_factory=lambda: {"TTFT": [], "ITL": []})
    """In ms."""

    @property
    def seconds(self) -> float:
        """How long it was."""
        return (self.end_ns - self.start_ns) / 1e9

    def figures(self) -> dict[str, float]:
        """CPU per token in µs and latencies in ms."""
        told = {"driver's CPU per token": self.driver_s / self.tokens * 1e6}
        for name in LATENCIES:
            what, _, p = name.partition(" p")
            told[name] = float(np.percentile(self.seen[what], int(p)))
        return told


def drive(
    url: str, folder: Path, client_cpu: int, options: argparse.Namespace
) -> tuple[list[Block], list[float], list[float]]:
    """Drive one cell; return its blocks, and what readings and pages took in ms."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    target = Target(host=parts.hostname, port=parts.port, path=parts.path, model="mock")
    text = builtin_profiles()["closed"].read_text()
    duration_s = WARM_S + 2 * options.pairs * (options.block + 3 * PAUSE_S) + 5
    overrides = Overrides(duration_s=duration_s)
    make_plan(
        folder, profile=Profile.model_validate(tomllib.loads(text)).with_overrides(overrides),
        level=options.concurrency, repeat=1, seed=1, target=target,
        dialect="openai-completions", cpus=[client_cpu],
    )  # fmt: skip
    order = [sampled for pair in range(options.pairs) for sampled in (pair % 2 > 0, pair % 2 < 1)]
    blocks = [Block(sampled) for sampled in order]
    page = PageSource(urls=(f"{url.removesuffix('/v1')}/metrics",))
    server = _listener(parts.port).pid
    before = set(psutil.Process().children())
    with Driver(folder) as driver:
        [process] = set(psutil.Process().children()) - before
        going = threading.Event()
        work = threading.Thread(
            target=_go_through,
            args=(blocks, folder, process.pid, server, page, options.block, going),
            daemon=True,
        )
        work.start()
        driver.drive(lambda told: going.set() if told.phase == "measured" else None, lambda: True)
        work.join()
    if not blocks[-1].end_ns:
        raise SystemExit("the cell never got as far as its window, or ended before the last block")
    _sort_in(blocks, folder)
    readings = [one for n in range(len(blocks)) for one in read_telemetry(folder / str(n))]
    pages = [one.engine.took_ms for one in readings if one.engine]
    return blocks, [one.took_ms for one in readings], pages


def _go_through(
    blocks: list[Block], folder: Path, driver: int, server: int, page: PageSource,
    block_s: float, going: threading.Event,
) -> None:  # fmt: skip
    if not going.wait(60):
        return
    time.sleep(WARM_S)
    clock = _cpu_clock(driver)
    for number, block in enumerate(blocks):
        own = folder / str(number)
        own.mkdir()
        with ExitStack() as stack:
            if block.sampled:
                stack.enter_context(sample_telemetry(own / TELEMETRY_FILE, server, page))
            time.sleep(PAUSE_S)
            block.start_ns = time.monotonic_ns()
            used, driven = time.process_time(), time.clock_gettime(clock)
            time.sleep(block_s)
            block.own_s = time.process_time() - used
            block.driver_s = time.clock_gettime(clock) - driven
            block.end_ns = time.monotonic_ns()
        time.sleep(PAUSE_S)


def _cpu_clock(pid: int) -> int:
    """Return the clock of a process's CPU time: clock_getcpuclockid(3), as glibc makes it."""
    return (~pid << 3) | 2


def _listener(port: int) -> psutil.Process:
    """Who listens there: a child of this process."""
    for child in psutil.Process().children():
        if any(one.laddr and one.laddr.port == port for one in child.net_connections()):
            return child
    raise SystemExit("the server is not a child of this process")


def _sort_in(blocks: list[Block], folder: Path) -> None:
    """Give each block the tokens that came in it."""
    starts = np.array([block.start_ns for block in blocks])

    def block_at(ns: int) -> Block | None:
        at = int(np.searchsorted(starts, ns, side="right")) - 1
        return blocks[at] if at >= 0 and ns < blocks[at].end_ns else None

    for sample in read_samples(folder):
        if not sample.first_ns or not sample.sent_ns:
            continue
        now = sample.first_ns
        if (block := block_at(now)) is not None:
            block.tokens += 1
            block.seen["TTFT"].append((now - sample.sent_ns) / 1e6)
        for gap in sample.chunk_ns:
            now += gap
            if (block := block_at(now)) is not None:
                block.tokens += 1
                block.seen["ITL"].append(gap / 1e6)


def _serve_page(size: int, wait_s: float, told: Connection) -> None:
    names = ["request_success_total", *["iteration_tokens_total_bucket"] * 9]
    lines = "".join(
        f'vllm:{names[n % 10]}{{engine="{n}",finished_reason="stop",model_name="m"}} {n}\n'
        for n in range(size // 70)
    )
    body = lines[: lines.rindex("\n", 0, size) + 1].encode()

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(wait_s)
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Nobody waited for all of it: that is meant."""

    server = Server(("127.0.0.1", 0), Page)
    told.send(server.server_port)
    server.serve_forever()


@contextmanager
def _page(size: int, wait_s: float) -> Iterator[str]:
    """A page of so many bytes that comes after so long, from a process of its own."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve_page, args=(size, wait_s, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield f"http://127.0.0.1:{ours.recv()}/metrics"
    finally:
        process.kill()
        process.join()


def bad_pages(console: Console, folder: Path) -> None:
    """Print what pages cost that no engine should have."""
    for number, (name, page) in enumerate(PAGES.items()):
        own = folder / f"page-{number}"
        own.mkdir()
        with _page(*page) as url:
            used, began_s = time.process_time(), time.monotonic()
            with sample_telemetry(own / TELEMETRY_FILE, None, PageSource(urls=(url,))):
                time.sleep(PAGE_S)
            share = (time.process_time() - used) / (time.monotonic() - began_s)
        readings = read_telemetry(own)
        read = sum(one.engine is not None for one in readings)
        verdict = "PASS" if share <= PROMISED else "FAIL"
        console.print(
            f"4. page of {name}: read {read} times in {PAGE_S:g} s; {share:.2%} of a CPU, "
            f"≤ {PROMISED:.0%}: {verdict}"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--block", type=float, default=2.0, help="seconds")
    parser.add_argument("--concurrency", type=int, default=64)
    options = parser.parse_args()
    if options.pairs < 12:
        parser.error("--pairs must be at least 12: else the latencies have no interval")
    said = conditions()
    server_cpu, client_cpu = claim_cpus()
    console = Console(width=110)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with serving({server_cpu}, ttft_ms=50, itl_ms=10) as url:
            blocks, readings, pages = drive(url, folder, client_cpu, options)
        driven_s = sum(block.driver_s for block in blocks)
        share = driven_s / sum(block.seconds for block in blocks)
        report(console, blocks)
        console.print(
            f"{len(readings)} readings, median {np.median(readings):.2f} ms; {len(pages)} pages, "
            f"median {np.median(pages):.2f} ms; the driver took {share:.1%} of its CPU."
        )
        bad_pages(console, folder)
    console.print(said)


def report(console: Console, blocks: list[Block]) -> None:
    """Print claims 1 to 3."""
    pairs = [
        sorted(two, key=lambda one: not one.sampled)
        for two in zip(blocks[::2], blocks[1::2], strict=True)
    ]
    table = Table(title=f"With telemetry / without, {len(pairs)} pairs of blocks")
    for column in ("figure", "with", "without", "median ratio", "interval"):
        table.add_column(column)
    ratios = {}
    figures = [(with_.figures(), without.figures()) for with_, without in pairs]
    for name in figures[0][0]:
        confidence = 1 - 0.05 / len(LATENCIES) if name in LATENCIES else 0.95
        ratios[name] = found = middle([a[name] / b[name] for a, b in figures], confidence)
        sides = [f"{np.median([each[side][name] for each in figures]):.3f}" for side in (0, 1)]
        table.add_row(name, *sides, f"{found.at:.4f}", f"{found.low:.4f} … {found.high:.4f}")
    console.print(table)
    own = middle([(a.own_s / a.seconds) - (b.own_s / b.seconds) for a, b in pairs])
    driven = middle([2 * (a.own_s - b.own_s) / (a.driver_s + b.driver_s) for a, b in pairs])
    console.print(
        f"1. harness's own CPU, of a CPU: {own}, ≤ {PROMISED}: {own.verdict(PROMISED)}; as a share "
        f"of what the driver took at this load: {driven}"
    )
    cpu = ratios.pop("driver's CPU per token")
    console.print(
        f"2. driver's CPU per token, with ÷ without: {cpu}, ≤ {1 + PROMISED}: "
        f"{cpu.verdict(1 + PROMISED)}"
    )
    moved = [f"{name} {one}" for name, one in ratios.items() if not one.low <= 1 <= one.high]
    widest = max((one.high / one.low - 1 for one in ratios.values()), default=0.0)
    console.print(
        f"3. latencies whose interval leaves out 1: {', '.join(moved) or 'none'} (the widest "
        f"interval is {widest:.1%}): {'FAIL' if moved else 'PASS'}"
    )


if __name__ == "__main__":
    main()
