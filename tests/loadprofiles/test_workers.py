"""One cell driven by several workers: real Locust, real processes, real sockets."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import psutil
import pytest

from loadprofiles.records import (
    DRIVE_FILE,
    DriveReport,
    Fleet,
    Progress,
    Sample,
    read_drive_report,
    read_samples,
)
from loadprofiles.workers.messages import LEFT, MORE, OVER, REFUSED, UNREACHED, Orders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import trustme

    from tests.conftest import MakeCell, StartMock

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
MS = 1_000_000
SECOND = 1000 * MS
LIMIT_S = 60
KNOWN = ("--ttft-ms", "20", "--itl-ms", "5")


class Started:
    """Masters and workers of a test; all end with it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.processes: list[subprocess.Popen[str]] = []
        self.inputs: dict[int, int] = {}

    def run(self, *argv: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
        theirs, ours = os.pipe()  # one that `communicate` does not close
        process = subprocess.Popen(
            [sys.executable, "-P", *argv],
            cwd=ROOT,
            env=ENVIRONMENT | (environment or {}),
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(theirs)
        self.inputs[process.pid] = ours
        self.processes.append(process)
        return process

    def tell(self, process: subprocess.Popen[str], folder: Path) -> None:
        os.write(self.inputs[process.pid], f"{folder}\n".encode())

    def hang_up(self, process: subprocess.Popen[str]) -> None:
        os.close(self.inputs.pop(process.pid))

    def master(
        self, fleet: Fleet, folder: Path | None = None, environment: dict[str, str] | None = None
    ) -> subprocess.Popen[str]:
        argv = ["-m", "loadprofiles.workers.master", msgspec.json.encode(fleet).decode()]
        place = [] if folder is None else [str(folder)]
        return self.run(*argv, *place, environment=environment)

    def worker(
        self,
        port: int,
        *,
        environment: dict[str, str] | None = None,
        module: str = "loadprofiles.workers.worker",
        **orders: object,
    ) -> subprocess.Popen[str]:
        number = len(self.processes)
        folder = self._folder / f"worker{number}"
        folder.mkdir()
        fields = {"host": "127.0.0.1", "token": f"t{number}", "folder": str(folder), **orders}
        told = msgspec.json.encode(Orders(port=port, **fields)).decode()  # type: ignore[arg-type]
        return self.run("-m", module, told, environment=environment)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    everything = Started(tmp_path)
    yield everything
    for process in everything.processes:
        process.kill()
        process.communicate()
    for descriptor in everything.inputs.values():
        os.close(descriptor)


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for a process; return its exit status and what it has said."""
    out, err = process.communicate(timeout=LIMIT_S)
    return process.returncode, out, err


def results(folder: Path) -> tuple[list[Sample], DriveReport]:
    samples, report = list(read_samples(folder)), read_drive_report(folder)
    assert len(samples) == report.samples == sum(worker.received for worker in report.workers)
    assert len({sample.request_id for sample in samples}) == len(samples)
    return samples, report


def measured(samples: list[Sample]) -> list[Sample]:
    return sorted((s for s in samples if s.phase == "measured"), key=lambda sample: sample.seq)


def poisson(count: int, rate: float, seed: int = 1) -> list[int]:
    gaps = np.random.default_rng(seed).exponential(SECOND / rate, count)
    return np.cumsum(gaps).astype(int).tolist()


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def has_samples(folder: Path, count: int = 1, phase: str = "measured") -> bool:
    """Whether each of two workers has so many samples in the file by now."""
    if not (folder / "samples.jsonl").exists():
        return False
    by_worker = Counter(s.worker for s in read_samples(folder) if s.phase == phase)
    return min(by_worker[0], by_worker[1]) >= count


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def workers_of(master: subprocess.Popen[str]) -> list[int]:
    return [child.pid for child in psutil.Process(master.pid).children()]


def gone(pids: list[int]) -> bool:
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:  # init may be slow to bury
                return False
    return True


def test_two_workers_send_one_schedule(
    mock: StartMock, make_cell: MakeCell, started: Started
) -> None:
    """Together they are the one process: each departure once, at its moment, and no pattern."""
    due = poisson(400, rate=200)
    folder = make_cell(mock(*KNOWN), mode="open", due_ns=due, duration_ns=due[-1] + 1)
    code, out, err = end(started.master(Fleet(local=2), folder))
    assert (code, err) == (0, "")
    samples, report = results(folder)
    sent = measured(samples)
    assert [sample.due_ns - report.window_start_ns for sample in sent] == due
    assert [sample.seq for sample in sent] == list(range(400))
    assert [sample.body for sample in sent] == list(range(4, 404))
    assert [sample.worker for sample in sent] == [0, 1] * 200
    assert {sample.error for sample in samples} == {None}
    assert sorted(s.body for s in samples if s.phase == "warmup") == [0, 1, 2, 3]
    slips = [(sample.sent_ns or 0) - sample.due_ns for sample in sent]
    assert np.median(slips) < 50 * MS
    gaps = np.diff(sorted(sample.due_ns for sample in sent))
    assert len(set(gaps.tolist())) == 399, "workers that share a seed replay each other's gaps"
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 0.15
    left = np.sort([sample.submitted_ns or 0 for sample in sent])
    gaps = np.diff(left)
    assert 0.5 < gaps.std() / gaps.mean() < 1.6, "as an exponential has it, on a busy machine too"
    assert np.corrcoef(gaps[1:], gaps[:-1])[0, 1] < 0.6, "GuideLLM's has 0.9"
    counts = np.histogram(left, bins=np.arange(left[0], left[-1], 100 * MS))[0]
    assert counts.var() / counts.mean() < 3, "GuideLLM's has 12"
    assert report.ended == "done"
    assert report.window_end_ns - report.window_start_ns == due[-1] + 1
    assert {(w.index, w.samples, w.problem) for w in report.workers} == {
        (0, 202, None), (1, 202, None),
    }  # fmt: skip
    for worker in report.workers:
        assert worker.samples == worker.received
        assert abs(worker.clock_offset_ns) <= worker.clock_error_ns < 500 * MS, "one clock"
        assert worker.cpu_s > 0
    assert report.cpu_s == pytest.approx(sum(worker.cpu_s for worker in report.workers))
    heard = [msgspec.json.decode(line, type=Progress) for line in out.splitlines()]
    assert heard[-1].phase == "done"
    assert heard[-1].failed == 0


def test_streams_are_shared_out_and_held_to_the_end(
    mock: StartMock, make_cell: MakeCell, started: Started
) -> None:
    folder = make_cell(
        mock("--ttft-ms", "40", "--itl-ms", "10"),
        mode="closed", streams=5, duration_ns=2 * SECOND, warmup=5, tokens=12,
    )  # fmt: skip
    assert end(started.master(Fleet(local=2), folder))[0] == 0
    samples, report = results(folder)
    start_ns, end_ns = report.window_start_ns, report.window_end_ns
    assert end_ns - start_ns == 2 * SECOND
    for worker, streams in ((0, 3), (1, 2)):
        mine = [sample for sample in samples if sample.worker == worker]
        busy = sum(max(0, min(s.done_ns or end_ns, end_ns) - max(s.due_ns, start_ns)) for s in mine)
        assert streams - 0.3 < busy / (end_ns - start_ns) <= streams
        assert len([s for s in mine if s.phase == "warmup"]) >= streams
    for sample in measured(samples):
        assert start_ns <= sample.due_ns < end_ns + 50 * MS
        assert sample.error is None
    assert len({sample.seq for sample in measured(samples)}) == len(measured(samples))
    last = {w: max(s.done_ns or 0 for s in measured(samples) if s.worker == w) for w in (0, 1)}
    for worker, done_ns in last.items():
        others = [s for s in samples if s.worker != worker and s.due_ns < done_ns]
        assert max(s.done_ns or 0 for s in others) > done_ns - 50 * MS, "load until the last is in"
    assert report.ended == "done"


@pytest.mark.parametrize("warmup", [0, 6])
def test_requests_are_shared_out(
    mock: StartMock, make_cell: MakeCell, started: Started, warmup: int
) -> None:
    url = mock("--ttft-ms", "10", "--itl-ms", "2")
    folder = make_cell(url, mode="closed", streams=3, requests=61, warmup=warmup)
    assert end(started.master(Fleet(local=2), folder))[0] == 0
    samples, report = results(folder)
    sent = measured(samples)
    assert [sample.seq for sample in sent] == list(range(61))
    assert [sample.body for sample in sent] == list(range(warmup, warmup + 61))
    assert {sample.error for sample in sent} == {None}
    last = max(sample.done_ns or 0 for sample in sent)
    assert last <= report.window_end_ns < last + SECOND
    assert min(sample.due_ns for sample in sent) >= report.window_start_ns


def test_one_stream_leaves_a_worker_idle(
    mock: StartMock, make_cell: MakeCell, started: Started
) -> None:
    folder = make_cell(mock(*KNOWN), mode="closed", streams=1, requests=8, warmup=1)
    assert end(started.master(Fleet(local=2), folder))[0] == 0
    samples, report = results(folder)
    assert {sample.worker for sample in samples} == {0}
    assert len(measured(samples)) == 8
    assert [worker.samples for worker in report.workers] == [len(samples), 0]
    assert report.ended == "done"


@pytest.mark.parametrize(
    ("number", "says"), [(signal.SIGKILL, "was killed by SIGKILL"), (signal.SIGSTOP, "10 s")]
)
def test_a_worker_that_dies_or_stalls_ends_the_cell(
    mock: StartMock, make_cell: MakeCell, started: Started, number: signal.Signals, says: str
) -> None:
    """Locust would report the half that is left, and exit with 0."""
    folder = make_cell(mock(*KNOWN), mode="closed", streams=4, duration_ns=60 * SECOND)
    master = started.master(Fleet(local=2), folder)
    wait_for(lambda: has_samples(folder, 5), master)
    victim = workers_of(master)[1]
    os.kill(victim, number)
    code, _, err = end(master)
    assert code == 0, err
    samples, report = results(folder)
    assert report.ended == "worker_lost"
    assert report.problem is not None
    assert report.problem in err
    assert f"worker 1 (process {victim} on {socket.gethostname()})" in report.problem
    assert says in report.problem
    assert "s after the window was opened" in report.problem
    assert report.workers[1].problem is not None
    assert report.workers[0].problem is None
    assert report.workers[0].samples == report.workers[0].received
    by_worker = Counter(sample.worker for sample in measured(samples))
    assert min(by_worker.values()) >= 5, "what was measured is kept, of both"
    assert gone([victim])


def test_a_worker_that_dies_in_the_warm_up(
    mock: StartMock, make_cell: MakeCell, started: Started
) -> None:
    url = mock("--ttft-ms", "200", "--itl-ms", "5")
    folder = make_cell(url, mode="closed", streams=2, warmup=200, duration_ns=SECOND)
    master = started.master(Fleet(local=2), folder)
    wait_for(lambda: has_samples(folder, 1, "warmup"), master)
    os.kill(workers_of(master)[0], signal.SIGKILL)
    assert end(master)[0] == 0
    _, report = results(folder)
    assert report.ended == "worker_lost"
    assert "worker 0" in (report.problem or "")
    assert "before the window was opened" in (report.problem or "")
    assert report.window_end_ns == report.window_start_ns


def test_workers_join_from_elsewhere(
    mock: StartMock, make_cell: MakeCell, started: Started
) -> None:
    """The same way as those that the master starts; they go on while cells follow."""
    port = free_port()
    folder = make_cell(mock(*KNOWN), mode="closed", streams=4, requests=40)
    workers = [started.worker(port) for _ in range(2)]  # before there is a master
    master = started.master(Fleet(local=1, remote=2, port=port, last=False), folder)
    assert end(master)[0] == 0
    assert [end(worker)[0] for worker in workers] == [MORE, MORE]
    samples, report = results(folder)
    assert [sample.seq for sample in measured(samples)] == list(range(40))
    assert {sample.worker for sample in samples} == {0, 1, 2}
    assert sorted(w.pid for w in report.workers[1:]) == sorted(w.pid for w in workers)


def test_they_wait_for_a_server_that_loads_and_end_with_the_run(
    mock: StartMock, make_cell: MakeCell, started: Started
) -> None:
    port = free_port()
    folder = make_cell(mock(*KNOWN), mode="open", due_ns=[0, MS, 2 * MS], duration_ns=SECOND)
    master = started.master(Fleet(local=0, remote=1, port=port))
    worker = started.worker(port)
    time.sleep(3)
    assert worker.poll() is None
    started.tell(master, folder)
    assert worker.wait(LIMIT_S) == OVER
    assert master.wait(LIMIT_S) == 0
    assert len(measured(results(folder)[0])) == 3


def test_joining_twice(mock: StartMock, make_cell: MakeCell, started: Started) -> None:
    port = free_port()
    folder = make_cell(mock(*KNOWN), mode="closed", streams=2, duration_ns=60 * SECOND)
    master = started.master(Fleet(local=1, remote=1, port=port), folder)
    worker = started.worker(port, token="same")
    wait_for(lambda: has_samples(folder, 2), master)
    again = started.worker(port, token="same")
    code, _, err = end(again)
    assert (code, err.strip()) == (REFUSED, "it has joined this run already")
    assert end(master)[0] == 0
    _, report = results(folder)
    assert report.ended == "worker_lost"
    assert f"process {worker.pid} on" in (report.problem or "")
    assert f"joined twice, the second time as process {again.pid}" in (report.problem or "")
    assert end(worker)[0] == OVER


def test_one_too_many(mock: StartMock, make_cell: MakeCell, started: Started) -> None:
    port = free_port()
    folder = make_cell(mock(*KNOWN), mode="closed", streams=2, duration_ns=60 * SECOND)
    master = started.master(Fleet(local=1, remote=1, port=port), folder)
    started.worker(port)
    wait_for(lambda: has_samples(folder, 2), master)
    third = started.worker(port)
    code, _, err = end(third)
    assert code == REFUSED
    assert f"process {third.pid} on {socket.gethostname()} joined as one worker more" in err
    assert end(master)[0] == 0
    assert "one worker more than the 2" in (results(folder)[1].problem or "")


def test_leaving_early(mock: StartMock, make_cell: MakeCell, started: Started) -> None:
    port = free_port()
    folder = make_cell(mock(*KNOWN), mode="closed", streams=2, duration_ns=60 * SECOND)
    master = started.master(Fleet(local=1, remote=1, port=port), folder)
    worker = started.worker(port)
    wait_for(lambda: has_samples(folder, 2), master)
    started.hang_up(worker)
    assert end(worker)[0] == LEFT
    assert end(master)[0] == 0
    _, report = results(folder)
    assert f"worker 1 (process {worker.pid} on" in (report.problem or "")
    assert "was told to leave" in (report.problem or "")


def test_too_few(make_cell: MakeCell, started: Started) -> None:
    port = free_port()
    folder = make_cell("http://127.0.0.1:1/v1", mode="closed", streams=2, requests=8)
    master = started.master(Fleet(local=1, remote=1, port=port, join_timeout_s=4), folder)
    code, out, err = end(master)
    assert code == REFUSED
    assert f"only 1 of 2 workers joined at 127.0.0.1:{port} within 4 s" in err
    assert not (folder / DRIVE_FILE).exists()
    assert {msgspec.json.decode(line, type=Progress).phase for line in out.splitlines()} <= {
        "connect", "warmup",
    }  # fmt: skip


@pytest.mark.parametrize("taken", ["port", "web_port"])
def test_a_port_that_is_taken(make_cell: MakeCell, started: Started, taken: str) -> None:
    folder = make_cell("http://127.0.0.1:1/v1", mode="closed", streams=2, requests=8)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        fleet = msgspec.structs.replace(Fleet(local=1), **{taken: port})
        code, _, err = end(started.master(fleet, folder))
    assert code == REFUSED
    assert f"cannot listen at 127.0.0.1:{port}: Address already in use" in err


def test_other_code_is_refused(make_cell: MakeCell, started: Started, tmp_path: Path) -> None:
    port = free_port()
    other = tmp_path / "other"
    other.mkdir()
    copy = ["cp", "-r", str(ROOT / "loadprofiles"), str(other / "loadprofiles")]
    subprocess.run(copy, check=True)
    with (other / "loadprofiles" / "sse.py").open("a") as file:
        file.write("# another version\n")
    folder = make_cell("http://127.0.0.1:1/v1", mode="closed", streams=2, requests=8)
    master = started.master(Fleet(local=0, remote=1, port=port, join_timeout_s=6), folder)
    worker = started.worker(port, environment={"PYTHONPATH": str(other)})
    code, _, err = end(worker)
    assert code == REFUSED
    assert "install the same version of serving-load-harness on both" in err
    code, _, err = end(master)
    assert code == REFUSED
    assert "only 0 of 1 workers joined" in err
    assert f"refused: process {worker.pid} on" in err


def test_a_stranger_does_not_join_and_one_who_knows_the_secret_does(
    mock: StartMock, make_cell: MakeCell, started: Started
) -> None:
    port, secret = free_port(), {"HARNESS_JOIN_TOKEN": "one-4711"}
    folder = make_cell(mock(*KNOWN), mode="closed", streams=2, requests=8)
    master = started.master(Fleet(local=1, remote=1, port=port), folder, secret)
    stranger = started.worker(port, environment={"HARNESS_JOIN_TOKEN": "another-4712"})
    code, _, err = end(stranger)
    assert code == REFUSED
    assert err.startswith("it does not know this run's HARNESS_JOIN_TOKEN")
    worker = started.worker(port, environment=secret)
    assert (end(worker)[0], end(master)[0]) == (OVER, 0)
    samples, report = results(folder)
    assert {sample.worker for sample in samples} == {0, 1}
    assert report.workers[1].pid == worker.pid


def test_secrets_are_each_workers_own(
    mock: StartMock, make_cell: MakeCell, started: Started
) -> None:
    port = free_port()
    fields = {"headers": ["X-Team"], "api_key_env": "SOME_KEY"}
    ours = {"LOADPROFILES_HEADERS": '{"X-Team":"a"}', "SOME_KEY": "secret-1"}
    for theirs, orders, says in (
        ({"LOADPROFILES_HEADERS": "{}"}, {}, "has no value for the header X-Team"),
        ({}, {}, "was not told to send a key: give `harness worker` --api-key-env SOME_KEY"),
        ({}, {"api_key_env": "NONE"}, "has nothing in its environment variable NONE"),
        ({"SOME_KEY": "", "MINE": "secret-2"}, {"api_key_env": "MINE"}, None),
    ):
        folder = make_cell(mock(*KNOWN), mode="closed", streams=2, requests=8, **fields)
        master = started.master(Fleet(local=0, remote=1, port=port), folder)
        worker = started.worker(port, environment=ours | theirs, **orders)
        worker_code, _, err = end(worker)
        assert end(master)[0] == 0
        samples, report = results(folder)
        if says is None:
            assert (worker_code, report.ended, len(measured(samples))) == (OVER, "done", 8)
        else:
            assert worker_code == REFUSED
            assert says in err
            assert says in (report.problem or "")
            assert report.ended == "worker_lost"
        kept = b"".join(path.read_bytes() for path in folder.iterdir())
        assert b"secret" not in kept


def test_the_authority_to_trust_comes_along(
    mock: StartMock, make_cell: MakeCell, started: Started, authority: trustme.CA, tmp_path: Path
) -> None:
    """The plan names a file of the master's machine."""
    port, key, trusted = free_port(), tmp_path / "mock.pem", tmp_path / "there" / "ca.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(key))
    trusted.parent.mkdir()
    authority.cert_pem.write_to_path(str(trusted))
    url = mock(*KNOWN, "--tls-cert", str(key))
    folder = make_cell(
        url, mode="open", due_ns=[n * 20 * MS for n in range(20)], duration_ns=SECOND, tls=True,
        ca_file=str(trusted),
    )  # fmt: skip
    master = started.master(Fleet(local=0, remote=2, port=port), folder)
    workers = [started.worker(port) for _ in range(2)]
    assert end(master)[0] == 0
    assert [end(worker)[0] for worker in workers] == [OVER, OVER]
    samples, _ = results(folder)
    assert {sample.error for sample in samples} == {None}
    assert [sample.seq for sample in measured(samples)] == list(range(20))


def test_a_worker_elsewhere_that_is_killed_is_missed(
    mock: StartMock, make_cell: MakeCell, started: Started
) -> None:
    """Nobody reports its death: only its silence tells."""
    port = free_port()
    folder = make_cell(mock(*KNOWN), mode="open", due_ns=poisson(3000, 50), duration_ns=60 * SECOND)
    master = started.master(Fleet(local=1, remote=1, port=port), folder)
    worker = started.worker(port)
    wait_for(lambda: has_samples(folder, 5), master)
    worker.kill()
    assert end(master)[0] == 0
    samples, report = results(folder)
    assert report.ended == "worker_lost"
    assert f"worker 1 (process {worker.pid} on" in (report.problem or "")
    assert "has said nothing for 10 s" in (report.problem or "")
    assert min(Counter(sample.worker for sample in measured(samples)).values()) >= 5
    assert (
        max(
            sample.worker
            for sample in samples
            if (sample.done_ns or 0) > report.window_end_ns - SECOND
        )
        == 0
    )


def test_no_master(started: Started) -> None:
    code, _, err = end(started.worker(free_port(), timeout_s=2))
    assert code == UNREACHED
    assert "no master answers at 127.0.0.1:" in err


@pytest.mark.parametrize("how", ["end of stdin", "SIGTERM"])
def test_interrupted(mock: StartMock, make_cell: MakeCell, started: Started, how: str) -> None:
    folder = make_cell(mock(*KNOWN), mode="closed", streams=4, duration_ns=60 * SECOND)
    master = started.master(Fleet(local=2))
    started.tell(master, folder)
    wait_for(lambda: has_samples(folder, 5), master)
    pids = workers_of(master)
    if how == "SIGTERM":
        master.send_signal(signal.SIGTERM)
    else:
        started.hang_up(master)
    code, _, err = end(master)
    assert (code, err) == (0, "")
    samples, report = results(folder)
    assert report.ended == "interrupted"
    assert {worker.problem for worker in report.workers} == {None}
    assert {sample.error for sample in measured(samples)} <= {None, "aborted"}
    assert gone(pids)


@pytest.mark.parametrize("listening", [True, False])
def test_a_killed_master_takes_its_workers_along(
    mock: StartMock, make_cell: MakeCell, started: Started, *, listening: bool
) -> None:
    folder = make_cell(mock(*KNOWN), mode="closed", streams=4, duration_ns=60 * SECOND)
    master = started.master(Fleet(local=2), folder)
    wait_for(lambda: has_samples(folder, 2), master)
    pids = workers_of(master)
    if not listening:  # as one that imports, or computes on a machine that is too busy
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
    master.kill()
    deadline = time.monotonic() + 30
    while not gone(pids):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert len(list(read_samples(folder))) >= 4


def test_a_warm_up_that_nobody_answers(
    mock: StartMock, make_cell: MakeCell, started: Started
) -> None:
    url = mock("--fault", "http_503")
    folder = make_cell(url, mode="closed", streams=4, duration_ns=20 * SECOND, warmup=10)
    assert end(started.master(Fleet(local=2), folder))[0] == 0
    samples, report = results(folder)
    assert report.ended == "failed"
    assert "worker " in (report.problem or "")
    assert "no warm-up request was answered" in (report.problem or "")
    assert {sample.phase for sample in samples} == {"warmup"}


def test_more_samples_than_one_message_holds(
    mock: StartMock, make_cell: MakeCell, started: Started
) -> None:
    url = mock("--ttft-ms", "1", "--itl-ms", "0")
    folder = make_cell(url, mode="closed", streams=8, requests=600, tokens=300)
    assert end(started.master(Fleet(local=2), folder))[0] == 0
    samples, report = results(folder)
    assert (folder / "samples.jsonl").stat().st_size > 1_000_000
    assert [sample.seq for sample in measured(samples)] == list(range(600))
    assert [worker.problem for worker in report.workers] == [None, None]
