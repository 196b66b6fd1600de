from __future__ import annotations

import errno
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest

from launchers import processes
from launchers.build import Build
from launchers.devices import available_cpus
from launchers.engines import Start
from launchers.errors import BuildError, LaunchError
from launchers.launch import Running, check_build, launch
from launchers.processes import ExitStatus, GuardedProcess

if TYPE_CHECKING:
    from tests.launchers.conftest import Intruder, Tree

MakeBuild = Callable[..., Build]
ROOT = Path(__file__).parents[2]


def quiet(_line: str) -> None:
    pass


def test_a_server_comes_up_answers_and_is_gone_afterwards(
    make_build: MakeBuild, tmp_path: Path, tree: Tree
) -> None:
    lines: list[str] = []
    with launch(make_build("serves"), tmp_path, base_dir=tmp_path, on_line=lines.append) as running:
        server = running.server
        assert running.poll() is None
        assert httpx.get(server.base_url.removesuffix("/v1") + "/version").json() == {
            "version": "9.9.9"
        }
        assert server.base_url.startswith("http://127.0.0.1:")
        assert server.engine_version == "9.9.9"
        assert server.pid in [process.pid for process in tree.alive()]
        assert server.log == tmp_path / "server.log"
        assert running.tail(1) == ["serving"]
        assert server.provenance["argv"][2].endswith("fake_engine.py")  # type: ignore[index]
        ready_s = float(str(server.provenance["ready_s"]))
        assert 0 < ready_s <= float(str(server.provenance["first_token_s"]))
    assert tree.alive() == []
    assert running.poll() == ExitStatus(None, "SIGTERM")
    assert any("starting" in line for line in lines)
    assert any("ready after" in line for line in lines)


