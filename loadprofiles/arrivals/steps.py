"""A staircase."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from loadprofiles.traffic.schedule import Arrival, Finite, FloatArray, Piecewise

_MOST = 1000


class Steps(Piecewise):
    """A Poisson process whose rate goes in steps: a stepped ramp, up, down or both."""

    kind: Literal["steps"]
    factors: Annotated[
        tuple[Annotated[Finite, Field(ge=0, le=_MOST)], ...],
        Field(min_length=2, max_length=_MOST),
    ]
    """The rate of each step ÷ the level; their mean over the window must be 1."""
    lengths: tuple[Annotated[Finite, Field(gt=0)], ...] | None = None
    """How long each step lasts, relative to the others; None: all equally long."""

    @model_validator(mode="after")
    def _averages_one(self) -> Self:
        lengths = self.lengths or (1.0,) * len(self.factors)
        if len(lengths) != len(self.factors):
            raise ValueError(
                f"{len(self.factors)} factors but {len(lengths)} lengths; give each step one"
            )
        if not any(self.factors):
            raise ValueError("the factors are all 0; give at least one step a rate")
        mean = float(np.average(self.factors, weights=lengths))
        if not math.isclose(mean, 1, rel_tol=1e-3):
            fitting = ", ".join(f"{factor / mean:.4g}" for factor in self.factors)
            raise ValueError(
                f"the factors average {mean:.4g} over the window and must average 1, because the "
                f"level is the mean rate; the same steps are factors = [{fitting}]"
            )
        return self

    def pieces(self, duration_s: float) -> tuple[FloatArray, FloatArray]:
        """See the base class."""
        ends = np.cumsum(self.lengths or np.ones(len(self.factors)))
        knots = np.concatenate([[0.0], ends[:-1] / ends[-1] * duration_s, [duration_s]])
        return knots, np.array(self.factors)


ARRIVAL: type[Arrival] = Steps
