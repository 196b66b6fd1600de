from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from launchers import engines as package
from launchers.build import Build
from launchers.engines import Start, StartRequest, load_engine
from launchers.engines import llamacpp as module
from launchers.errors import BuildError, InstallError, NotYetInstalledError
from launchers.launch import check_build
from launchers.model import ModelSource, builtin_builds, resolve_model

if TYPE_CHECKING:
    from tests.launchers.conftest import Machine

TINY = ModelSource(name="tiny", folder=Path("/models"), file=Path("/models/tiny.gguf"))


def start(source: ModelSource = TINY, *, install: bool = True, **fields: object) -> Start:
    request = StartRequest(
        build=Build.model_validate({"name": "x", "model": "m", "engine": "llama.cpp"} | fields),
        source=source,
        port=8123,
        install_missing=install,
        on_line=lambda _: None,
    )
    return module.ENGINE.start(request)


@pytest.fixture(autouse=True)
def compiled(machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The compiled program; nothing else is there."""
    del machine
    monkeypatch.setattr(package, "installed", lambda _: tmp_path / "bin" / "python")
    program = tmp_path / "lib/python3.11/site-packages/llama_cpp/bin/llama-server"
    program.parent.mkdir(parents=True)
    program.touch()
    return program


COMMON = "--model /models/tiny.gguf --alias tiny --host 127.0.0.1 --port 8123 --metrics --no-webui "


def test_the_compiled_server_on_a_cpu(compiled: Path) -> None:
    begun = start()
    assert begun.argv == [str(compiled), *(COMMON + "--parallel 4 --threads 3").split()]
    assert (begun.cpus, begun.client_cpus) == ([0, 1, 2], [3])
    assert begun.environment["LLAMA_API_KEY"] == "", "a key of the user's shell"


def test_a_builds_own_arguments(compiled: Path) -> None:
    arguments = {"parallel": 8, "threads": 2, "cache_type_k": "q8_0", "mmap": False, "slots": True}
    begun = start(max_model_len=1024, arguments=arguments)
    told = "--parallel 8 --threads 2 --cache-type-k q8_0 --no-mmap --slots --ctx-size 8192"
    assert begun.argv == [str(compiled), *(COMMON + told).split()], "1,024 tokens for each of 8"
    assert begun.provenance["kv_cache_dtype"] == "float16 and q8_0"
    assert "metrics" not in " ".join(start(arguments={"metrics": False}).argv), "no --no-metrics"


@pytest.mark.parametrize("name", ["llamacpp-f16", "llamacpp-q8", "llamacpp-q4"])
def test_the_builtin_builds(name: str) -> None:
    path = builtin_builds()[name]
    fields = tomllib.loads(path.read_text())
    source = resolve_model(Build.model_validate(fields), path.parent)
    begun = start(source, **fields)
    assert source.file
    assert begun.argv[1:3] == ["--model", str(source.file)]
    assert source.name == f"demo-gguf-{fields['quantization']}"
    assert "65536" in begun.argv, "32 slots of 2,048 tokens"
    assert source.file.stat().st_size < 2**21


def test_a_command_comes_before_what_was_compiled(
    monkeypatch: pytest.MonkeyPatch, machine: Machine
) -> None:
    machine.on_path("llama-server")
    assert start().argv[0] == "/usr/bin/llama-server"
    monkeypatch.setattr("shutil.which", lambda name: name)
    assert start(command=["numactl", "-N0", "/opt/llama-server"]).argv[:3] == [
        "numactl",
        "-N0",
        "/opt/llama-server",
    ]


def test_on_a_gpu_all_cpus_are_the_servers(machine: Machine) -> None:
    machine.with_gpus("NVIDIA H200")
    assert start().provenance["device"] == "cpu", "what is compiled here has no CUDA"
    assert "--device none" in " ".join(start().argv)
    machine.on_path("llama-server")
    begun = start()
    assert (begun.provenance["device"], begun.cpus) == ("cuda", None)
    assert "--threads" not in begun.argv
    assert "--device none" in " ".join(start(device="cpu").argv)


def test_a_hub_model_is_llamacpps_to_fetch() -> None:
    source = ModelSource(name="org/model-GGUF", hub_id="org/model-GGUF")
    assert start(source).argv[1:3] == ["--hf-repo", "org/model-GGUF"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"arguments": {"model": "x"}}, r"arguments\.model`: the harness sets it"),
        ({"arguments": {"api_key": "x"}}, "sends no key"),
        ({"arguments": {"ssl-key-file": "x"}}, "plain HTTP"),
        (
            {"arguments": {"ctx_size": 9}, "max_model_len": 9},
            r"arguments\.ctx-size`: max_model_len",
        ),
        ({"dtype": "float16"}, "a GGUF file has its own"),
        ({"image": "ghcr"}, "give --url"),
        ({"command": ["/no/such"]}, "no program that runs"),
    ],
)
def test_what_does_not_fit(fields: dict[str, object], says: str) -> None:
    build = Build.model_validate({"name": "x", "model": "m", "engine": "llama.cpp"} | fields)
    with pytest.raises(BuildError, match=says):
        load_engine("llama.cpp").check(build, TINY)


def test_a_checkpoint_that_is_no_gguf() -> None:
    with pytest.raises(BuildError, match=r"no GGUF file, and llama\.cpp reads nothing else"):
        start(ModelSource(name="tiny", folder=Path("/models/tiny")))
    with pytest.raises(BuildError, match="no GGUF file"):
        check_build(Build(name="x", model="demo:fp16", engine="llama.cpp"), Path())


def test_what_is_not_installed(monkeypatch: pytest.MonkeyPatch, compiled: Path) -> None:
    compiled.unlink()
    with pytest.raises(InstallError, match="has no llama-server"):
        start()
    with pytest.raises(InstallError, match="'x' wants a GPU, and what `harness engines install`"):
        start(device="cuda")
    monkeypatch.setattr(package, "installed", lambda _: None)
    with pytest.raises(NotYetInstalledError, match=r"harness engines install llama\.cpp"):
        start(install=False)


def test_what_a_recorded_server_said_of_itself() -> None:
    """The log and the page of the demo model's 16-bit build, llama.cpp of 2026-11."""
    log = (Path(__file__).parent / "logs" / "llamacpp.log").read_text()
    page = (Path(__file__).parent / "logs" / "llamacpp-props.json").read_text()
    facts = module.ENGINE.facts(log, {"/props": page})
    assert facts.version == "b1-0c1e570"
    assert (facts.max_model_len, facts.kv_cache_tokens) == (2048, 65536)
    assert facts.provenance == {"slots": 32, "kv_unified": False, "quantization": "F16"}
    shared = module.ENGINE.facts(log.replace("'false'", "'true'"), {})
    assert (shared.version, shared.kv_cache_tokens) == (None, 2048), "one cache for all slots"
    silent = module.ENGINE.facts("", {"/props": "<html>"})
    assert silent.max_model_len is silent.provenance["kv_unified"] is None
