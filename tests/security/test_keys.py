"""Where a key goes, and where it must not: real servers that redirect, echo and listen."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from harness.quality.endpoints import HUGGINGFACE
from launchers.environments import installed
from tests.engines import needs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
KEY = "sesame/4711-open/up"
TEAM = "quiet-team-4712"
LOAD = (
    "--profile",
    "steady",
    "--requests",
    "4",
    "--warmup",
    "0",
    "--rate",
    "20",
    "--duration",
    "2",
)


class Server:
    """An HTTP server on loopback that does what `answer` says, and keeps what it was sent."""

    def __init__(
        self, answer: Callable[[BaseHTTPRequestHandler, str], tuple[int, str, bytes]]
    ) -> None:
        self.seen: list[str] = []
        keep = self.seen

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _any(self) -> None:
                length = int(self.headers.get("content-length", 0))
                self.rfile.read(length)
                keep.append(f"{self.command} {self.path} {self.headers}")
                sent = self.headers.get("authorization", "")
                status, extra, body = answer(self, sent)
                self.send_response(status)
                for line in filter(None, extra.split("\n")):
                    name, _, value = line.partition(": ")
                    self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(body)

            do_GET = do_POST = do_CONNECT = _any  # noqa: N815 - the library's names

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


USAGE = {"prompt_tokens": 3, "completion_tokens": 3}
MODELS = b'{"object":"list","data":[{"id":"m","object":"model","max_model_len":512}]}'


@pytest.fixture
def thief() -> Iterator[Server]:
    """Where a redirect or a proxy would take the key."""
    server = Server(lambda _request, _sent: (200, "content-type: application/json", MODELS))
    yield server
    server.close()


@pytest.fixture
def serving() -> Iterator[Callable[..., Server]]:
    made: list[Server] = []

    def make(answer: Callable[[BaseHTTPRequestHandler, str], tuple[int, str, bytes]]) -> Server:
        made.append(Server(answer))
        return made[-1]

    yield make
    for server in made:
        server.close()


def environment(thief: Server) -> dict[str, str]:
    """A shell with a key, and with a proxy that nobody asked for."""
    names = ("http_proxy", "https_proxy", "all_proxy")
    proxies = {name: thief.url for lower in names for name in (lower, lower.upper())}
    return (
        os.environ
        | proxies
        | {"PYTHONPATH": str(ROOT), "MY_KEY": KEY, "NO_PROXY": "", "no_proxy": ""}
    )


def harness(folder: Path, thief: Server, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness", *argv],
        cwd=folder, env=environment(thief), capture_output=True, text=True, timeout=110,
        check=False,
    )  # fmt: skip


def nowhere(folder: Path, *texts: str) -> None:
    """No secret is in a file or in what was said."""
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        for secret in (KEY, TEAM):
            assert secret.encode() not in _unescaped(path.read_bytes()), path
    for secret in (KEY, TEAM):
        assert not [text for text in texts if secret.encode() in _unescaped(text.encode())]


def _unescaped(data: bytes) -> bytes:
    data = re.sub(rb"\\+u00([0-9a-fA-F]{2})", lambda found: bytes.fromhex(found[1].decode()), data)
    return data.replace(rb"\/", b"/")


def suite(folder: Path) -> str:
    """A suite of one's own, of two questions."""
    lines = [{"id": str(n), "input": f"{n}+1?", "expected": str(n + 1)} for n in range(2)]
    (folder / "items.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "sums.toml").write_text(
        '[domain]\nitems = "items.jsonl"\ntemplate = "{input}"\nmax_tokens = 4\n'
        '[domain.grader]\nkind = "exact"\n'
    )
    return str(folder / "sums.toml")


