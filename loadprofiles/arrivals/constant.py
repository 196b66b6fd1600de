"""Evenly spaced requests."""

from __future__ import annotations

from typing import Literal

import numpy as np

from loadprofiles.traffic.schedule import Arrival, FloatArray, OpenArrival


class Constant(OpenArrival):
    """Evenly spaced: the first request at 0, then one every 1/rate seconds."""

    kind: Literal["constant"]

    def first_gap(self, rng: np.random.Generator) -> float:  # noqa: ARG002
        """See the base class."""
        return 0.0

    def gaps(self, count: int, rng: np.random.Generator) -> FloatArray:  # noqa: ARG002
        """See the base class."""
        return np.ones(count)


ARRIVAL: type[Arrival] = Constant
