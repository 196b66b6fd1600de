"""A rate along a straight line."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from loadprofiles.traffic.schedule import Arrival, Finite, FloatArray, OpenArrival


class Ramp(OpenArrival):
    """A Poisson process whose rate changes linearly over the window.

    From `from_factor`·level at its start to `to_factor`·level at its end; the two must average
    1, since the level is the mean rate.
    """

    whole_window: ClassVar[bool] = True

    kind: Literal["ramp"]
    from_factor: Annotated[Finite, Field(ge=0, le=2)]
    to_factor: Annotated[Finite, Field(ge=0, le=2)]

    @model_validator(mode="before")
    @classmethod
    def _averages_one(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        low, high = data.get("from_factor"), data.get("to_factor")
        if not isinstance(low, int | float) or not isinstance(high, int | float):
            return data  # the fields' own checks speak
        possible = low >= 0 and high >= 0 and 0 < low + high < math.inf
        if possible and not math.isclose((low + high) / 2, 1):
            fitting = round(2 * low / (low + high), 4)
            raise ValueError(
                f"from_factor = {low:g} and to_factor = {high:g} must average 1, because the "
                f"level is the mean rate; the same growth is from_factor = {fitting:g}, "
                f"to_factor = {round(2 - fitting, 4):g}"
            )
        return data

    def relative_rate(self, t_s: FloatArray, duration_s: float) -> FloatArray:
        """See the base class."""
        return self.from_factor + (self.to_factor - self.from_factor) * t_s / duration_s

    def operational_time(self, t_s: FloatArray, duration_s: float) -> FloatArray:
        """See the base class."""
        growth = (self.to_factor - self.from_factor) / (2 * duration_s)
        return t_s * (self.from_factor + growth * t_s)

    def clock_time(self, operational_s: FloatArray, duration_s: float) -> FloatArray:
        """See the base class; the root of the quadratic in its form without cancellation."""
        growth = (self.to_factor - self.from_factor) / (2 * duration_s)
        root = np.sqrt(np.maximum(self.from_factor**2 + 4 * growth * operational_s, 0.0))
        denominator = self.from_factor + root
        return np.divide(
            2 * operational_s,
            denominator,
            out=np.zeros_like(operational_s),
            where=denominator > 0,
        )


ARRIVAL: type[Arrival] = Ramp
