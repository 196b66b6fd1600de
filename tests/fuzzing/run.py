"""`make fuzz`: a coverage-guided run over the wire path, which begins with the kept corpus.

Prints how many inputs there were and how large the corpus is; a crash or a hang ends it with
exit status 1 and leaves the input in `.fuzz/`. Ctrl-C ends it and says how many there were.
`--keep` puts what covers new ground, minimised, into the corpus that the tests replay.
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.fuzzing import corpus

HERE = Path(__file__).parent
WORK = HERE.parents[1] / ".fuzz"
OPTIONS = (
    "-max_len=512", "-timeout=10", "-rss_limit_mb=512", "-print_final_stats=1",
    f"-dict={HERE / 'wire.dict'}", f"-artifact_prefix={WORK}/",
)  # fmt: skip
PULSE = re.compile(r"#(\d+)\s+pulse .*corp: (\d+)")
INTERRUPTED = 72
"""libFuzzer's exit status after SIGINT."""
STAT = re.compile(r"stat::(\w+):\s+(\d+)")


def target(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(HERE / "target.py"), *OPTIONS, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    )  # fmt: skip


def write(folder: Path, inputs: list[bytes]) -> None:
    folder.mkdir(parents=True)
    for number, one in enumerate(inputs):
        (folder / f"{number:05}").write_bytes(one)


def read(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.iterdir()]


def size(inputs: list[bytes]) -> str:
    return f"{len(inputs)} inputs, {sum(map(len, inputs)) / 1024:.0f} KiB"


def fuzz(inputs: int) -> int:
    """Run so many inputs; return the exit status."""
    began = time.monotonic()
    lines: list[str] = []
    stats: dict[str, int] = {}
    with target(f"-runs={inputs}", str(WORK / "corpus")) as running:
        for line in running.stdout or ():
            lines = [*lines[-200:], line]
            if pulse := PULSE.match(line):
                sys.stdout.write(f"{int(pulse[1]):,} inputs, {pulse[2]} of them kept\n")
                sys.stdout.flush()
            if stat := STAT.match(line):
                stats[stat[1]] = int(stat[2])
    count = stats.get("number_of_executed_units", 0)
    seconds = max(1, round(time.monotonic() - began))
    if running.returncode not in (0, INTERRUPTED):
        sys.stdout.write("".join(lines))
        sys.stdout.write(f"wire path: a crash or a hang after {count:,} inputs; see {WORK}\n")
        return 1
    if running.returncode:
        sys.stdout.write(f"stopped before {inputs:,} inputs\n")
    sys.stdout.write(
        f"wire path: {count:,} inputs in {seconds:,} s ({count // seconds:,} a second), no crash, "
        f"no hang; slowest below {stats['slowest_unit_time_sec'] + 1} s, "
        f"peak memory {stats['peak_rss_mb']} MiB\n"
    )
    return 0


def minimised() -> list[bytes]:
    """Return the fewest inputs found that cover what all do."""
    (WORK / "least").mkdir()
    with target("-merge=1", str(WORK / "least"), str(WORK / "corpus")) as running:
        for _ in running.stdout or ():
            pass
    if running.returncode:
        raise SystemExit("merging has failed")
    return read(WORK / "least")


def main() -> int:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000_000)
    parser.add_argument("--keep", action="store_true")
    asked = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # libFuzzer takes it, and ends
    shutil.rmtree(WORK, ignore_errors=True)
    write(WORK / "corpus", corpus.kept())
    sys.stdout.write(f"kept corpus: {size(corpus.kept())}\n")
    status = fuzz(asked.inputs)
    if status == 0:
        least = minimised()
        sys.stdout.write(f"corpus now: {size(least)} that cover as much as all\n")
        if asked.keep:
            corpus.keep(least)
    return status


if __name__ == "__main__":
    sys.exit(main())
