"""Serving programs. Each module ends in `ENGINE: Engine = …`; the folder is the registry."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from launchers.devices import available_cpus, nvidia_gpus, split_cpus
from launchers.environments import install, installed
from launchers.errors import InstallError, NotYetInstalledError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from launchers.build import Build
    from launchers.model import ModelSource


@dataclass(frozen=True)
class Device:
    """What a server computes on."""

    kind: Literal["cpu", "cuda"]
    reason: str
    """In words, for the report."""

    @property
    def facts(self) -> dict[str, object]:
        """For a server's provenance."""
        return {"device": self.kind, "device_reason": self.reason}


@dataclass(frozen=True, kw_only=True)
class StartRequest:
    """What an engine must know to say how it is started."""

    build: Build
    source: ModelSource
    port: int
    """On 127.0.0.1."""
    reserve_client_cpu: bool = True
    """Leave a CPU to the load client, if the model runs on CPUs and there is more than one."""
    install_missing: bool = True
    """Make a managed environment that is not there; otherwise that is an InstallError."""
    on_line: Callable[[str], None]

    def managed(self, environment: str, cost: str) -> Path:
        """Return the Python of a managed environment, which is made where that is wanted.

        `cost` tells what making it takes.

        Raises:
            NotYetInstalledError: it is not there, and not to be made.
            InstallError: it could not be made.
        """
        python = installed(environment)
        if python is None and self.install_missing:
            self.on_line(f"installing {environment}: {cost}, only once")
            python = install(environment, self.on_line)
        if python is None:
            raise NotYetInstalledError(
                f"{environment} is not installed: run `harness engines install {environment}`"
            )
        return python

    def device(self, program: str) -> Device:
        """Choose the device.

        What is installed here computes on CPUs: a GPU wants `program` on PATH, or the build's own
        command or image.
        """
        build = self.build
        if build.device != "auto":
            return Device(build.device, "set in the build")
        gpus = nvidia_gpus()
        if not gpus:
            return Device("cpu", "no NVIDIA GPU is visible")
        if build.command or build.image or shutil.which(program):
            return Device("cuda", f"{len(gpus)} NVIDIA GPU(s) visible")
        reason = (
            f"{gpus[0]} is visible, but there is no `{program}` command on PATH and the build "
            "names no `command` or `image`"
        )
        self.on_line(f"{build.name}: on the CPU, since {reason}")
        return Device("cpu", reason)

    def on_path(self, program: str, advice: str, *, alone: bool = False) -> str:
        """Return the command that serves; `advice` tells how to get it.

        `alone`: there is no managed environment for CPUs either.

        Raises:
            InstallError: it is not on PATH.
        """
        if command := shutil.which(program):
            return command
        wants = f"is for {self.build.engine}" if alone else "wants a GPU"
        raise InstallError(
            f"build {self.build.name!r} {wants}, and there is no `{program}` command on PATH: "
            f"{advice}, or name it in the build's field `command`, or a container image in `image`"
            + ("" if alone else ", or set device = 'cpu'")
        )

    def cpus(self, device: Device) -> tuple[list[int] | None, list[int] | None]:
        """CPUs of a server that computes on CPUs, and those left to the client; None: all."""
        available = available_cpus()
        if device.kind != "cpu" or not self.reserve_client_cpu or len(available) == 1:
            return None, None
        return split_cpus(available)


@dataclass(frozen=True, kw_only=True)
class Start:
    """How to start a server."""

    argv: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    """Set on top of the harness's own environment."""
    unset: tuple[str, ...] = ()
    """Variables of the harness's own environment that it must not see, besides others' secrets."""
    secrets: tuple[str, ...] = ()
    """Those of its secrets that it gets all the same."""
    model: str | None = None
    """What requests ask for, where the engine cannot be told the source's name."""
    folder: Path | None = None
    """Where it is started; None: where the harness was."""
    cpus: list[int] | None = None
    """CPUs the whole process tree may use; None: all."""
    client_cpus: list[int] | None = None
    """CPUs that this leaves to the client; None: none or all are shared."""
    owns_port: bool = True
    """Whether its own processes listen on the port; for a container, a daemon does."""
    version: str | None = None
    """The engine's, for one that does not tell it once it runs."""
    pin_output: tuple[str, ...] | None = None
    """Where they depend on the build, in place of the engine's."""
    cleanup: list[str] | None = None
    """Command to run after the server has ended, e.g. to remove its container."""
    provenance: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a running server said about itself; None where it did not."""

    version: str | None = None
    max_model_len: int | None = None
    kv_cache_tokens: int | None = None
    provenance: dict[str, object] = field(default_factory=dict)


class Engine(Protocol):
    """A serving program that speaks OpenAI's API on 127.0.0.1."""

    @property
    def name(self) -> str:
        """As builds and reports call it."""
        ...

    @property
    def dialects(self) -> tuple[str, ...]:
        """Dialects of the load driver that it speaks; the first is its own."""
        ...

    @property
    def pin_output(self) -> tuple[str, ...]:
        """Request fields that pin the output length."""
        ...

    @property
    def ready_path(self) -> str:
        """Answers 200 once the engine has loaded."""
        ...

    @property
    def fact_pages(self) -> tuple[str, ...]:
        """Paths to fetch for `facts`."""
        ...

    def check(self, build: Build, source: ModelSource) -> None:
        """Find what can be seen to be wrong before anything is installed or started.

        Raises:
            BuildError: a field of the build, or its model, does not fit this engine.
        """
        ...

    def start(self, request: StartRequest) -> Start:
        """Say how to start it.

        Raises:
            BuildError: a field of the build does not fit this engine.
            InstallError: the engine is not there and cannot be installed.
        """
        ...

    def facts(self, log: str, pages: Mapping[str, str]) -> Facts:
        """Read what the start-up log and the pages (path → text) of a ready server say."""
        ...


def engines() -> list[str]:
    """Names of the engines there are."""
    return sorted(_by_name())


def load_engine(name: str) -> Engine:
    """Return the engine of that name.

    Raises:
        UnknownNameError: the folder has no module with it.
    """
    known = _by_name()
    if name not in known:
        raise UnknownNameError("engine", name, known)
    return known[name]


@cache
def _by_name() -> dict[str, Engine]:
    stems = sorted(path.stem for path in Path(__file__).parent.glob("*.py"))
    found: list[Engine] = [
        import_module(f"{__name__}.{stem}").ENGINE for stem in stems if not stem.startswith("_")
    ]
    return {engine.name: engine for engine in found}
