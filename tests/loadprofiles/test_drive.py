"""The driver's process against the mock server: real Locust, real sockets."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import psutil
import pytest

from loadprofiles.driving.phases import peak_overlap
from loadprofiles.records import (
    DRIVE_FILE,
    DriveReport,
    Progress,
    Sample,
    read_drive_report,
    read_samples,
)

ROOT = Path(__file__).parents[2]
MS = 1_000_000
SECOND = 1000 * MS
StartMock = Callable[..., str]
MakeCell = Callable[..., Path]
RunDriver = Callable[[Path], "subprocess.CompletedProcess[str]"]
Start = Callable[[], "subprocess.Popen[bytes]"]


class Answering(BaseHTTPRequestHandler):
    """Answers each request on a kept connection."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.answer()

    def answer(self, status: int = 200) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        body = b'data: {"choices":[{"text":" a","finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Listening(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """A driver that has ended is no error."""


StartHttp = Callable[[type[BaseHTTPRequestHandler]], str]


@pytest.fixture
def http() -> Iterator[StartHttp]:
    """Start a server with a handler of its own; returns its base URL."""
    with contextlib.ExitStack() as stack:

        def begin(handler: type[BaseHTTPRequestHandler]) -> str:
            server = stack.enter_context(Listening(("127.0.0.1", 0), handler))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_port}/v1"

        yield begin


