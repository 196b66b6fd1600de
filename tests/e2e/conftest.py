"""The real command line in processes of its own, against the mock server on real sockets."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import psutil
import pytest

import harness
from harness.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(harness.__file__).parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "160"}
LIMIT_S = 120
WRAPPER = """
import os, sys
at = sys.argv.index("--model")  # before it the mock's own options, after it what vLLM is told
port = next(word for word in sys.argv[at:] if word.startswith("--port="))
os.execv(sys.executable, [sys.executable, "-m", "launchers.mock", port, *sys.argv[1:at]])
"""


@dataclass(frozen=True)
class Done:
    """A finished `harness` command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.out)

    @property
    def run(self) -> Path:
        return Path(self.json["run"]["path"])

    @property
    def went_well(self) -> bool:
        """Whether it went to its end and is valid.

        A machine that is busy with other things may have made the client late; it then says so,
        and that is not what these tests are about.
        """
        excused = {"itl_smeared", "late_departures", "streams_not_held"}
        caveats = [item for cell in self.cells for item in cell["client"]["caveats"]]
        caveats += self.json["caveats"]
        invalid = {item["code"] for item in caveats if item["invalidates"]}
        return self.code == (4 if invalid else 0) and invalid <= excused

    @property
    def cells(self) -> list[dict[str, Any]]:
        return self.json["cells"]


class Workplace:
    """A folder in which `harness` is run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.started: list[subprocess.Popen[str]] = []

    def start(
        self, *argv: str, environment: dict[str, str] | None = None, open_files: int | None = None
    ) -> subprocess.Popen[str]:
        """Start `harness ARGV`; it is killed at the test's end if it still runs.

        It, and what it starts, may have so many `open_files` each.
        """
        limit = f"ulimit -n {open_files} && " * (open_files is not None)
        process = subprocess.Popen(
            ["sh", "-c", f'{limit}exec "$@"', "sh", sys.executable, "-m", "harness", *argv],
            cwd=self.path,
            env=ENVIRONMENT | (environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        self.started.append(process)
        return process

    def finish(self, process: subprocess.Popen[str], limit_s: float = LIMIT_S) -> Done:
        """Wait for a started command."""
        out, err = process.communicate(timeout=limit_s)
        assert "this is a bug" not in err, err
        return Done(process.returncode, out, err)

    def harness(self, *argv: str, environment: dict[str, str] | None = None) -> Done:
        """Run `harness ARGV` to its end."""
        return self.finish(self.start(*argv, environment=environment))

    def inside(self, *argv: str, environment: dict[str, str] | None = None) -> Done:
        """Run `harness ARGV` in this process: quick, for what ends before anything starts."""
        out, err = io.StringIO(), io.StringIO()
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
        with (
            contextlib.chdir(self.path),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            patch.dict(os.environ, {"COLUMNS": ENVIRONMENT["COLUMNS"], **(environment or {})}),
            patch.object(sys, "argv", ["harness", *argv]),
        ):
            try:
                code = main()
            finally:
                for number, handler in handlers.items():
                    signal.signal(number, handler)
        assert "this is a bug" not in err.getvalue(), err.getvalue()
        return Done(code, out.getvalue(), err.getvalue())

    def load(self, *argv: str, environment: dict[str, str] | None = None) -> Done:
        """Run `harness load ARGV --json`."""
        return self.harness("load", *argv, "--json", environment=environment)

    def build(
        self,
        name: str,
        *options: str,
        program: str = WRAPPER,
        more: str = "",
        serves: str = "model",
    ) -> None:
        """Add a build to harness.toml that starts the mock with `options` in vLLM's stead.

        It `serves` a model of that name; the mock's own is "mock".
        """
        script, model = self.path / f"{name}.py", self.path / serves
        script.write_text(program)
        model.mkdir(exist_ok=True)
        (model / "config.json").write_text("{}")
        command = json.dumps([sys.executable, str(script), *options])
        with (self.path / "harness.toml").open("a") as file:
            file.write(
                f'[builds.{name}]\nmodel = "{serves}"\ndevice = "cpu"\n'
                f"command = {command}\n{more}\n"
            )

    @staticmethod
    def wait_for(
        condition: Callable[[], object], limit_s: float = 100, every_s: float = 0.1
    ) -> None:
        """Wait until something is so, and fail if it does not come."""
        deadline = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < deadline, "it did not happen"
            time.sleep(every_s)

    def processes(self) -> list[int]:
        """Live processes that were started in this folder: all that `harness` started."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                alive = process.status() != psutil.STATUS_ZOMBIE
                if alive and Path(process.cwd()) == self.path:
                    found.append(process.pid)
        return found

    @property
    def runs(self) -> list[Path]:
        """Every run folder there is."""
        return sorted((self.path / "runs").glob("*"))


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Workplace]:
    place = Workplace(tmp_path)
    yield place
    for process in place.started:
        if process.poll() is None:
            process.kill()
        process.communicate()
