"""Bad input and bad servers: the exit code, what stderr says, and that nothing measured is lost.

Each through the real command line, in a process of its own where anything is started.
"""

from __future__ import annotations

import http.server
import json
import os
import socket
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from harness.measuring.measurement import Measurements

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import StartMock
    from tests.e2e.conftest import Done, Workplace

STEADY = ("--profile", "steady", "--warmup", "0", "--output-tokens", "8")
QUICK = ("--ttft-ms=10", "--itl-ms=5")
DEAD_URL = ("--url", "http://127.0.0.1:9/v1")
"""Where nothing listens: what is found before that never gets there."""


def check(done: Done, code: int, *texts: str) -> None:
    """One message that says all of `texts`; nothing on stdout."""
    assert done.code == code, done.err
    assert done.out == ""
    assert done.err.startswith("harness: ")
    for text in texts:
        assert text in done.err


# --- what is asked -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "texts"),
    [
        (["--server", "aqw", *STEADY], ['no server "aqw" (did you mean "awq"?)', "list servers"]),
        (["--server", "awq,gpqt", *STEADY], ['no server "gpqt" (did you mean "gptq"?)']),
        (["--server", "awq,awq", *STEADY], ['"awq" is there twice', "--repeats"]),
        (
            [*DEAD_URL, "--profile", "batch1", "--interleave"],
            ["there is but one", "--server fp16,"],
        ),
        (["--server", "awq", "--profile", "batch1", "--interleave"], ["there is but one"]),
        (["--server", "awq,fp16", *STEADY, "--interleave"], ["--interleave:", "closed-loop"]),
        (
            ["--server", "awq,fp16", "--profile", "batch1", "--interleave", "--level", "2"],
            ["--interleave:", "take the level 1"],
        ),
        (
            ["--server", "awq,fp16", "--profile", "batch1", "--interleave", "--order", "mirrored"],
            ["--interleave and --order do not go together"],
        ),
        (
            ["--server", "awq,fp16", "--profile", "batch1", "--interleave", "--workers", "2"],
            ["--interleave and --workers do not go together"],
        ),
        (["--server", "./no.toml", *STEADY], ["no file", "no.toml"]),
        ([*DEAD_URL, "--profile", "burtsy"], ['no profile "burtsy" (did you mean "bursty"?)']),
        ([*STEADY], ["--server NAME[,NAME…] or --url URL"]),
        (["--server", "awq", *DEAD_URL, *STEADY], ["either --server", "or --url"]),
        (["--server", "awq", "--model", "x", *STEADY], ["--model goes with --url"]),
        ([*DEAD_URL, "--profile", "closed", "--level", "0"], ["level: 0 must be", "above 0"]),
        ([*DEAD_URL, "--profile", "closed", "--level", "1,-1"], ["level: -1 must be"]),
        ([*DEAD_URL, "--profile", "closed", "--level", "abc"], ['--level: "abc" is no number']),
        ([*DEAD_URL, "--profile", "closed", "--level", "nan"], ["level: nan must be a number"]),
        ([*DEAD_URL, "--profile", "closed", "--level", "1.5"], ["no whole number of streams"]),
        ([*DEAD_URL, "--profile", "closed", "--level", "1e9"], ["at most 10000"]),
        ([*DEAD_URL, "--profile", "closed", "--level", "8,8"], ["8 is there twice", "--repeats"]),
        ([*DEAD_URL, "--profile", "closed", "--rate", "5"], ["--rate: the profile", "use --level"]),
        ([*DEAD_URL, *STEADY, "--level", "5"], ["--level: the profile", "use --rate"]),
        ([*DEAD_URL, *STEADY, "--rate", "1e9"], ["harness: --rate: 1e+09 requests/s", "lower it"]),
        (
            [*DEAD_URL, *STEADY, "--duration", "-1"],
            ["harness: --duration: should be", "greater than 0"],
        ),
        (
            [*DEAD_URL, *STEADY, "--requests", "0"],
            ["harness: --requests: should be", "greater than 0"],
        ),
        (
            [*DEAD_URL, *STEADY, "--timeout", "0"],
            ["harness: --timeout: should be", "greater than 0"],
        ),
        ([*DEAD_URL, *STEADY, "--prompt-tokens", "0"], ["harness: --prompt-tokens: "]),
        ([*DEAD_URL, *STEADY, "--repeats", "0"], ["--repeats: 0 must be 1 or more"]),
        ([*DEAD_URL, *STEADY, "--seed", "-1"], ["--seed: -1 must be 0 or more"]),
        ([*DEAD_URL, *STEADY, "--max-fail-ratio", "5"], ["--max-fail-ratio", "between 0 and 1"]),
        ([*DEAD_URL, *STEADY, "--header", "X"], ['--header: "X…" is no K=V']),
        ([*DEAD_URL, *STEADY, "--rate", "1e-9"], ["rate: 1e-09 requests/s", "no request at all"]),
        ([*DEAD_URL, *STEADY, "--api-key-env", "sk-1"], ["--api-key-env", "Name the variable"]),
        ([*DEAD_URL, *STEADY, "--header", "Host=a"], ["--header: Host", "leave it out"]),
        ([*DEAD_URL, *STEADY, "--header", "A B=1"], ['"A…" cannot name a header']),
        ([*DEAD_URL, *STEADY, "--header", "A=1\r\nB: 2"], ["--header", "control character"]),
        ([*DEAD_URL, *STEADY, "--header", "A=€"], ["--header", "not ASCII"]),
        (
            [*DEAD_URL, *STEADY, "--header", "authorization=env:HOME", "--api-key-env", "PATH"],
            ["--header Authorization and --api-key-env", "leave one out"],
        ),
        ([*DEAD_URL, *STEADY, "--metadata", "x"], ['--metadata: "x…" is no K=V']),
        ([*DEAD_URL, *STEADY, "--slo", "ttfx_p95_ms<=5"], ["--slo", "did you mean"]),
        (
            [*DEAD_URL, *STEADY, "--goodput", "ttft:5", "tpto:3"],
            ['--goodput "tpto:3": ', 'did you mean "tpot"'],
        ),
        (
            [*DEAD_URL, *STEADY, "--goodput", "ttft=500"],
            ['--goodput "ttft=500": is no KEY:VALUE', "e.g. ttft:500"],
        ),
        (
            [*DEAD_URL, *STEADY, "--goodput", "ttft:500", "--no-stream"],
            ['--goodput "ttft:500": ttft_ms', "in one document"],
        ),
        (
            [*DEAD_URL, *STEADY, "--request-rate", "5", "--max-concurrency", "2"],
            ["--request-rate", "--max-concurrency", "skip or delay", "Leave the level out"],
        ),
        (
            [*DEAD_URL, "--profile", "closed", "--request-rate", "5", "--max-concurrency", "2"],
            ["--request-rate", "--max-concurrency", "Leave the rate out"],
        ),
        ([*DEAD_URL, *STEADY, "--dialect", "openai"], ["no dialect 'openai'", "openai-chat"]),
        ([*DEAD_URL, *STEADY, "--dialect", "tgi", "--ignore-eos"], ["--ignore-eos", "dialect tgi"]),
        (
            ["--server", "awq", *STEADY, "--dialect", "llamacpp"],
            ["--dialect llamacpp: awq is served by vllm", "awq in openai-completions"],
        ),
        ([*DEAD_URL, *STEADY, "--no-stream", "--slo", "itl_ms<=9"], ["--slo", "in one document"]),
        ([*DEAD_URL, *STEADY, "--tokenizer", "none"], ["no tokenizer.json in none"]),
        (["--url", "ftp://x", *STEADY], ["--url: 'ftp://x' is no http://", "/v1"]),
        ([*DEAD_URL, *DEAD_URL, *STEADY], ["--url: http://127.0.0.1:9/v1 is there twice"]),
        (["--url", "h:1,h:2/v1,h:1", *STEADY], ["--url: http://h:1/v1 is there twice"]),
        (["--url", "h,", *STEADY], ["--url: an empty one"]),
        (["--url", "http://a,https://b", *STEADY], ["some are http and some are https"]),
        ([*DEAD_URL, *STEADY, "--insecure"], ["--insecure", "is plain http", "https://"]),
        ([*DEAD_URL, *STEADY, "--ca-file", "a.pem"], ["--ca-file", "is plain http"]),
        (["--url", "https://h", *STEADY, "--ca-file", "no.pem"], ["--ca-file: cannot read no.pem"]),
        (["--url", "https://h", *STEADY, "--ca-file", "/dev/null"], ["no certificate in PEM"]),
        (
            ["--url", "https://h", *STEADY, "--ca-file", "a.pem", "--insecure"],
            ["--insecure checks no certificate", "leave one out"],
        ),
        ([*DEAD_URL], ["--profile is missing", "list profiles"]),
        ([*DEAD_URL, *STEADY, "--max-levels", "9"], ["--max-levels goes with --sweep"]),
        ([*DEAD_URL, *STEADY, "--sweep", "--rate", "1,2,3"], ["--rate: a sweep takes", "1,64"]),
        ([*DEAD_URL, *STEADY, "--sweep", "--rate", "9,2"], ["--rate: 9,2: the lowest"]),
        ([*DEAD_URL, *STEADY, "--sweep", "--requests", "9"], ["--sweep: windows", "--duration"]),
        ([*DEAD_URL, *STEADY, "--sweep", "--max-levels", "3"], ["--max-levels: 3 must be 4"]),
        ([*DEAD_URL, *STEADY, "--sweep", "--max-minutes", "0"], ["--max-minutes: 0 must"]),
        ([*DEAD_URL, *STEADY, "--sweep", "--lengths", "both"], ["--sweep: --lengths both"]),
        ([*DEAD_URL, *STEADY, "--sweep", "--order", "mirrored"], ["--sweep", "--order"]),
        (["--resume", "runs/none"], ["no run folder runs/none"]),
        (["--server", "awq", *STEADY, "--insecure"], ["--insecure goes with --url"]),
        (["--server", "awq", *STEADY, "--prompt-tokens", "4000"], ["--prompt-tokens", "2048"]),
        (["--server", "awq", "--profile", "steady", "--osl", "2000"], ["--output-tokens", "2048"]),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_what_cannot_be_is_2_before_anything_starts(
    workplace: Workplace, argv: list[str], texts: list[str]
) -> None:
    check(workplace.inside("load", *argv, "--json"), 2, *texts)
    assert workplace.runs == []


def test_all_of_a_profiles_mistakes_at_once_with_their_lines(workplace: Workplace) -> None:
    (workplace.path / "mine.toml").write_text(
        'levels = [0]\nduraton_s = 3\n[arrival]\nkind = "poison"\n[prompt_tokens]\nkind = "fixed"\n'
    )
    done = workplace.inside("load", *DEAD_URL, "--profile", "./mine.toml")
    check(
        done, 2,
        "mistakes in the configuration", "mine.toml:1: levels[0]: should be greater than 0",
        'mine.toml:2: duraton_s: unknown field (did you mean "duration_s"?)',
        "mine.toml:3: arrival: kind should be one of", 'did you mean "poisson"',
        "output_tokens: is missing",
    )  # fmt: skip


def test_toml_that_is_none(workplace: Workplace) -> None:
    (workplace.path / "harness.toml").write_text('[builds.x]\nmodel = "m"\nengine = vllm\n')
    check(workplace.inside("load", "--server", "x", *STEADY), 2, "harness.toml:3:10: not TOML")


def test_two_builds_of_one_name(workplace: Workplace) -> None:
    for folder in ("a", "b"):
        (workplace.path / folder).mkdir()
        (workplace.path / folder / "x.toml").write_text('model = "m"\n')
    done = workplace.inside("load", "--server", "a/x.toml,b/x.toml", *STEADY)
    check(done, 2, 'two builds are called "x"', "another name")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ('model = "models/none"', "field `model`: no folder"),
        ('model = "demo:awk"', "no demo model 'awk': did you mean 'awq'"),
        ('engine = "vlm"', "did you mean 'vllm'"),
        ('command = ["no-such-vllm"]', "field `command`: no-such-vllm is no program"),
        ('arguments.host = "0.0.0.0"', "field `arguments.host`: the harness sets it"),
        ('arguments.port = "eighty"', "field `arguments.port`: 'eighty' is no port"),
        ("arguments.port = true", "field `arguments.port`: True is no port"),
        ('arguments.api-key = "s3cr3t"', "field `arguments.api-key`: the harness sends no key"),
        ('environment.VLLM_API_KEY = "s3cr3t"', "field `environment.VLLM_API_KEY`: the harness"),
    ],
)
def test_an_impossible_build_is_2_before_another_is_served(
    workplace: Workplace, fields: str, text: str
) -> None:
    (workplace.path / "models").mkdir()
    workplace.build("good", *QUICK)
    model = "" if fields.startswith("model") else 'model = "demo:awq"\n'
    with (workplace.path / "harness.toml").open("a") as file:
        file.write(f"[builds.bad]\n{model}{fields}\n")
    for done in (
        workplace.inside("load", "--server", "good,bad", *STEADY, "--json"),
        workplace.inside("serve", "bad"),
    ):
        check(done, 2, text)
        assert "s3cr3t" not in done.err
    assert workplace.runs == []


