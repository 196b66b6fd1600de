"""Requests in clumps, or more evenly than by chance."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from loadprofiles.traffic.schedule import Arrival, Finite, FloatArray, OpenArrival


class Gamma(OpenArrival):
    """A renewal process: independent gaps with a gamma distribution, their mean 1/rate.

    `burstiness` is the gamma distribution's shape, as in `vllm bench serve --burstiness`: 1 is a
    Poisson process, below 1 requests come in clumps, above 1 more evenly. The coefficient of
    variation of the gaps is 1/√burstiness, and the variance ÷ mean of the counts of long
    intervals tends to 1/burstiness.

    The first gap is that of a process which has run for ever (Cox, Renewal Theory, 1962, ch. 5: a
    length-biased gap, seen from a uniform place within it), so that the mean rate is the level
    from the window's start on. Begun with a whole gap, or with a request, it would not be.
    """

    kind: Literal["gamma"]
    burstiness: Annotated[Finite, Field(ge=0.01, le=1000)]

    def first_gap(self, rng: np.random.Generator) -> float:
        """See the base class."""
        place, size = rng.random(2)
        return float(place * self._quantile(self.burstiness + 1, np.array([size]))[0])

    def gaps(self, count: int, rng: np.random.Generator) -> FloatArray:
        """See the base class; by inversion, as there."""
        return self._quantile(self.burstiness, rng.random(count))

    def _quantile(self, shape: float, u: FloatArray) -> FloatArray:
        """Inverse of the distribution function of gamma(shape) with scale 1/burstiness."""
        from scipy.special import gammaincinv

        quantile: FloatArray = gammaincinv(shape, u) / self.burstiness
        return quantile


ARRIVAL: type[Arrival] = Gamma
