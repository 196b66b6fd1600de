"""`[defaults]` and `[servers.NAME]` of a harness.toml, as the command line takes them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from harness.cli import build_app
from harness.cli.compare import prices_of
from harness.cli.flags import servers_named, urls_of
from harness.config import find_build, find_profile, load_config
from harness.defaults import COMMANDS, Flags
from harness.errors import BadInputError
from harness.load.request import LoadRequest
from harness.serving import Url, name_of

TOML = """
[defaults]
server = "fleet"
profile = "./evening.toml"
slo = "ttft_p95_ms<=500"
duration = 20
repeats = 2
seed = 7
out = "kept"
quiet = true
metadata = { team = "a", place = "b" }

[defaults.compare]
slo = "ttft_p95_ms@c8<=500"
price_per_hour = "2.5"

[defaults.eval]
suite = "domain,./ours.toml"

[servers.fleet]
url = ["http://127.0.0.1:9/v1", "http://127.0.0.1:10/v1"]
model = "m"
api_key_env = "KEY"
tokenizer = "tok"
price_per_gpu_hour = 2.5

[servers.one]
url = "http://127.0.0.1:11/v1"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    (tmp_path / "harness.toml").write_text(TOML)
    return tmp_path


def parsed(line: str) -> dict[str, Any]:
    """What a command would be called with."""
    app = build_app()
    if line.startswith("eval"):
        from harness.cli.eval import evaluate

        app["eval"].default(evaluate)
    _, bound, *_ = app.parse_args(shlex.split(line), print_error=False, exit_on_error=False)
    return dict(bound.arguments)


def test_what_is_not_typed_is_taken_from_the_file(folder: Path) -> None:
    found = parsed("load --server awq")
    assert found == {
        "server": "awq",
        "profile": str(folder / "evening.toml"),
        "slo": "ttft_p95_ms<=500",
        "duration": 20,
        "repeats": 2,
        "seed": 7,
        "out": folder / "kept",
        "quiet": True,
        "metadata": ("team=a", "place=b"),
    }


def test_what_is_typed_comes_first() -> None:
    found = parsed("load --server awq --repeats 5 --out here --slo itl_p95_ms<=50 --metadata x=y")
    assert (found["repeats"], found["out"], found["slo"]) == (5, Path("here"), "itl_p95_ms<=50")
    assert found["metadata"] == ("x=y",)
    assert "slo" not in parsed("load --server awq --goodput ttft:500")
    assert "duration" not in parsed("load --server awq --requests 10")
    # Another spelling of a flag is that flag.
    assert parsed("load --server awq --max-concurrency 4 --base-url http://x/v1")["url"]


def test_each_command_takes_the_flags_that_it_has(folder: Path) -> None:
    assert parsed("gate awq --baseline fp16") == {
        "candidate": "awq",
        "baseline": "fp16",
        "seed": 7,
        "out": folder / "kept",
        "quiet": True,
    }
    assert parsed("list servers") == {}
    assert parsed("doctor") == {}
    assert parsed("report run")
    assert parsed("quantize demo:fp16 --method awq") == {"model": "demo:fp16", "method": "awq"}


def test_a_table_of_a_command_alone() -> None:
    found = parsed("compare fp16 awq")
    assert found["slo"] == "ttft_p95_ms@c8<=500"
    assert found["price_per_hour"] == "2.5"
    assert parsed("eval --server awq")["suite"].startswith("domain,/")
    assert "suite" not in parsed("load --server awq")


def test_a_named_server_is_a_url(folder: Path) -> None:
    for line in ("load", "load --server fleet", "capacity", "capacity --server fleet"):
        found = parsed(line)
        assert found["url"] == ("http://127.0.0.1:9/v1,http://127.0.0.1:10/v1",), line
        assert (found["model"], found["api_key_env"]) == ("m", "KEY"), line
        assert found["tokenizer"] == folder / "tok", line
        assert "server" not in found, line
    found = parsed("load --server one")
    assert found["url"] == ("http://127.0.0.1:11/v1",)
    assert not {"model", "api_key_env", "tokenizer"} & found.keys()
    assert parsed("probe --server one")["url"] == "http://127.0.0.1:11/v1"
    assert parsed("load --server fleet --model other")["model"] == "other"
    with pytest.raises(BadInputError, match="leave --url out"):
        parsed("load --server fleet --url http://x/v1")


def test_its_results_have_its_name(folder: Path) -> None:
    config = load_config(folder / "harness.toml")
    typed = parsed("load --server fleet")
    url = urls_of(typed["url"], typed["model"], None, verify=True)
    [found] = servers_named(None, url, config, "x")
    assert isinstance(found, Url)
    assert (found.name, len(found.urls)) == ("fleet", 2)
    [other] = servers_named(None, urls_of(("http://x/v1",), None, None, verify=True), config, "x")
    assert name_of(other) == "url"