@pytest.mark.parametrize("fields", ['engine = "tgi"', 'engine = "vllm"\ndevice = "cuda"'])
def test_an_engine_that_is_nowhere_is_3_before_another_is_served(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch, fields: str
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    workplace.build("good", *QUICK)
    with (workplace.path / "harness.toml").open("a") as file:
        file.write(f'[builds.bad]\nmodel = "demo:awq"\n{fields}\n')
    done = workplace.inside("load", "--server", "good,bad", *STEADY, "--json")
    check(done, 3, "build 'bad'", "command on PATH", "field `command`")
    assert workplace.runs == []


@pytest.mark.parametrize("out", ["file", "file/below", "/proc/none"])
def test_unwritable_output_is_found_before_the_first_request(
    workplace: Workplace, mock: StartMock, out: str, tmp_path: Path
) -> None:
    (workplace.path / "file").write_text("in the way")
    truth = tmp_path / "truth"
    url = mock(*QUICK, f"--truth={truth}")
    done = workplace.load("--url", url, *STEADY, "--requests", "3", "--out", out)
    check(done, 2, f"cannot write {out}", "--out DIR")
    assert truth.read_text() == ""
    assert (workplace.path / "file").read_text() == "in the way"


# --- URLs --------------------------------------------------------------------------------------


class Page(http.server.BaseHTTPRequestHandler):
    """A web server that is no API."""

    def do_GET(self) -> None:
        body = b"<html>hello"
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def web_page() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextmanager
def no_http() -> Iterator[str]:
    """Something that greets like SSH."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def greet() -> None:
            while True:
                try:
                    peer, _ = listening.accept()
                except OSError:
                    return
                peer.sendall(b"SSH-2.0-x\r\n")
                peer.close()

        thread = threading.Thread(target=greet)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_url_without_an_api_is_3(workplace: Workplace, mock: StartMock) -> None:
    done = workplace.inside("load", "--url", mock(*QUICK) + "/wrong", *STEADY)
    check(done, 3, "answered 404", "is the URL the API's base")
    with web_page() as url:
        check(
            workplace.inside("load", "--url", url, *STEADY), 3, "no list of models", "<html>hello"
        )
    with no_http() as url:
        check(
            workplace.inside("load", "--url", url, *STEADY), 3, "does not speak HTTP as it should"
        )
    assert workplace.runs == []


def test_a_model_that_is_not_there_is_3(workplace: Workplace, mock: StartMock) -> None:
    done = workplace.inside("load", "--url", mock(*QUICK), "--model", "mokc", *STEADY)
    check(done, 3, "serves no model 'mokc': did you mean 'mock'")


def test_the_api_key(workplace: Workplace, mock: StartMock) -> None:
    key = "sesame-4711"
    url = mock(*QUICK, f"--api-key={key}")
    asked = ("--url", url, *STEADY, "--requests", "3")
    check(workplace.inside("load", *asked), 3, "answered 401", "--api-key-env")
    asked = (*asked, "--api-key-env", "MY_KEY")
    done = workplace.inside("load", *asked)
    check(done, 2, "environment variable MY_KEY is not set", "export MY_KEY")
    done = workplace.inside("load", *asked, environment={"MY_KEY": f"{key}\n"})
    check(done, 2, "MY_KEY holds a blank, a line break")
    assert key not in done.err
    check(workplace.inside("load", *asked, environment={"MY_KEY": "wrong"}), 3, "answered 401")
    done = workplace.load(*asked, environment={"MY_KEY": key})
    assert done.went_well, done.err
    assert done.cells[0]["requests"]["ok"] == 3
    assert key not in done.out + done.err
    files = [path for path in done.run.rglob("*") if path.is_file()]
    assert len(files) > 6
    for path in files:
        assert key.encode() not in path.read_bytes(), path


def test_header_values_are_sent_and_reach_no_file(workplace: Workplace, mock: StartMock) -> None:
    url = mock(*QUICK, "--api-key=hidden-4711")
    header = ("--header", "Authorization=env:MINE", "--header", "X-Session=hidden-4712")
    done = workplace.load(
        *("--url", url, *STEADY, "--requests", "3", *header),
        environment={"MINE": "Bearer hidden-4711"},
    )
    assert done.went_well, done.err
    assert done.cells[0]["requests"]["ok"] == 3  # the mock insists on the key
    for path in [path for path in done.run.rglob("*") if path.is_file()]:
        assert b"hidden-47" not in path.read_bytes(), path
    assert "hidden-47" not in done.out + done.err


# --- servers that fail -------------------------------------------------------------------------


def problems(done: Done) -> list[dict[str, Any]]:
    """The run's own caveats, of a run whose folder is whole."""
    run = done.run
    assert msgspec.json.decode((run / "measurements.json").read_bytes(), type=Measurements)
    assert (run / "measurements.json").read_text() == done.out
    manifest = json.loads((run / "manifest.json").read_text())
    assert {cell["id"] for cell in done.cells} <= {cell["id"] for cell in manifest["cells"]}
    assert "</html>" in (run / "report.html").read_text()
    assert (run / "report.md").stat().st_size
    return done.json["caveats"]


def test_a_port_in_use_is_3(workplace: Workplace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        workplace.build("fixed", *QUICK, more=f"arguments = {{ port = {port} }}")
        done = workplace.load("--server", "fixed", *STEADY)
    assert done.code == 3
    assert f"port {port} on 127.0.0.1 cannot be used" in done.err
    assert problems(done)[0]["code"] == "server_failed"


def test_a_server_that_dies_while_loading_is_3_with_its_reason(workplace: Workplace) -> None:
    workplace.build("broken", program="print('out of memory: 7 GiB'); raise SystemExit(7)")
    workplace.build("good", *QUICK)
    done = workplace.load("--server", "broken,good", *STEADY, "--requests", "5", "--quiet")
    assert done.code == 3
    for text in (done.err, problems(done)[0]["text"]):
        assert "ended while it was loading (exit status 7)" in text
        assert "\n  out of memory: 7 GiB" in text
    assert "out of memory" in (done.run / "servers" / "broken" / "server.log").read_text()
    assert [cell["build"] for cell in done.cells] == ["good"]
    assert done.cells[0]["requests"]["ok"] == 5
    assert done.json["valid"] is False


def test_nothing_measured_is_said_in_one_line(workplace: Workplace) -> None:
    workplace.build("broken", program="raise SystemExit('no CPU')")
    done = workplace.harness("load", "--server", "broken", *STEADY)
    assert done.code == 3
    assert done.out.startswith("No cell has numbers")
    assert "no CPU" in done.err


def test_a_server_that_dies_in_mid_run_costs_its_own_cells_only(workplace: Workplace) -> None:
    workplace.build("frail", *QUICK, "--die-after=21")  # the launcher's own question is the first
    workplace.build("good", *QUICK)
    done = workplace.load(
        *("--server", "frail,good", "--profile", "closed", "--level", "2,4"),
        *("--duration", "3", "--warmup", "0", "--output-tokens", "8"),
    )
    assert done.code == 3
    [problem] = problems(done)
    for text in (done.err, problem["text"]):
        assert "the server died during frail-closed-c2-1 (exit status 3)" in text
        assert "\n  mock: dying as asked" in text
        assert str(done.run) in text
    cells = {cell["id"]: cell for cell in done.cells}
    assert cells.keys() == {"frail-closed-c2-1", "good-closed-c2-1", "good-closed-c4-1"}
    frail = cells["frail-closed-c2-1"]
    assert frail["requests"]["ok"] == 20
    assert frail["requests"]["failed"] == sum(frail["requests"]["errors"].values())
    assert frail["metrics"]["ttft_ms"]["n"] == 20
    assert frail["window_s"] < 2.5  # it was not driven on against nothing
    for name in ("good-closed-c2-1", "good-closed-c4-1"):
        assert cells[name]["requests"]["failed"] == 0
        assert cells[name]["requests"]["ok"] > 20
    assert workplace.processes() == []


# --- answers that fail -------------------------------------------------------------------------


def test_more_failures_than_allowed_is_4_and_they_touch_no_latency(
    workplace: Workplace, mock: StartMock
) -> None:
    url = mock("--fault=http_500:0.5", "--ttft-ms=20", "--itl-ms=5")
    asked = ("--url", url, *STEADY, "--requests", "60", "--rate", "40")
    done = workplace.load(*asked)
    assert done.code == 4
    [cell] = done.cells
    requests = cell["requests"]
    assert requests["planned"] == requests["sent"] == 60
    assert requests["errors"]["http_500"] == requests["failed"] > 10
    assert requests["ok"] == 60 - requests["failed"] == cell["metrics"]["ttft_ms"]["n"]
    assert cell["metrics"]["ttft_ms"]["p50"] > 20
    assert cell["metrics_with_failures"]["ttft_due_ms"]["n_infinite"] == requests["failed"]
    [caveat] = [item for item in cell["client"]["caveats"] if item["code"] == "failures"]
    assert caveat["invalidates"] is True
    assert "--max-fail-ratio" in caveat["text"]
    assert "told to 500" in caveat["text"]
    done = workplace.load(*asked, "--max-fail-ratio", "0.9")
    assert done.went_well
    assert done.cells[0]["requests"]["failed"] > 10


def test_when_all_requests_fail(workplace: Workplace, mock: StartMock) -> None:
    url = mock("--fault=http_429", *QUICK)
    done = workplace.load(
        "--url", url, "--profile", "closed", "--level", "2", "--requests", "4", "--warmup", "0"
    )
    assert done.code == 4
    assert done.cells[0]["requests"]["ok"] == 0
    assert done.cells[0]["requests"]["errors"]["http_429"] >= 4
    assert done.cells[0]["metrics"]["ttft_ms"] == {
        **dict.fromkeys(("mean", "p50", "p90", "p95", "p99", "p99_9", "max")),
        "n": 0,
        "n_infinite": 0,
        "ci95": {},
        "unstable": False,
    }
    assert "few_samples" in {item["code"] for item in done.cells[0]["client"]["caveats"]}
    table = workplace.harness("report", str(done.run), "--format", "terminal")
    assert table.code == 0
    assert "http_429" in table.out


def test_a_driver_that_fails_is_4_with_the_end_of_its_log(
    workplace: Workplace, mock: StartMock
) -> None:
    stub = workplace.path / "stub" / "locust"
    stub.mkdir(parents=True)
    (stub / "__init__.py").write_text("raise ImportError('locust is broken')")
    path = os.pathsep.join([str(stub.parent), *sys.path])
    done = workplace.load("--url", mock(*QUICK), *STEADY, environment={"PYTHONPATH": path})
    assert done.code == 4
    assert "the load driver failed with exit status 1; the end of" in done.err
    assert "ImportError: locust is broken" in done.err
    assert "It had written no sample." in done.err
    assert problems(done)[0]["code"] == "driver_failed"
