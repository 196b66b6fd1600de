"""TGI and SGLang: command lines against golden files and the engines' own lists of options.

Neither has ever run here. The lists are of TGI's page "launcher" (3.3) and of SGLang's own parser
(0.5.23), which also took the words of its golden files.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from launchers.build import Build
from launchers.engines import Start, StartRequest, load_engine
from launchers.errors import BuildError, InstallError
from launchers.model import ModelSource

if TYPE_CHECKING:
    from tests.launchers.conftest import Machine

GOLDEN, LOGS = Path(__file__).parent / "golden", Path(__file__).parent / "logs"
OPTIONS = {"tgi": "tgi-3-options.txt", "sglang": "sglang-0.5.23-options.txt"}
PROGRAMS = {"tgi": "text-generation-launcher", "sglang": "sglang"}
IMAGES = {
    "tgi": "text-generation-inference:3.3.6",
    "sglang": "lmsysorg/sglang:v0.5.23",
}
ARGUMENTS: dict[str, dict[str, object]] = {
    "tgi": {"quantize": "awq", "sharded": False, "max_batch_prefill_tokens": 8192,
            "trust-remote-code": True, "disable-custom-kernels": False},
    "sglang": {"quantization": "awq", "tp_size": 2, "mem-fraction-static": 0.8,
               "disable-radix-cache": True, "trust-remote-code": False},
}  # fmt: skip
FOLDER = ModelSource(name="tiny", folder=Path("/models/tiny"))
ENGINES = pytest.mark.parametrize("engine", ["tgi", "sglang"])


def build(engine: str, **fields: object) -> Build:
    return Build.model_validate({"name": "Big.one", "model": "m", "engine": engine} | fields)


def start(engine: str, source: ModelSource = FOLDER, **fields: object) -> Start:
    request = StartRequest(
        build=build(engine, **fields), source=source, port=8123, on_line=lambda _: None
    )
    return load_engine(engine).start(request)


def spelled(begun: Start) -> str:
    """A start for a golden file: its words, the clean-up, and the variables it sets."""
    told = [*begun.argv, "", *(begun.cleanup or []), "", *sorted(begun.environment)]
    return "\n".join(told) + "\n"


def words(begun: Start) -> list[str]:
    """What the engine itself is told."""
    ends = ("text-gen", "lmsys", "/usr")
    last = max(n for n, word in enumerate(begun.argv) if word.startswith(ends))
    return begun.argv[last + 1 :]


@ENGINES
@pytest.mark.parametrize("tool", ["docker", "podman"])
@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_a_container(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, engine: str, tool: str, device: str
) -> None:
    machine.on_path(tool)
    monkeypatch.setattr(os, "getpid", lambda: 4242)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("API_KEY", "of the shell")
    begun = start(
        engine,
        device=device,
        image=IMAGES[engine],
        max_model_len=4096,
        arguments=ARGUMENTS[engine],
        environment={"NCCL_DEBUG": "WARN"},
    )
    text = spelled(begun)
    assert text == (GOLDEN / f"{engine}-{tool}-{device}.txt").read_text()
    assert "hf_secret" not in text
    assert begun.environment["HF_TOKEN"] == "hf_secret"
    assert "API_KEY" not in begun.environment
    assert (begun.owns_port, begun.client_cpus) == (False, None if device == "cuda" else [3])


@ENGINES
@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_a_command(machine: Machine, engine: str, device: str) -> None:
    machine.on_path(PROGRAMS[engine])
    begun = start(engine, device=device, dtype="bfloat16", max_model_len=4096)
    assert spelled(begun) == (GOLDEN / f"{engine}-command-{device}.txt").read_text()
    assert begun.cpus == (None if device == "cuda" else [0, 1, 2])


@ENGINES
def test_every_option_is_one_of_the_engines(machine: Machine, engine: str) -> None:
    known = set((GOLDEN / OPTIONS[engine]).read_text().split())
    machine.on_path(PROGRAMS[engine], "docker")
    starts = [
        start(engine, device="cpu", dtype="float16", max_model_len=9),
        start(engine, device="cuda", image=IMAGES[engine], arguments=ARGUMENTS[engine]),
    ]
    for begun in starts:
        told = [word for word in words(begun) if word.startswith("--")]
        assert len(told) > 5
        assert {word[2:].partition("=")[0] for word in told} <= known
    for pattern in load_engine(engine).start.__globals__["FIELDS"]:
        assert pattern in known


@ENGINES
def test_a_hub_model_in_a_container(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, engine: str
) -> None:
    machine.on_path("docker")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    source = ModelSource(name="org/model", hub_id="org/model")
    begun = start(engine, source, device="cuda", image="i")
    assert f"type=bind,source={tmp_path}/hub,target=/huggingface/hub" in begun.argv
    assert begun.environment["HF_HOME"] == "/huggingface"
    assert "HF_HUB_OFFLINE" not in begun.environment
    option = {"tgi": "--model-id", "sglang": "--model-path"}[engine]
    assert f"{option}=org/model" in begun.argv
    if engine == "tgi":
        assert begun.environment["HUGGINGFACE_HUB_CACHE"] == "/huggingface/hub"


def test_requests_name_tgis_model_as_it_does(machine: Machine) -> None:
    """`/info` tells what `--model-id` says, and so do answers."""
    machine.on_path("text-generation-launcher", "docker")
    assert start("tgi").model == "/models/tiny"
    assert start("tgi", image="i").model == "/models/tiny"
    assert start("tgi", ModelSource(name="o/m", hub_id="o/m")).model == "o/m"
    assert start("sglang", image="i").model is None, "--served-model-name"


def test_a_key_of_the_shell_does_not_lock_us_out(machine: Machine) -> None:
    machine.on_path("text-generation-launcher")
    assert start("tgi").unset == ("API_KEY",)


@pytest.mark.parametrize(
    ("command", "begins"),
    [
        (["/opt/sglang"], ["/opt/sglang", "serve", "--model-path=/models/tiny"]),
        (["nice", "sglang", "serve"], ["nice", "sglang", "serve", "--model-path=/models/tiny"]),
        (["python", "-m", "sglang.launch_server"], ["python", "-m", "sglang.launch_server"]),
    ],
)
def test_how_sglang_is_called(machine: Machine, command: list[str], begins: list[str]) -> None:
    machine.patch.setattr("shutil.which", lambda name: name)
    assert start("sglang", command=command).argv[: len(begins)] == begins


@pytest.mark.parametrize(
    ("engine", "fields", "says"),
    [
        ("tgi", {"arguments": {"model-id": "x"}}, r"arguments\.model-id`: the harness sets it"),
        ("tgi", {"arguments": {"hostname": "x"}}, "the harness sets it"),
        ("tgi", {"arguments": {"max_total_tokens": 9}}, "field `max_model_len`"),
        ("tgi", {"arguments": {"max_input_length": 9}}, "max-input-tokens"),
        ("tgi", {"arguments": {"dtype": "float16"}}, "field `dtype`"),
        ("tgi", {"arguments": {"api_key": "x"}}, "sends no key"),
        ("tgi", {"environment": {"API_KEY": "x"}}, r"environment\.API_KEY`.*sends no key"),
        ("tgi", {"arguments": {"ngrok": True}}, "plain HTTP"),
        ("tgi", {"dtype": "float32"}, "dtype`: TGI knows float16 and bfloat16"),
        ("tgi", {"dtype": "float16", "arguments": {"quantize": "awq"}}, r"arguments\.quantize"),
        ("tgi", {"command": ["/no/such"]}, "no program that runs"),
        ("sglang", {"arguments": {"model_path": "x"}}, "the harness sets it"),
        ("sglang", {"arguments": {"served-model-name": "x"}}, "the harness sets it"),
        ("sglang", {"arguments": {"context-length": 9}}, "field `max_model_len`"),
        ("sglang", {"arguments": {"api-key": "x"}}, "sends no key"),
        ("sglang", {"arguments": {"admin_api_key": "x"}}, "sends no key"),
        ("sglang", {"arguments": {"ssl-keyfile": "x"}}, "plain HTTP"),
        ("sglang", {"arguments": {"smg-grpc-mode": True}}, "plain HTTP"),
        ("sglang", {"command": ["/no/such"]}, "no program that runs"),
    ],
)
def test_what_does_not_fit(engine: str, fields: dict[str, object], says: str) -> None:
    with pytest.raises(BuildError, match=says):
        load_engine(engine).check(build(engine, **fields), FOLDER)


@ENGINES
def test_neither_is_installed_by_us(machine: Machine, engine: str) -> None:
    machine.on_path()
    with pytest.raises(InstallError) as told:
        start(engine)
    for text in (f"is for {engine}", f"no `{PROGRAMS[engine]}` command", "`command`", "`image`"):
        assert text in str(told.value)
    assert "device = 'cpu'" not in str(told.value), "that would not help"


def recorded(name: str) -> dict[str, str]:
    told: dict[str, Any] = json.loads((GOLDEN / name).read_text())["pages"]
    return {path: json.dumps(page) for path, page in told.items()}


def test_what_tgi_says_of_itself() -> None:
    facts = load_engine("tgi").facts((LOGS / "tgi.log").read_text(), recorded("tgi-3.json"))
    assert (facts.version, facts.max_model_len, facts.kv_cache_tokens) == ("3.3.6", 4096, 52719)
    told = facts.provenance
    assert (told["attention_backend"], told["max_batch_total_tokens"]) == ("flashinfer", 52125)
    assert (told["enable_prefix_caching"], told["enable_chunked_prefill"]) == (True, True)
    assert told["model_sha"] == "e985a63cdc139290c5f700ff1929f0b5942cced2"
    older = (LOGS / "tgi.log").read_text().replace("KV-cache blocks", "blocks")
    assert load_engine("tgi").facts(older, {}).kv_cache_tokens == 52125
    silent = load_engine("tgi").facts("", {"/info": "<html>"})
    assert (silent.version, silent.kv_cache_tokens, silent.provenance) == (None, None, {})


def test_what_sglang_says_of_itself() -> None:
    pages = recorded("sglang-0.5.json")
    facts = load_engine("sglang").facts((LOGS / "sglang.log").read_text(), pages)
    assert (facts.version, facts.max_model_len) == ("0.5.23", 4096)
    assert facts.kv_cache_tokens == 412345
    told = facts.provenance
    assert (told["attention_backend"], told["tensor_parallel_size"]) == ("flashinfer", 1)
    assert (told["enable_prefix_caching"], told["model_memory_gib"]) == (True, 14.99)
    assert not {"dtype", "api_key", "launch_command"} & told.keys()
    older = {"/get_server_info": pages["/server_info"]}
    assert load_engine("sglang").facts("", older).version == "0.5.23"
    silent = load_engine("sglang").facts("", {"/v1/models": "[]"})
    assert (silent.version, silent.max_model_len, silent.provenance) == (None, None, {})
