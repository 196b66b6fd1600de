"""Ways to make the client slow on purpose."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from launchers.devices import available_cpus, split_cpus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Hogs = Callable[[int], None]

COLLECTING = """
import _thread, gc, runpy, sys, time

gc.freeze = gc.disable = lambda: None
kept = [[] for _ in range(600_000)]  # what each collection walks through
sleep = time.sleep  # of the operating system: gevent patches the module

def collect():
    while True:
        sleep(0.2)
        gc.collect()

_thread.start_new_thread(collect, ())
sys.argv = sys.argv[:1]
runpy.run_module("loadprofiles.drive", run_name="__main__", alter_sys=True)
"""
"""The driver with the garbage collector on, five collections a second."""


@pytest.fixture
def cpus() -> tuple[list[int], list[int]]:
    """The server's CPUs and the client's."""
    server, client = split_cpus(available_cpus())
    if server == client:
        pytest.skip("needs two CPUs")
    return server, client


@pytest.fixture
def hog(cpus: tuple[list[int], list[int]]) -> Iterator[Hogs]:
    """Start so many processes that never rest on each of the client's CPUs."""
    with contextlib.ExitStack() as stack:

        def start(count: int) -> None:
            for cpu in cpus[1] * count:
                process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
                stack.callback(process.wait)
                stack.callback(process.kill)
                os.sched_setaffinity(process.pid, {cpu})

        yield start


@pytest.fixture
def collecting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the driver run with Python's garbage collector on."""
    monkeypatch.setattr("harness.load.child.COMMAND", (sys.executable, "-P", "-c", COLLECTING))
