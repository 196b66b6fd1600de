"""One sudden rush."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from loadprofiles.traffic.schedule import Arrival, Finite, FloatArray, Piecewise, Span


class Spike(Piecewise):
    """A Poisson process with one spike, and the quiet before and after it.

    The rate outside follows from the level: level ÷ (1 + (spike_factor − 1)·spike_s/duration).
    """

    point: ClassVar[str] = "the spike"
    point_field: ClassVar[str] = "spike_at_s"

    kind: Literal["spike"]
    spike_factor: Annotated[Finite, Field(gt=1, le=1000)]
    """The rate within the spike ÷ the rate outside."""
    spike_s: Annotated[Finite, Field(gt=0)]
    """How long it lasts."""
    spike_at_s: Annotated[Finite, Field(ge=0)]
    """When it begins, from the window's start."""

    @property
    def least_window_s(self) -> float:
        """The end of the spike."""
        return self.spike_at_s + self.spike_s

    def bursts(self, duration_s: float) -> list[Span]:
        """See the base class."""
        end_s = min(self.spike_at_s + self.spike_s, duration_s)
        return [(self.spike_at_s, end_s)] if self.spike_at_s < duration_s else []

    def pieces(self, duration_s: float) -> tuple[FloatArray, FloatArray]:
        """See the base class."""
        edges = np.array([self.spike_at_s, self.spike_at_s + self.spike_s])
        knots = np.concatenate([[0.0], edges[edges < duration_s], [duration_s]])
        return knots, np.where(np.arange(len(knots) - 1) == 1, self.spike_factor, 1.0)


ARRIVAL: type[Arrival] = Spike
