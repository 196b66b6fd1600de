"""The ladder of `harness calibrate`: the same driver against a server with known timing.

Each step is a cell of its own: a fresh server on its own CPUs, a fresh driver on the client's,
judged by the same rules as a run's cell, and then compared with what the server wrote down.
"""

from __future__ import annotations

import datetime as dt
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import psutil

from harness import __version__
from harness.calibration import Calibration, Step
from harness.errors import ServerError
from harness.load.child import Driver
from harness.measuring.measure import CellFacts
from harness.measuring.remeasure import measure_folder, write_facts
from harness.measuring.truth import Spread, join, read_truth
from harness.provenance import machine
from launchers.devices import available_cpus, split_cpus
from launchers.engines import Start
from launchers.processes import GuardedProcess
from loadprofiles.plan import Target, make_plan
from loadprofiles.profile import Profile
from loadprofiles.records import read_drive_report, read_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from harness.measuring.measurement import CellMeasurement
    from loadprofiles.records import DriveReport

STREAMS: Final = (1, 32, 256, 1024, 1536, 2048, 3072, 4096)
QUICK_STREAMS: Final = (32, 256, 1024)
WINDOW_S: Final = 4.0
QUICK_WINDOW_S: Final = 2.0
AT_ONCE: Final = 256
"""Streams of the step in which all speak at once."""
DEPARTURES: Final = 200.0
"""Requests/s of the open loop."""
EXACT_US: Final = 50.0
"""p99 of the errors of TTFT and ITL up to which a step is exact."""
EXACT_USER_US: Final = 500.0
"""The same where the kernel gives no stamps."""
ANSWERS: Final = 100
"""A step needs so many first tokens in its window, and ten times as many gaps."""
FEW_STREAMS: Final = 32
"""Up to here a step that is not exact does not end the ladder."""
HELD: Final = 0.95
SERVER_FULL: Final = 0.9
"""A server that uses so much of a core, and sends less than `HELD` of its schedule, is full."""
_OF_THE_MOCK: Final = {"answers_repeat"}
"""What is said of the server's answers, which have one word, and not of the client."""
_READY_S: Final = 30.0
_NS_PER_S: Final = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class Load:
    """One step to be tried. Times in ms."""

    pattern: Literal["staggered", "at once", "poisson"]
    level: float
    tokens: int = 40
    together: int = 1
    """Of these, so many leave the server in one write."""
    ttft: float = 50.0
    itl: float = 25.0

    def server(self, truth: Path) -> list[str]:
        """Return the mock's options."""
        known = ["--truth", str(truth)]
        if self.pattern == "at once":
            return [
                *(*known, "--step-ms", f"{self.itl:g}"),
                *("--tokens-per-step", str(self.together)),
            ]
        timing = ["--ttft-ms", f"{self.ttft:g}", "--itl-ms", f"{self.itl:g}"]
        return [*known, *timing, "--jitter-ms", f"{self.itl:g}"]

    @property
    def offered_answers_per_s(self) -> float:
        """Answers/s of a server and a client that are never late."""
        if self.pattern == "poisson":
            return self.level
        first = self.itl * 1.5 if self.pattern == "at once" else self.ttft + self.itl / 2
        return self.level * 1000 / (first + (self.tokens - 1) * self.itl)

    def window_s(self, asked_s: float) -> float:
        """Return the window asked for, or a longer one that holds enough answers."""
        return max(asked_s, 1.5 * ANSWERS / self.offered_answers_per_s)

    def profile(self, window_s: float) -> Profile:
        """Return the profile that drives it."""
        return Profile.model_validate(
            {
                "name": "calibrate",
                "arrival": {"kind": "poisson" if self.pattern == "poisson" else "closed"},
                "levels": [self.level],
                "prompt_tokens": 64,
                "output_tokens": self.tokens,
                "duration_s": self.window_s(window_s),
            }
        )


