"""An engine in a container of docker or podman.

Never tried with a daemon, only against golden files.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from launchers.engines import Start
from launchers.errors import InstallError
from launchers.model import hub_cache, hub_home

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from launchers.engines import Device, StartRequest
    from launchers.model import ModelSource

TOOLS = ("docker", "podman")
HOST = "0.0.0.0"  # noqa: S104 - in its container
"""Where an engine has to listen in its container."""
HUB = "/huggingface"
MODELS = "/models"
"""Holds the model's folder."""
OF_THIS_MACHINE = {"CUDA_VISIBLE_DEVICES", "HF_HOME", "HF_HUB_CACHE"}
"""Variables that concern a container as options of `docker run`, not as they are."""


def from_shell(*names: str) -> dict[str, str]:
    """Those variables of the user's shell that a container gets as they are, HF_TOKEN among them.

    The others of this machine that concern it are options of `docker run`.
    """
    return {key: os.environ[key] for key in ("HF_TOKEN", *names) if key in os.environ}


def inside(source: ModelSource) -> str:
    """Where a container finds the model: the folder or file as mounted, or the hub's id."""
    if source.folder is None:
        return source.location
    folder = f"{MODELS}/{source.name}"
    return f"{folder}/{source.file.name}" if source.file else folder


def contained(
    request: StartRequest,
    words: Sequence[str],
    *,
    environment: Mapping[str, str],
    device: Device,
    port: int,
    shared_memory: str = "8g",
    folder: str | None = None,
) -> Start:
    """`docker run` or `podman run`, with the model, its GPUs or CPUs, and the hub of this machine.

    The values of variables stay out of the command line, which others can read: the tool takes
    them from its own environment.

    Args:
        request: the build, its model and the port on 127.0.0.1. The build's image is fetched
            first, if it is not here and may be.
        words: what follows the image: the engine's command as far as the image has none, then its
            options, with the model as `inside` has it and `HOST`.
        environment: the engine's own; the build's comes on top.
        device: gets it all of the visible GPUs, or some CPUs.
        port: where the engine listens in the container.
        shared_memory: of the container, which the engine's processes pass tensors through.
        folder: where it is started in the container; None: where the image says.

    Raises:
        InstallError: neither docker nor podman, or no image, or no folder for the hub.
    """
    build, source, image = request.build, request.source, str(request.build.image)
    tool = next((path for name in TOOLS if (path := shutil.which(name))), None)
    if tool is None:
        raise InstallError(
            f"build {build.name!r} names an image, and neither docker nor podman is on PATH"
        )
    if request.install_missing:
        _pull(tool, image, request.on_line)
    name = f"harness-{build.name.lower()}-{os.getpid()}-{request.port}"
    settings = os.environ | build.environment
    variables = dict(environment)
    argv = [tool, "run", "--rm", "--init", "--name", name, f"--shm-size={shared_memory}"]
    argv += ["-p", f"127.0.0.1:{request.port}:{port}"]
    argv += [f"--workdir={folder}"] if folder else []
    if device.kind == "cuda":
        argv += _gpu_flags(tool, settings.get("CUDA_VISIBLE_DEVICES"))
    cpus, client = request.cpus(device)
    argv += [f"--cpuset-cpus={','.join(map(str, cpus))}"] if cpus else []
    if source.folder:
        argv += _mount(source.folder, f"{MODELS}/{source.name}", "readonly")
        variables["HF_HUB_OFFLINE"] = "1"
    else:
        argv += _hub_mounts(settings)
        variables["HF_HOME"] = HUB
    variables |= {k: v for k, v in build.environment.items() if k not in OF_THIS_MACHINE}
    for key in (*variables, *(build.secrets or ())):
        argv += ["-e", key]
    return Start(
        argv=[*argv, image, *words],
        environment=variables,
        client_cpus=client,
        owns_port=False,
        cleanup=[tool, "rm", "-f", name],
        provenance={**device.facts, "image": image},
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
    return [*_mount(home, HUB), *_mount(cache, f"{HUB}/hub")]


def _mount(source: Path, target: str, *options: str) -> list[str]:
    fields = ["type=bind", f"source={source}", f"target={target}", *options]
    return ["--mount", ",".join(f'"{field}"' if "," in field else field for field in fields)]
