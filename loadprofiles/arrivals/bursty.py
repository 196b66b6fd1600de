"""Quiet traffic with bursts that come again and again."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from loadprofiles.traffic.schedule import Arrival, Finite, FloatArray, Piecewise, Span


class Bursty(Piecewise):
    """On–off bursts over a base rate: a Poisson process whose rate jumps.

    Each stretch of `burst_every_s` has one burst in its middle, so that the quiet before it and
    the recovery after it are in the window too. The base rate follows from the level: for a
    window of whole stretches it is level ÷ (1 + (burst_factor − 1)·burst_s/burst_every_s).
    """

    point: ClassVar[str] = "the first burst"
    point_field: ClassVar[str] = "burst_every_s"

    kind: Literal["bursty"]
    burst_factor: Annotated[Finite, Field(gt=1, le=1000)]
    """The rate within a burst ÷ the base rate."""
    burst_s: Annotated[Finite, Field(gt=0)]
    """How long a burst lasts."""
    burst_every_s: Annotated[Finite, Field(ge=0.1)]
    """From the start of one burst to the start of the next."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.burst_s >= self.burst_every_s:
            raise ValueError(
                f"burst_s = {self.burst_s:g} must be shorter than burst_every_s = "
                f"{self.burst_every_s:g}, else there is no quiet between bursts"
            )
        return self

    @property
    def least_window_s(self) -> float:
        """The end of the first burst."""
        return (self.burst_every_s + self.burst_s) / 2

    def bursts(self, duration_s: float) -> list[Span]:
        """See the base class."""
        edges = self._edges(duration_s)
        spans = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
        return [(start, min(end, duration_s)) for start, end in spans if start < duration_s]

    def pieces(self, duration_s: float) -> tuple[FloatArray, FloatArray]:
        """See the base class."""
        edges = self._edges(duration_s)
        knots = np.concatenate([[0.0], edges[edges < duration_s], [duration_s]])
        return knots, np.where(np.arange(len(knots) - 1) % 2, self.burst_factor, 1.0)

    def _edges(self, duration_s: float) -> FloatArray:
        """Start and end of each burst that begins within the window, or a little later."""
        periods = np.arange(math.ceil(duration_s / self.burst_every_s)) * self.burst_every_s
        start = (self.burst_every_s - self.burst_s) / 2
        edges = np.stack([periods + start, periods + start + self.burst_s], axis=1)
        flat: FloatArray = edges.ravel()
        return flat


ARRIVAL: type[Arrival] = Bursty