@pytest.fixture
def start() -> Iterator[Start]:
    """Start drivers that are told their folder on standard input, as `harness` does it."""
    with contextlib.ExitStack() as stack:

        def begin() -> subprocess.Popen[bytes]:
            process = subprocess.Popen(
                [sys.executable, "-m", "loadprofiles.drive"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield begin


def tell(process: subprocess.Popen[bytes], folder: Path) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{folder}\n".encode())
    process.stdin.flush()


def wait_for_samples(process: subprocess.Popen[bytes], folder: Path, count: int) -> None:
    """Return when so many samples are in the file."""
    deadline = time.monotonic() + 40
    while True:
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stderr and process.stderr.read().decode()
        with contextlib.suppress(OSError):
            if len(list(read_samples(folder))) >= count:
                return
        time.sleep(0.1)


def results(folder: Path) -> tuple[list[Sample], DriveReport]:
    samples, report = list(read_samples(folder)), read_drive_report(folder)
    assert len(samples) == report.samples
    assert len({sample.request_id for sample in samples}) == len(samples)
    for sample in samples:
        times = [sample.due_ns, sample.submitted_ns, sample.sent_ns, sample.first_ns]
        times += [sample.last_ns, sample.end_ns, sample.done_ns]
        known = [moment for moment in times if moment is not None]
        assert known == sorted(known), sample
        if sample.error is None and sample.clock == "kernel":
            assert len(sample.chunk_ns) == len(sample.lag_us) - 1
            assert min(sample.lag_us) >= 0
            assert sum(sample.chunk_ns) == (sample.last_ns or 0) - (sample.first_ns or 0)
    return samples, report


def measured(samples: list[Sample]) -> list[Sample]:
    return sorted((s for s in samples if s.phase == "measured"), key=lambda sample: sample.seq)


def test_an_open_loop_sends_its_schedule(
    mock: StartMock, make_cell: MakeCell, run_driver: RunDriver, tmp_path: Path
) -> None:
    truth = tmp_path / "truth.jsonl"
    url = mock("--ttft-ms", "20", "--itl-ms", "2", "--truth", str(truth))
    due = [n * 10 * MS for n in range(90)] + [950 * MS] * 10
    folder = make_cell(url, mode="open", due_ns=due, duration_ns=SECOND)
    run_driver(folder)
    samples, report = results(folder)
    sent = measured(samples)
    assert [sample.due_ns - report.window_start_ns for sample in sent] == due
    assert [sample.body for sample in sent] == list(range(4, 104))
    assert Counter(sample.phase for sample in samples) == {"warmup": 4, "measured": 100}
    assert {(s.error, s.output_tokens, s.token_source, s.finish_reason) for s in samples} == {
        (None, 8, "server", "length")
    }
    received = [json.loads(line)["request_id"] for line in truth.read_text().splitlines()]
    assert sorted(received) == sorted(sample.request_id for sample in samples)
    assert {sample.clock for sample in sent} == {"kernel"}
    assert (report.ended, report.clock, report.gc_collections) == ("done", "kernel", 0)
    assert report.window_end_ns - report.window_start_ns == SECOND
    assert set(report.versions) == {"python", "kernel", "locust", "gevent", "httptools"}


def test_a_closed_loop_holds_its_streams(
    mock: StartMock, make_cell: MakeCell, run_driver: RunDriver
) -> None:
    url = mock("--ttft-ms", "40", "--itl-ms", "10")
    folder = make_cell(url, mode="closed", streams=6, duration_ns=2 * SECOND, warmup=4, tokens=12)
    done = run_driver(folder)
    samples, report = results(folder)
    start_ns, end_ns = report.window_start_ns, report.window_end_ns
    assert end_ns - start_ns == 2 * SECOND
    warm = [sample for sample in samples if sample.phase == "warmup"]
    assert len(warm) >= 6, "every stream finishes one request first"
    for sample in measured(samples):
        assert start_ns <= sample.due_ns < end_ns + 50 * MS
        assert sample.error is None
    busy = sum(
        max(0, min(sample.done_ns or end_ns, end_ns) - max(sample.due_ns, start_ns))
        for sample in samples
    )
    assert busy / (end_ns - start_ns) > 5.5
    last = max(sample.done_ns or 0 for sample in measured(samples))
    assert last > end_ns, "what was under way at the window's end is finished"
    cool = [sample for sample in samples if sample.phase == "cooldown"]
    assert {sample.error for sample in cool} <= {None, "aborted"}
    assert report.ended == "done"
    progress = [msgspec.json.decode(line, type=Progress) for line in done.stdout.splitlines()]
    assert progress[-1].phase == "done"
    assert progress[-1].failed == 0
    assert "measured" in {line.phase for line in progress}


def test_users_think_between_an_answer_and_their_next_request(
    mock: StartMock, make_cell: MakeCell, run_driver: RunDriver
) -> None:
    url = mock("--ttft-ms", "20", "--itl-ms", "2")
    think_ns = [(300 + 10 * n) * MS for n in range(20)]
    folder = make_cell(
        url, mode="closed", streams=4, duration_ns=3 * SECOND, think_ns=think_ns, warmup=4
    )
    run_driver(folder)
    samples, report = results(folder)
    assert report.ended == "done"
    within = measured(samples)
    assert 20 <= len(within) <= 36, "4 streams, each one request in some 0.43 s"
    ends = {sample.done_ns for sample in samples if sample.done_ns is not None}
    thought = [
        sample for sample in within if any(sample.due_ns - think in ends for think in think_ns)
    ]
    assert len(thought) >= len(within) - 1, (
        "each is due exactly so long after some answer, but the one that opened the window"
    )
    late = sorted((sample.sent_ns or 0) - sample.due_ns for sample in within)
    assert late[0] >= 0
    assert late[len(late) // 2] < 5 * MS
    busy_s = (
        sum(
            max(
                0, min(s.done_ns or 0, report.window_end_ns) - max(s.due_ns, report.window_start_ns)
            )
            for s in samples
        )
        / SECOND
    )
    assert busy_s + report.thinking_s == pytest.approx(4 * 3, rel=0.02)
    assert report.thinking_s > 8


def test_a_window_that_ends_while_all_users_think_is_over_at_once(
    mock: StartMock, make_cell: MakeCell, run_driver: RunDriver
) -> None:
    url = mock("--ttft-ms", "5", "--itl-ms", "1")
    think_ns = [100 * MS, 50 * SECOND, 50 * SECOND]
    folder = make_cell(
        url, mode="closed", streams=1, duration_ns=SECOND, think_ns=think_ns, warmup=0, drain_s=60
    )
    began = time.monotonic()
    run_driver(folder)
    assert time.monotonic() - began < 45, "not the drain's 60 s, nor the 50"
    samples, report = results(folder)
    assert (len(samples), report.ended) == (1, "done")
    assert 0.5 < report.thinking_s < 1.01


@pytest.mark.parametrize("duration_ns", [None, 60 * SECOND])
def test_a_closed_loop_ends_with_its_requests(
    mock: StartMock, make_cell: MakeCell, run_driver: RunDriver, duration_ns: int | None
) -> None:
    url = mock("--ttft-ms", "10", "--itl-ms", "2")
    folder = make_cell(url, mode="closed", streams=4, requests=30, duration_ns=duration_ns)
    run_driver(folder)
    samples, report = results(folder)
    assert len(measured(samples)) == 30
    assert all(sample.error is None for sample in measured(samples))
    last = max(sample.done_ns or 0 for sample in measured(samples))
    assert last <= report.window_end_ns < last + SECOND
    assert report.ended == "done"


def test_whichever_comes_first_ends_the_window(
    mock: StartMock, make_cell: MakeCell, run_driver: RunDriver
) -> None:
    url = mock("--ttft-ms", "10", "--itl-ms", "2")
    folder = make_cell(url, mode="closed", streams=2, requests=100_000, duration_ns=SECOND // 2)
    run_driver(folder)
    samples, report = results(folder)
    assert report.window_end_ns - report.window_start_ns == SECOND // 2
    assert 2 <= len(measured(samples)) < 100


def test_no_warm_up(mock: StartMock, make_cell: MakeCell, run_driver: RunDriver) -> None:
    url = mock("--ttft-ms", "10", "--itl-ms", "2")
    folder = make_cell(url, mode="closed", streams=3, requests=9, warmup=0)
    run_driver(folder)
    samples, _ = results(folder)
    assert {sample.phase for sample in samples} <= {"measured", "cooldown"}
    assert len(measured(samples)) == 9


def test_the_drain_is_bounded(mock: StartMock, make_cell: MakeCell, run_driver: RunDriver) -> None:
    url = mock("--fault", "stall", "--ttft-ms", "5", "--itl-ms", "2")
    folder = make_cell(
        url, mode="open", due_ns=[0, MS], duration_ns=SECOND // 2, warmup=0, drain_s=0.5
    )
    run_driver(folder)
    samples, report = results(folder)
    assert report.ended == "stopped"
    assert {(sample.error, len(sample.chunk_ns)) for sample in samples} == {("aborted", 2)}
    done = max(sample.done_ns or 0 for sample in samples)
    assert done - report.window_end_ns < 2 * SECOND


def test_the_drain_of_a_closed_loop_is_bounded(
    mock: StartMock, make_cell: MakeCell, run_driver: RunDriver
) -> None:
    url = mock("--fault", "silent")
    folder = make_cell(
        url, mode="closed", streams=2, duration_ns=SECOND // 2, warmup=0, drain_s=0.5
    )
    run_driver(folder)
    samples, report = results(folder)
    assert (report.ended, [sample.error for sample in samples]) == ("stopped", ["aborted"] * 2)


EXPECTED = {
    "silent": "timeout", "empty": "empty", "http_503": "http_503", "http_500": "http_500",
    "error_event": "error_event", "malformed": "malformed",
}  # fmt: skip
SAID = {"http_503": "upstream unavailable", "silent": "after 1 s"}


def test_faults_do_not_touch_the_others(
    mock: StartMock, make_cell: MakeCell, run_driver: RunDriver
) -> None:
    url = mock("--fault", "http_500:0.3", "--ttft-ms", "10", "--itl-ms", "2")
    folder = make_cell(url, mode="closed", streams=4, requests=60)
    run_driver(folder)
    samples, _ = results(folder)
    kinds = Counter(sample.error for sample in measured(samples))
    assert set(kinds) == {None, "http_500"}
    assert sum(kinds.values()) == 60


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


OPEN = {"mode": "open", "due_ns": [0, 5 * MS]}
CLOSED = {"mode": "closed", "streams": 2}


@pytest.mark.parametrize("fields", [OPEN, CLOSED])
def test_a_server_that_refuses(
    make_cell: MakeCell, run_driver: RunDriver, fields: dict[str, object]
) -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    folder = make_cell(url, duration_ns=SECOND // 2, warmup=0, **fields)
    run_driver(folder)
    samples, report = results(folder)
    assert {sample.error for sample in samples} == {"connect"}
    assert {sample.sent_ns for sample in samples} == {None}
    assert len(measured(samples)) >= 2
    assert len(samples) < 40, "it does not hammer"
    assert report.ended == "done"


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        (OPEN, "silent"), (CLOSED, "silent"), (CLOSED | {"streams": 1}, "silent"),
        (OPEN, "empty"), (CLOSED, "http_503"),
    ],
)  # fmt: skip
def test_a_warm_up_that_nobody_answers_ends_the_cell(
    mock: StartMock,
    make_cell: MakeCell,
    run_driver: RunDriver,
    fields: dict[str, object],
    fault: str,
) -> None:
    url = mock("--fault", fault)
    folder = make_cell(url, duration_ns=20 * SECOND, warmup=10, timeout_s=1, **fields)
    done = run_driver(folder)
    samples, report = results(folder)
    took_ns = max(s.done_ns for s in samples) - min(s.due_ns for s in samples)
    assert took_ns < 7 * SECOND, "not ten time-outs"
    assert report.ended == "failed"
    assert report.window_end_ns == report.window_start_ns
    assert {sample.phase for sample in samples} == {"warmup"}
    assert {sample.error for sample in samples} <= {EXPECTED[fault], "aborted"}
    assert f"failed); the last: {EXPECTED[fault]}: " in (report.problem or "")
    assert SAID.get(fault, "") in (report.problem or "")
    assert report.problem in done.stderr


def test_one_answer_is_reason_enough_to_measure(
    http: StartHttp, make_cell: MakeCell, run_driver: RunDriver
) -> None:
    """A server that takes two at a time and turns the others away at once."""
    room = threading.Semaphore(2)

    class Small(Answering):
        def do_POST(self) -> None:
            if room.acquire(blocking=False):
                time.sleep(0.5)
                self.answer()
                room.release()
            else:
                self.answer(429)

    folder = make_cell(http(Small), mode="closed", streams=6, duration_ns=SECOND)
    run_driver(folder)
    samples, report = results(folder)
    assert report.ended == "done"
    assert {sample.error for sample in measured(samples)} >= {None, "http_429"}


@pytest.mark.parametrize("fault", ["empty", "error_event", "malformed", "http_500"])
def test_a_server_that_fails_at_once_is_not_hammered(
    mock: StartMock, make_cell: MakeCell, run_driver: RunDriver, fault: str
) -> None:
    url = mock("--fault", fault, "--ttft-ms", "0", "--itl-ms", "0")
    folder = make_cell(url, mode="closed", streams=4, duration_ns=SECOND, warmup=0, tokens=6)
    run_driver(folder)
    samples, report = results(folder)
    count = len(measured(samples))
    assert {sample.error for sample in measured(samples)} == {EXPECTED[fault]}
    assert 8 <= count <= 24, "at 0, 0, 0.1, 0.3 and 0.7 s"
    assert report.paused_s > 3


def test_a_single_failure_is_no_reason_to_pause(
    http: StartHttp, make_cell: MakeCell, run_driver: RunDriver
) -> None:
    class EveryOther(Answering):
        count = 0

        def do_POST(self) -> None:
            EveryOther.count += 1
            self.answer(200 if EveryOther.count % 2 else 500)

    url = http(EveryOther)
    folder = make_cell(url, mode="closed", streams=1, requests=40, warmup=1)
    run_driver(folder)
    samples, report = results(folder)
    sent = measured(samples)
    assert Counter(sample.error for sample in sent) == {None: 20, "http_500": 20}
    assert report.paused_s == 0
    for before, after in itertools.pairwise(sent):
        assert after.due_ns == before.done_ns, "free as soon as the last one has ended"


def test_connections_that_a_server_closes_are_opened_again_before_a_burst(
    http: StartHttp, make_cell: MakeCell, run_driver: RunDriver
) -> None:
    class Impatient(Answering):
        timeout = 0.8  # so they are closed and renewed at 0.7 to 1.0 s, and closed again from 1.5 s

    due = [n * MS for n in range(20)] + [1200 * MS + n * MS for n in range(20)]
    folder = make_cell(http(Impatient), mode="open", due_ns=due, duration_ns=2 * SECOND)
    run_driver(folder)
    samples, report = results(folder)
    late = [sample.seq for sample in measured(samples) if sample.connect_ns is not None]
    # A few may be closed at this very moment, more on a busy machine; not renewed, all 20 would be.
    assert len(late) < 12
    assert report.connections > 40
    assert {sample.error for sample in samples} == {None}


def test_without_a_warm_up_connections_are_open(
    mock: StartMock, make_cell: MakeCell, run_driver: RunDriver
) -> None:
    url = mock("--ttft-ms", "300", "--itl-ms", "1")
    due = [n * 5 * MS for n in range(60)]
    folder = make_cell(url, mode="open", due_ns=due, duration_ns=SECOND, warmup=0)
    run_driver(folder)
    samples, _ = results(folder)
    assert [sample.seq for sample in samples if sample.connect_ns is not None] == []


def test_a_server_that_dies(mock: StartMock, make_cell: MakeCell, run_driver: RunDriver) -> None:
    url = mock("--die-after", "30", "--ttft-ms", "20", "--itl-ms", "5")
    folder = make_cell(url, mode="closed", streams=4, duration_ns=2 * SECOND)
    run_driver(folder)
    samples, report = results(folder)
    kinds = Counter(sample.error for sample in samples)
    assert kinds[None] in range(26, 31)
    assert set(kinds) <= {None, "reset", "truncated", "connect", "aborted"}
    assert kinds["connect"] >= 4
    assert report.ended == "done"


def test_localhost_is_where_the_server_is(
    mock: StartMock, make_cell: MakeCell, run_driver: RunDriver
) -> None:
    url = mock("--ttft-ms", "5", "--itl-ms", "1").replace("127.0.0.1", "localhost")
    folder = make_cell(url, mode="open", due_ns=[0, 5 * MS], duration_ns=10 * MS)
    run_driver(folder)
    assert {sample.error for sample in results(folder)[0]} == {None}


@pytest.mark.parametrize("how", ["end of stdin", "a line", "SIGTERM"])
@pytest.mark.parametrize("mode", ["open", "closed"])
def test_interrupted(
    mock: StartMock, make_cell: MakeCell, start: Start, how: str, mode: str
) -> None:
    url = mock("--ttft-ms", "10", "--itl-ms", "5", "--fault", "stall:0.05")
    fields = {"streams": 4} if mode == "closed" else {"due_ns": [n * 20 * MS for n in range(3000)]}
    folder = make_cell(url, mode=mode, duration_ns=60 * SECOND, timeout_s=60, **fields)
    process = start()
    tell(process, folder)
    wait_for_samples(process, folder, 20)
    begin = time.monotonic()
    assert process.stdin is not None
    if how == "SIGTERM":
        process.send_signal(signal.SIGTERM)
    elif how == "a line":
        process.stdin.write(b"stop\n")
        process.stdin.flush()
    else:
        process.stdin.close()
    assert process.wait(50) == 0
    assert time.monotonic() - begin < 40, "2 s of drain, and a busy machine; not the window's 60"
    samples, report = results(folder)
    assert report.ended == "interrupted"
    assert sum(sample.error is None for sample in samples) >= 15
    kinds = Counter(sample.error for sample in samples)
    assert kinds.keys() <= {None, "aborted", "dropped"}
    assert kinds["dropped"] <= 3, "due at that very moment"
    assert not list(folder.glob("*.part"))


def test_interrupted_before_the_window(mock: StartMock, make_cell: MakeCell, start: Start) -> None:
    folder = make_cell(mock("--fault", "silent"), mode="open", due_ns=[0], duration_ns=SECOND)
    process = start()
    tell(process, folder)
    assert process.stdout is not None
    process.stdout.readline()  # a first word: it is warming up
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(20) == 0
    samples, report = results(folder)
    assert (report.ended, report.window_end_ns - report.window_start_ns) == ("interrupted", 0)
    assert {(sample.phase, sample.error) for sample in samples} == {("warmup", "aborted")}


def test_a_driver_that_is_told_nothing_ends(start: Start) -> None:
    process = start()
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(20) == 0


def test_a_killed_driver_leaves_whole_samples(
    mock: StartMock, make_cell: MakeCell, start: Start
) -> None:
    url = mock("--ttft-ms", "5", "--itl-ms", "1")
    folder = make_cell(url, mode="closed", streams=8, duration_ns=60 * SECOND, tokens=40)
    process = start()
    tell(process, folder)
    wait_for_samples(process, folder, 50)
    process.kill()
    process.wait()
    samples = list(read_samples(folder))
    assert len(samples) >= 50
    assert not (folder / DRIVE_FILE).exists()


PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-m", "loadprofiles.drive"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
child.stdin.write(sys.argv[1].encode() + b"\\n")
child.stdin.flush()
print(child.pid, flush=True)
time.sleep(100)
"""


def test_a_driver_whose_parent_is_killed_ends(mock: StartMock, make_cell: MakeCell) -> None:
    url = mock("--ttft-ms", "5", "--itl-ms", "1")
    folder = make_cell(url, mode="closed", streams=2, duration_ns=60 * SECOND)
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(folder)], cwd=ROOT, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        wait_for_samples(parent, folder, 5)
        parent.kill()
    with contextlib.suppress(psutil.NoSuchProcess):
        driver = psutil.Process(child)
        deadline = time.monotonic() + 20
        while driver.status() != psutil.STATUS_ZOMBIE:  # who adopts it may never wait for it
            assert time.monotonic() < deadline, f"still there: {driver!r} {driver.cpu_times()}"
            time.sleep(0.1)
    assert results(folder)[1].ended == "interrupted"


def test_nobody_reads_the_progress(mock: StartMock, make_cell: MakeCell, start: Start) -> None:
    """A harness that is stopped (Ctrl-Z) must not stop the driver in mid-measurement."""
    url = mock("--ttft-ms", "5", "--itl-ms", "1")
    process = start()
    assert process.stdout is not None
    folder = make_cell(url, mode="closed", streams=2, duration_ns=2 * SECOND)
    tell(process, folder)
    writer = os.open(f"/proc/{process.pid}/fd/1", os.O_WRONLY | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.close(writer)
    process.wait(30)
    assert process.returncode == 0
    assert results(folder)[1].ended == "done"


def in_child(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


LOCUSTS_NUMBERS = """
import sys
import locust
from pathlib import Path
from loadprofiles import drive
environments = []
class Kept(drive.Environment):
    def __init__(self, **fields):
        super().__init__(**fields)
        environments.append(self)
drive.Environment = Kept
drive.run(Path(sys.argv[1]), listen=False)
stats = environments[0].stats
print(stats.total.num_requests, stats.total.num_failures, stats.get("ttft", "LLM").num_requests)
"""


def test_locusts_own_numbers_have_each_request_once(mock: StartMock, make_cell: MakeCell) -> None:
    url = mock("--ttft-ms", "5", "--itl-ms", "1", "--fault", "http_500:0.3")
    folder = make_cell(url, mode="open", due_ns=[n * MS for n in range(40)], duration_ns=50 * MS)
    done = in_child(LOCUSTS_NUMBERS, folder)
    assert done.returncode == 0, done.stderr
    samples, _ = results(folder)
    failed = sum(sample.error is not None for sample in samples)
    assert 0 < failed < 44
    expected = [len(samples), failed, len(samples) - failed]
    assert done.stdout.splitlines()[-1].split() == [str(count) for count in expected]


BROKEN = """
import sys
import locust
from pathlib import Path
from loadprofiles.driving import cell
from loadprofiles import drive
def broken(*_):
    raise ZeroDivisionError("on purpose")
{patch} = broken
drive.run(Path(sys.argv[1]), listen=False)
"""


@pytest.mark.parametrize(
    "patch",
    [
        "cell.Engine.pump",  # in a watcher of the hub
        "cell.Session.decode",  # in the idle watcher
        "cell.Phases.tick",  # in a timer
        "cell.Phases.next_phase",  # in a user's greenlet
    ],
)
def test_a_mistake_of_ours_ends_the_process(
    mock: StartMock, make_cell: MakeCell, patch: str
) -> None:
    folder = make_cell(mock("--ttft-ms", "5"), mode="closed", streams=2, duration_ns=60 * SECOND)
    done = in_child(BROKEN.replace("{patch}", patch), folder)
    assert done.returncode == 1
    assert "on purpose" in done.stderr
    assert not (folder / DRIVE_FILE).exists()


DYING = """
import sys
import locust
from pathlib import Path
from loadprofiles.driving import cell
from loadprofiles import drive
def broken(phases):
    if phases.session.done["measured"] > 20:
        raise ZeroDivisionError("on purpose")
cell.Phases.tick = broken
cell.Cell._decode = lambda cell: None  # never idle
drive.run(Path(sys.argv[1]), listen=False)
"""


def test_a_driver_that_dies_keeps_what_it_has(mock: StartMock, make_cell: MakeCell) -> None:
    url = mock("--ttft-ms", "5", "--itl-ms", "1")
    folder = make_cell(url, mode="closed", streams=2, duration_ns=60 * SECOND, tokens=40, warmup=0)
    done = in_child(DYING, folder)
    assert done.returncode == 1
    assert "on purpose" in done.stderr
    assert len(list(read_samples(folder))) > 20
    assert not (folder / DRIVE_FILE).exists()


FULL_DISK = """
import resource
import sys
import locust
from pathlib import Path
from loadprofiles import drive
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
drive.run(Path(sys.argv[1]), listen=False)
"""


def test_a_full_disk_ends_the_driver_with_what_fits(mock: StartMock, make_cell: MakeCell) -> None:
    url = mock("--ttft-ms", "5", "--itl-ms", "1")
    folder = make_cell(url, mode="closed", streams=2, duration_ns=60 * SECOND, tokens=40)
    done = in_child(FULL_DISK, folder)
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert len(list(read_samples(folder))) > 5


def test_a_plan_without_its_bodies_is_refused(make_cell: MakeCell) -> None:
    folder = make_cell("http://127.0.0.1:1/v1", mode="open", due_ns=[0], duration_ns=SECOND)
    (folder / "bodies.jsonl").write_bytes(b"{}\n")
    done = in_child(BROKEN.replace("{patch} = broken", ""), folder)
    assert done.returncode == 1
    assert "holds 1 bodies; the plan has 4 for the warm-up and 5 in all" in done.stderr


@pytest.mark.parametrize(
    ("due", "service", "expected"),
    [([], 5, 0), ([0], 5, 1), ([0, 1, 2, 10, 11], 2, 3), ([0, 0, 0], 0, 3), ([0, 9, 18], 5, 1)],
)
def test_peak_overlap(due: list[int], service: int, expected: int) -> None:
    assert peak_overlap(due, service) == expected
