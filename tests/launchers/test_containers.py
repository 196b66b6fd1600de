from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from launchers import containers
from launchers.build import Build
from launchers.engines import Start, StartRequest
from launchers.engines import vllm as module
from launchers.errors import InstallError
from launchers.model import ModelSource

if TYPE_CHECKING:
    from tests.launchers.conftest import Machine

PULL = containers._pull
MODEL = ModelSource(name="tiny", folder=Path("/models/tiny"))
pytestmark = pytest.mark.usefixtures("machine")


def start(build: Build, source: ModelSource = MODEL) -> Start:
    request = StartRequest(build=build, source=source, port=8123, on_line=lambda _: None)
    return module.ENGINE.start(request)


def after(argv: list[str], option: str) -> list[str]:
    return [value for name, value in pairwise(argv) if name == option]


def contained(machine: Machine, tool: str, **fields: object) -> Start:
    machine.on_path(tool)
    build = {"name": "x", "model": "m", "device": "cuda", "image": "i", **fields}
    return start(Build.model_validate(build))


def test_a_container_gets_the_gpus_of_the_shell(
    monkeypatch: pytest.MonkeyPatch, machine: Machine
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1, 3")
    assert '--gpus="device=1,3"' in contained(machine, "docker").argv
    argv = contained(machine, "podman").argv
    assert {"--device=nvidia.com/gpu=1", "--device=nvidia.com/gpu=3"} <= set(argv)
    own = contained(machine, "docker", environment={"CUDA_VISIBLE_DEVICES": "2"})
    assert '--gpus="device=2"' in own.argv
    assert "CUDA_VISIBLE_DEVICES" not in [*own.argv, *own.environment]  # they count from 0 inside


def test_a_container_keeps_secrets_off_its_command_line(machine: Machine) -> None:
    begun = contained(machine, "docker", environment={"HF_TOKEN": "hf_own"})
    assert not any("hf_own" in word for word in begun.argv)
    assert after(begun.argv, "-e").count("HF_TOKEN") == 1
    assert begun.environment["HF_TOKEN"] == "hf_own"


def test_a_container_on_a_cpu_gets_the_shells_kv_cache(
    monkeypatch: pytest.MonkeyPatch, machine: Machine
) -> None:
    name = "VLLM_CPU_KVCACHE_SPACE"
    monkeypatch.setenv(name, "7")
    begun = contained(machine, "docker", device="cpu")
    assert name in after(begun.argv, "-e")
    assert begun.environment[name] == "7"


def test_a_container_gets_the_hub_of_the_shell(
    monkeypatch: pytest.MonkeyPatch, machine: Machine, tmp_path: Path
) -> None:
    machine.on_path("docker")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "a,b:c"))
    source = ModelSource(name="org/m", hub_id="org/m")
    build = Build(name="x", model="org/m", device="cuda", image="i")
    inside = "/huggingface"
    begun = start(build, source=source)
    assert "HF_HOME" in after(begun.argv, "-e")
    assert begun.environment["HF_HOME"] == inside
    assert after(begun.argv, "--mount") == [
        f"type=bind,source={tmp_path}/home,target={inside}",
        f'type=bind,"source={tmp_path}/a,b:c",target={inside}/hub',
    ]
    assert (tmp_path / "home").is_dir()
    assert (tmp_path / "a,b:c").is_dir()
    (tmp_path / "file").touch()
    monkeypatch.setenv("HF_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(InstallError, match="cannot make"):
        start(build, source=source)


def test_an_image_is_pulled_before_its_server_is_started(tmp_path: Path) -> None:
    script = """#!/bin/sh
    case "$1" in
        image) test -e "$0.$3" ;;
        pull) case "$3" in bad) echo no such image >&2; exit 1 ;; *) touch "$0.$3" ;; esac ;;
    esac
    """
    tool = tmp_path / "docker"
    tool.write_text(script)
    tool.chmod(0o755)
    lines: list[str] = []
    for _ in range(2):
        PULL(str(tool), "good", lines.append)
    assert len(lines) == 1
    with pytest.raises(InstallError, match="docker could not pull bad: no such image"):
        PULL(str(tool), "bad", lines.append)


def test_an_image_without_a_container_tool() -> None:
    with pytest.raises(InstallError, match="neither docker nor podman"):
        start(Build(name="x", model="m", device="cuda", image="vllm/vllm-openai"))
