"""Whether a run that was killed with SIGKILL, at any moment, ends as if it had not been.

    python benchmarks/kill_resume.py [compare|load|sweep|eval ...] [--moments 20] [--seed 20261126]
                                     [--repeats 2] [--interleave] [--jobs 1]

A small run of mock servers (a comparison unless said) is made once undisturbed. Then it is begun so
often anew, and its `harness` (nothing else) is killed at a random moment after its manifest is
there, one in each of as many equal parts of its length; every second one is killed again while it
goes on. What `--resume` then ends with is held against the undisturbed one: the same plan byte for
byte, the same cells, answers and pairs (of a sweep, each level the one that the numbers before call
for); of what was finished every file as it was, nothing lost but the cell in flight; the gap noted
in manifests and reports; no process and no half-written file left; and `harness report` says the
same of it.
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
from compared import Kept, Plan, missteps, pairs, read, unsaid
from kill_modes import MODES, ROOT, Mode, prepare

if TYPE_CHECKING:
    from collections.abc import Iterator

SEED = 20261126
LIMIT_S = 180
ORPHAN_S = 20
"""How long processes may take to end after their parent was killed."""


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
    """What became of one killed run."""

    killed: list[str] = field(default_factory=list)
    """For each kill when it was, and what had been measured."""
    after_some: bool = False
    """Whether a cell, or a pass, had been finished when it was killed."""
    wrong: list[str] = field(default_factory=list)
    code: int | None = None
    wall_s: float = 0.0


@dataclass(frozen=True)
class Undisturbed:
    """The run that nobody killed."""

    run: Path
    length_s: float
    """From its manifest on."""
    argv: tuple[str, ...]
    plan: Plan
    mode: Mode


def undisturbed(place: Path, mode: Mode, *more: str) -> Undisturbed:
    """Run a mode's command, with `more` words, to its end in an empty folder."""
    prepare(place)
    argv = (*mode.argv, *more)
    with started(place, *argv) as process:
        run = wait_for_run(place, process)
        began_s = time.monotonic()
        code = process.wait(LIMIT_S)
    if code not in mode.codes:
        sys.exit(f"the undisturbed run ended with {code}:\n{log_of(place)}")
    return Undisturbed(run, time.monotonic() - began_s, argv, Plan.of(run, mode), mode)


def log_of(place: Path) -> str:
    """The last of what `harness` printed."""
    return (place / "harness.log").read_text(errors="replace")[-2000:]


def wait_for_run(place: Path, process: subprocess.Popen[bytes]) -> Path:
    """Wait until the run has a manifest."""
    while (run := only_run(place)) is None:
        if process.poll() is not None:
            sys.exit(f"harness ended with {process.returncode}:\n{log_of(place)}")
        time.sleep(0.01)
    return run


def kill_after(
    place: Path, process: subprocess.Popen[bytes], moment_s: float, mode: Mode
) -> Outcome:
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
    kept = Kept({}, {}, {}) if run is None else Kept.of(run, mode)
    outcome.killed.append(f"{moment_s:.2f} s: {kept.words}")
    outcome.after_some = kept.some_whole
    return outcome


def once(place: Path, reference: Undisturbed, moment_s: float, again_s: float | None) -> Outcome:
    """Begin the run, kill it, perhaps kill what goes on, let it end; look what it is.

    Args:
        place: an empty folder.
        reference: the undisturbed run.
        moment_s: when to kill it, from its manifest on.
        again_s: when to kill the first that goes on, from its start; None: not at all.
    """
    began_s = time.monotonic()
    mode = reference.mode
    prepare(place)
    with started(place, *reference.argv) as process:
        run = wait_for_run(place, process)
        outcome = kill_after(place, process, moment_s, mode)
    if not outcome.killed:
        return outcome
    kept = [Kept.of(run, mode)]
    resume = (reference.argv[0], "--resume", str(run))
    if again_s is not None:
        with started(place, *resume) as process:
            second = kill_after(place, process, again_s, mode)
        outcome.killed += second.killed
        outcome.wrong += second.wrong
        outcome.after_some |= second.after_some
        kept.append(Kept.of(run, mode))
        outcome.wrong += kept[0].lost(run, mode) if second.killed else ()
    with started(place, *resume) as process:
        outcome.code = process.wait(LIMIT_S)
    outcome.wall_s = time.monotonic() - began_s
    if outcome.code not in mode.codes:
        outcome.wrong.append(f"exit code {outcome.code}: {log_of(place)}")
        return outcome
    for one in kept:
        outcome.wrong += one.lost(run, mode)
    outcome.wrong += [*differences(run, reference), *left_over(place, run, mode)]
    if not all(one.is_whole(Plan.of(run, mode)) for one in kept):
        outcome.wrong += unsaid(run, mode)
    return outcome


