"""Whether a comparison that was killed with SIGKILL, at any moment, ends as if it had not been.

    python benchmarks/kill_resume.py [--moments 20] [--seed 20261126] [--repeats 2] [--interleave]
                                     [--jobs 1]

A small comparison of two mock servers, suites and load, runs once undisturbed. Then it is begun so
often anew, and its `harness` (nothing else) is killed at a random moment after its manifest is
there; every second one is killed again while it goes on. What `harness compare --resume` then ends
with is held against the undisturbed one: the same plan byte for byte, the same cells, the same
pairs; of what was measured nothing lost but the cell in flight; the gap noted in manifests and
reports; no process and no half-written file left; and `harness report` says the same of it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from compared import Kept, Plan, pairs, read, unsaid

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
SEED = 20261126
ITEMS = 60
BUILDS = ("fast", "slow")
LIMIT_S = 180
ORPHAN_S = 20
"""How long processes may take to end after their parent was killed."""
COMPARE = (
    *("compare", *BUILDS, "--suite", "quiz.toml", "--requests", "20"),
    *("--warmup", "2", "--output-tokens", "6", "--prompt-tokens", "16", "--allow-different"),
    *("--seed", "7"),
)
WENT_WELL = (0, 4)
"""Exit codes of a comparison that went to its end; 4 where a busy machine made the client late."""
WRAPPER = """
import os, sys
at = sys.argv.index("--model")  # before it the mock's own options, after it what vLLM is told
port = next(word for word in sys.argv[at:] if word.startswith("--port="))
os.execv(sys.executable, [sys.executable, "-m", "launchers.mock", port, *sys.argv[1:at]])
"""


def prepare(place: Path) -> None:
    """Write two builds, of which one is slower, and a suite into a folder."""
    rows = [
        {"id": f"q{n}", "input": f"Case {n}?", "expected": "yes" if n % 2 else "no"}
        for n in range(ITEMS)
    ]
    facts = [
        {"prompt": row["input"], "answer": f" {row['expected']}\n", "wrong": " maybe\n"}
        for row in rows
    ]
    for name, lines in (("items.jsonl", rows), ("facts.jsonl", facts)):
        (place / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    (place / "quiz.toml").write_text(
        'name = "quiz"\n[domain]\nitems = "items.jsonl"\nmax_tokens = 8\nstop = ["\\n"]\n'
        '[domain.grader]\nkind = "exact"\n'
    )
    (place / "mock").mkdir()
    (place / "mock/config.json").write_text("{}")
    (place / "server.py").write_text(WRAPPER)
    tokenizer = ROOT / "launchers/models/demo-fp16"
    toml = ""
    for build, itl_ms in zip(BUILDS, (2, 5), strict=True):
        options = ["--engine=vllm", f"--tokenizer={tokenizer}", f"--knows={place / 'facts.jsonl'}"]
        options += ["--ttft-ms=5", f"--itl-ms={itl_ms}"]
        command = json.dumps([sys.executable, str(place / "server.py"), *options])
        toml += f'[builds.{build}]\nmodel = "mock"\ndevice = "cpu"\ncommand = {command}\n'
    (place / "harness.toml").write_text(toml)


@contextmanager
def started(place: Path, *argv: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start `harness ARGV` in a folder; it is killed at the end of the context if it still runs."""
    with (
        (place / "harness.log").open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "harness", *argv],
            cwd=place,
            env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "160"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=0,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def processes(place: Path) -> list[int]:
    """Live processes that were started in a folder."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            alive = process.status() != psutil.STATUS_ZOMBIE
            if alive and Path(process.cwd()) == place:
                found.append(process.pid)
    return found


def only_run(place: Path) -> Path | None:
    """The folder of the run that was begun, once it has a manifest."""
    found = sorted((place / "runs").glob("*/manifest.json"))
    return found[0].parent if found else None


@dataclass
class Outcome:
    """What became of one killed comparison."""

    killed: list[str] = field(default_factory=list)
    """For each kill when it was, and what had been measured."""
    wrong: list[str] = field(default_factory=list)
    code: int | None = None
    wall_s: float = 0.0


@dataclass(frozen=True)
class Undisturbed:
    """The comparison that nobody killed."""

    run: Path
    length_s: float
    """From its manifest on."""
    argv: tuple[str, ...]
    plan: Plan


def undisturbed(place: Path, repeats: int, *, interleave: bool = False) -> Undisturbed:
    """Run the comparison to its end in an empty folder."""
    prepare(place)
    argv = (*COMPARE, "--repeats", str(repeats))
    argv += ("--interleave", "--level", "1") if interleave else ("--level", "2")
    with started(place, *argv) as process:
        run = wait_for_run(place, process)
        began_s = time.monotonic()
        code = process.wait(LIMIT_S)
    if code not in WENT_WELL:
        sys.exit(f"the undisturbed comparison ended with {code}:\n{log_of(place)}")
    return Undisturbed(run, time.monotonic() - began_s, argv, Plan.of(run))


def log_of(place: Path) -> str:
    """The last of what `harness` printed."""
    return (place / "harness.log").read_text(errors="replace")[-2000:]


def wait_for_run(place: Path, process: subprocess.Popen[bytes]) -> Path:
    """Wait until the comparison has a manifest."""
    while (run := only_run(place)) is None:
        if process.poll() is not None:
            sys.exit(f"harness ended with {process.returncode}:\n{log_of(place)}")
        time.sleep(0.01)
    return run


def kill_after(place: Path, process: subprocess.Popen[bytes], moment_s: float) -> Outcome:
    """Kill `harness` alone after so many seconds, and see that nothing that it started stays."""
    outcome = Outcome()
    with suppress(subprocess.TimeoutExpired):
        process.wait(moment_s)
        return outcome  # it was quicker than its death
    process.kill()
    process.wait()
    deadline_s = time.monotonic() + ORPHAN_S
    while left := processes(place):
        if time.monotonic() > deadline_s:
            outcome.wrong.append(f"orphans: {left}")
            break
        time.sleep(0.05)
    run = only_run(place)
    kept = Kept({}, {}) if run is None else Kept.of(run)
    count = sum(data.count(b"\n") for data in kept.answers.values())
    outcome.killed.append(f"{moment_s:.2f} s: {len(kept.samples)} cells, {count} answers")
    return outcome


def once(place: Path, reference: Undisturbed, moment_s: float, again_s: float | None) -> Outcome:
    """Begin the comparison, kill it, perhaps kill what goes on, let it end; look what it is.

    Args:
        place: an empty folder.
        reference: the undisturbed comparison.
        moment_s: when to kill it, from its manifest on.
        again_s: when to kill the first that goes on, from its start; None: not at all.
    """
    began_s = time.monotonic()
    prepare(place)
    with started(place, *reference.argv) as process:
        run = wait_for_run(place, process)
        outcome = kill_after(place, process, moment_s)
    if not outcome.killed:
        return outcome
    kept = [Kept.of(run)]
    resume = ("compare", "--resume", str(run))
    if again_s is not None:
        with started(place, *resume) as process:
            second = kill_after(place, process, again_s)
        outcome.killed += second.killed
        outcome.wrong += second.wrong
        kept.append(Kept.of(run))
        outcome.wrong += kept[0].lost(run) if second.killed else ()
    with started(place, *resume) as process:
        outcome.code = process.wait(LIMIT_S)
    outcome.wall_s = time.monotonic() - began_s
    if outcome.code not in WENT_WELL:
        outcome.wrong.append(f"exit code {outcome.code}: {log_of(place)}")
        return outcome
    for one in kept:
        outcome.wrong += one.lost(run)
    outcome.wrong += [*differences(run, reference), *left_over(place, run)]
    if not all(one.is_whole(reference.plan, ITEMS * len(BUILDS)) for one in kept):
        outcome.wrong += unsaid(run)
    return outcome


def differences(run: Path, reference: Undisturbed) -> Iterator[str]:
    """Yield in what a comparison that went on is not as an undisturbed one."""
    found, wanted = Plan.of(run), reference.plan
    for name in ("cells", "bodies", "plans", "passes"):
        if getattr(found, name) != getattr(wanted, name):
            yield f"another plan: {name}"
    planned = sorted(cell["id"] for cell in wanted.cells)
    measured = sorted(cell["id"] for cell in read(run / "load/measurements.json")["cells"])
    if measured != planned:
        yield f"cells with numbers: {measured}"
    if sorted(path.name for path in (run / "load/cells").iterdir()) != planned:
        yield "folders of other cells"
    for build in BUILDS:
        lines = (run / f"quality/evals/quiz/{build}/answers.jsonl").read_bytes().splitlines()
        items = [json.loads(line)["item"] for line in lines]
        if len(items) != ITEMS or len(set(items)) != ITEMS:
            yield f"{build}: {len(items)} answers to {len(set(items))} of {ITEMS} items"
    if pairs(run) != pairs(reference.run):
        yield f"other pairs: {pairs(run)}"


def left_over(place: Path, run: Path) -> Iterator[str]:
    """Yield what a comparison leaves that it should not, and whether its report is another."""
    if left := processes(place):
        yield f"processes left: {left}"
    if parts := [str(path) for path in run.rglob("*") if path.suffix in {".tmp", ".part"}]:
        yield f"half-written files: {parts}"
    with started(place, "report", str(run), "--format", "json") as process:
        process.wait(LIMIT_S)
    said = (run / "comparison.json").read_text()
    told = (place / "harness.log").read_text()
    if not told.startswith("{"):  # it says on stderr what it computed anew, and found to differ
        yield f"harness report: {told.partition('{')[0]}"
    elif json.loads(told) != json.loads(said):
        yield "harness report says something else"


def killed_once(
    folder: Path, number: int, reference: Undisturbed, moment_s: float, again_s: float | None
) -> Outcome:
    """Do it `once`, and again with an earlier moment where it was done before the moment came."""
    for again in range(20):
        place = folder / f"{number}-{again}"
        place.mkdir()
        outcome = once(place, reference, moment_s * 0.8**again, again_s)
        if outcome.killed:
            return outcome
    return Outcome(wrong=["never killed"])


def moments(seed: int, count: int, length_s: float) -> list[tuple[float, float | None]]:
    """When each comparison is killed, and when what goes on is, if it is; seconds."""
    draw = random.Random(seed)  # noqa: S311 - moments, no secrets
    drawn = [(draw.uniform(0, length_s), draw.uniform(0, length_s)) for _ in range(count)]
    return [(one, again if n % 2 else None) for n, (one, again) in enumerate(drawn)]


def main() -> None:
    """Print a line for each kill, and how many comparisons ended as if there had been none."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--interleave", action="store_true", help="both servers up at once")
    parser.add_argument("--jobs", type=int, default=1, help="so many comparisons at a time")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        ThreadPoolExecutor(options.jobs) as pool,
    ):
        place = Path(folder).resolve()
        (place / "undisturbed").mkdir()
        reference = undisturbed(
            place / "undisturbed", options.repeats, interleave=options.interleave
        )
        told = f"{reference.length_s:.1f} s from its manifest on"
        print(f"undisturbed: {told}, {len(reference.plan.cells)} cells", flush=True)
        drawn = moments(options.seed, options.moments, reference.length_s)
        outcomes = pool.map(
            lambda n: killed_once(place, n, reference, *drawn[n]), range(options.moments)
        )
        good = 0
        for number, outcome in enumerate(outcomes, 1):
            good += not outcome.wrong
            said = "; ".join(outcome.wrong) or "as undisturbed"
            how = f"exit {outcome.code}, {outcome.wall_s:.0f} s"
            print(f"{number:2}. killed at {', then at '.join(outcome.killed)} → {said} ({how})")
            sys.stdout.flush()
    print(f"{good} of {options.moments}")
    sys.exit(good != options.moments)


if __name__ == "__main__":
    main()
