"""Independent users."""

from __future__ import annotations

from typing import Literal

from loadprofiles.traffic.schedule import Arrival, OpenArrival


class Poisson(OpenArrival):
    """Independent users: exponential gaps with mean 1/rate."""

    kind: Literal["poisson"]


ARRIVAL: type[Arrival] = Poisson
