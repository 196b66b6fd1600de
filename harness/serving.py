"""Where the servers of a run come from: brought up for it, or running already."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

from launchers.launch import Running, launch
from launchers.replicas import connect_all
from launchers.trust import Trust

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from harness.live import Live
    from harness.rundir import RunFolder
    from launchers.build import Build
    from launchers.server import Server


@dataclass(frozen=True, kw_only=True)
class Url:
    """A server that somebody else runs, as the command line or a [servers] table names it.

    What it leaves open is what the command line says for all.
    """

    urls: tuple[str, ...]
    """Its replicas, where they are several."""
    model: str | None = None
    trust: Trust = field(default_factory=Trust)
    name: str = "url"
    """What its results are filed under."""
    dialect: str | None = None
    tokenizer: Path | None = None
    api_key_env: str | None = None

    @property
    def flag(self) -> str:
        """Where a person wrote it."""
        return "--url" if self.name == "url" else f"servers.{self.name}.url"


Who: TypeAlias = "tuple[Build, Path] | Url"
"""A build with the folder that its relative paths count from, or a server that runs already."""


def name_of(who: Who) -> str:
    """Return what its results are filed under."""
    return who.name if isinstance(who, Url) else who[0].name


def names_in(servers: Iterable[Who]) -> list[str]:
    """Return what their results are filed under."""
    return [name_of(who) for who in servers]


def builds_in(servers: Iterable[Who]) -> list[tuple[Build, Path]]:
    """Return those that are brought up."""
    return [who for who in servers if not isinstance(who, Url)]


def urls_in(servers: Iterable[Who]) -> list[Url]:
    """Return those that run already."""
    return [who for who in servers if isinstance(who, Url)]


def url_of(servers: Iterable[Who], name: str) -> Url | None:
    """Return the server of that name that runs already; None: a build is called so."""
    return next((who for who in urls_in(servers) if who.name == name), None)


@dataclass(frozen=True)
class Served:
    """A server that answers, and its process where it is ours."""

    server: Server
    running: Running | None = None

    def is_up(self) -> bool:
        """Whether it lives; taken for granted of a server that is not ours."""
        return self.running is None or self.running.poll() is None


@dataclass(frozen=True)
class Connected:
    """A server that is up already, and stays so."""

    server: Server
    running: Running | None = None
    """Its process, where it is ours."""

    @property
    def name(self) -> str:
        """What its results are filed under."""
        return self.server.build

    @contextmanager
    def serve(self, _folder: RunFolder, _live: Live) -> Iterator[Served]:
        """Do nothing: it is up before, and stays so."""
        yield Served(self.server, self.running)


@dataclass(frozen=True)
class Launched:
    """A build to be brought up, and down again."""

    build: Build
    base_dir: Path
    """What the build's relative paths count from."""

    @property
    def name(self) -> str:
        """What its results are filed under."""
        return self.build.name

    @contextmanager
    def serve(self, folder: RunFolder, live: Live) -> Iterator[Served]:
        """Serve it while the context is open.

        Raises:
            LauncherError: it did not come up.
        """
        title = f"{self.name}: starting"
        live.status(title)
        with launch(
            self.build,
            folder.server(self.name),
            base_dir=self.base_dir,
            on_line=lambda line: live.status(title, line.removeprefix(f"{self.name}: ")),
        ) as running:
            yield Served(running.server, running)


Source = Connected | Launched


def source_of(
    who: Who,
    *,
    dialect: str | None = None,
    headers: Mapping[str, str] | None = None,
    api_key_env: str | None = None,
) -> Source:
    """Return where a server comes from.

    Raises:
        ConnectError: it runs already, and nothing usable answers at its URL.
    """
    if not isinstance(who, Url):
        return Launched(*who)
    server = connect_all(
        who.urls,
        who.model,
        dialect=who.dialect or dialect,
        headers=headers,
        api_key_env=who.api_key_env or api_key_env,
        trust=who.trust,
    )
    return Connected(replace(server, build=who.name))
