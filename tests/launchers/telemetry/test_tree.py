from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil

from launchers.telemetry.tree import TreeReader

MIB = 2**20
# Holds 64 MiB of its own, and has a child that holds 64 more.
HOLD = """
import os, time
held = b"x" * (64 << 20)
if os.fork() == 0:
    more = bytearray(64 << 20)
    more[::4096] = b"y" * len(more[::4096])
print("held", flush=True)
time.sleep(60)
"""
# Has a child that works for a while and ends, is waited for, and says what that took.
WORK = """
import os, time
if os.fork() == 0:
    while time.process_time() < 0.3:
        pass
    os._exit(0)
os.wait()
print("worked", flush=True)
time.sleep(60)
"""


def test_memory_counts_every_process_of_the_tree_once() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout
        assert [process.stdout.readline() for _ in range(2)] == ["held\n", "held\n"]
        tree = TreeReader(process.pid).read()
        assert tree is not None
        # The fork's copy of the first 64 MiB is resident in both, and is not "shared" to the
        # kernel's statm: the sum is an upper bound, tight where nothing big is forked.
        assert 128 <= tree.memory_bytes / MIB <= 64 * 3 + 60
        children = psutil.Process(process.pid).children(recursive=True)
        assert tree.pids == {process.pid, *(child.pid for child in children)}
        assert len(tree.pids) == 2
        os.killpg(process.pid, signal.SIGKILL)


def test_cpu_counts_children_that_have_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", WORK], stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"worked\n"
        tree = TreeReader(process.pid).read()
        assert tree is not None
        assert 0.29 <= tree.cpu_s < 3
        assert tree.pids == {process.pid}
        process.kill()


def test_a_process_that_has_gone_has_no_tree() -> None:
    process = subprocess.Popen(["/bin/true"])
    process.wait()
    assert TreeReader(process.pid).read() is None


def test_a_child_that_comes_later_is_found_and_nobody_elses() -> None:
    fork = (
        "import subprocess as s; input(); s.Popen(['sleep', '60']); print(1, flush=True); input()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", fork], **pipes, start_new_session=True) as process:
        assert process.stdin
        assert process.stdout
        reader = TreeReader(process.pid)
        assert [reader.read() is not None for _ in range(3)] == [True] * 3
        with subprocess.Popen(["sleep", "60"]) as another:
            process.stdin.write(b"\n")
            process.stdin.flush()
            process.stdout.readline()
            tree = reader.read()
            another.kill()
        assert tree is not None
        (child,) = psutil.Process(process.pid).children()
        assert tree.pids == {process.pid, child.pid}
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert reader.read() is None
