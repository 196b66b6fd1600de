"""`harness explain` against the code of the tools that it speaks of.

    python benchmarks/peers.py install vllm guidellm aiperf genai-bench
    python benchmarks/explain_check.py RUN …       # folders of load runs

Hands each cell's requests to each tool's own functions, in that tool's environment, and prints how
far their answers are from what `harness explain` computes. Ends with 1 where a relative difference
is above 0.0001 % (0.1 % for GuideLLM's rates). A tool that is not installed is left out, and said
so.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client import clients, python_of

from harness.explaining import NAMES, load_tool
from harness.explaining.explain import cells_of
from harness.rundir import RunFolder

if TYPE_CHECKING:
    from harness.explaining.requests import Cell

TOLERANCE = 1e-6
MERGED = dict.fromkeys(
    (
        "requests_per_second",
        "output_tokens_per_second",
        "tokens_per_second",
        "request_concurrency",
    ),
    1e-3,
)
"""GuideLLM takes moments within 0.1 ms for one, which `harness explain` does not: the shorter the
cell, the more it makes of its rates."""
SCRIPTS = Path(__file__).parent / "explained"


def requests_of(cell: Cell) -> dict[str, Any]:
    """What goes to a tool: the answered requests' stamps in ns, and the time they took in all."""
    names = ("submitted", "sent", "first", "last", "end", "done")
    stamps = {name: cell.at(name).tolist() for name in names}
    prompts, tokens = cell.prompt_tokens.tolist(), cell.tokens.tolist()
    return {
        "duration_s": cell.duration_s,
        "start": cell.began_ns,
        "end": cell.ended_ns,
        "requests": [
            {
                **{name: stamps[name][at] for name in names},
                "tokens": tokens[at],
                "prompt_tokens": prompts[at],
                "gaps": sample.chunk_ns,
            }
            for at, sample in enumerate(cell.answered)
        ],
    }


def ask(name: str, python: Path, cell: Cell) -> dict[str, dict[str, float]]:
    """Return what the tool's own functions say."""
    script = SCRIPTS / f"{name.replace('-', '_')}.py"
    done = subprocess.run(
        [str(python), "-P", str(script)], input=json.dumps(requests_of(cell)), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr[-3000:]}")
    found: dict[str, dict[str, float]] = json.loads(done.stdout)
    return found


def compare(name: str, cell: Cell, theirs: dict[str, dict[str, float]]) -> float:
    """Print a row a metric; return the largest relative difference, in terms of TOLERANCE."""
    worst = 0.0
    for metric in load_tool(name).metrics(cell):
        if metric.name not in theirs:
            print(f"| {name} | {metric.name} | not asked for | | |")
            continue
        rows = []
        for statistic, value in metric.theirs.items():
            other = theirs[metric.name][statistic]
            off = abs((value or 0.0) - other) / max(abs(other), 1e-12)
            rows.append((off, statistic, other, value))
        off, statistic, other, value = max(rows)
        print(f"| {name} | {metric.name} {statistic} | {other:.9g} | {value:.9g} | {off:.1e} |")
        worst = max(worst, off * TOLERANCE / MERGED.get(metric.name, TOLERANCE))
    return worst


def main() -> int:
    """Check the runs named."""
    parser = argparse.ArgumentParser(description="harness explain against the tools' own code")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    options = parser.parse_args()
    known, worst, checked = clients(), 0.0, 0
    pythons = {name: python_of(known[name]) for name in NAMES}
    for path in options.runs:
        for cell in cells_of(RunFolder.open(path)):
            print(f"\n{path.name}, {cell.measurement.id}: {len(cell.answered)} requests\n")
            print("| tool | metric and statistic that differ most | tool's code | explain | off |")
            print("|---|---|---:|---:|---:|")
            for name, python in pythons.items():
                if python is None:
                    print(f"| {name} | not installed | | | |")
                elif len(cell.answered):
                    worst = max(worst, compare(name, cell, ask(name, python, cell)))
                    checked += 1
    print(
        f"\n{checked} checks. The largest relative difference, GuideLLM's rates put to the same "
        f"scale, is {worst:.1e}; it may be {TOLERANCE:.0e}."
    )
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
