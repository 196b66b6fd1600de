"""Where the servers of a run come from: brought up for it, or running already."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from launchers.launch import Running, launch
from launchers.trust import Trust

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.live import Live
    from harness.rundir import RunFolder
    from launchers.build import Build
    from launchers.server import Server


@dataclass(frozen=True, kw_only=True)
class Url:
    """A server that somebody else runs, as the command line names it."""

    urls: tuple[str, ...]
    """Its replicas, where they are several."""
    model: str | None = None
    trust: Trust = field(default_factory=Trust)
    name: str = "url"
    """What its results are filed under."""


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