def test_a_table_among_several_keeps_what_is_its_own(folder: Path) -> None:
    """One name alone becomes flags; of several, each keeps its URL, key and tokenizer."""
    config = load_config(folder / "harness.toml")
    build, fleet, one = servers_named("fp16,fleet,one", None, config, "x")
    assert (isinstance(build, Url), name_of(build)) == (False, "fp16")
    assert fleet == Url(
        urls=("http://127.0.0.1:9/v1", "http://127.0.0.1:10/v1"),
        model="m",
        name="fleet",
        tokenizer=folder / "tok",
        api_key_env="KEY",
    )
    assert one == Url(urls=("http://127.0.0.1:11/v1",), name="one")
    request = LoadRequest(
        servers=[build, fleet, one],
        profile=find_profile("closed", config),
        levels=[1.0],
        dialect="openai-chat",
        command=[],
    )
    assert (request.of("fleet").api_key_env, request.of("one").api_key_env) == ("KEY", None)
    assert request.of("fleet").tokenizer == folder / "tok"
    assert request.of("fp16") == request
    assert request.of("one").dialect == "openai-chat"


def test_no_build_is_called_as_a_server(folder: Path) -> None:
    config = load_config(folder / "harness.toml")
    with pytest.raises(BadInputError, match=r"fleet is a server that runs already"):
        find_build("fleet", config)
    (folder / "harness.toml").write_text(TOML + '[builds.one]\nmodel = "m"\n')
    with pytest.raises(BadInputError, match=r"servers\.one: a build is called so, too"):
        load_config()


def test_a_key_goes_to_no_other_url(folder: Path) -> None:
    (folder / "harness.toml").write_text(
        '[defaults]\nurl = "http://a/v1"\napi_key_env = "KEY"\nmodel = "m"\ndialect = "tgi"\n'
    )
    assert parsed("probe")["api_key_env"] == "KEY"
    for line in ("probe --url http://b/v1", "probe --server awq", "load --server awq"):
        assert not {"api_key_env", "model", "dialect"} & parsed(line).keys(), line
    assert "url" not in parsed("probe --server awq")


def test_a_run_that_goes_on_is_as_it_was() -> None:
    assert parsed("load --resume r") == {"resume": Path("r"), "quiet": True}
    assert parsed("eval --resume r") == {"resume": Path("r"), "quiet": True}
    assert parsed("capacity --resume r")["slo"]  # which wants all said again


def test_finished_runs_are_not_measured(folder: Path) -> None:
    run = folder / "below" / "run"
    run.mkdir()
    (run / "manifest.json").write_text("{}")
    assert parsed("compare run") == {
        "names": ("run",),
        "slo": "ttft_p95_ms@c8<=500",
        "price_per_hour": "2.5",
        "out": folder / "kept",
        "quiet": True,
    }
    assert parsed("capacity run") == {
        "runs": (Path("run"),),
        "slo": "ttft_p95_ms<=500",
        "quiet": True,
    }


def test_config_says_which_file(folder: Path) -> None:
    other = folder / "other.toml"
    other.write_text("[defaults]\nseed = 3\n")
    assert parsed(f"load --server awq --config {other}") == {
        "server": "awq",
        "seed": 3,
        "config": other,
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[defaults]\nrepeat = 3", r'2: defaults.repeat: unknown field .did you mean "repeats"'),
        ("[defaults]\nseed = -1\nrepeats = 0", "defaults.repeats: should be greater"),
        ("[defaults.lod]\nseed = 1", r'defaults.lod: unknown field .did you mean "load"'),
        ("[default]\nseed = 1", r'default: unknown table .did you mean "defaults"'),
        ('[defaults]\nserver = "a"\nurl = "http://b"', "give one of both"),
        ("[defaults.load]\nsuite = 1", "should be a valid string"),
        ('[servers.a]\nurl = "http://me:pw@b/v1"', r"servers\.a\.url"),
        ('[servers.a]\nmodel = "m"', r"servers\.a\.url: is missing"),
        ('[servers.a]\nurl = "http://b/v1"\napi_key = "s"', 'did you mean "api_key_env"'),
    ],
)
def test_mistakes(text: str, problem: str, folder: Path) -> None:
    (folder / "harness.toml").write_text(text)
    with pytest.raises(BadInputError, match=problem):
        parsed("load --server awq")


def test_a_flag_that_the_command_has_not(folder: Path) -> None:
    (folder / "harness.toml").write_text('[defaults.gate]\nslo = "ttft_p95_ms<=1"\n')
    with pytest.raises(BadInputError, match=r"defaults\.gate\.slo: harness gate has no --slo"):
        parsed("gate a --baseline b")
    assert "slo" not in parsed("load --server awq")


def test_every_default_is_a_flag_of_some_command() -> None:
    app = build_app()
    from harness.cli.eval import evaluate

    app["eval"].default(evaluate)
    there = {
        name.removeprefix("--").replace("-", "_")
        for command in COMMANDS
        for argument in app[command].assemble_argument_collection()
        for name in argument.names
    }
    assert Flags.model_fields.keys() <= there


def test_prices(folder: Path) -> None:
    config = load_config(folder / "harness.toml")
    assert config.priced == {"fleet"}
    assert prices_of(config, ["fp16"]) == {}
    path = folder / "harness.toml"
    path.write_text(
        "[capacity]\nprice_per_gpu_hour = { fp16 = 4.0, awq = 2.5 }\n"
        "gpus_per_replica = { fp16 = 2 }\n"
    )
    config = load_config(path)
    assert prices_of(config, ["fp16", "awq"]) == {"fp16": 8.0, "awq": 2.5}
    assert prices_of(config, ["fp16", "nf4"]) == {}
    path.write_text("[capacity]\nprice_per_gpu_hour = 3.0\n")
    assert prices_of(load_config(path), ["a", "b"]) == {"a": 3.0, "b": 3.0}
