from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from launchers.build import Build
from launchers.containers import OF_THIS_MACHINE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Pages = dict[str, tuple[int, object]]
    Serve = Callable[[Pages], str]

FAKE = Path(__file__).with_name("fake_engine.py")
TOKEN = "HARNESS_TEST_MARK"


class Tree:
    """Every process that carries a token of its own in its environment."""

    def __init__(self) -> None:
        self.token = uuid.uuid4().hex

    def alive(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(TOKEN) == self.token:
                    found.append(process)
            except psutil.Error:
                continue
        return [p for p in found if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]

    def wait_gone(self, timeout_s: float = 15) -> list[psutil.Process]:
        """Return what is still there after waiting for nothing to be."""
        deadline = time.monotonic() + timeout_s
        while (left := self.alive()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left

    def wait_count(self, count: int, timeout_s: float = 15) -> None:
        deadline = time.monotonic() + timeout_s
        while len(self.alive()) < count:
            assert time.monotonic() < deadline, self.alive()
            time.sleep(0.05)


@pytest.fixture
def tree() -> Tree:
    return Tree()


class Machine:
    """What engines find: four CPUs; of the rest only what a test says."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch = patch
        self.with_gpus()
        self.on_path()

    def on_path(self, *names: str) -> None:
        self.patch.setattr("shutil.which", {name: f"/usr/bin/{name}" for name in names}.get)

    def with_gpus(self, *names: str) -> None:
        for module in ("launchers.engines", "launchers.engines.llamacpp"):
            self.patch.setattr(f"{module}.nvidia_gpus", lambda: [*names])


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine of four CPUs, no GPU, nothing on PATH, all managed environments installed."""
    monkeypatch.setattr("launchers.engines.available_cpus", lambda: [0, 1, 2, 3])
    monkeypatch.setattr("launchers.engines.split_cpus", lambda cpus: (cpus[:-1], cpus[-1:]))
    monkeypatch.setattr("launchers.engines.installed", lambda _: Path("/cache/bin/python"))
    monkeypatch.setattr("launchers.interpreters.package_versions", lambda *_: {})
    monkeypatch.setattr("launchers.containers._pull", lambda *_: None)
    for name in ("HF_TOKEN", "VLLM_CPU_KVCACHE_SPACE", *OF_THIS_MACHINE):
        monkeypatch.delenv(name, raising=False)
    return Machine(monkeypatch)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def make_build(checkpoint: Path, tree: Tree) -> Callable[..., Build]:
    def make(mode: str, **fields: object) -> Build:
        return Build.model_validate(
            {
                "name": "fake",
                "model": str(checkpoint),
                "device": "cpu",
                "command": [sys.executable, "-S", str(FAKE), mode],
                "environment": {TOKEN: tree.token},
                "ready_timeout_s": 20,
                **fields,
            }
        )

    return make


class Intruder:
    """An `on_line` that, once a server is about to start, puts another one on its port."""

    mode = "serves"
    port = 0

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None

    def __call__(self, line: str) -> None:
        if not (said := re.search(r"starting .* on port (\d+)", line)):
            return
        self.port = int(said[1])
        argv = [sys.executable, "-S", str(FAKE), self.mode, f"--port={self.port}"]
        self.process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 15
        while True:
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.fixture
def intruder() -> Iterator[Intruder]:
    intruder = Intruder()
    yield intruder
    if intruder.process:
        intruder.process.kill()
        intruder.process.wait()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serve pages (path → status and JSON or text) on a port of their own; return the root."""
    servers: list[ThreadingHTTPServer] = []

    def start(pages: Pages) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, page = pages.get(self.path, (404, {"detail": "Not Found"}))
                if page == "key?":
                    allowed = self.headers["authorization"] == "Bearer hunter2"
                    guarded = 200, {"object": "list", "data": [{"id": "guarded"}]}
                    status, page = guarded if allowed else (401, {"error": "no key"})
                body = (page if isinstance(page, str) else json.dumps(page)).encode()
                self.send_response(status)
                if status == 307:
                    self.send_header(
                        "location", "https://elsewhere.example/v1/models?token=hunter2"
                    )
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
