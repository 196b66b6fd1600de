"""One load client as the comparison sees it: how to start it, and how to read what it reported."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from rig import ROOT

from launchers import environments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

TOKENIZER = ROOT / "launchers" / "models" / "demo-fp16"
PROMPT_TOKENS = 32
_CLIENTS = Path(__file__).parent / "clients"
_REQUIREMENTS = Path(__file__).parent / "requirements"
Kind = Literal["closed", "constant", "poisson"]


@dataclass(frozen=True)
class Load:
    """What every client is asked for alike."""

    kind: Kind
    level: int
    """Closed loop: streams. Open loop: requests/s."""
    requests: int
    tokens: int
    """Output tokens of each request."""
    url: str = ""
    """Of the server, with /v1."""

    @property
    def base_url(self) -> str:
        """The URL without /v1."""
        return self.url.removesuffix("/v1")

    @property
    def duration_s(self) -> float:
        """Open loop: how long all requests take to be sent."""
        return self.requests / self.level


@dataclass(frozen=True)
class Reported:
    """What a client says of its requests, in ms; None where it says nothing.

    Values of single requests where it saves them, else (p50, p99) in `percentiles`.
    """

    ttft: NDArray[np.float64] | None = None
    itl: NDArray[np.float64] | None = None
    """Gaps between tokens of all requests; with `itl_mean` one mean a request."""
    e2e: NDArray[np.float64] | None = None
    itl_mean: bool = False
    percentiles: dict[str, tuple[float, float]] = field(default_factory=dict)
    request_ids: set[str] | None = None
    """The requests that this is about, where the client names them to the server; None: all."""

    def pair(self, name: Literal["ttft", "itl", "e2e"]) -> tuple[float, float] | None:
        """Return the reported p50 and p99 in ms."""
        values: NDArray[np.float64] | None = getattr(self, name)
        if values is None or not values.size:
            return self.percentiles.get(name)
        p50, p99 = np.percentile(values, (50, 99))
        return float(p50), float(p99)


@dataclass(frozen=True)
class Client:
    """One program that can load a server."""

    title: str
    environment: str | None
    """Name of the managed environment, or of a file in `requirements/`; None: the harness's."""
    package: str
    """Whose version is shown."""
    argv: Callable[[Path, Load, Path], list[str]]
    """(bin folder of the environment, load, an empty folder) → command line."""
    read: Callable[[Path, Load], Reported]
    """(that folder, load) → what it reported."""
    kinds: frozenset[Kind] = frozenset({"closed", "constant", "poisson"})
    """Loads it can be asked for."""
    offline: bool = True
    """Whether the hub's offline switches may be set (AIPerf then finds no local tokenizer)."""
    http: str = ""
    """What it sends with, for the table's reader."""

    @property
    def environment_name(self) -> str | None:
        """What `launchers.environments` calls its environment."""
        if self.environment is None:
            return None
        own = _REQUIREMENTS / f"{self.environment}.txt"
        return str(own) if own.exists() else self.environment


def clients() -> dict[str, Client]:
    """Name → client of every module in `clients/`; this project's own comes first."""
    names = sorted(path.stem for path in _CLIENTS.glob("*.py") if path.stem != "__init__")
    names.sort(key=lambda name: name != "ours")
    return {name.replace("_", "-"): import_module(f"clients.{name}").CLIENT for name in names}


def python_of(client: Client) -> Path | None:
    """Return the Python that runs the client, None when its environment is not installed."""
    name = client.environment_name
    return Path(sys.executable) if name is None else environments.installed(name)


def milliseconds(values: Iterable[float], scale: float = 1.0) -> NDArray[np.float64]:
    """Return values times `scale` as an array, without those that are no number."""
    array = np.array(list(values), dtype=np.float64) * scale
    return array[~np.isnan(array)]
