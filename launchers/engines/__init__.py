"""Serving programs. Each module ends in `ENGINE: Engine = …`; the folder is the registry."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from launchers.errors import UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from launchers.build import Build
    from launchers.model import ModelSource


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


@dataclass(frozen=True, kw_only=True)
class Start:
    """How to start a server."""

    argv: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    """Set on top of the harness's own environment."""
    cpus: list[int] | None = None
    """CPUs the whole process tree may use; None: all."""
    client_cpus: list[int] | None = None
    """CPUs that this leaves to the client; None: none or all are shared."""
    owns_port: bool = True
    """Whether its own processes listen on the port; for a container, a daemon does."""
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

    def check(self, build: Build) -> None:
        """Find what can be seen to be wrong before anything is installed or started.

        Raises:
            BuildError: a field of the build does not fit this engine.
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
    folder = Path(__file__).parent
    return sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))


def load_engine(name: str) -> Engine:
    """Import an engine by its module's name.

    Raises:
        UnknownNameError: the folder has no such module.
    """
    if name not in engines():
        raise UnknownNameError("engine", name, engines())
    engine: Engine = import_module(f"launchers.engines.{name}").ENGINE
    return engine