def test_what_is_ours_is_in_no_start_up_time(
    make_build: MakeBuild, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_s = 0.4
    slow_guard = tmp_path / "guard.py"
    slow_guard.write_text(
        f"import runpy, time\ntime.sleep({slow_s})\n"
        f"runpy.run_path({str(processes.GUARD)!r}, run_name='__main__')\n"
    )
    monkeypatch.setattr(processes, "GUARD", slow_guard)
    looks = GuardedProcess.listens_alone

    def looks_slowly(process: GuardedProcess, port: int) -> bool:
        time.sleep(slow_s)
        return looks(process, port)

    monkeypatch.setattr(GuardedProcess, "listens_alone", looks_slowly)
    began = time.monotonic()
    with launch(make_build("serves"), tmp_path, base_dir=tmp_path, on_line=quiet) as running:
        took_s = time.monotonic() - began
        told_s = float(str(running.server.provenance["first_token_s"]))
        assert 0 < told_s <= took_s - 2 * slow_s + 0.01


@pytest.mark.skipif(len(available_cpus()) < 2, reason="one CPU cannot be shared out")
def test_the_client_gets_a_cpu_that_the_server_never_uses(
    make_build: MakeBuild, tmp_path: Path
) -> None:
    with launch(make_build("serves"), tmp_path, base_dir=tmp_path, on_line=quiet) as running:
        said = re.search(r"allowed cpus \[(.*)\]", (tmp_path / "server.log").read_text())
        assert said
        allowed = {int(cpu) for cpu in said[1].split(",")}
        client = running.server.client_cpus
        assert client
        assert not allowed & set(client)
        assert allowed | set(client) == set(available_cpus())


def test_no_cpu_is_taken_from_the_server_when_not_wanted(
    make_build: MakeBuild, tmp_path: Path
) -> None:
    build = make_build("serves")
    with launch(
        build, tmp_path, base_dir=tmp_path, on_line=quiet, reserve_client_cpu=False
    ) as running:
        assert running.server.client_cpus is None
        assert f"allowed cpus {available_cpus()}" in (tmp_path / "server.log").read_text()


def test_a_server_that_dies_while_loading_says_why(
    make_build: MakeBuild, tmp_path: Path, tree: Tree
) -> None:
    build = make_build("dies")
    with (
        pytest.raises(LaunchError) as caught,
        launch(build, tmp_path, base_dir=tmp_path, on_line=quiet),
    ):
        pytest.fail("it came up")
    message = str(caught.value)
    assert "exit status 3" in message
    lines = message.splitlines()
    assert lines[-1] == "  ValueError: no kernel for this GPU"
    assert len(lines) == 16
    assert all(line.strip() for line in lines)
    assert tree.alive() == []


def test_a_server_that_crashes_names_the_signal(make_build: MakeBuild, tmp_path: Path) -> None:
    build = make_build("crashes")
    with (
        pytest.raises(LaunchError, match="killed by SIGSEGV"),
        launch(build, tmp_path, base_dir=tmp_path, on_line=quiet),
    ):
        pytest.fail("it came up")


def test_a_server_that_never_answers_is_ended(
    make_build: MakeBuild, tmp_path: Path, tree: Tree
) -> None:
    build = make_build("loads", ready_timeout_s=1)
    with (
        pytest.raises(LaunchError, match=r"(?s)ready_timeout_s = 1 s .*allowed cpus") as caught,
        launch(build, tmp_path, base_dir=tmp_path, on_line=quiet),
    ):
        pytest.fail("it came up")
    assert str(tmp_path / "server.log") in str(caught.value)
    assert tree.alive() == []


def test_health_alone_is_not_readiness(make_build: MakeBuild, tmp_path: Path, tree: Tree) -> None:
    build = make_build("refuses")
    with (
        pytest.raises(LaunchError, match=r"refused to generate: HTTP 400 .*forbidden here"),
        launch(build, tmp_path, base_dir=tmp_path, on_line=quiet),
    ):
        pytest.fail("it came up")
    assert tree.alive() == []


def test_a_server_that_dies_in_mid_run_is_noticed(
    make_build: MakeBuild, tmp_path: Path, tree: Tree
) -> None:
    with launch(make_build("serves"), tmp_path, base_dir=tmp_path, on_line=quiet) as running:
        url = running.server.base_url + "/completions"
        with pytest.raises(httpx.HTTPError):
            httpx.post(url, json={"die": True})
        deadline = time.monotonic() + 10
        while (status := running.poll()) is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert str(status) == "killed by SIGSEGV"
        assert running.poll() == status
        assert running.tail(1) == ["cosmic ray"]
        assert tree.wait_gone() == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_after_an_exception(
    make_build: MakeBuild, tmp_path: Path, tree: Tree, error: type[BaseException]
) -> None:
    with (
        pytest.raises(error),
        launch(make_build("serves"), tmp_path, base_dir=tmp_path, on_line=quiet),
    ):
        raise error
    assert tree.alive() == []


def test_term_is_followed_by_kill_and_escaped_grandchildren_go_too(
    make_build: MakeBuild, tmp_path: Path, tree: Tree
) -> None:
    command = [*(make_build("children").command or []), "--port=0"]
    start = Start(argv=command, environment={"HARNESS_TEST_MARK": tree.token})
    process = GuardedProcess(start, tmp_path / "log", grace_s=0.3)
    tree.wait_count(5)  # guard (two), server, two grandchildren
    began = time.monotonic()
    process.stop()
    assert tree.alive() == []
    assert time.monotonic() - began >= 0.3
    assert process.poll() == ExitStatus(None, "SIGKILL")


def test_a_main_thread_that_ends_first_is_waited_for(make_build: MakeBuild, tmp_path: Path) -> None:
    command = [*(make_build("lingers").command or []), "--port=0"]
    process = GuardedProcess(Start(argv=command), tmp_path / "log")
    deadline = time.monotonic() + 10
    while process.tail(1) != ["serving"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.stop()
    assert process.poll() == ExitStatus(5)


def test_what_a_dead_server_left_behind_goes_too(tmp_path: Path, tree: Tree) -> None:
    script = "sleep 600 & setsid sleep 600 & exit 7"
    start = Start(argv=["/bin/sh", "-c", script], environment={"HARNESS_TEST_MARK": tree.token})
    process = GuardedProcess(start, tmp_path / "log")
    assert tree.wait_gone() == []
    assert process.poll() == ExitStatus(7)
    process.stop()


def test_an_engine_does_not_get_the_keys_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = {"GATEWAY_API_KEY": "a1", "AWS_SECRET_ACCESS_KEY": "b2", "DB_PASSWORD": "c3"}
    secrets["OTHER"] = "sk-d4567890ab"  # called like none
    theirs = {"HF_TOKEN": "e5", "VLLM_API_KEY": "f6", "CUDA_VISIBLE_DEVICES": "0", "PLAIN": "g7"}
    for name, value in (secrets | theirs).items():
        monkeypatch.setenv(name, value)
    start = Start(argv=["/usr/bin/env"], secrets=("AWS_SECRET_ACCESS_KEY",))
    process = GuardedProcess(start, tmp_path / "log")
    deadline = time.monotonic() + 20
    while process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.stop()
    lines = (tmp_path / "log").read_text().splitlines()
    seen = dict(line.split("=", 1) for line in lines if "=" in line)
    assert {name for name in secrets if name in seen} == {"AWS_SECRET_ACCESS_KEY"}
    assert {name: seen.get(name) for name in theirs} == theirs
    assert seen["PATH"] == os.environ["PATH"]


def test_a_secret_that_a_build_needs_has_to_be_there(
    make_build: MakeBuild, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = make_build("serves").model_copy(update={"secrets": ["BUCKET_KEY"]})
    with pytest.raises(BuildError, match="`secrets`: the environment variable BUCKET_KEY is not"):
        check_build(build, tmp_path)
    monkeypatch.setenv("BUCKET_KEY", "x")
    check_build(build, tmp_path)


def test_the_cleanup_command_runs_after_the_end(tmp_path: Path) -> None:
    done = tmp_path / "done"
    start = Start(argv=["/bin/sleep", "600"], cleanup=["/usr/bin/touch", str(done)])
    process = GuardedProcess(start, tmp_path / "log")
    assert not done.exists()
    process.stop()
    assert done.exists()


PARENT = """
import sys, time
from pathlib import Path
from launchers.build import Build
from launchers.launch import launch
build = Build.model_validate_json(sys.argv[1])
folder = Path(sys.argv[2])
with launch(build, folder, base_dir=folder, on_line=lambda line: print(line, flush=True)):
    print("READY", flush=True)
    time.sleep(600)
"""


def run_parent(build: Build, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PARENT), build.model_dump_json(), str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize(
    ("mode", "until", "delay_s"),
    [
        ("children", "starting", 0.0),
        ("children", "starting", 0.12),
        ("loads", "starting", 0.5),
        ("serves", "READY", 0.0),
        ("children", "READY", 0.1),
    ],
)
def test_nothing_outlives_a_parent_killed_with_sigkill(
    make_build: MakeBuild, tmp_path: Path, tree: Tree, mode: str, until: str, delay_s: float
) -> None:
    with run_parent(make_build(mode), tmp_path) as parent:
        assert parent.stdout
        for line in parent.stdout:
            if until in line:
                break
        time.sleep(delay_s)
        parent.kill()
    # "children" ignores TERM, so that its end takes the whole grace.
    assert tree.wait_gone(25) == []


def guards(pid: int | None) -> list[psutil.Process]:
    """The one at work, and the one that stands by."""
    return psutil.Process(pid).parents()[:2]


def poll_until_it_has_ended(running: Running) -> None:
    deadline = time.monotonic() + 10
    while running.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("mode", "polled"),
    [("serves", True), ("stubborn", False), ("children", True), ("children", False)],
)
def test_a_killed_guard_takes_everything_with_it(
    make_build: MakeBuild, tmp_path: Path, tree: Tree, mode: str, *, polled: bool
) -> None:
    with launch(make_build(mode), tmp_path, base_dir=tmp_path, on_line=quiet) as running:
        at_work, _ = guards(running.server.pid)
        at_work.kill()
        if polled:
            poll_until_it_has_ended(running)
    assert tree.alive() == []
    assert str(running.poll()) == "killed by its guard, which has died"


@pytest.mark.parametrize("polled", [True, False])
def test_the_guard_that_stands_by_is_killed(
    make_build: MakeBuild, tmp_path: Path, tree: Tree, *, polled: bool
) -> None:
    with launch(make_build("serves"), tmp_path, base_dir=tmp_path, on_line=quiet) as running:
        _, standing_by = guards(running.server.pid)
        standing_by.kill()
        if polled:
            poll_until_it_has_ended(running)
    assert tree.alive() == []


@pytest.mark.parametrize("polled", [True, False])
def test_both_guards_are_killed_and_the_server_ignores_term(
    make_build: MakeBuild, tmp_path: Path, tree: Tree, *, polled: bool
) -> None:
    with launch(make_build("stubborn"), tmp_path, base_dir=tmp_path, on_line=quiet) as running:
        at_work, standing_by = guards(running.server.pid)
        standing_by.suspend()
        at_work.kill()
        standing_by.kill()
        if polled:
            poll_until_it_has_ended(running)
    assert tree.wait_gone() == []


def test_a_killed_guard_and_then_a_killed_parent(
    make_build: MakeBuild, tmp_path: Path, tree: Tree
) -> None:
    with run_parent(make_build("children"), tmp_path) as parent:
        assert parent.stdout
        for line in parent.stdout:
            if "READY" in line:
                break
        [standing_by] = psutil.Process(parent.pid).children()
        [at_work] = standing_by.children()
        at_work.kill()
        parent.kill()
    assert tree.wait_gone() == []


def test_ctrl_c_on_the_whole_foreground_group_ends_in_order(
    make_build: MakeBuild, tmp_path: Path, tree: Tree
) -> None:
    with run_parent(make_build("serves"), tmp_path) as parent:
        assert parent.stdout
        for line in parent.stdout:
            if "READY" in line:
                break
        os.killpg(parent.pid, signal.SIGINT)
        assert parent.wait(15) != 0
    assert tree.alive() == []


def test_a_port_in_use_is_found_before_anything_starts(
    make_build: MakeBuild, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as other:  # as vLLM does
        port = other.getsockname()[1]
        build = make_build("serves", arguments={"port": port})
        with (
            pytest.raises(LaunchError, match=rf"port {port} .*in use.*leave the port out"),
            launch(build, tmp_path, base_dir=tmp_path, on_line=quiet),
        ):
            pytest.fail("it came up")
    assert not (tmp_path / "server.log").exists()


@pytest.mark.parametrize("theirs", ["serves", "refuses"])
def test_another_server_on_the_port_is_not_ours(
    make_build: MakeBuild, tmp_path: Path, tree: Tree, intruder: Intruder, theirs: str
) -> None:
    intruder.mode = theirs
    with (
        pytest.raises(LaunchError, match="fake") as caught,
        launch(make_build("loads"), tmp_path, base_dir=tmp_path, on_line=intruder),
    ):
        pytest.fail("it came up")
    assert f"another process took port {intruder.port};" in str(caught.value)
    assert tree.alive() == []


def test_another_server_that_shares_the_port(
    make_build: MakeBuild, tmp_path: Path, intruder: Intruder
) -> None:
    intruder.mode = "shares"
    with (
        pytest.raises(LaunchError, match="another process took port"),
        launch(make_build("shares"), tmp_path, base_dir=tmp_path, on_line=intruder),
    ):
        pytest.fail("it came up")


def test_a_server_that_shares_its_port_with_nobody(make_build: MakeBuild, tmp_path: Path) -> None:
    with launch(make_build("shares"), tmp_path, base_dir=tmp_path, on_line=quiet) as running:
        assert running.poll() is None


def test_of_a_container_a_daemon_listens(
    make_build: MakeBuild, tmp_path: Path, intruder: Intruder, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\nif [ "$1" = run ]; then exec sleep 600; fi\n')
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    build = make_build("serves", command=None, image="vllm/vllm-openai")
    with launch(build, tmp_path, base_dir=tmp_path, on_line=intruder) as running:
        assert running.server.engine_version == "9.9.9"


def test_the_port_is_held_while_an_engine_is_installed(
    make_build: MakeBuild, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports: list[int] = []

    def installed(_name: str) -> Path:
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", ports[0]))
        program = tmp_path / "python"
        program.write_text(f"#!/bin/sh\nexec {shlex.join(make_build('serves').command or [])} $@\n")
        program.chmod(0o755)
        return program

    monkeypatch.setattr("launchers.engines.installed", installed)
    with socket.create_server(("127.0.0.1", 0)) as free:
        ports.append(free.getsockname()[1])
    build = make_build("serves", command=None, arguments={"port": ports[0]})
    with launch(build, tmp_path, base_dir=tmp_path, on_line=quiet) as running:
        assert running.server.base_url == f"http://127.0.0.1:{ports[0]}/v1"


def test_a_port_that_only_root_may_have(
    make_build: MakeBuild, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unprivileged(socket.socket):  # the tests may run as root
        def bind(self, _address: object) -> None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("launchers.launch.socket.socket", Unprivileged)
    with (
        pytest.raises(LaunchError, match=r"port 80 .*Permission denied.*take a higher one"),
        launch(make_build("serves"), tmp_path, base_dir=tmp_path, on_line=quiet, port=80),
    ):
        pytest.fail("it came up")


def test_a_port_of_the_users_choice(make_build: MakeBuild, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with launch(make_build("serves"), tmp_path, base_dir=tmp_path, on_line=quiet, port=port) as up:
        assert up.server.base_url == f"http://127.0.0.1:{port}/v1"


@pytest.mark.parametrize("port", [0, 70_000, "eighty", True])
def test_an_impossible_port(make_build: MakeBuild, tmp_path: Path, port: object) -> None:
    build = make_build("serves", arguments={"port": port})
    with (
        pytest.raises(BuildError, match=r"arguments\.port"),
        launch(build, tmp_path, base_dir=tmp_path, on_line=quiet),
    ):
        pytest.fail("it came up")


def test_a_command_that_is_not_there(make_build: MakeBuild, tmp_path: Path) -> None:
    build = make_build("serves", command=["no-such-vllm"])
    with (
        pytest.raises(BuildError, match="`command`: no-such-vllm"),
        launch(build, tmp_path, base_dir=tmp_path, on_line=quiet),
    ):
        pytest.fail("it came up")


def test_a_program_that_the_kernel_refuses(tmp_path: Path) -> None:
    program = tmp_path / "not-a-program"
    program.write_bytes(b"\x00\x01")
    program.chmod(0o755)
    with pytest.raises(LaunchError, match="Exec format error"):
        GuardedProcess(Start(argv=[str(program)]), tmp_path / "log")


def test_a_log_that_cannot_be_written(make_build: MakeBuild, tmp_path: Path) -> None:
    with (
        pytest.raises(LaunchError, match="cannot write"),
        launch(make_build("serves"), tmp_path / "no", base_dir=tmp_path, on_line=quiet),
    ):
        pytest.fail("it came up")


def test_secrets_stay_out_of_the_provenance(make_build: MakeBuild, tmp_path: Path) -> None:
    build = make_build("serves")
    build = build.model_copy(
        update={
            "arguments": {"hf-token": "s3cr3t-1", "max-num-batched-tokens": 2048},
            "environment": build.environment | {"HF_TOKEN": "s3cr3t-2"},
        }
    )
    with launch(build, tmp_path, base_dir=tmp_path, on_line=quiet) as running:
        text = repr(running.server)
    assert "s3cr3t" not in text
    assert "--max-num-batched-tokens=2048" in text
