"""`harness load`'s flags: what they come to. What is refused is in tests/e2e/test_bad_input.py."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import harness.cli.load
from harness import cli
from harness.errors import ExitCode
from harness.measuring.measurement import Measurements, RunInfo
from harness.rundir import RunFolder
from harness.serving import Url, builds_in
from loadprofiles.arrivals.closed import Closed
from loadprofiles.arrivals.gamma import Gamma
from loadprofiles.arrivals.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.live import Live
    from harness.load.request import LoadRequest

    Ask = Callable[..., LoadRequest]

URL = ("--url", "http://h:8000/v1")
CLOSED = (*URL, "--profile", "closed")
STEADY = (*URL, "--profile", "steady")


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ask:
    """Run `harness load ARGV` without a run; returns what `run_load` was asked for."""
    monkeypatch.chdir(tmp_path)
    requests: list[LoadRequest] = []

    def run_load(request: LoadRequest, parent: Path, _: Live) -> tuple[RunFolder, ExitCode]:
        requests.append(request)
        run = RunFolder.create(parent, "x")
        info = RunInfo(id="r", path="p", started="s", command="c", seed=1, harness_version="0")
        run.write_manifest({})
        run.write_measurements(Measurements(run=info, cells=[], valid=False))
        return run, ExitCode.INVALID

    monkeypatch.setattr(harness.cli.load, "run_load", run_load)

    def asked(*argv: str) -> LoadRequest:
        monkeypatch.setattr("sys.argv", ["harness", "load", *argv])
        assert cli.run(["load", *argv]) == ExitCode.INVALID
        return requests[-1]

    return asked


def test_what_is_asked_when_nothing_is_said(ask: Ask) -> None:
    request = ask(*STEADY)
    assert request.servers == [Url(urls=("http://h:8000/v1",))]
    assert request.profile.name == "steady"
    assert request.levels == [10.0]
    assert (request.repeats, request.seed, request.dialect) == (1, 0, None)
    assert (request.slo, request.tokenizer, request.api_key_env) == (None, None, None)
    assert request.max_fail_ratio == 0.05
    assert request.profile.timeout_s == 60
    assert not request.force_ignore_eos
    assert request.command == ["harness", "load", *STEADY]


def test_builds(ask: Ask) -> None:
    request = ask("--server", "fp16, awq", "--profile", "steady")
    builds = builds_in(request.servers)
    assert [build.name for build, _ in builds] == ["fp16", "awq"]
    assert all((base / "awq.toml").is_file() for _, base in builds)


BATCH1 = ("--profile", "batch1")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (("--server", "fp16,awq", *BATCH1), (6, "mirrored", False)),
        (("--server", "fp16,awq,gptq", *BATCH1), (4, "mirrored", False)),
        (("--server", "fp16,awq,gptq,nf4", *BATCH1), (2, "mirrored", False)),
        (("--server", "fp16,awq", *BATCH1, "--repeats", "3"), (3, "mirrored", False)),
        (("--server", "fp16,awq", *BATCH1, "--order", "each"), (6, "each", False)),
        (("--server", "fp16,awq", *BATCH1, "--interleave"), (6, "each", True)),
        (("--server", "fp16,awq", "--profile", "closed", "--interleave"), (6, "each", True)),
        (("--server", "fp16,awq", "--profile", "closed", "--level", "1"), (6, "mirrored", False)),
        (("--server", "fp16,awq", "--profile", "closed"), (1, "each", False)),
        (("--server", "fp16,awq", *BATCH1, "--level", "1,8"), (1, "each", False)),
        (("--server", "fp16,awq", "--profile", "constant", "--rate", "1"), (1, "each", False)),
        (("--server", "fp16", *BATCH1), (1, "each", False)),
        ((*URL, *BATCH1), (1, "each", False)),
    ],
)
def test_several_servers_at_one_stream_take_turns(
    ask: Ask, argv: tuple[str, ...], expected: tuple[int, str, bool]
) -> None:
    request = ask(*argv)
    assert (request.repeats, request.order, request.interleave) == expected
    assert request.asked["repeats"] == expected[0]
    assert not request.interleave or request.levels == [1]


@pytest.mark.parametrize("name", ["--url", "--base-url", "--target"])
def test_aliases_of_the_url(ask: Ask, name: str) -> None:
    request = ask(name, "http://h:1/v1", "--model", "m", "--profile", "steady")
    assert request.servers == [Url(urls=("http://h:1/v1",), model="m")]


def test_arrivals_from_the_command_line(ask: Ask, tmp_path: Path) -> None:
    assert ask(*STEADY, "--burstiness", "0.5").profile.arrival == Gamma(
        kind="gamma", burstiness=0.5
    )
    assert ask(*CLOSED, "--think", "2").profile.arrival == Closed(kind="closed", think_s=2)
    rows = "".join(f"{n},9,9\n" for n in range(100))
    (tmp_path / "t.csv").write_text("timestamp,prompt_tokens,output_tokens\n" + rows)
    replay = (*URL, "--profile", "replay", "--trace", "t.csv", "--clip-to", "99")
    stretched = ask(*replay, "--rate", "3")
    assert stretched.levels == [3]
    assert stretched.profile.arrival == Trace(
        kind="trace", file=str(tmp_path / "t.csv"), clip_to=99
    )
    assert ask(*replay).levels == [10]
    assert ask(*replay, "--time-scale", "2", "--duration", "40").levels == [2.0]


@pytest.mark.parametrize("name", ["--level", "--concurrency", "--max-concurrency"])
def test_aliases_of_the_level(ask: Ask, name: str) -> None:
    assert ask(*CLOSED, name, "1, 8,32").levels == [1, 8, 32]


@pytest.mark.parametrize("name", ["--rate", "--request-rate"])
def test_aliases_of_the_rate(ask: Ask, name: str) -> None:
    assert ask(*STEADY, name, "2,0.5").levels == [2, 0.5]


@pytest.mark.parametrize("name", ["--requests", "--num-prompts", "--num-requests"])
def test_aliases_of_the_number_of_requests(ask: Ask, name: str) -> None:
    profile = ask(*STEADY, name, "7").profile
    assert (profile.requests, profile.duration_s) == (7, None)


@pytest.mark.parametrize(
    ("prompt", "output"), [("--prompt-tokens", "--output-tokens"), ("--isl", "--osl")]
)
def test_aliases_of_the_lengths(ask: Ask, prompt: str, output: str) -> None:
    profile = ask(*STEADY, prompt, "100", output, "20").profile
    assert (profile.prompt_tokens, profile.output_tokens) == (100, 20)


def test_the_rest_of_the_profile(ask: Ask) -> None:
    profile = ask(*STEADY, "--duration", "3", "--warmup", "0", "--timeout", "2.5").profile
    assert (profile.duration_s, profile.warmup_requests, profile.timeout_s) == (3, 0, 2.5)


def test_slo_and_goodput_are_one(ask: Ask) -> None:
    slo = ask(*STEADY, "--slo", "ttft_p95_ms<=500,itl_p95_ms<=50").slo
    assert slo is not None
    assert [limit.value for limit in slo.limits] == [500, 50]
    slo = ask(*STEADY, "--goodput", "ttft:400", "tpot:40", "--seed", "3").slo
    assert slo is not None
    assert [(limit.metric, limit.value) for limit in slo.limits] == [
        ("ttft_ms", 400),
        ("tpot_ms", 40),
    ]


def test_pairs(ask: Ask) -> None:
    request = ask(
        *STEADY, "--header", "X-A=1", "--header", "X-B=a=b", "--metadata", "team=fraud ops"
    )
    assert request.headers == {"X-A": "1", "X-B": "a=b"}
    assert request.asked["metadata"] == {"team": "fraud ops"}
    assert request.asked["headers"] == ["X-A", "X-B"]


def test_all_of_the_command_line_is_kept(ask: Ask) -> None:
    request = ask(
        *(*STEADY, "--duration", "3", "--requests", "7", "--warmup", "0", "--timeout", "2.5"),
        *("--isl", "100", "--output-tokens", "20", "--out", "o"),
    )
    words = (
        *("duration", "requests", "warmup", "timeout", "prompt_tokens", "output_tokens"),
        *("out", "config"),
    )
    given = [request.asked[word] for word in words]
    assert given == [3, 7, 0, 2.5, 100, 20, Path("o"), None]
    nothing = ask(*STEADY).asked
    assert [nothing[word] for word in words] == [None] * 6 + [Path("runs"), None]
    own = {"goodput", "header", "quiet", "json", "resume"}  # under other names, or not kept
    flags = set(inspect.signature(harness.cli.load.load).parameters)
    assert flags - own == set(nothing) - {"levels", "headers"}


def test_an_answer_in_one_document_has_no_limit_on_its_stream(
    ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(*STEADY).stream
    request = ask(*STEADY, "--no-stream", "--slo", "e2e_p95_ms<=900,request_rate>=1")
    assert (request.stream, request.asked["no_stream"]) == (False, True)
    argv = ["load", *STEADY, "--no-stream", "--slo", "e2e_ms<=9,ttft_p95_ms<=5"]
    assert cli.run(argv) == ExitCode.BAD_INPUT
    assert '"ttft_p95_ms<=5": ttft_ms is not known' in capsys.readouterr().err


def test_the_others(ask: Ask) -> None:
    request = ask(
        *(*STEADY, "--repeats", "3", "--seed", "9", "--dialect", "openai-chat", "--ignore-eos"),
        *("--tokenizer", "there", "--api-key-env", "KEY", "--max-fail-ratio", "0.5", "--out", "o"),
    )
    assert (request.repeats, request.seed, request.dialect) == (3, 9, "openai-chat")
    assert request.force_ignore_eos
    assert (request.tokenizer, request.api_key_env) == (Path("there"), "KEY")
    assert request.max_fail_ratio == 0.5
    assert len(list(Path("o").iterdir())) == 1


def test_a_secret_header_comes_from_the_environment(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINE", "Bearer sesame")
    request = ask(*STEADY, "--header", "Authorization=env:MINE", "--header", "X-Team=blue-4711")
    assert request.headers == {"Authorization": "Bearer sesame", "X-Team": "blue-4711"}
    kept = " ".join(request.command) + str(request.asked)
    assert "sesame" not in kept
    assert "blue-4711" not in kept


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("Authorization=Bearer sesame", "--header Authorization=env:KEY"),
        ("X-Foo=sk-abcdefgh12345678", "--header X-Foo=env:KEY"),
        ("x-api-key=sesame", "in the list of processes"),
        ("Cookie=a=sesame", "in the list of processes"),
        ("Authorization=env:sesame", "no environment variable of the name after env: is set"),
    ],
)
def test_a_secret_in_the_command_line_is_refused(
    header: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["load", *STEADY, "--header", header]) == ExitCode.BAD_INPUT
    captured = capsys.readouterr()
    assert text in captured.err
    assert "sesame" not in captured.err + captured.out


def test_json_is_all_that_stdout_gets(ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    ask(*STEADY, "--quiet", "--json", "--header", "X-Team=x")
    captured = capsys.readouterr()
    assert captured.err == ""
    assert json.loads(captured.out)["cells"] == []


def test_a_run_without_a_number_says_where_it_lies(
    ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(*STEADY, "--quiet")
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.startswith(
        f"No cell has numbers; what there is lies in {Path.cwd() / 'runs'}/"
    )


@pytest.mark.parametrize(
    "argv",
    [
        ("--header", "Authorization: Bearer sesame"),
        ("--header", "Authorization:sesame=="),
        ("--api-key-env", "sk-sesame"),
    ],
)
def test_a_secret_in_the_wrong_place_is_not_repeated(
    argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["load", *STEADY, *argv]) in {ExitCode.BAD_INPUT, ExitCode.SERVER}
    captured = capsys.readouterr()
    assert argv[0] in captured.err
    assert "sesame" not in captured.err + captured.out


def test_a_sweep_begins_with_one_stream_or_a_profiles_lowest_rate(ask: Ask) -> None:
    request = ask(*CLOSED, "--sweep")
    assert request.sweep is not None
    assert (request.sweep.low, request.sweep.high) == (1, 10_000)
    assert (request.sweep.levels, request.sweep.limit_s) == (16, 1800)
    assert request.levels == [1.0]
    assert request.sweep.max_fail_ratio == 0.05
    assert request.max_fail_ratio == 1.0, "failures at the top are what it looks for"
    request = ask(*STEADY, "--sweep", "--duration", "20", "--max-levels", "9", "--max-minutes", "2")
    assert request.sweep is not None
    assert (request.sweep.low, request.sweep.least) == (10, 0.5)
    assert (request.sweep.levels, request.sweep.limit_s) == (9, 120)
    request = ask(*CLOSED, "--sweep", "--level", "4,64")
    assert request.sweep is not None
    assert (request.sweep.low, request.sweep.high) == (4, 64)


def test_a_run_goes_on_as_it_began(
    ask: Ask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    began = ask(
        *(*STEADY, "--sweep", "--rate", "2,40", "--duration", "7", "--slo", "ttft_p95_ms<=9"),
        *("--header", "X-Team=a", "--seed", "5", "--metadata", "who=me"),
    )
    run = RunFolder.create(tmp_path, "mine")
    run.write_manifest({"request": began.asked, "profile": began.profile.model_dump(mode="json")})
    again = ask("--resume", str(run.path), "--header", "X-Team=a")
    for name in ("servers", "profile", "levels", "sweep", "slo", "seed", "headers", "asked"):
        assert getattr(again, name) == getattr(began, name), name
    assert again.resume is not None
    assert again.resume.path == run.path
    for more, text in (
        (("--header", "X-Team=a", "--seed", "6"), "--seed and --resume do not go together"),
        ((), "X-Team"),
    ):
        assert cli.run(["load", "--resume", str(run.path), *more]) == ExitCode.BAD_INPUT
        assert text in capsys.readouterr().err
    changed = began.profile.model_dump(mode="json") | {"drain_s": 1}
    run.write_manifest({"request": began.asked, "profile": changed})
    words = ["load", "--resume", str(run.path), "--header", "X-Team=a"]
    assert cli.run(words) == ExitCode.BAD_INPUT
    assert "is not as it was" in capsys.readouterr().err
