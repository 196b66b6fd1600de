"""Starts a server, and ends it and all its descendants when the harness is gone.

Run as a script by `launchers.processes`, isolated and light; imports nothing of this repository.
Its stdin is a pipe that only the harness holds: the first line says what to start, end of file
means that the harness has finished with it, or died in whatever way. Stdout gets one JSON line
when the server has started and one when it has exited; stderr is the server's log.

It is two processes: one at work, and its parent that ends the server should the first be killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
STRAY_GRACE_S = 2.0
"""What a server that has ended by itself left behind gets this long."""
CLEANUP_TIMEOUT_S = 30.0
UNKILLABLE_S = 30.0
"""A process that hangs in the kernel this long after KILL is left to it."""


def main() -> None:
    """Stand by while a child of this process does the work."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    libc = ctypes.CDLL(None, use_errno=True)
    adopt_orphans(libc)
    standing_by = os.getpid()
    worker = os.fork()
    if worker == 0:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() == standing_by:
            work(libc)
        return
    _, status = os.waitpid(worker, 0)
    if status != 0:
        end(worker, STRAY_GRACE_S)
        sys.exit(1)


def adopt_orphans(libc: ctypes.CDLL) -> None:
    """From here on orphans below become children of this process, whatever they do."""
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def work(libc: ctypes.CDLL) -> None:
    """Guard one server until it or the harness has ended."""
    adopt_orphans(libc)
    wake, wake_write = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))

    line = sys.stdin.readline()
    if not line.endswith("\n"):
        return
    plan = json.loads(line)
    server = start(plan, libc)
    if server is None:
        return
    status = None
    while status is None and not stopped:
        readable, _, _ = select.select([0, wake], [], [], 5.0)
        if wake in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(wake, 512)
        status = reap(server)
        if 0 in readable and not os.read(0, 512):
            break
    if status is None:
        say({"exit": end(server, plan["grace_s"])})
    else:
        say({"exit": status})
        end(server, STRAY_GRACE_S)
    if plan["cleanup"]:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(
                plan["cleanup"], stdin=subprocess.DEVNULL, check=False, timeout=CLEANUP_TIMEOUT_S
            )


def start(plan: dict[str, object], libc: ctypes.CDLL) -> int | None:
    """Start the server as leader of a session of its own; return its pid."""
    argv = plan["argv"]
    assert isinstance(argv, list)  # noqa: S101 - narrows the type
    reading, writing = os.pipe()
    guard = os.getpid()
    began_s = time.monotonic()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            # If this guard is killed too, at least the server itself goes at once.
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            if os.getppid() != guard:
                os._exit(1)
            for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            if plan["folder"]:
                os.chdir(plan["folder"])  # type: ignore[arg-type]
            if plan["cpus"]:
                os.sched_setaffinity(0, plan["cpus"])  # type: ignore[arg-type]
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, 0)
            os.dup2(2, 1)
            os.execvpe(argv[0], argv, os.environ)  # noqa: S606 - no shell is wanted
        except BaseException as error:  # noqa: BLE001 - this is the child: it must not return
            os.write(writing, str(error).encode()[:400])
            os._exit(127)
    os.close(writing)
    failure = os.read(reading, 400)
    os.close(reading)
    if failure:
        os.waitpid(pid, 0)
        say({"failed": failure.decode(errors="replace")})
        return None
    say({"pid": pid, "began_s": began_s})
    return pid


def reap(server: int) -> int | None:
    """Collect every child that has ended; return the server's wait status once it has."""
    status = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, ended = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == server:
                status = ended
    return status


def end(server: int, grace_s: float) -> int | None:
    """TERM to the server's process group and all descendants, then KILL until none is left.

    Returns the server's wait status, if it ended now.
    """
    status = reap(server)
    deadline = time.monotonic() + grace_s
    send(server, signal.SIGTERM)
    while (left := descendants()) and time.monotonic() < deadline + UNKILLABLE_S:
        if time.monotonic() >= deadline:
            send(server, signal.SIGKILL)
            for pid in left:
                signal_one(pid, signal.SIGKILL)
        time.sleep(0.05)
        ended = reap(server)
        status = ended if status is None else status
    return status


def send(server: int, number: signal.Signals) -> None:
    """Signal the server's process group, and each descendant that has left it."""
    members = descendants()
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if server in members or any(group(pid) == server for pid in members):
            os.killpg(server, number)
    for pid in members:
        if group(pid) != server:
            signal_one(pid, number)


def signal_one(pid: int, number: signal.Signals) -> None:
    """Signal one process that may have gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def group(pid: int) -> int | None:
    """Return the process group of a process; None once it has gone."""
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def descendants() -> list[int]:
    """All processes below this one that are left to reap.

    A zombie counts: it may be a main thread that has ended before the others of its process.
    """
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                # The name, in brackets, may hold anything; the parent is second after it.
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                children.setdefault(int(parent), []).append(int(entry.name))
    found: list[int] = []
    stack = [os.getpid()]
    while stack:
        below = children.get(stack.pop(), [])
        found += below
        stack += below
    return found


def say(message: dict[str, object]) -> None:
    """Tell the harness, if it is still there."""
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main()