@pytest.mark.parametrize("status", [302, 307])
@pytest.mark.parametrize("command", ["load", "eval", "probe"])
def test_no_redirect_and_no_proxy_gets_the_key(
    tmp_path: Path, serving: Callable[..., Server], thief: Server, command: str, status: int
) -> None:
    """One that lists its models and sends every question elsewhere."""

    def answer(request: BaseHTTPRequestHandler, _sent: str) -> tuple[int, str, bytes]:
        if request.path.endswith("/models"):
            return 200, "content-type: application/json", MODELS
        return status, f"location: {thief.url}{request.path}", b"{}"

    url = serving(answer).url
    argv = {
        "load": ("load", *LOAD),
        "eval": (
            "eval",
            "--suite",
            suite(tmp_path),
            "--tokenizer",
            str(ROOT / "launchers/models/demo-fp16"),
        ),
        "probe": ("probe",),
    }[command]
    done = harness(
        tmp_path,
        thief,
        *argv,
        "--url",
        url,
        "--api-key-env",
        "MY_KEY",
        "--header",
        f"X-Team={TEAM}",
    )
    assert done.returncode in {3, 4}, done.stdout + done.stderr
    assert "this is a bug" not in done.stderr
    assert thief.seen == []
    nowhere(tmp_path, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("command", "status"),
    [("load", 200), ("load", 400), ("load", 500), ("eval", 200), ("eval", 400), ("probe", 401)],
)
def test_a_key_that_a_server_repeats_is_masked(
    tmp_path: Path, serving: Callable[..., Server], thief: Server, command: str, status: int
) -> None:
    """In an error's text, in an error inside of a 200, in a header, and in an answer."""

    def answer(request: BaseHTTPRequestHandler, sent: str) -> tuple[int, str, bytes]:
        if request.path.endswith("/models"):
            return 200, "content-type: application/json", MODELS
        text = f"you sent {sent}, SLASHED, SPELLED and {request.headers.get('x-team')}"
        body: dict[str, object] = {"error": {"message": text, "type": "invalid"}}
        if status == HTTPStatus.OK and command == "eval":
            body = {
                "choices": [{"index": 0, "text": text, "finish_reason": "stop"}],
                "usage": USAGE,
            }
        said = json.dumps(body).replace("SLASHED", sent.replace("/", r"\/"))
        said = said.replace("SPELLED", "".join(rf"\u{ord(one):04X}" for one in sent))
        return status, f"content-type: application/json\nx-echo: {sent}", said.encode()

    argv = {
        "load": ("load", *LOAD),
        "eval": (
            "eval",
            "--suite",
            suite(tmp_path),
            "--tokenizer",
            str(ROOT / "launchers/models/demo-fp16"),
        ),
        "probe": ("probe",),
    }[command]
    done = harness(
        tmp_path, thief, *argv, "--url", serving(answer).url,
        "--api-key-env", "MY_KEY", "--header", f"X-Team={TEAM}",
    )  # fmt: skip
    assert done.returncode in {0, 3, 4}, done.stdout + done.stderr
    assert "this is a bug" not in done.stderr
    nowhere(tmp_path, done.stdout, done.stderr)
    if command == "load" or (command, status) == ("eval", 400):
        assert "you sent" in done.stdout + done.stderr + "".join(
            path.read_text() for path in tmp_path.rglob("*.jsonl")
        ), "the rest of what it says is kept"


def test_a_locust_user_asks_only_the_server_named(
    serving: Callable[..., Server], thief: Server
) -> None:
    there = serving(lambda request, _sent: (307, f"location: {thief.url}{request.path}", b""))
    program = (
        "import locust, sys\n"
        "from loadprofiles.client import Client, Target\n"
        f"headers = (('X-Team', {TEAM!r}),)\n"
        f"Client(Target({there.url!r}, None, 'openai-chat', headers, 'MY_KEY', 5), None)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(thief), capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert "HTTP Error 307" in done.stderr
    assert [line for line in there.seen if KEY in line]
    assert thief.seen == []


@pytest.mark.engine
@needs(HUGGINGFACE)
def test_hugging_faces_client_is_not_redirected(
    serving: Callable[..., Server], thief: Server
) -> None:
    there = serving(lambda request, _sent: (307, f"location: {thief.url}{request.path}", b"{}"))
    asked = {
        "url": there.url, "text": "a", "timeout_s": 5, "max_new_tokens": 1,
        "header_env": [["X-Team", "TEAM"], ["Authorization", "MY_KEY"]],
    }  # fmt: skip
    done = subprocess.run(
        [str(installed(HUGGINGFACE)), "-P", str(ROOT / "evals/probe/huggingface_client.py")],
        input=json.dumps(asked), text=True, capture_output=True, timeout=60, check=False,
        env=environment(thief) | {"NO_PROXY": "*", "no_proxy": "*", "PYTHONPATH": "", "TEAM": TEAM},
    )  # fmt: skip
    assert done.returncode
    assert [line for line in there.seen if TEAM in line]
    assert thief.seen == []


def test_no_process_has_the_key_in_its_arguments(
    tmp_path: Path, serving: Callable[..., Server], thief: Server
) -> None:
    """While a cell is driven, looked at from inside the server."""
    said: set[str] = set()

    def answer(request: BaseHTTPRequestHandler, _sent: str) -> tuple[int, str, bytes]:
        if request.path.endswith("/models"):
            return 200, "content-type: application/json", MODELS
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                said.add(" ".join(process.cmdline()))
        return 400, "", b"{}"

    harness(tmp_path, thief, "load", *LOAD, "--workers", "2", "--url", serving(answer).url,
            "--api-key-env", "MY_KEY")  # fmt: skip
    assert [line for line in said if "loadprofiles.workers.worker" in line]
    assert not [line for line in said if KEY in line]
