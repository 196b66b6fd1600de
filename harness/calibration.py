"""What `harness calibrate` found out about the client on this machine, and where that is kept."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from harness import __version__
from harness.measuring.truth import Spread  # noqa: TC001 - msgspec reads it
from harness.provenance import machine
from harness.rundir import write_atomically
from loadprofiles.decoding import decoded

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA: Final = 1
FLOOR_STREAMS: Final = 32
"""The load at which a machine shows its floor: no core asleep, none busy."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One load of the ladder. Every number is of its measured window."""

    pattern: Literal["staggered", "at once", "poisson"]
    """Tokens spread out in time; all streams' tokens at once, as in an engine's steps; a Poisson
    open loop."""
    level: float
    """Streams, or requests/s of the open loop."""
    window_s: float
    answers: int
    tokens_per_s: float
    offered_tokens_per_s: float
    """What the server would send if nobody were late."""
    ttft_kernel_us: Spread | None
    """Error of TTFT by the kernel's receive stamps; None where the kernel gives none."""
    ttft_user_us: Spread | None
    """The same by the client's own clock: what TTFT would be off by without kernel stamps."""
    itl_kernel_us: Spread | None
    itl_user_us: Spread | None
    unsure: float
    """Share of the tokens whose sending was interrupted, so that nobody knows when they left; they
    are in no error."""
    hidden_gaps: float
    """Share of the gaps that the client did not see although the server had made them."""
    hidden_firsts: float
    """Share of the first tokens that it saw more than half a gap too late."""
    merged_reads: int
    """Reads of several chunks; those that the verdict holds against the client."""
    late_merges: int
    lag_us: Spread | None
    late_us: Spread | None
    """Open loop: departures after they were due."""
    cpu: float
    """Share of a core."""
    cpu_us_per_token: float | None
    run_delay: float | None
    server_cpu: float
    """Share of a core that the server used, as far as it can be told."""
    server_cpu_us_per_token: float | None
    rss_peak_mib: float | None
    valid: bool
    """As a run's cell would have been judged."""
    caveats: list[str]
    problems: list[str]
    """Why it is not exact; empty where it is."""
    tries: int
    """2 where the first try failed."""

    @property
    def exact(self) -> bool:
        """Whether every number of such a cell can be believed to the limits of `ladder.py`."""
        return not self.problems


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """One calibration of the client on one machine."""

    schema: int = SCHEMA
    made: str
    """UTC, ISO 8601."""
    harness_version: str
    machine: dict[str, Any]
    server_cpus: list[int]
    client_cpus: list[int]
    """The same as the server's where there is one CPU: the errors are then the machine's worst."""
    window_s: float
    kernel_stamps: bool
    steps: list[Step]
    ended: Literal["client", "server", "ladder"]
    """What ended the ladder: a step where the client was not exact, the server at its own limit,
    or the last step."""

    @property
    def floor(self) -> Step | None:
        """The valid staggered step nearest to `FLOOR_STREAMS`, exact or not."""
        steps = [step for step in self._staggered if step.valid and step.ttft_user_us is not None]
        return min(steps, key=lambda step: abs(step.level - FLOOR_STREAMS), default=None)

    @property
    def ceiling(self) -> Step | None:
        """The exact staggered step with most tokens/s."""
        steps = [step for step in self._staggered if step.exact]
        return max(steps, key=lambda step: step.tokens_per_s, default=None)

    @property
    def _staggered(self) -> list[Step]:
        return [step for step in self.steps if step.pattern == "staggered"]


def save(calibration: Calibration) -> Path | None:
    """Keep a calibration for this machine, in place of an earlier one.

    Returns:
        The file; None where one without a valid step would have replaced one that has any.

    Raises:
        BadInputError: the file cannot be written.
    """
    kept = find()
    if calibration.floor is None and kept is not None and kept.floor is not None:
        return None
    path = _path(calibration.machine, calibration.harness_version)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, msgspec.json.format(msgspec.json.encode(calibration)) + b"\n")
    return path


def find() -> Calibration | None:
    """Return this machine's calibration with this version of the harness; None without one."""
    try:
        data = _path(machine(), __version__).read_bytes()
        found = decoded(data, Calibration, "calibration")
    except (OSError, msgspec.DecodeError):
        return None
    return found if found.schema == SCHEMA else None


def summarize(calibration: Calibration | None) -> dict[str, Any] | None:
    """Return what a run's manifest quotes of it; None without one."""
    if calibration is None:
        return None
    return {
        "made": calibration.made,
        "harness_version": calibration.harness_version,
        "kernel_stamps": calibration.kernel_stamps,
        "shared_cpu": calibration.server_cpus == calibration.client_cpus,
        "ended": calibration.ended,
        "floor": _quoted(calibration.floor),
        "ceiling": _quoted(calibration.ceiling),
    }


def sentence(found: Mapping[str, Any] | None) -> str:
    """Say in a line what a manifest's `calibration` says."""
    if not found:
        return "The client was not calibrated on this machine: harness calibrate does that."
    day, floor, top = str(found["made"])[:10], found["floor"], found["ceiling"]
    if floor is None:
        none = "no step of the ladder (tokens spread out in time) was valid"
        return f"Client calibrated on {day}: {none}."
    error = _error(floor, "ttft_user_us")
    clock = f"{error} by the client's own clock, since the kernel gives no receive times"
    if found["kernel_stamps"]:
        clock = f"{_error(floor, 'ttft_kernel_us')} by kernel stamps, {error} by its own clock"
    limit = "exact at no load that was tried"
    if top is not None:
        words = "exact up to" if found["ended"] == "client" else "exact at least up to"
        limit = f"{words} {top['tokens_per_s']:,.0f} tokens/s ({top['level']:,g} streams)"
    return (
        f"Client calibrated on {day}: TTFT error p50/p99 {clock} ({floor['level']:g} streams); "
        + limit
        + (", with the server on the same CPU." if found["shared_cpu"] else ".")
    )


def _error(step: Mapping[str, Any], name: str) -> str:
    spread = step[name]
    p99 = "–" if spread["p99"] is None else f"{spread['p99']:.0f}"
    return f"{spread['p50']:.0f}/{p99} µs"


def _quoted(step: Step | None) -> dict[str, Any] | None:
    if step is None:
        return None
    names = (
        "level", "tokens_per_s", "ttft_kernel_us", "ttft_user_us", "itl_kernel_us",
        "cpu_us_per_token",
    )  # fmt: skip
    plain = msgspec.to_builtins(step)
    return {name: plain[name] for name in names}


def _path(of: Mapping[str, Any], version: str) -> Path:
    text = msgspec.json.encode({**of, "harness": version}, order="sorted")
    name = f"calibration-{hashlib.sha256(text).hexdigest()[:16]}.json"
    own = os.environ.get("HARNESS_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return (Path(own) if own else Path(base) / "serving-load-harness").absolute() / name