def loads(streams: Sequence[int]) -> Iterator[Load]:
    """Yield the steps of a ladder: the streams, and among them the other two patterns.

    Few streams get short answers, so that a short window holds enough of them.
    """
    others = [
        Load(pattern="at once", level=AT_ONCE),
        Load(pattern="poisson", level=DEPARTURES, tokens=16),
    ]
    for count in sorted(streams):
        if others and count > AT_ONCE:
            yield from others
            others = []
        if count < FEW_STREAMS:
            yield Load(pattern="staggered", level=count, tokens=11, ttft=4.0, itl=2.0)
        else:
            yield Load(pattern="staggered", level=count, tokens=20 if count < AT_ONCE else 40)
    yield from others


def climb(
    streams: Sequence[int], window_s: float, on_step: Callable[[Load, Step], None]
) -> Calibration:
    """Try every load until the client is no longer exact; one that fails is tried once more.

    Args:
        streams: of the staggered steps.
        window_s: measured window of each step.
        on_step: told of each try.

    Raises:
        InvalidRunError: the driver failed.
        ServerError: the server did not come up.
    """
    server_cpus, client_cpus = split_cpus(available_cpus())
    steps: list[Step] = []
    ended: Literal["client", "server", "ladder"] = "ladder"
    for load in loads(streams):
        for tries in (1, 2):
            step = run_step(load, window_s, server_cpus, client_cpus, tries)
            on_step(load, step)
            if step.exact:
                break
        steps.append(step)
        if load.pattern != "staggered":
            continue
        if server_is_full(step):
            ended = "server"
            break
        if not step.exact and load.level > FEW_STREAMS:
            ended = "client"
            break
    return Calibration(
        made=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        harness_version=__version__,
        machine=machine(),
        server_cpus=server_cpus,
        client_cpus=client_cpus,
        window_s=window_s,
        kernel_stamps=any(step.ttft_kernel_us is not None for step in steps),
        steps=steps,
        ended=ended,
    )


def server_is_full(step: Step) -> bool:
    """Whether the server, and not the client, kept a step below what was offered."""
    return step.server_cpu > SERVER_FULL and step.tokens_per_s < HELD * step.offered_tokens_per_s


