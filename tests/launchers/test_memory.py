from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from launchers.memory import sample_memory, tree_bytes

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


def test_the_peak_counts_every_process_of_the_tree_once() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout
        assert [process.stdout.readline() for _ in range(2)] == ["held\n", "held\n"]
        with sample_memory(process.pid, interval_s=0.01) as use:
            time.sleep(0.1)
        # The fork's copy of the first 64 MiB is resident in both, and is not "shared" to the
        # kernel's statm: the sum is an upper bound, tight where nothing big is forked.
        assert use.samples > 1
        assert use.peak_gib
        assert 128 <= use.peak_gib * 1024 <= 64 * 3 + 60
        assert use.kind == "rss"
        os.killpg(process.pid, signal.SIGKILL)


def test_a_process_that_has_gone_is_unknown() -> None:
    process = subprocess.Popen(["/bin/true"])
    process.wait()
    assert tree_bytes(process.pid) is None
    with sample_memory(process.pid, interval_s=0.01) as use:
        pass
    assert use.peak_gib is None
