"""What the harness reads from NVML beside what nvidia-smi says at the same time.

    python benchmarks/nvml.py [--gib 8] [--seconds 12]     # the sampler beside a process on the GPU
    python benchmarks/nvml.py --load [--gib 8]             # a whole `harness load`
    python benchmarks/nvml.py --load --folder DIR --server NAME   # of a build in DIR/harness.toml

Needs an NVIDIA GPU, its driver and nvidia-ml-py, and exits with a message where one is missing. The
process takes GPU memory bit by bit through the driver (libcuda, no toolkit), writes to it all the
time, and gives half of it back: so peak, end and mean differ. With `--load` it is a child of the
known-timing server, which the harness brings up as an engine on the GPU and drives; the first form
needs of the harness's dependencies msgspec and httpx only.

Judged is the peak of memory, at most 1 % apart, of the whole card and of the server's processes
(nvidia-smi counts in MiB); power, utilization and clock are told.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from launchers.telemetry.nvml import Gpus, NvmlError, has_gpus  # noqa: E402
from launchers.telemetry.records import GIB, TELEMETRY_FILE, read_telemetry  # noqa: E402
from launchers.telemetry.sampler import sample_telemetry  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from launchers.telemetry.records import Gpu, Reading

WITHIN = 0.01
MIB = 2**20
LOOK_S = 0.25
CARDS = "uuid,memory.used,power.draw,utilization.gpu,clocks.sm"
PROCESSES = "pid,gpu_uuid,used_memory"
HOLD = """
import ctypes, sys, time
cuda = ctypes.CDLL("libcuda.so.1")
def ask(name, *about):
    if code := getattr(cuda, name)(*about):
        sys.exit(f"{name}: CUDA error {code}")
