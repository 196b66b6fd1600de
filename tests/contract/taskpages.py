"""Runs what a page of docs/tasks tells to type, in order, in a folder of its own.

A page's `sh` blocks are commands, one a line (`\\` goes on in the next). What they end with is 0,
or what a comment behind them says: `# exit code 1`, `# exit code 0 or 5`. A block with
`file="NAME"` in its info string is written to that file. `not-run="REASON"` is told and not run;
`needs="ENGINE"` is not run where that engine is not installed. Ports 8000 to 8009 stand for free
ones.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import harness
from launchers.environments import installed

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(harness.__file__).parents[1]
TASKS = ROOT / "docs" / "tasks"
BLOCK = re.compile(r"^```(\w+)(.*)\n((?:.*\n)*?)^```$", re.MULTILINE)
INFO = re.compile(r'([\w-]+)="([^"]*)"')
CODES = re.compile(r"# exit code (\d+)(?: or (\d+))?")
PORT = re.compile(r"\b800\d\b")
LATE = {"itl_smeared", "late_departures", "streams_not_held"}
"""What a busy machine does to a client, which then says so and ends with 4."""
LIMIT_S = 400
INVALID = 4


@dataclass(frozen=True)
class Block:
    """A block of a page: its language, what its info string says, its text."""

    language: str
    info: dict[str, str]
    text: str

    @property
    def commands(self) -> list[str]:
        """Its lines, those that go on in the next one put together."""
        lines = re.sub(r"\\\n\s*", "", self.text).splitlines()
        return [line for line in lines if line.strip() and not line.startswith("#")]

    @property
    def why_not(self) -> str | None:
        """Why it cannot be run here."""
        engine = self.info.get("needs")
        if engine and installed(engine) is None:
            return f"needs {engine}"
        return self.info.get("not-run")


def blocks(page: str) -> list[Block]:
    """All of a page."""
    return [Block(found[1], dict(INFO.findall(found[2])), found[3]) for found in
            BLOCK.finditer(page)]  # fmt: skip


def codes(command: str) -> set[int]:
    """What a command may end with by what is written behind it."""
    found = CODES.search(command)
    return {int(code) for code in found.groups() if code} if found else {0}


@dataclass
class Told:
    """What was run of a page, and what was not, with the reason."""

    run: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


class Reader:
    """Somebody who follows a page in `folder`, with the harness that lies in `home`."""

    def __init__(
        self,
        folder: Path,
        programs: Path,
        home: Path = ROOT,
        up: Mapping[str, str] | None = None,
    ) -> None:
        """`up`: command → port of a server that runs already."""
        self.folder, self.told, self.shown = folder, Told(), ""
        self.up = up or {}
        self.as_first_said = True  # no command ended with the second of two exit codes
        self.ports: dict[str, str] = {}
        self.servers: list[subprocess.Popen[str]] = []
        programs.mkdir()
        for name, module in (("harness", "-m harness"), ("python", "")):
            program = programs / name
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
            program.chmod(0o755)
        self.environment = os.environ | {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(home),
            "COLUMNS": "100",
        }

    def follow(self, page: str) -> None:
        """Write its files and type its commands."""
        self.ports = {port: str(free_port()) for port in sorted(set(PORT.findall(page)))}
        for command, port in self.up.items():
            if command in page:
                self.ports[PORT.findall(command)[0]] = port
        for block in blocks(page):
            if name := block.info.get("file"):
                assert f"`{name}`" in page, f"the page does not say to write {name}"
                file = self.folder / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(self.here(block.text))
            elif block.language == "sh":
                for command in block.commands:
                    line = command.split("  #")[0].strip()
                    reason = "such a server is up already" if line in self.up else block.why_not
                    if reason:
                        self.told.left_out.append(f"{line} ({reason})")
                    else:
                        self.type(self.here(command))
                        self.told.run.append(command)

    def misses(self, page: str) -> list[str]:
        """Lines that the page shows as printed, which were not; numbers differ each time.

        Where a command ended with the second of two exit codes, it had something else to say.
        """
        if not self.as_first_said:
            return []
        lines = {" ".join(line.split()) for line in self.shown.splitlines()}
        blocks_of = [block.text for block in blocks(page) if block.language == "text"]
        told = [" ".join(line.split()) for text in blocks_of for line in text.splitlines()]
        return [line for line in told if not re.search(r"\d", line) and line not in lines]

    def here(self, text: str) -> str:
        """With free ports."""
        return PORT.sub(lambda found: self.ports[found[0]], text)

    def type(self, command: str) -> None:
        """Run a command to its end, or until its server is up where it ends in `&`."""
        line, _, note = command.partition("  #")
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").partition("=")
            self.environment[name] = value.strip()
            return
        if line.rstrip().endswith("&"):
            self.serve(line.rstrip().removesuffix("&"))
            return
        process = self.start(line)
        try:
            out = process.communicate(timeout=LIMIT_S)[0]
        finally:
            end(process)
        self.shown += out
        allowed = codes(f"# {note.strip()}")
        code = process.returncode
        if code == INVALID and code not in allowed and self.late_alone():
            return
        self.as_first_said &= code == min(allowed)
        assert code in allowed, f"{line}\nended with {code} instead of {allowed}:\n{out}"

    def serve(self, line: str) -> None:
        """Start a server that stays until the page has been read."""
        process = self.start(f"exec {line}")
        self.servers.append(process)
        assert process.stdout
        for told in process.stdout:
            self.shown += told
            if "http://" in told:
                return
        raise AssertionError(f"{line} ended:\n{self.shown}")

    def start(self, line: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )

    def late_alone(self) -> bool:
        """Whether the newest run is invalid for no other reason than a client that was late."""
        runs = sorted((self.folder / "runs").glob("*"), key=lambda path: path.stat().st_mtime)
        found = set()
        for path in runs[-1].rglob("measurements.json") if runs else ():
            told = json.loads(path.read_text())
            caveats = [item for cell in told["cells"] for item in cell["client"]["caveats"]]
            found |= {item["code"] for item in caveats + told["caveats"] if item["invalidates"]}
        return bool(found) and found <= LATE

    def leave(self) -> None:
        """End the servers."""
        for process in self.servers:
            end(process)


def end(process: subprocess.Popen[str]) -> None:
    """End a command that still runs as Ctrl-C would, and at last its whole group."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            process.send_signal(signal.SIGINT)
            process.wait(20)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout:
        process.stdout.close()


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
