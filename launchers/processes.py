"""A server's process tree under its guard."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from launchers.errors import LaunchError
from launchers.surroundings import surroundings

if TYPE_CHECKING:
    from launchers.engines import Start

GUARD = Path(__file__).with_name("guard.py")
GRACE_S = 10.0
"""Between TERM and KILL."""
TAIL_BYTES = 65_536
TAIL_LINES = 15
REACHED = {"127.0.0.1", "0.0.0.0", "::"}  # noqa: S104 - nothing is bound
"""Addresses of listening sockets that a connection to 127.0.0.1 may reach."""


@dataclass(frozen=True)
class ExitStatus:
    """How a server's process ended."""

    code: int | None
    signal: str | None = None

    @classmethod
    def from_wait(cls, status: int) -> ExitStatus:
        """Read the status word of `waitpid`."""
        if os.WIFSIGNALED(status):
            return cls(None, signal.Signals(os.WTERMSIG(status)).name)
        return cls(os.waitstatus_to_exitcode(status))

    def __str__(self) -> str:
        if self.signal == "SIGKILL":
            return "killed by SIGKILL, as the kernel does where memory runs out"
        return f"killed by {self.signal}" if self.signal else f"exit status {self.code}"


class GuardedProcess:
    """A server and its guard (launchers/guard.py).

    The guard ends the server, with all descendants, when `stop` is called or when this process
    is gone, however that happens.
    """

    def __init__(self, start: Start, log: Path, *, grace_s: float = GRACE_S) -> None:
        """Start the server; its output is appended to `log`.

        Raises:
            LaunchError: the program cannot be executed.
            OSError: the log cannot be written.
        """
        self.log = log
        self._grace_s = grace_s
        self._status: ExitStatus | None = None
        self.pid = 0
        own = surroundings(start.secrets)
        for name in start.unset:
            own.pop(name, None)
        with log.open("ab") as output:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", str(GUARD)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=own | start.environment,
                start_new_session=True,
            )
        try:
            self.pid = self._begin(start)
        except BaseException:
            self.stop()
            raise

    def _begin(self, start: Start) -> int:
        plan = {
            "argv": start.argv,
            "folder": None if start.folder is None else str(start.folder),
            "cpus": start.cpus,
            "grace_s": self._grace_s,
            "cleanup": start.cleanup,
        }
        to_guard, from_guard = self._guard.stdin, self._guard.stdout
        assert to_guard is not None  # noqa: S101 - narrows the type
        assert from_guard is not None  # noqa: S101
        with contextlib.suppress(BrokenPipeError):
            to_guard.write(json.dumps(plan).encode() + b"\n")
            to_guard.flush()
        answer = json.loads(from_guard.readline() or '{"failed": "its guard has died"}')
        if "failed" in answer:
            raise LaunchError(f"cannot start {start.argv[0]}: {answer['failed']}")
        os.set_blocking(from_guard.fileno(), False)
        self.started_s = float(answer["began_s"])
        """Of the monotonic clock; the guard was there before."""
        return int(answer["pid"])

    def poll(self) -> ExitStatus | None:
        """How the server's own process has ended; None while it lives."""
        if self._status is None and self._guard.stdout and not self._guard.stdout.closed:
            line = self._guard.stdout.readline()
            if line:
                status = json.loads(line)["exit"]
                self._status = ExitStatus(None) if status is None else ExitStatus.from_wait(status)
            elif self._guard.poll() is not None:
                self._status = ExitStatus(None, "its guard, which has died")
        return self._status

    def tail(self, lines: int = TAIL_LINES) -> list[str]:
        """Return the log's last lines, empty ones left out."""
        return tail(self.log, lines)

    def listens_alone(self, port: int) -> bool:
        """Whether on this port of 127.0.0.1 the server listens, and nobody else does.

        Two servers can share a port: vLLM asks for that (SO_REUSEPORT).
        """
        listening = {
            socket.pid
            for socket in psutil.net_connections("tcp")
            if socket.status == psutil.CONN_LISTEN
            and socket.laddr.port == port
            and socket.laddr.ip in REACHED
        }
        tree: set[int] = set()
        with contextlib.suppress(psutil.NoSuchProcess):
            tree = {child.pid for child in psutil.Process(self._guard.pid).children(recursive=True)}
        return bool(listening) and listening <= tree

    def stop(self) -> None:
        """End the server and all its descendants; return when they are gone."""
        to_guard, from_guard = self._guard.stdin, self._guard.stdout
        if to_guard:
            with contextlib.suppress(BrokenPipeError):
                to_guard.close()
        if from_guard and not from_guard.closed:
            # It hangs up once both processes of the guard have ended.
            hang_up = select.poll()
            hang_up.register(from_guard, 0)
            if not hang_up.poll((self._grace_s + 60) * 1000):
                self._guard.kill()
        self._guard.wait()
        if self._guard.returncode < 0 and self.pid:
            # The guard was killed, perhaps both of its processes: then the server itself has got
            # TERM from the kernel, and may ignore it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        self.poll()
        if from_guard:
            from_guard.close()


def tail(log: Path, lines: int = TAIL_LINES) -> list[str]:
    """Return a log's last lines, empty ones left out; nothing when it cannot be read."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    kept = [line.rstrip() for line in text.replace("\r", "\n").split("\n") if line.strip()]
    return kept[-lines:]
