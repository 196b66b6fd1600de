from __future__ import annotations

import os
import signal
import subprocess
import sys

import psutil

from launchers.telemetry.tree import read_tree, tree_bytes

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
        tree = read_tree(process.pid)
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
        tree = read_tree(process.pid)
        assert tree is not None
        assert 0.29 <= tree.cpu_s < 3
        assert tree.pids == {process.pid}
        process.kill()


def test_a_process_that_has_gone_has_no_tree() -> None:
    process = subprocess.Popen(["/bin/true"])
    process.wait()
    assert read_tree(process.pid) is None
    assert tree_bytes(process.pid) is None
