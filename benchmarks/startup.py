"""How long the command line itself takes: `--help`, and a run of one request.

    python benchmarks/startup.py [--times 10] [--load]

Prints the median and the fastest of several tries against issue 2's figures. `--load` also times
`make load`, which needs the engine installed. Times are of this machine at this moment: on a
shared one look at the fastest.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
HARNESS = [sys.executable, "-m", "harness"]


@contextmanager
def mock() -> Iterator[str]:
    """Serve the fake server with TTFT 20 ms and ITL 5 ms; yield its URL."""
    argv = [sys.executable, "-m", "launchers.mock", "--ttft-ms", "20", "--itl-ms", "5"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def seconds(argv: list[str], times: int) -> list[float]:
    """Run a command several times; return how long each took."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        subprocess.run(argv, cwd=ROOT, check=True, capture_output=True)
        taken.append(time.perf_counter() - began)
    return taken


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--load", action="store_true", help="also `make load`")
    options = parser.parse_args()
    rows = [("harness --help", 0.3, seconds([*HARNESS, "--help"], options.times))]
    with mock() as url, tempfile.TemporaryDirectory() as out:
        one = ["load", "--url", url, "--profile", "steady", "--requests", "1", "--warmup", "0"]
        argv = [*HARNESS, *one, "--output-tokens", "16", "--out", out]
        rows.append(("a run of one request, start to exit", 2.0, seconds(argv, options.times)))
    if options.load:
        rows.append(("make load, engine installed", 120.0, seconds(["make", "load"], 1)))
    table = Table("what", "goal, s", "median, s", "fastest, s", "")
    for what, goal, taken in rows:
        median = statistics.median(taken)
        verdict = "PASS" if median <= goal else "FAIL"
        table.add_row(what, f"{goal:g}", f"{median:.2f}", f"{min(taken):.2f}", verdict)
    Console().print(table)


if __name__ == "__main__":
    main()