def differences(run: Path, reference: Undisturbed) -> Iterator[str]:
    """Yield in what a run that went on is not as an undisturbed one."""
    mode, wanted = reference.mode, reference.plan
    found = Plan.of(run, mode)
    yield from found.unlike(wanted, swept=mode.swept)
    if mode.swept:
        yield from missteps(run)
    if mode.load is not None:
        planned = sorted(cell["id"] for cell in found.cells)
        measured = sorted(one["id"] for one in read(run / mode.load / "measurements.json")["cells"])
        if measured != planned:
            yield f"cells with numbers: {measured}"
        if sorted(path.name for path in (run / mode.load / "cells").iterdir()) != planned:
            yield "folders of other cells"
    if pairs(run, mode) != pairs(reference.run, mode):
        yield f"other pairs: {pairs(run, mode)}"


def left_over(place: Path, run: Path, mode: Mode) -> Iterator[str]:
    """Yield what a run leaves that it should not, and whether its report is another."""
    if left := processes(place):
        yield f"processes left: {left}"
    if parts := [str(path) for path in run.rglob("*") if path.suffix in {".tmp", ".part"}]:
        yield f"half-written files: {parts}"
    with started(place, "report", str(run), "--format", "json") as process:
        process.wait(LIMIT_S)
    said = (run / mode.numbers).read_text()
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
    """When each run is killed, one in each part of its length, and when what goes on is; seconds.

    Every second one that goes on is not.
    """
    draw = random.Random(seed)  # noqa: S311 - moments, no secrets
    part_s = length_s / count
    drawn = [((n + draw.random()) * part_s, draw.uniform(0, length_s)) for n in range(count)]
    return [(one, again if n % 2 else None) for n, (one, again) in enumerate(drawn)]


def tried(name: str, folder: Path, options: argparse.Namespace) -> bool:
    """Kill one mode's runs, print a line for each and how many ended as if they had not been."""
    more: tuple[str, ...] = ()
    if name == "compare":
        more = ("--repeats", str(options.repeats), "--level", "1" if options.interleave else "2")
        more += ("--interleave",) if options.interleave else ()
    (folder / "undisturbed").mkdir(parents=True)
    reference = undisturbed(folder / "undisturbed", MODES[name], *more)
    told = f"{len(reference.plan.cells)} cells, {len(reference.plan.passes)} passes"
    print(
        f"{name} undisturbed: {reference.length_s:.1f} s from its manifest on, {told}", flush=True
    )
    drawn = moments(options.seed, options.moments, reference.length_s)
    good = after = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        outcomes = pool.map(
            lambda n: killed_once(folder, n, reference, *drawn[n]), range(options.moments)
        )
        for number, outcome in enumerate(outcomes, 1):
            good += not outcome.wrong
            after += outcome.after_some
            said = "; ".join(outcome.wrong) or "as undisturbed"
            how = f"exit {outcome.code}, {outcome.wall_s:.0f} s"
            print(f"{number:2}. killed at {', then at '.join(outcome.killed)} → {said} ({how})")
            sys.stdout.flush()
    print(f"{name}: {good} of {options.moments} ({after} killed after something was finished)")
    return good == options.moments


def main() -> None:
    """Kill the runs of each mode that was named; exit code 1 where one did not end as it should."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("modes", nargs="*", choices=list(MODES), default=["compare"])
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--repeats", type=int, default=2, help="of a comparison's cells")
    parser.add_argument("--interleave", action="store_true", help="both its servers up at once")
    parser.add_argument("--jobs", type=int, default=1, help="so many runs at a time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        good = [tried(name, Path(folder).resolve() / name, options) for name in options.modes]
    sys.exit(not all(good))


if __name__ == "__main__":
    main()