def run_step(
    load: Load, window_s: float, server_cpus: list[int], client_cpus: list[int], tries: int = 1
) -> Step:
    """Run the server and the driver once and compare them.

    Raises:
        InvalidRunError: the driver failed.
        ServerError: the server did not come up.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="harness-calibrate-")))
        cell, truth = folder / "cell", folder / "truth.jsonl"
        cell.mkdir()
        driver = stack.enter_context(Driver(cell))
        argv = [sys.executable, "-P", "-m", "launchers.mock", *load.server(truth)]
        mock = GuardedProcess(Start(argv=argv, cpus=server_cpus), folder / "mock.log")
        stack.callback(mock.stop)
        port = _port(mock)
        plan = make_plan(
            cell,
            profile=load.profile(window_s),
            level=load.level,
            repeat=1,
            seed=1,
            target=Target(host="127.0.0.1", port=port, path="/v1", model="mock"),
            dialect="openai-completions",
            cpus=client_cpus,
        )
        write_facts(cell, mock_facts("calibrate", load.level, closed=plan.mode == "closed"))
        process = psutil.Process(mock.pid)
        before = process.cpu_times()
        driver.drive(lambda _: None, lambda: mock.poll() is None)
        if mock.poll() is not None:
            raise ServerError(f"the mock died: {mock.poll()}", hint="\n".join(mock.tail()))
        after = process.cpu_times()
        server_s = after.user + after.system - before.user - before.system
        return _step(load, cell, truth, server_s, tries)


def _step(load: Load, cell: Path, truth_file: Path, server_s: float, tries: int) -> Step:
    measured, report = measure_folder(cell, None), read_drive_report(cell)
    truth = read_truth(truth_file)
    found = join(read_samples(cell), truth, report.window_start_ns, report.window_end_ns)
    window_s = (report.window_end_ns - report.window_start_ns) / _NS_PER_S or 1.0
    tokens_per_s = found.tokens / window_s
    sent = sum(sent.times.size for sent in truth.values())
    each_us = server_s * 1e6 / sent if sent else None
    spreads = {
        "ttft_kernel_us": Spread.of(found.ttft_kernel),
        "ttft_user_us": Spread.of(found.ttft_user),
        "itl_kernel_us": Spread.of(found.itl_kernel),
        "itl_user_us": Spread.of(found.itl_user),
    }
    problems = _problems(measured, spreads)
    if found.unmatched:
        problems.append(f"{found.unmatched} answers do not have the tokens that were sent")
    return Step(
        pattern=load.pattern,
        level=load.level,
        window_s=round(window_s, 3),
        answers=found.answers,
        tokens_per_s=round(tokens_per_s),
        offered_tokens_per_s=round(load.offered_answers_per_s * load.tokens),
        **spreads,
        unsure=round(found.unsure / max(found.tokens, 1), 5),
        hidden_gaps=round(found.hidden_gaps / max(found.itl_user.size, 1), 5),
        hidden_firsts=round(found.hidden_firsts / max(found.answers, 1), 5),
        merged_reads=measured.client.merged_reads,
        late_merges=measured.client.late_merges,
        lag_us=Spread.of(found.lag),
        late_us=Spread.of(found.late) if load.pattern == "poisson" else None,
        cpu=round(report.cpu_s / window_s, 3),
        cpu_us_per_token=_per_token(report, found.tokens),
        run_delay=measured.client.run_delay,
        server_cpu=round((each_us or 0.0) * tokens_per_s / 1e6, 3),
        server_cpu_us_per_token=None if each_us is None else round(each_us, 2),
        rss_peak_mib=report.rss_peak_mib,
        valid=measured.client.valid,
        caveats=[one.code for one in measured.client.caveats if one.code not in _OF_THE_MOCK],
        problems=problems,
        tries=tries,
    )


def _per_token(report: DriveReport, tokens: int) -> float | None:
    return round(report.cpu_s * 1e6 / tokens, 2) if tokens else None


def _problems(measured: CellMeasurement, spreads: dict[str, Spread | None]) -> list[str]:
    """Why a step is not exact."""
    invalid = [caveat.code for caveat in measured.client.caveats if caveat.invalidates]
    problems = [f"invalid: {', '.join(invalid)}"] if invalid else []
    kernel = measured.client.clock == "kernel"
    clock, limit = ("kernel", EXACT_US) if kernel else ("user", EXACT_USER_US)
    for name, least in (("ttft", ANSWERS), ("itl", 10 * ANSWERS)):
        spread = spreads[f"{name}_{clock}_us"]
        if spread is None or spread.n < least or spread.p99 is None:
            n = 0 if spread is None else spread.n
            problems.append(f"{name.upper()}: {n} values in the window, {least} are needed")
        elif spread.p99 > limit:
            problems.append(f"{name.upper()} error p99 {spread.p99:g} µs, above {limit:g}")
    return problems


def mock_facts(name: str, level: float, *, closed: bool) -> CellFacts:
    """Return the facts of a cell, and of a profile, of this name against the mock."""
    return CellFacts(
        id=name,
        build="mock",
        engine="mock",
        engine_version=__version__,
        model="mock",
        profile=name,
        repeat=1,
        level={"concurrency": level} if closed else {"rate": level},
    )


def _port(mock: GuardedProcess) -> int:
    """Wait for the server's first line, its URL.

    Raises:
        ServerError: it does not come.
    """
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline and mock.poll() is None:
        lines = [line for line in mock.tail() if line.startswith("http://")]
        if lines:
            return int(lines[0].split(":")[2].split("/")[0])
        time.sleep(0.02)
    raise ServerError("the mock did not come up", hint="\n".join(mock.tail()))
