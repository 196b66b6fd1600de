"""Several workers through the real command line: one machine, and others in network namespaces."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import psutil
import pytest

from loadprofiles.records import read_drive_report, read_samples

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import StartMock
    from tests.e2e.conftest import Done, Workplace

KNOWN = ("--ttft-ms=20", "--itl-ms=5")
TOKENS = ("--output-tokens", "8")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def workers(workplace: Workplace) -> list[int]:
    """Processes of workers, in the order in which they were started."""
    found = [psutil.Process(pid) for pid in workplace.processes()]
    return sorted(p.pid for p in found if "loadprofiles.workers.worker" in p.cmdline())


def driving(workplace: Workplace, count: int = 5) -> bool:
    """Whether two workers have measured so many by now."""
    cells = list(workplace.path.glob("runs/*/cells/*/samples.jsonl"))
    if not cells:
        return False
    seen = [s.worker for s in read_samples(cells[0].parent) if s.phase == "measured"]
    return min(seen.count(0), seen.count(1)) >= count


def codes(cell: dict[str, Any]) -> set[str]:
    return {caveat["code"] for caveat in cell["client"]["caveats"]}


def test_two_workers(workplace: Workplace, mock: StartMock) -> None:
    done = workplace.load(
        *("--url", mock(*KNOWN), "--profile", "closed", "--level", "1,6", "--duration", "2"),
        *("--workers", "2", *TOKENS),
    )
    assert done.went_well, done.err
    one, six = done.cells
    assert six["in_flight_peak"] == 6
    assert six["requests"]["failed"] == 0
    assert 18 < six["metrics"]["ttft_ms"]["p50"] < 60
    folder = done.run / "cells" / six["id"]
    report = read_drive_report(folder)
    assert [worker.problem for worker in report.workers] == [None, None]
    busiest = max(worker.cpu_s for worker in report.workers)
    assert six["client"]["cpu"] == pytest.approx(busiest / six["window_s"], rel=1e-3)
    assert {s.worker for s in read_samples(folder)} == {0, 1}
    assert one["in_flight_peak"] == 1
    assert workplace.processes() == []


def test_a_worker_killed_in_mid_run_is_exit_code_4(workplace: Workplace, mock: StartMock) -> None:
    process = workplace.start(
        "load", "--url", mock(*KNOWN), "--profile", "closed", "--level", "4,5",
        *("--duration", "60", "--workers", "2", "--json", *TOKENS),
    )  # fmt: skip
    workplace.wait_for(lambda: driving(workplace))
    victim = workers(workplace)[-1]
    os.kill(victim, signal.SIGKILL)
    done = workplace.finish(process, 30)
    assert done.code == 4
    assert f"(process {victim} on {socket.gethostname()}) was killed by SIGKILL" in done.err
    assert "s after the window was opened" in done.err
    [cell] = done.cells  # and the other was not begun with what was left
    invalid = {one["code"] for one in cell["client"]["caveats"] if one["invalidates"]}
    assert "worker_lost" in invalid
    assert "streams_not_held" not in invalid, "that is what worker_lost says"
    told = json.loads((done.run / "measurements.json").read_text())["caveats"]
    assert [one["code"] for one in told] == ["incomplete"]  # the other cell has no numbers
    assert cell["client"]["valid"] is False
    assert cell["requests"]["ok"] >= 10
    assert workplace.processes() == []


def test_ctrl_c_ends_workers_elsewhere_too(workplace: Workplace, mock: StartMock) -> None:
    join = f"127.0.0.1:{free_port()}"
    other = workplace.start("worker", "--join", join)
    process = workplace.start(
        "load", "--url", mock(*KNOWN), "--profile", "closed", "--level", "4,5", "--json",
        *("--duration", "60", "--workers", "1", "--expect-workers", "1", "--bind", join, *TOKENS),
    )  # fmt: skip
    workplace.wait_for(lambda: driving(workplace))
    process.send_signal(signal.SIGINT)
    done = workplace.finish(process, 30)
    assert done.code == 130
    [cell] = done.cells
    assert cell["requests"]["ok"] >= 10
    assert cell["requests"]["failed"] == 0
    assert workplace.finish(other, 20).code == 0
    assert workplace.processes() == []


def test_kill_leaves_no_process(workplace: Workplace, mock: StartMock) -> None:
    join = f"127.0.0.1:{free_port()}"
    other = workplace.start("worker", "--join", join)
    process = workplace.start(
        "load", "--url", mock(*KNOWN), "--profile", "closed", "--level", "4",
        *("--duration", "60", "--workers", "1", "--expect-workers", "1", "--bind", join, *TOKENS),
    )  # fmt: skip
    workplace.wait_for(lambda: driving(workplace))
    process.kill()
    process.communicate()
    assert workplace.finish(other, 20).code == 0
    workplace.wait_for(lambda: not workplace.processes(), 10)
    [cell] = workplace.path.glob("runs/*/cells/*")
    assert read_drive_report(cell).ended == "interrupted"


def test_not_enough_workers(workplace: Workplace, mock: StartMock) -> None:
    port = free_port()
    done = workplace.load(
        *("--url", mock(*KNOWN), "--profile", "closed", "--level", "2", "--duration", "1"),
        *("--workers", "1", "--expect-workers", "1", "--bind", f"127.0.0.1:{port}"),
        *("--join-timeout", "4", *TOKENS),
    )
    assert done.code == 4
    assert f"only 1 of 2 workers joined at 127.0.0.1:{port} within 4 s" in done.err
    assert f"harness worker --join 127.0.0.1:{port}" in done.err
    assert done.cells == []
    assert workplace.processes() == []


def test_servers_of_ours_cannot_be_asked_from_elsewhere(workplace: Workplace) -> None:
    done = workplace.harness(
        "load", "--server", "awq", "--profile", "closed", "--expect-workers", "1",
        *("--bind", "127.0.0.1:5557"),
    )  # fmt: skip
    assert done.code == 2
    assert "give its --url" in done.err


def test_over_ipv6(workplace: Workplace, mock: StartMock) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("NOT TESTED: no IPv6 here")
    join = f"[::1]:{free_port()}"
    other = workplace.start("worker", "--join", join)
    done = workplace.load(
        *("--url", mock(*KNOWN), "--profile", "closed", "--level", "2", "--duration", "1"),
        *("--expect-workers", "1", "--bind", join, *TOKENS),
    )
    assert done.went_well, done.err
    assert workplace.finish(other, 20).code == 0


def test_a_worker_that_finds_nobody(workplace: Workplace) -> None:
    done = workplace.harness("worker", "--join", f"127.0.0.1:{free_port()}", "--timeout", "2")
    assert done.code == 3
    assert "no master answers at" in done.err


def test_a_worker_is_interrupted(workplace: Workplace) -> None:
    process = workplace.start("worker", "--join", f"127.0.0.1:{free_port()}")
    workplace.wait_for(lambda: workers(workplace))
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    assert workplace.finish(process, 20).code == 130
    assert workplace.processes() == []


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("--workers", "0"), "--workers: 0 is not in 1 to"),
        (("--expect-workers", "1"), "Add --bind HOST:PORT"),
        (
            ("--expect-workers", "1", "--bind", "0.0.0.0:18956", "--quiet"),
            "Set HARNESS_JOIN_TOKEN here and for each worker",
        ),
        (("--bind", "127.0.0.1:1"), "--bind goes with --expect-workers"),
        (("--expect-workers", "1", "--bind", "here"), '--bind: "here" is no HOST:PORT'),
        (("--web-port", "80"), "--web-port goes with --web"),
        (("--workers", "1", "--join-timeout", "0"), "--join-timeout: 0 s must be more"),
    ],
)
def test_flags_that_cannot_be(workplace: Workplace, argv: tuple[str, ...], says: str) -> None:
    done = workplace.harness("load", "--url", "http://127.0.0.1:1/v1", "--profile", "closed", *argv)
    assert done.code == 2
    assert says in done.err


@pytest.mark.parametrize("flag", ["--bind", "--web-port"])
def test_a_port_that_cannot_be_had_is_told_at_once(workplace: Workplace, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        argv = ["--expect-workers", "1", "--bind", f"127.0.0.1:{port}"]
        if flag == "--web-port":
            argv = ["--web", "--web-port", str(port)]
        done = workplace.harness(
            "load", "--url", "http://127.0.0.1:1/v1", "--profile", "closed", *argv
        )
    assert done.code == 2
    assert f"{flag}: cannot listen at 127.0.0.1:{port}: Address already in use" in done.err
    assert "waiting for" not in done.err
    assert not (workplace.path / "runs").exists()


def test_an_address_of_another_machine(workplace: Workplace) -> None:
    done = workplace.harness(
        *("load", "--url", "http://127.0.0.1:1/v1", "--profile", "closed"),
        *("--expect-workers", "1", "--bind", "192.0.2.1:18957"),
    )
    assert done.code == 2
    assert "--bind: cannot listen at 192.0.2.1:18957: Cannot assign requested" in done.err


def page(port: int, path: str, *, post: bool = False) -> Any:  # noqa: ANN401 - JSON
    request = Request(f"http://127.0.0.1:{port}{path}", method="POST" if post else "GET")
    with urlopen(request, timeout=10) as answer:  # noqa: S310 - of this machine
        text = answer.read()
    return json.loads(text) if path != "/" else text.decode()


def test_locusts_own_page(workplace: Workplace, mock: StartMock) -> None:
    port = free_port()
    process = workplace.start(
        "load", "--url", mock(*KNOWN), "--profile", "closed", "--level", "6,7", "--json",
        *("--duration", "60", "--workers", "2", "--web", "--web-port", str(port), *TOKENS),
    )  # fmt: skip
    workplace.wait_for(lambda: driving(workplace))

    def rows() -> dict[str, dict[str, Any]]:
        return {row["name"]: row for row in page(port, "/stats/requests")["stats"]}

    workplace.wait_for(lambda: rows().get("ttft", {}).get("num_requests", 0) > 20)
    found, seen = rows(), page(port, "/stats/requests")
    assert 15 < found["ttft"]["median_response_time"] < 60
    assert found["ttft"]["method"] == "LLM"
    assert found["/v1/completions"]["num_requests"] == found["Aggregated"]["num_requests"]
    assert found["/v1/completions"]["num_failures"] == 0
    assert seen["user_count"] == 6
    assert seen["state"] == "running"
    assert [worker["user_count"] for worker in seen["workers"]] == [3, 3]
    assert "<title>Locust" in page(port, "/")
    assert page(port, "/stop", post=True)["success"] is True
    done = workplace.finish(process, 30)
    assert done.code == 130
    assert "interrupted: 1 of 2 cells have numbers" in done.err
    [cell] = done.cells
    assert "interrupted" in codes(cell)
    assert cell["requests"]["ok"] > 20
    assert workplace.processes() == []


# --- other machines ----------------------------------------------------------------


@pytest.fixture
def network() -> Any:  # noqa: ANN401 - a generator
    """A network namespace behind a veth pair, with a clock of its own: as another machine."""
    if os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("unshare") is None:
        pytest.skip("NOT TESTED: network namespaces need root, ip and unshare")
    name = f"hw{os.getpid() % 100_000}"
    commands = [
        f"ip netns add {name}",
        f"ip link add {name}a type veth peer name {name}b netns {name}",
        f"ip addr add 10.213.77.1/24 dev {name}a",
        f"ip link set {name}a up",
        f"ip -n {name} addr add 10.213.77.2/24 dev {name}b",
        f"ip -n {name} link set {name}b up",
        f"ip -n {name} link set lo up",
    ]
    try:
        for command in commands:
            done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"NOT TESTED: no network namespaces here: {done.stderr.strip()}")
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", f"{name}a"], check=False, capture_output=True)


SECRET = {"HARNESS_JOIN_TOKEN": "quiet-joining-4712"}


def test_another_machine_with_another_clock(
    workplace: Workplace, mock: StartMock, network: str
) -> None:
    """Its monotonic clock is 5000 s ahead; its samples are on the master's time line."""
    ahead_s = 5000
    probe = ["unshare", "--time", "--monotonic", str(ahead_s), "--fork", "true"]
    clock = probe[:-1] if subprocess.run(probe, check=False).returncode == 0 else []
    url = mock(*KNOWN, "--host", "10.213.77.1")
    argv = ["ip", "netns", "exec", network, *clock, sys.executable, "-m", "harness", "worker"]
    worker = subprocess.Popen(
        [*argv, "--join", "10.213.77.1:5599"],
        cwd=workplace.path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | SECRET,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    done = workplace.load(
        *("--url", url, "--profile", "steady", "--rate", "40", "--duration", "3", *TOKENS),
        *("--workers", "1", "--expect-workers", "1", "--bind", "10.213.77.1:5599"),
        *("--repeats", "2"),
        environment=SECRET,
    )
    try:
        assert done.went_well, done.err
        assert worker.wait(15) == 0
    finally:
        worker.kill()
        worker.communicate()
    for cell in done.cells:
        check_one_time_line(done, cell["id"], ahead_s if clock else 0)
        assert ("worker_clocks" in codes(cell)) == bool(clock)
    assert workplace.processes() == []
    if not clock:
        pytest.skip("NOT TESTED: no time namespaces here; the rest was, with one clock")


def check_one_time_line(done: Done, cell: str, ahead_s: float) -> None:
    folder: Path = done.run / "cells" / cell
    report = read_drive_report(folder)
    here, there = report.workers
    assert abs(here.clock_offset_ns) <= here.clock_error_ns
    assert abs(there.clock_offset_ns - ahead_s * 1e9) <= there.clock_error_ns < 50e6
    assert abs(there.clock_drift_ns) < 50e6
    samples = sorted(
        (s for s in read_samples(folder) if s.phase == "measured"), key=lambda sample: sample.seq
    )
    plan = json.loads((folder / "plan.json").read_text())
    off = [
        s.due_ns - report.window_start_ns - due
        for s, due in zip(samples, plan["due_ns"], strict=True)
    ]
    assert all(abs(error) <= 1 for error in off), "shifted by one number"
    assert {s.worker for s in samples} == {0, 1}
    for sample in samples:
        assert sample.error is None
        assert sample.due_ns <= (sample.sent_ns or 0) < (sample.first_ns or 0) < sample.due_ns + 5e9
