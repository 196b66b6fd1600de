"""What a server can be trusted with: its capability card, its canary, the routes of suites."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from evals.probe import probe
from evals.probe.canary import sing_again
from evals.probe.card import Card
from evals.probe.card import Caveat as Found
from evals.probe.routes import choose_route
from harness.errors import BadInputError
from harness.measuring.measurement import Caveat
from harness.quality.asking import run_watched
from harness.quality.endpoints import HUGGINGFACE
from harness.rundir import write_atomically
from launchers.environments import installed
from loadprofiles.decoding import decoded
from loadprofiles.errors import RecordError

if TYPE_CHECKING:
    from pathlib import Path

    from evals.endpoint import Endpoint
    from evals.records import Route
    from harness.live import Live
    from harness.rundir import RunFolder
    from harness.serving import Served

PROBES: Final = "probes"


class CanaryRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the canary said whenever it was asked again; `probes/<build>.canary.json`."""

    asked: int = 0
    """How often."""
    found: list[Found] = []


@dataclass(frozen=True, kw_only=True)
class Probed:
    """A server whose card is known."""

    card: Card
    endpoint: Endpoint
    """With what the probe found out about it."""
    folder: Path
    """The run's `probes`."""

    def route_for(self, routes: tuple[Route, ...], demanded: Route | None) -> Route:
        """Return the route that a suite takes.

        Raises:
            RouteError: none of its routes was proved, or not the one demanded.
        """
        return choose_route(self.card, routes, demanded)

    def sing(self, served: Served, live: Live) -> None:
        """Ask the canary again and keep what has changed.

        Raises:
            ReachError, ServerError: nobody answers any more.
        """
        title = f"{self.endpoint.build}: the canary again"
        live.status(title)
        found = run_watched(lambda: sing_again(self.endpoint, self.card), served, title)
        path = self.folder / f"{self.endpoint.build}.canary.json"
        before = _read_canary(path)
        record = CanaryRecord(asked=before.asked + 1, found=[*before.found, *found])
        write_atomically(path, msgspec.json.encode(record) + b"\n")
        for caveat in found:
            if caveat.invalidates:
                live.problem(f"{self.endpoint.build}: {caveat.text}")


def probe_server(run: RunFolder, endpoint: Endpoint, served: Served, live: Live) -> Probed:
    """Probe a server and keep its card; where the run has one already, ask its canary.

    Raises:
        ReachError, ServerError: nothing usable answers.
    """
    folder = run.path / PROBES
    folder.mkdir(exist_ok=True)
    path = folder / f"{endpoint.build}.json"
    again = path.is_file()
    if again:
        card = _read(path)
    else:
        title = f"{endpoint.build}: probing"
        live.status(title)
        python = installed(HUGGINGFACE)
        card = run_watched(lambda: probe(endpoint, huggingface=python), served, title)
        write_atomically(path, msgspec.json.format(msgspec.json.encode(card)) + b"\n")
    known = msgspec.structs.replace(
        endpoint,
        engine=card.engine,
        engine_version=card.engine_version,
        max_model_len=card.context_length or endpoint.max_model_len,
    )
    probed = Probed(card=card, endpoint=known, folder=folder)
    if again:
        probed.sing(served, live)
    return probed


def card_of(run: RunFolder, build: str) -> dict[str, Any] | None:
    """Read a stored card, without the canary's answers; None where there is none."""
    path = run.path / PROBES / f"{build}.json"
    if not path.is_file():
        return None
    card: dict[str, Any] = msgspec.to_builtins(_read(path))
    del card["canary"]
    return card


def drift_caveats(run: RunFolder, build: str) -> list[Caveat]:
    """Return what the probe and the canary warn of."""
    path = run.path / PROBES / f"{build}.json"
    found = [*_read(path).caveats] if path.is_file() else []
    found += _read_canary(path.with_suffix(".canary.json")).found
    texts = dict.fromkeys((one.code, f"{build}: {one.text}", one.invalidates) for one in found)
    return [Caveat(code, text, invalidates) for code, text, invalidates in texts]


def _read(path: Path) -> Card:
    try:
        return decoded(path.read_bytes(), Card, path.name)
    except (OSError, RecordError) as error:
        raise BadInputError(f"{path.parent}: {error}") from error


def _read_canary(path: Path) -> CanaryRecord:
    try:
        return decoded(path.read_bytes(), CanaryRecord, path.name)
    except FileNotFoundError:
        return CanaryRecord()
    except (OSError, RecordError) as error:
        raise BadInputError(f"{path.parent}: {error}") from error
