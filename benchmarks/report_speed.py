"""How long does the page of a comparison take: to render, and to open?

    python benchmarks/report_speed.py [--samples 200000] [--items 1400]

Writes a comparison of four builds at four levels, two repeats each, with made-up samples and
answers in the harness's own formats, renders its page in a process of its own, and opens it in a
headless Chromium, if there is one. The folder takes some 1,200 bytes a sample.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.chromium import CHROMIUM, Browser  # noqa: E402 - found just above
from benchmarks.made.comparison import comparison_run  # noqa: E402

RENDER_S, OPEN_S, SIZE = 5.0, 1.0, 2_000_000
PER_SECOND = 3_745.0
"""Samples in one second of all 32 cells."""
EXAMPLE = "A card that was used nine times in ten minutes is a velocity alert.\n" * 12
RENDER = """
import pathlib, sys, time
from harness.reports import load_report
from harness.rundir import RunFolder
run = RunFolder(pathlib.Path(sys.argv[1]))
wall, cpu = time.perf_counter(), time.process_time()
text = load_report("html").render(run)
print(time.process_time() - cpu, time.perf_counter() - wall)
(run.path / "report.html").write_text(text, encoding="utf-8")
"""
OPENED = "performance.getEntriesByType('navigation')[0].loadEventEnd"


def main() -> None:
    """Write the folder, render it, open the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=200_000)
    parser.add_argument("--items", type=int, default=1_400)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        run = comparison_run(
            Path(place), window_s=asked.samples / PER_SECOND, items=asked.items, prompt=EXAMPLE
        )
        samples = sum(
            path.read_bytes().count(b"\n") for path in run.path.glob("load/cells/*/samples.jsonl")
        )
        times = [_rendered(run.path) for _ in range(3)]
        cpu, wall = (statistics.median(values) for values in zip(*times, strict=True))
        page = run.path / "report.html"
        size = page.stat().st_size
        print(f"{samples:,} samples of four builds at four levels, {asked.items:,} items a build")
        print(f"rendered in {cpu:.1f} s of CPU, {wall:.1f} s in all; {size / 1e6:.2f} MB")
        held = cpu < RENDER_S and size < SIZE
        if CHROMIUM is None:
            print("no Chromium here: not opened")
        else:
            opened = _opened(page, Path(place))
            print(f"opens in {opened:.2f} s (Chromium, load event; median of 5)")
            held = held and opened < OPEN_S
    print("held" if held else "NOT HELD")
    sys.exit(0 if held else 1)


def _rendered(run: Path) -> tuple[float, float]:
    command = [sys.executable, "-c", RENDER, str(run)]
    told = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    cpu, wall = map(float, told.split())
    return cpu, wall


def _opened(page: Path, place: Path) -> float:
    """Seconds from navigation until the page has loaded, its script run."""
    found = []
    with Browser(place / "profile") as browser:
        for _ in range(6):
            browser.open(page)
            time.sleep(0.1)  # the load event's end is known a moment after it
            found.append(float(browser.ask(OPENED)) / 1000)
    return statistics.median(found[1:])  # the first starts the renderer


if __name__ == "__main__":
    main()