part = int(float(sys.argv[1]) * 2**30 / 8)
device, context, held = ctypes.c_int(), ctypes.c_void_p(), []
ask("cuInit", 0)
ask("cuDeviceGet", ctypes.byref(device), 0)
ask("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
ask("cuCtxSetCurrent", context)
print("ready", flush=True)
def use(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for one in held:
            ask("cuMemsetD32_v2", one, ctypes.c_uint(7), ctypes.c_size_t(part // 4))
        ask("cuCtxSynchronize")
while True:
    while len(held) < 8:
        held.append(ctypes.c_uint64())
        ask("cuMemAlloc_v2", ctypes.byref(held[-1]), ctypes.c_size_t(part))
        use(0.25)
    use(3)
    while len(held) > 4:
        ask("cuMemFree_v2", held.pop())
    use(2)
"""
ENGINE = """
import os, subprocess, sys
port = next(word for word in sys.argv if word.startswith("--port="))
subprocess.Popen([sys.executable, "-c", {hold!r}, "{gib}"])
mock = [sys.executable, "-m", "launchers.mock", port, "--ttft-ms", "20", "--itl-ms", "5"]
os.execv(sys.executable, mock)
"""


@dataclass
class Smi:
    """What nvidia-smi said, with CLOCK_MONOTONIC in ns."""

    cards: list[tuple[int, list[str]]] = field(default_factory=list)
    processes: list[tuple[int, list[str]]] = field(default_factory=list)

    def within(self, start_ns: int, end_ns: int) -> Smi:
        """What it said in a time."""
        return Smi(*(
            [one for one in lines if start_ns <= one[0] <= end_ns]
            for lines in (self.cards, self.processes)
        ))  # fmt: skip

    def card(self, uuid: str, column: int) -> list[float]:
        """A column of `CARDS` of one card; without what it does not tell ([N/A])."""
        return numbers(line[column] for _, line in self.cards if line[0] == uuid)

    def held(self, uuid: str, pids: set[int] | None) -> list[float]:
        """MiB on a card at each look, of all processes or of some."""
        looks: dict[int, float] = {}
        for at, (pid, on, mib) in self.processes:
            if on == uuid and (pids is None or int(pid) in pids):
                looks[at] = looks.get(at, 0.0) + sum(numbers([mib]))
        return list(looks.values())


@dataclass(frozen=True)
class Row:
    """One figure by both."""

    name: str
    ours: float | None
    theirs: float | None
    judged: bool = False

    @property
    def off(self) -> float | None:
        """How far ours is from theirs, as a share."""
        if self.ours is None or not self.theirs:
            return None
        return self.ours / self.theirs - 1

    @property
    def verdict(self) -> str:
        """Of what is judged; empty of the rest, and "?" where one of the two is not known."""
        if not self.judged:
            return ""
        return "?" if self.off is None else "PASS" if abs(self.off) <= WITHIN else "FAIL"


def numbers(words: Sequence[str] | Iterator[str]) -> list[float]:
    """Those of the words that are numbers."""
    found = []
    for word in words:
        try:
            found.append(float(word))
        except ValueError:
            continue
    return found


def _ask(question: str) -> list[list[str]]:
    argv = ["nvidia-smi", question, "--format=csv,noheader,nounits"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return [[word.strip() for word in line.split(",")] for line in done.stdout.splitlines()]


@contextmanager
def watching() -> Iterator[Smi]:
    """Ask nvidia-smi again and again until the context closes."""
    smi, closing = Smi(), threading.Event()

    def look() -> None:
        while not closing.is_set():
            for question, lines in (
                (f"--query-gpu={CARDS}", smi.cards),
                (f"--query-compute-apps={PROCESSES}", smi.processes),
            ):
                asked = time.monotonic_ns()
                told = _ask(question)
                at = (asked + time.monotonic_ns()) // 2
                lines.extend((at, line) for line in told if len(line) == 1 + question.count(","))
            closing.wait(LOOK_S)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield smi
    finally:
        closing.set()
        thread.join()


def rows(readings: Sequence[Reading], smi: Smi, pids: set[int] | None) -> list[Row]:
    """Compare, card by card; `pids` are the server's, None for every process there."""
    found = []
    for uuid in sorted({gpu.uuid for one in readings for gpu in one.gpus}):
        gpus = [gpu for one in readings for gpu in one.gpus if gpu.uuid == uuid]
        name = f"GPU {gpus[0].index}"
        theirs = smi.held(uuid, pids)
        found += [
            Row(f"{name} peak memory, MiB", _peak(gpus, "memory_used_bytes"),
                max(smi.card(uuid, 1), default=None), judged=True),
            Row(f"{name} the server's peak, MiB", _peak(gpus, "memory_server_bytes"),
                max(theirs, default=None), judged=True),
            Row(f"{name} mean power, W", _mean(gpus, "power_w"), _middle(smi.card(uuid, 2))),
            Row(f"{name} mean utilization, %", _mean(gpus, "utilization", 100),
                _middle(smi.card(uuid, 3))),
            Row(f"{name} mean SM clock, MHz", _mean(gpus, "sm_clock_mhz"),
                _middle(smi.card(uuid, 4))),
        ]  # fmt: skip
    return found


def _told(gpus: Sequence[Gpu], name: str) -> list[float]:
    return [value for gpu in gpus if (value := getattr(gpu, name)) is not None]


def _peak(gpus: Sequence[Gpu], name: str) -> float | None:
    told = _told(gpus, name)
    return max(told) / MIB if told else None


def _mean(gpus: Sequence[Gpu], name: str, factor: float = 1) -> float | None:
    middle = _middle(_told(gpus, name))
    return None if middle is None else middle * factor


def _middle(told: Sequence[float]) -> float | None:
    return sum(told) / len(told) if told else None


def sampled(folder: Path, gib: float, seconds: float) -> list[Row]:
    """The sampler beside a process that holds memory."""
    argv = [sys.executable, "-c", HOLD, f"{gib:g}"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                sys.exit(f"the process on the GPU did not start (exit status {process.wait()})")
            file = folder / TELEMETRY_FILE
            with watching() as smi, sample_telemetry(file, process.pid, None):
                time.sleep(seconds)
        finally:
            process.kill()
    readings = read_telemetry(folder)
    for problem in {one.problem for one in readings if one.problem}:
        print(f"problem: {problem}")
    smi = smi.within(readings[0].at_ns, readings[-1].at_ns)
    return rows(readings, smi, {process.pid})


def loaded(folder: Path, server: str, seconds: float) -> list[Row]:
    """A cell of `harness load`, in its window."""
    argv = [sys.executable, "-m", "harness", "load", "--server", server, "--profile", "closed"]
    argv += ["--concurrency", "4", "--duration", f"{seconds:g}", "--json"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with watching() as smi:
        done = subprocess.run(
            argv, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=False
        )
    if done.returncode not in {0, 4}:
        sys.exit(f"harness load failed with exit status {done.returncode}")
    told = json.loads(done.stdout)
    [cell] = told["cells"]
    where = Path(told["run"]["path"]) / "cells" / cell["id"]
    drive = json.loads((where / "drive.json").read_text())
    start_ns, end_ns = drive["window_start_ns"], drive["window_end_ns"]
    readings = [one for one in read_telemetry(where) if start_ns <= one.at_ns <= end_ns]
    smi = smi.within(start_ns, end_ns)
    found = rows(readings, smi, None)
    held: dict[int, float] = {}
    for at, (_, _, mib) in smi.processes:
        held[at] = held.get(at, 0.0) + sum(numbers([mib]))
    peak = cell["server"]["memory_peak_gib"]
    ours = None if peak is None else peak * GIB / MIB
    kind = cell["server"]["memory_kind"]
    name = f"measurements.json, memory_peak ({kind}), MiB"
    return [*found, Row(name, ours, max(held.values(), default=None), judged=True)]


def _stand_in(folder: Path, gib: float) -> str:
    """Write a build that is the known-timing server with a process on the GPU."""
    (folder / "engine.py").write_text(ENGINE.format(hold=HOLD, gib=f"{gib:g}"))
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}")
    command = json.dumps([sys.executable, str(folder / "engine.py")])
    (folder / "harness.toml").write_text(
        f'[builds.gpu]\nmodel = "model"\ndevice = "cuda"\ncommand = {command}\n'
    )
    return "gpu"


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gib", type=float, default=8, help="GPU memory to hold")
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--load", action="store_true", help="a whole `harness load`")
    parser.add_argument("--folder", type=Path, help="with a harness.toml")
    parser.add_argument("--server", help="a build of it")
    options = parser.parse_args()
    if (options.folder is None) is not (options.server is None):
        parser.error("--folder and --server go together")
    if not has_gpus() or shutil.which("nvidia-smi") is None:
        sys.exit("no NVIDIA GPU here, or no nvidia-smi: there is nothing to compare")
    try:
        Gpus().close()
    except NvmlError as error:
        sys.exit(str(error))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.server is not None:
            found = loaded(options.folder, options.server, options.seconds)
        elif options.load:
            found = loaded(folder, _stand_in(folder, options.gib), options.seconds)
        else:
            found = sampled(folder, options.gib, options.seconds)
    for line in _ask("--query-gpu=name,driver_version"):
        print(*line, sep=", driver ")
    print(f"{'':42}{'harness':>12}{'nvidia-smi':>12}{'off':>9}")
    for row in found:
        sides = "".join(f"{'–' if x is None else f'{x:.1f}':>12}" for x in (row.ours, row.theirs))
        off = "" if row.off is None else f"{row.off:+.2%}"
        print(f"{row.name:42}{sides}{off:>9}  {row.verdict}")
    verdicts = {row.verdict for row in found}
    sys.exit("FAIL" in verdicts or "PASS" not in verdicts)


if __name__ == "__main__":
    main()
