"""The shape of `capacity.json`. Every number in it is a pure function of the run's folder."""

from __future__ import annotations

from typing import Literal

import msgspec

from harness.capacity.search import Outcome  # noqa: TC001 - msgspec reads it at run time
from harness.measuring.measurement import Caveat, RunInfo  # noqa: TC001 - msgspec reads them at run time
from harness.sizing.prediction import Prediction  # noqa: TC001 - as above
from harness.sizing.record import PerMillion, Sizing  # noqa: TC001 - msgspec reads them

SCHEMA = 1
CAPACITY_FILE = "capacity.json"


class LimitShown(msgspec.Struct, frozen=True, kw_only=True):
    """One limit in one probe."""

    limit: str
    """As it was written."""
    allowed: float
    """Share that may break it."""
    broken: float
    """Share that did, as counted."""


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """One cell of the search."""

    cell: str
    rate: float | None
    """Requests/s of an open loop, as planned."""
    streams: int | None = None
    """Of a scout in a closed loop."""
    met: bool | None
    """Whether all limits held, as counted; None where the client was too slow to tell, or where
    nothing counted (`empty`)."""
    limits: list[LimitShown] = []
    requests: int
    window_s: float
    served_rate: float
    """Answers/s."""
    ended_early: bool = False
    """It had clearly shown what it was to show."""
    empty: bool = False
    """Nothing was answered, or it was cut off before anything counted."""

    @property
    def client_was_slow(self) -> bool:
        """Whether the client was the bottleneck of an open-loop probe."""
        return self.rate is not None and self.met is None and not self.empty


class Saturation(msgspec.Struct, frozen=True, kw_only=True):
    """The most that was served."""

    rate: float
    """Answers/s."""
    arrivals_rate: float | None = None
    """The same in the unit of the rates: of sessions answers/s ÷ turns; None: as `rate`."""
    cell: str


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What the search came to at one server."""

    build: str
    weights: str | None = None
    """What they are, and the engine's kernel, e.g. `4-bit, group 128, asym, MarlinLinearKernel`."""
    outcome: Outcome
    text: str
    max_rate: float | None
    """The highest rate at which all limits hold; None where there is none or it was not reached."""
    max_rate_ci95: tuple[float, float] | None
    held_rate: float | None
    """The highest rate of which a probe held all limits, as counted."""
    probes: list[Probe]
    saturation: Saturation | None
    control: float | None = None
    """Correlation of what broke with a virtual queue on the same arrivals, of the limit with the
    highest; None without a queue."""
    prediction: Prediction | None = None
    """By a simulator fitted to its probes; None where it cannot be, and a caveat says why."""


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """All of `capacity.json`. What lies outside `builds` is the first build's."""

    schema: int = SCHEMA
    run: RunInfo
    slo: str
    unit: Literal["requests/s", "sessions/s"]
    precision: float
    """Half the interval that was asked for, as a ratio of the rate."""
    max_rate: float | None
    max_rate_ci95: tuple[float, float] | None
    outcome: Outcome | None
    """None: nothing was measured."""
    probes: list[Probe]
    saturation: Saturation | None
    builds: list[Found]
    replicas: int | None = None
    """That the demand takes, spares included; None without one, or without a rate."""
    replicas_range: tuple[int | None, int | None] | None = None
    """The same at both ends of the interval."""
    cost_per_million_tokens: PerMillion | None = None
    sizing: Sizing | None = None
    """Of all builds; None where neither demand nor terms were given."""
    prediction: Prediction | None = None
    caveats: list[Caveat] = []
